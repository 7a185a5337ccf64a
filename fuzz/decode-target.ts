/**
 * Decoding, as each end of a connection does it. What must hold, whatever the bytes:
 *
 *  1. Only a WireError is thrown, and again by every later call.
 *  2. The same records and the same error come out, however the bytes are cut, wherever they lie in the buffer,
 *     and whatever stands around them: so nothing outside what was given was read.
 *  3. A record consumes no more than was given; where none comes out, more is asked for than there is, and no
 *     more than the largest record that the limits allow.
 *  4. There are no more steps than bytes.
 */
import { StreamDecoder, type StreamDecoderOptions } from '#lib/wire/decode.js';
import type { WireError } from '#lib/wire/errors.js';
import { MultifdDecoder } from '#lib/wire/multifd.js';
import { defaultLimits } from '#lib/wire/protocol.js';
import { ReturnPathDecoder } from '#lib/wire/return-path.js';
import { Broken, type Channel, type Input, MAX_INPUT_BYTES, type Origin, type Outcome, type Target } from './input.ts';
import { Random } from './random.ts';
import { type AnyRecord, asWireError, RecordDigest } from './record-digest.ts';
import { Names, Steps } from './steps.ts';

/** What the decoders of lib/wire have in common. */
export interface AnyDecoder {
  readonly consumed: number;
  readonly needed: number;
  readonly offset: number;
  readonly recordOffset: number;
  next(bytes: Uint8Array, view: DataView, start: number, end: number): AnyRecord | undefined;
  endOfInput(): void;
  package?(): AnyDecoder;
}

/** The decoders to try: those of lib/wire, unless a test puts in broken ones. */
export interface Decoders {
  readonly StreamDecoder: typeof StreamDecoder;
  readonly ReturnPathDecoder: typeof ReturnPathDecoder;
  readonly MultifdDecoder: typeof MultifdDecoder;
}

const MARGIN = 512;
const MAX_RECORD_BYTES: Readonly<Record<Channel, number>> = {
  main: defaultLimits.maxVmDescriptionBytes + 64,
  'main-resumed': defaultLimits.maxVmDescriptionBytes + 64,
  preempt: 2 * 65536 + 512,
  'return-path': defaultLimits.maxBitmapBytes + 512,
  multifd: defaultLimits.maxMultifdPages * (8 + 2 * 4096) + 1024,
};
/** As lib/inspect reads recordings, and as the destination does. */
const selfSizedDevices = ['guest-state'];
const tightLimits = { maxBlocks: 3, maxSections: 6, maxDeviceBytes: 64, maxPackageBytes: 512, maxCapabilities: 1 };
/** Steps that may do without a byte: the last piece of a device body, and looking once more at each cut. */
const FREE_STEPS = 64;

interface Open {
  readonly decoder: AnyDecoder;
  /** Where its bytes end: for a package, where that does. */
  readonly end: number;
}

export class DecodeTarget implements Target {
  readonly name = 'decode';
  readonly seeds: readonly Input[];
  readonly #decoders: Decoders;
  readonly #kinds = new Names();
  readonly #errors = new Names();
  readonly #buffer = new Uint8Array(MAX_INPUT_BYTES + 2 * MARGIN);
  readonly #view = new DataView(this.#buffer.buffer);

  constructor(seeds: readonly Input[], decoders: Decoders = { StreamDecoder, ReturnPathDecoder, MultifdDecoder }) {
    this.seeds = seeds;
    this.#decoders = decoders;
  }

  execute(bytes: Uint8Array, length: number, origin: Origin, choice: number, outcome: Outcome): void {
    const whole = this.#decode(bytes, length, origin, choice, undefined, outcome);
    const cut = this.#decode(bytes, length, origin, choice, new Random(choice), undefined);
    const sameRecords = whole.digest.value === cut.digest.value && whole.settled === cut.settled;
    const sameEnd =
      whole.error?.offset === cut.error?.offset && (whole.error !== undefined || whole.taken === cut.taken);
    if (sameRecords && sameEnd) return;
    throw new Broken(`whole: ${describe(whole)}; cut: ${describe(cut)}`);
  }

  close(): void {}

