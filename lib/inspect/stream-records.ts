/**
 * The records of a main or preempt connection in order, those of a package among them, however it is cut.
 *
 * A decoder as those of lib/wire, around the one of the connection and the one of the package that is open.
 */
import { type StreamContext, StreamDecoder, type StreamDecoderOptions } from '../wire/decode.js';
import { GUEST_STATE_SECTION } from '../wire/machine.js';
import type { StreamRecord } from '../wire/messages.js';

/** Device states come in pieces and packages are walked through, so their size needs no limit here. */
const streamOptions: StreamDecoderOptions = {
  selfSizedDevices: [GUEST_STATE_SECTION.idstr],
  limits: { maxDeviceBytes: Number.MAX_SAFE_INTEGER, maxPackageBytes: 2 ** 32 },
};

export class StreamRecords {
  consumed = 0;
  needed = 0;
  recordOffset = 0;
  /** Stream offset of the next byte. */
  offset = 0;

  readonly #outer: StreamDecoder;
  #inner: StreamDecoder | undefined;
  #inputEnded = false;
  #packageStart = 0;
  /** Stream offset at which the open package ends; infinite outside one. */
  packageEnd = Number.POSITIVE_INFINITY;

  constructor(options: StreamDecoderOptions) {
    this.#outer = new StreamDecoder({ ...streamOptions, ...options });
  }

  /** Whether the last record was in a package. */
  get packaged(): boolean {
    return this.#inner !== undefined && this.recordOffset >= this.#packageStart;
  }

  /** As `StreamDecoder.next`. @throws WireError */
  next(bytes: Uint8Array, view: DataView, start: number, end: number): StreamRecord | undefined {
    if (this.#inner !== undefined) {
      const record = this.#take(this.#inner, bytes, view, start, end);
      if (record !== undefined || this.offset < this.packageEnd) return record;
      this.#inner = undefined;
      this.packageEnd = Number.POSITIVE_INFINITY;
    }
    const record = this.#take(this.#outer, bytes, view, start, end);
    if (record?.type === 'command' && record.command === 'PACKAGED') this.#open(record.length);
    return record;
  }

  /** Says that nothing follows the bytes that `next()` is given from now on. */
  endOfInput(): void {
    this.#inputEnded = true;
    this.#outer.endOfInput();
    this.#inner?.endOfInput();
  }

  /** What has been learned so far, for the decoders of this migration's other connections. */
  context(): StreamContext {
    return this.#outer.context();
  }

  #take(
    decoder: StreamDecoder,
    bytes: Uint8Array,
    view: DataView,
    start: number,
    end: number,
  ): StreamRecord | undefined {
    // Also where it throws: the record that is at fault.
    this.recordOffset = decoder.offset;
    const record = decoder.next(bytes, view, start, end);
    this.consumed = decoder.consumed;
    this.needed = decoder.needed;
    this.offset = decoder.offset;
    return record;
  }

  #open(length: number): void {
    this.#inner = this.#outer.package();
    this.#packageStart = this.offset;
    this.packageEnd = this.offset + length;
    if (this.#inputEnded) this.#inner.endOfInput();
  }
}
