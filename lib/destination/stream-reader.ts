/**
 * The main channel as the destination reads it: an arena that the socket fills and the decoder reads
 * in place, page data included. The main thread reads first; at LISTEN it hands over to the listen
 * thread, which goes on at the same byte of the same arena.
 */
import type { Channel } from '../channel/channel.js';
import { asMigrationError, MigrationError } from '../errors.js';
import { type StreamContext, StreamDecoder, type StreamDecoderOptions } from '../wire/decode.js';
import { WireError } from '../wire/errors.js';
import { GUEST_STATE_SECTION } from '../wire/machine.js';
import type { StreamRecord } from '../wire/messages.js';
import type { DestinationCounters } from './destination-counters.js';

/** The largest record but for packages and device bodies, which come in pieces, must fit. */
export const ARENA_BYTES = 1024 * 1024;

/** Enough for whatever stands between two runs of pages, and little beside a run. */
const BETWEEN_RUNS_BYTES = 32 * 1024;

/** Where one thread stopped reading and the next goes on; survives structured clone. */
export interface StreamPosition {
  readonly start: number;
  readonly end: number;
  readonly offset: number;
  readonly context: StreamContext;
  readonly lastBlock: string | undefined;
  /** `main` when absent. */
  readonly channel?: 'preempt';
}

/** What our streams are decoded with. */
export const decoderOptions: StreamDecoderOptions = { selfSizedDevices: [GUEST_STATE_SECTION.idstr] };

export class StreamReader {
  readonly #channel: Channel;
  readonly #counters: DestinationCounters;
  readonly #decoder: StreamDecoder;
  #start: number;
  #end: number;
  /** The peer has closed: what is here is all there will be. */
  #hasEnded = false;
  /** Where page and device data of the last record lies. Valid until the next {@link fill}. */
  readonly bytes: Uint8Array;
  /** What the next {@link fill} receives at most. */
  #mostBytes: number;
  /** Mostly there is nothing yet, and a look in vain costs a system call. */
  #awaits = false;
  /** Milliseconds for which the peer may send nothing; 0 is no limit. */
  peerTimeoutMs = 0;
  readonly #view: DataView;

