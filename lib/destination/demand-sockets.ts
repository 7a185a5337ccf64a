/**
 * The sockets of the demand channels, which the owner closes: one of each demand thread. Owner only. Threads are not
 * heard in order, so each is known by how many connections had followed the first one when it came.
 */
import { native, type SocketHandle } from '../native.js';

interface DemandSocket {
  readonly socket: SocketHandle;
  readonly recoveries: number;
}

export class DemandSockets {
  readonly #byThread = new Map<number, DemandSocket>();

  /** Closes the one that this thread had before. */
  add(index: number, socket: SocketHandle, recoveries: number): void {
    this.#close(index);
    this.#byThread.set(index, { socket, recoveries });
  }

  /** How many came when there had been so many recoveries. */
  count(recoveries: number): number {
    return [...this.#byThread.values()].filter((each) => each.recoveries === recoveries).length;
  }

  /** Breaks the connections: whoever blocks on one, here or at the source, returns. */
  break(): void {
    for (const { socket } of this.#byThread.values()) native().socketShutdown(socket);
  }

  /** Closes those that came when there had been so many recoveries, or fewer. */
  closeUpTo(recoveries: number): void {
    for (const [index, each] of this.#byThread) if (each.recoveries <= recoveries) this.#close(index);
  }

  close(): void {
    this.closeUpTo(Number.POSITIVE_INFINITY);
  }

  #close(index: number): void {
    const known = this.#byThread.get(index);
    if (known !== undefined) native().socketClose(known.socket);
    this.#byThread.delete(index);
  }
}
