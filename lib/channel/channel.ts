/**
 * A connected socket as both directions of a migration use it, over native blocking calls.
 *
 * Any thread of the process may hold a Channel on one socket. Two sends never interleave, so the
 * return path may be written by several threads; one thread at a time may receive. A kicked call
 * throws {@link Kicked}: the thread is asked to end.
 */
import { MigrationError } from '../errors.js';
import { type EventfdHandle, type NativeError, native, type RamBlockHandle, type SocketHandle } from '../native.js';
import { Kicked } from '../threads/kicked.js';

/** What a worker needs to use a channel. */
export interface ChannelDescriptor {
  readonly socket: SocketHandle;
  /** Who is at the other end, for messages: a URI. */
  readonly peer: string;
}

const goneCodes: ReadonlySet<string> = new Set([
  'EPIPE',
  'ECONNRESET',
  'ECONNABORTED',
  'ENOTCONN',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENETUNREACH',
]);

/** Milliseconds: 24 days, after which whoever waits looks, and waits on. */
const FOREVER = 2 ** 31 - 1;

export class Channel {
  readonly #socket: SocketHandle;
  readonly #kick: EventfdHandle;
  readonly peer: string;

  /** `kick` is that of the thread which will use this object. */
  constructor(descriptor: ChannelDescriptor, kick: EventfdHandle) {
    this.#socket = descriptor.socket;
    this.#kick = kick;
    this.peer = descriptor.peer;
  }

  /** Sends all of `bytes`. Throws PEER_GONE, or Kicked (the stream is then cut in the middle). */
  send(bytes: Uint8Array, length = bytes.length): void {
    this.#guard('sending', () => native().socketSend(this.#socket, this.#kick, bytes, 0, length));
  }

  /**
   * Gathers headers from `arena` and pages of a block; see {@link Native.socketSendPages}. `still`: nobody writes those
   * pages before the peer has them. Returns bytes sent.
   */
  sendPages(
    arena: Uint8Array,
    ends: Uint32Array,
    block: RamBlockHandle,
    pageSize: number,
    pages: Uint32Array,
    count: number,
    still: boolean,
  ): number {
    return this.#guard('sending pages', () =>
      native().socketSendPages(this.#socket, this.#kick, arena, ends, block, pageSize, pages, count, still ? 1 : 0),
    );
  }

  /** At least one byte into `target` from `offset`; 0 when the peer has closed its direction. */
  receive(target: Uint8Array, offset: number, length: number): number {
    return this.#guard('receiving', () => native().socketReceive(this.#socket, this.#kick, target, offset, length));
  }

  /** False where there is nothing to receive, not even an end, for so many milliseconds, if any. Throws Kicked. */
  awaitBytes(timeoutMs = FOREVER): boolean {
    return this.#guard('waiting', () => native().socketAwait(this.#socket, this.#kick, timeoutMs)) === 1;
  }

  /** Caps what waits in the kernel unsent, so that what is sent next is on its way soon. */
  limitQueue(bytes: number): void {
    native().socketLimitQueue(this.#socket, bytes);
  }

  /** Breaks the connection. More than once is harmless. */
  shutDown(): void {
    native().socketShutdown(this.#socket);
  }

  #guard(doing: string, call: () => number): number {
    let result: number;
    try {
      result = call();
    } catch (error) {
      const { code } = error as NativeError;
      if (!goneCodes.has(code)) throw error;
      throw new MigrationError('PEER_GONE', `lost ${this.peer} while ${doing} (${code})`, { cause: error });
    }
    if (result === native().constants.KICKED) throw new Kicked();
    return result;
  }
}