  #decoder({ channel, context }: Origin, choice: number): AnyDecoder {
    const { StreamDecoder, ReturnPathDecoder, MultifdDecoder } = this.#decoders;
    const option = choice & 7;
    if (channel === 'multifd') return new MultifdDecoder();
    if (channel === 'return-path') return new ReturnPathDecoder(option < 4 ? {} : { bitmapBytes });
    const options: StreamDecoderOptions = {
      resumed: channel === 'main-resumed',
      channel: channel === 'preempt' ? 'preempt' : 'main',
      selfSizedDevices,
      ...(context === undefined ? {} : { context }),
      ...(option === 1 ? { limits: tightLimits } : {}),
      ...(option === 2 ? { blockPageSize } : {}),
      ...(option === 4 ? { lastBlock: context?.blocks[0].idstr } : {}),
      ...(option === 3 && context === undefined ? { targetPageSize: 1024 } : {}),
    };
    return new StreamDecoder(options);
  }

  /** Gives all of the bytes to a decoder and to those of its packages: at once, or cut and moved about. */
  #decode(
    bytes: Uint8Array,
    length: number,
    origin: Origin,
    choice: number,
    cuts: Random | undefined,
    outcome: Outcome | undefined,
  ): Decoded {
    const run = new Decoded(this.#decoder(origin, choice), length, cuts?.once(2) ?? false);
    const { buffer, stack } = { buffer: this.#buffer, stack: run.stack };
    const poison = cuts === undefined ? 0 : cuts.pick(poisons);
    buffer.fill(poison, 0, length + 2 * MARGIN);
    const feature = outcome === undefined ? undefined : new Steps(this.#kinds, origin.channel, outcome);
    let start = MARGIN;
    let given = 0;
    let steps = 0;
    try {
      for (;;) {
        // What was decoded must not be looked at again, and what is left may lie elsewhere next time.
        const moved = cuts === undefined ? start : MARGIN + cuts.below(MARGIN / 2);
        if (cuts !== undefined) {
          buffer.copyWithin(moved, start, start + given - run.taken);
          buffer.fill(poison, 0, moved);
          start = moved;
        }
        const more = Math.min(length - given, pieceBytes(cuts));
        buffer.set(bytes.subarray(given, given + more), start + given - run.taken);
        given += more;
        const end = start + given - run.taken;
        if (cuts !== undefined) buffer.fill(poison, end, end + MARGIN / 2);
        if (given === length) for (const { decoder } of stack) decoder.endOfInput();
        const from = run.taken;
        steps = this.#drain(run, start, end, given === length, steps, origin, feature);
        start += run.taken - from;
        if (given === length) break;
      }
    } catch (error) {
      run.error = asWireError(error);
      run.digest.error(run.error);
      feature?.end(this.#errors.number(`${run.error.code}/${run.error.record}`));
      this.#checkStaysFailed(run);
    }
    return run;
  }

  /** Takes all records that buffer[start, end) holds. Returns the steps so far. */
  #drain(
    run: Decoded,
    start: number,
    end: number,
    ended: boolean,
    stepsBefore: number,
    origin: Origin,
    feature: Steps | undefined,
  ): number {
    const { stack, digest, length } = run;
    const shift = start - run.taken;
    let steps = stepsBefore;
    for (;;) {
      const top = stack[stack.length - 1];
      const at = run.taken + shift;
      // A decoder knows where its package ends; what lies behind may be given to it or not.
      const stop = run.givesAll ? end : Math.min(end, top.end + shift);
      const { offset } = top.decoder;
      const record = top.decoder.next(this.#buffer, this.#view, at, stop);
      const { consumed, needed } = top.decoder;
      if (++steps > 2 * length + FREE_STEPS) throw new Broken(`${steps} steps for ${length} bytes`);
      if (consumed < 0 || consumed > stop - at) throw new Broken(`${consumed} bytes consumed of ${stop - at}`);
      if (top.decoder.offset !== offset + consumed) throw new Broken(`offset ${top.decoder.offset} after ${consumed}`);
      if (record === undefined) {
        if (consumed !== 0) throw new Broken(`${consumed} bytes consumed without a record`);
        if (stack.length > 1 && run.taken === top.end) {
          stack.pop();
          continue;
        }
        const asked = needed > stop - at && needed <= MAX_RECORD_BYTES[origin.channel];
        if (!asked && !(ended && needed === 0)) throw new Broken(`${needed} bytes asked for, ${stop - at} given`);
        return steps;
      }
      if (top.decoder.recordOffset !== offset) throw new Broken(`record at ${top.decoder.recordOffset}, not ${offset}`);
      digest.add(record, offset, this.#buffer);
      feature?.step(record, run.taken, stack.length > 1);
      run.taken += consumed;
      if (record.type !== 'device-data' || record.last) run.settled = run.taken;
      if (record.type === 'command' && record.command === 'PACKAGED') this.#open(run, top, record.length, ended);
    }
  }

  #open(run: Decoded, top: Open, packageBytes: number, ended: boolean): void {
    const decoder = top.decoder.package?.();
    if (decoder === undefined) throw new Broken('PACKAGED from a decoder without packages');
    if (ended) decoder.endOfInput();
    run.stack.push({ decoder, end: run.taken + packageBytes });
  }

  #checkStaysFailed({ stack, error }: Decoded): void {
    try {
      stack[stack.length - 1].decoder.next(this.#buffer, this.#view, 0, this.#buffer.length);
    } catch (again) {
      if (again === error) return;
    }
    throw new Broken(`goes on after ${error?.message}`);
  }
}

const poisons = [0x00, 0x01, 0x05, 0x08, 0x7e, 0xff];

function pieceBytes(cuts: Random | undefined): number {
  if (cuts === undefined) return MAX_INPUT_BYTES;
  return 1 + cuts.below(cuts.pick([4, 64, 1024, 8192, 32768]));
}

/** As in a source with two blocks. */
function bitmapBytes(idstr: string): number | undefined {
  return idstr === 'pc.ram' || idstr === 'vga.vram' ? 8 : undefined;
}

/** As in a destination that has huge pages in one of its blocks. */
function blockPageSize(idstr: string): number {
  return idstr === 'pc.ram' ? 2 ** 21 : 4096;
}

/** What came out of one way to give the bytes. */
class Decoded {
  readonly digest = new RecordDigest();
  readonly stack: Open[];
  readonly length: number;
  /** Whether the decoder of a package is given what lies behind, too. */
  readonly givesAll: boolean;
  taken = 0;
  /** Without the pieces of a body that never came to its end: how many there are depends on the cuts. */
  settled = 0;
  error: WireError | undefined;

  constructor(decoder: AnyDecoder, length: number, givesAll: boolean) {
    this.givesAll = givesAll;
    this.stack = [{ decoder, end: Number.POSITIVE_INFINITY }];
    this.length = length;
  }
}

function describe({ digest, settled, taken, error }: Decoded): string {
  const end = error === undefined ? 'no error' : `${error.code} ${error.message}`;
  return `${digest.records} records (${digest.value}), ${settled} of ${taken} bytes, ${end}`;
}
