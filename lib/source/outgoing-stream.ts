/** The main channel as the migration thread writes it: every byte that leaves is counted here. */
import type { Channel } from '../channel/channel.js';
import { MigrationError } from '../errors.js';
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

  /** Throws PEER_GONE with the offset of the first byte that may not have gone, or Kicked. */
  send(bytes: Uint8Array): void {
    try {
      this.#channel.send(bytes);
    } catch (error) {
      throw this.#located(error);
    }
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
    try {
      this.#counters.add('transferred', this.#channel.sendPages(arena, ends, block, pageSize, pages, count));
    } catch (error) {
      throw this.#located(error);
    }
  }

  limitQueue(bytes: number): void {
    this.#channel.limitQueue(bytes);
  }

  #located(error: unknown): unknown {
    if (!(error instanceof MigrationError) || error.code !== 'PEER_GONE') return error;
    const { offset } = this;
    return new MigrationError('PEER_GONE', `${error.message}, at offset ${offset} of the stream`, {
      offset,
      cause: error,
    });
  }
}
