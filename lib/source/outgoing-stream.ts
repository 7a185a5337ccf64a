/** The main channel as the migration thread writes it: every byte that leaves is counted here. */
import type { Channel } from '../channel/channel.js';
import type { RamBlockHandle } from '../native.js';
import type { SourceCounters } from './source-counters.js';

export class OutgoingStream {
  readonly #channel: Channel;
  readonly #counters: SourceCounters;

  constructor(channel: Channel, counters: SourceCounters) {
    this.#channel = channel;
    this.#counters = counters;
  }

  get peer(): string {
    return this.#channel.peer;
  }

  /** Bytes sent so far: the stream's offset. */
  get offset(): number {
    return this.#counters.get('transferred');
  }

  send(bytes: Uint8Array): void {
    this.#channel.send(bytes);
    this.#counters.add('transferred', bytes.length);
  }

  /** See {@link Channel.sendPages}. */
  sendPages(
    arena: Uint8Array,
    ends: Uint32Array,
    block: RamBlockHandle,
    pageSize: number,
    pages: Uint32Array,
    count: number,
  ): void {
    this.#counters.add('transferred', this.#channel.sendPages(arena, ends, block, pageSize, pages, count));
  }

  limitQueue(bytes: number): void {
    this.#channel.limitQueue(bytes);
  }
}