  constructor(channel: Channel, arena: SharedArrayBuffer, counters: DestinationCounters, position?: StreamPosition) {
    this.#channel = channel;
    this.#counters = counters;
    this.bytes = new Uint8Array(arena);
    this.#view = new DataView(arena);
    this.#mostBytes = this.bytes.length;
    this.#start = position?.start ?? 0;
    this.#end = position?.end ?? 0;
    this.#decoder = new StreamDecoder(
      position === undefined
        ? decoderOptions
        : {
            ...decoderOptions,
            resumed: true,
            startOffset: position.offset,
            context: position.context,
            lastBlock: position.lastBlock,
            channel: position.channel ?? 'main',
          },
    );
  }

  /** Of a demand channel from its first page on, which brings one at a time. */
  static ofDemandChannel(
    channel: Channel,
    arena: SharedArrayBuffer,
    counters: DestinationCounters,
    context: StreamContext,
  ): StreamReader {
    const position: StreamPosition = { start: 0, end: 0, offset: 0, context, lastBlock: undefined, channel: 'preempt' };
    const reader = new StreamReader(channel, arena, counters, position);
    reader.#awaits = true;
    return reader;
  }

  /** Stream offset of the last record. */
  get recordOffset(): number {
    return this.#decoder.recordOffset;
  }

  /**
   * The next record if all of it is here already; else call {@link fill}. Throws STREAM_CORRUPT, UNSUPPORTED, and
   * PEER_GONE where the rest of it will not come.
   */
  tryNext(): StreamRecord | undefined {
    const isEmpty = this.#start === this.#end && !this.#hasEnded && !this.#decoder.isInRun;
    if (isEmpty) return undefined; // at no cost, as somebody may wait for a page
    const record = asMigrationError(() => this.#decode());
    this.#start += this.#decoder.consumed;
    this.#counters.add('transferred', this.#decoder.consumed);
    // Of what comes by its record, or does not fit between two runs, as much at once as there is.
    if (record === undefined ? this.#start < this.#end : record.type === 'page') this.#mostBytes = this.bytes.length;
    return record;
  }

  #decode(): StreamRecord | undefined {
    try {
      return this.#decoder.next(this.bytes, this.#view, this.#start, this.#end);
    } catch (error) {
      if (this.#hasEnded && error instanceof WireError && error.code === 'TRUNCATED') throw this.#gone();
      throw error;
    }
  }

  /**
   * Behind the begin of a run: its pages are taken by the caller, from {@link takeRunBytes} where they have any bytes,
   * and not by records.
   */
  takeRun(): void {
    this.#decoder.takeRun();
  }

  /** Receives the `length` bytes of a run that was taken into `target`. Throws PEER_GONE. */
  takeRunBytes(target: Uint8Array, length: number): void {
    const buffered = Math.min(length, this.#end - this.#start);
    target.set(this.bytes.subarray(this.#start, this.#start + buffered));
    this.#start += buffered;
    for (let filled = buffered; filled < length; ) {
      const received = this.#receive(target, filled, length - filled);
      if (received === 0) throw this.#gone();
      filled += received;
    }
    this.#counters.add('transferred', length);
    // What comes next is another such run, most likely, and what lands in the arena of it has to be copied.
    this.#mostBytes = BETWEEN_RUNS_BYTES;
  }

  /**
   * Waits for more bytes; moves those not decoded yet to the front. False when the peer has closed and there is
   * nothing more to try: the end of the bytes may be what a record had to show.
   */
  fill(): boolean {
    if (this.#hasEnded) return false;
    this.bytes.copyWithin(0, this.#start, this.#end);
    this.#end -= this.#start;
    this.#start = 0;
    if (this.#end === this.bytes.length) {
      throw new MigrationError(
        'UNSUPPORTED',
        `a record at offset ${this.recordOffset} is larger than ${ARENA_BYTES} bytes`,
        {
          offset: this.recordOffset,
        },
      );
    }
    const most = Math.min(this.bytes.length - this.#end, this.#mostBytes);
    const received = this.#receive(this.bytes, this.#end, most);
    this.#end += received;
    if (received > 0) return true;
    this.#hasEnded = true;
    this.#decoder.endOfInput();
    return this.#end > 0;
  }

  /** The next record, waited for. Throws PEER_GONE when the peer closes first. */
  next(): StreamRecord {
    for (;;) {
      const record = this.tryNext();
      if (record !== undefined) return record;
      if (!this.fill()) throw this.#gone();
    }
  }

  /** The next record, or undefined when the peer has closed between two: legal only where a stream may end. */
  nextOrEnd(): StreamRecord | undefined {
    for (;;) {
      const record = this.tryNext();
      if (record !== undefined) return record;
      if (this.fill()) continue;
      if (this.#start === this.#end) return undefined;
      throw this.#gone();
    }
  }

  /** After PACKAGED: the whole package, and the decoder for it. */
  takePackage(length: number): { bytes: Uint8Array; decoder: StreamDecoder } {
    const decoder = this.#decoder.package();
    const bytes = new Uint8Array(length);
    let filled = 0;
    while (filled < length) {
      if (this.#start === this.#end && !this.fill()) throw this.#gone();
      const taken = Math.min(length - filled, this.#end - this.#start);
      bytes.set(this.bytes.subarray(this.#start, this.#start + taken), filled);
      this.#start += taken;
      filled += taken;
    }
    this.#counters.add('transferred', length);
    return { bytes, decoder };
  }

  /** Gives up reading; another reader over the same arena goes on from here. */
  handOver(): StreamPosition {
    const { offset, lastBlockIdstr } = this.#decoder;
    return {
      start: this.#start,
      end: this.#end,
      offset,
      context: this.#decoder.context(),
      lastBlock: lastBlockIdstr,
    };
  }

  /** Gives up reading; another reader begins with what comes over another connection of the same migration. */
  reconnect(): StreamPosition {
    return { start: 0, end: 0, offset: 0, context: this.#decoder.context(), lastBlock: undefined };
  }

  #receive(target: Uint8Array, at: number, length: number): number {
    try {
      if (this.peerTimeoutMs > 0 && !this.#channel.awaitBytes(this.peerTimeoutMs)) throw this.#silent();
      if (this.#awaits) this.#channel.awaitBytes();
      return this.#channel.receive(target, at, length);
    } catch (error) {
      if (!(error instanceof MigrationError) || error.code !== 'PEER_GONE') throw error;
      const offset = this.#decoder.offset + this.#end - this.#start;
      throw new MigrationError('PEER_GONE', `${error.message} at offset ${offset}`, { offset, cause: error });
    }
  }

  #silent(): MigrationError {
    const { peer } = this.#channel;
    return new MigrationError('PEER_GONE', `${peer} gave no sign of life for ${this.peerTimeoutMs / 1000} s`);
  }

  #gone(): MigrationError {
    const { offset } = this.#decoder;
    return new MigrationError(
      'PEER_GONE',
      `${this.#channel.peer} closed the stream at offset ${offset}, before its end`,
      { offset },
    );
  }
}
