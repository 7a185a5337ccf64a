/** The main channel as the migration thread writes it, one connection after the other: every byte is counted here. */
import type { Channel } from '../channel/channel.js';
import { MigrationError } from '../errors.js';
import type { RamBlockHandle } from '../native.js';

/** Where what has gone is counted. */
export interface SentBytes {
  add(name: 'transferred', bytes: number): void;
}

export class OutgoingStream {
  #channel: Channel;
  readonly #counters: SentBytes;
  #offset = 0;
  /** What may wait in the kernel; undefined: what the kernel thinks right. */
  #queueBytes: number | undefined;

  constructor(channel: Channel, counters: SentBytes) {
    this.#channel = channel;
    this.#counters = counters;
  }

  /** Goes on with another connection, from its offset 0. */
  reconnect(channel: Channel): void {
    this.#channel = channel;
    this.#offset = 0;
    this.#queueBytes = undefined;
  }

  get peer(): string {
    return this.#channel.peer;
  }

  /** Bytes sent so far over this connection: the stream's offset. */
  get offset(): number {
    return this.#offset;
  }

  /** Throws PEER_GONE with the offset of the first byte that may not have gone, or Kicked. */
  send(bytes: Uint8Array): void {
    try {
      this.#channel.send(bytes);
    } catch (error) {
      throw this.#located(error);
    }
    this.#count(bytes.length);
  }

  /** See {@link Channel.sendPages}. */
  sendPages(
    arena: Uint8Array,
    ends: Uint32Array,
    block: RamBlockHandle,
    pageSize: number,
    pages: Uint32Array,
    count: number,
    still: boolean,
  ): void {
    try {
      this.#count(this.#channel.sendPages(arena, ends, block, pageSize, pages, count, still));
    } catch (error) {
      throw this.#located(error);
    }
  }

  /** See {@link Channel.limitQueue}; costs nothing where it is so already. */
  limitQueue(bytes: number): void {
    if (this.#queueBytes !== bytes) this.#channel.limitQueue(bytes);
    this.#queueBytes = bytes;
  }

  /** Breaks the connection: whoever blocks on it, here or at the other end, learns of it. */
  shutDown(): void {
    this.#channel.shutDown();
  }

  #count(bytes: number): void {
    this.#offset += bytes;
    this.#counters.add('transferred', bytes);
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
