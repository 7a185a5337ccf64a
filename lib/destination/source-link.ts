/**
 * The connection to the source as every thread of the destination finds it: which socket it is at the moment, or that
 * it is down. Once the guest was handed over a connection that is lost is followed by another (recovery.ts).
 *
 * The main thread brings it up first, then the listen thread, which reads it, takes it down and brings it up. Whoever
 * sends and fails has the reader find that out, and nothing else: only the reader pauses the migration.
 */
import { Channel } from '../channel/channel.js';
import { type EventfdHandle, type NativeError, native, type SocketHandle } from '../native.js';
import { Kicked } from '../threads/kicked.js';
import type { DestinationSignals } from './destination-signals.js';

/** Of the word SOCKET, while there is no connection. */
const DOWN = 0;

export class SourceLink {
  readonly #signals: DestinationSignals;
  readonly #kick: EventfdHandle;
  readonly #peer: string;
  #socket = DOWN;
  #channel: Channel | undefined;

  /** `kick` is that of the thread which will use this object. */
  constructor(signals: DestinationSignals, peer: string, kick: EventfdHandle) {
    this.#signals = signals;
    this.#peer = peer;
    this.#kick = kick;
  }

  /** Undefined while it is down. */
  get channel(): Channel | undefined {
    const socket = this.#signals.get('SOCKET');
    if (socket === DOWN) return undefined;
    if (socket !== this.#socket) {
      this.#socket = socket;
      this.#channel = new Channel({ socket: socket as SocketHandle, peer: this.#peer }, this.#kick);
    }
    return this.#channel;
  }

  /** False where nothing goes out as it is down, or is lost by this: its reader finds that out. Throws Kicked. */
  send(bytes: Uint8Array, length = bytes.length): boolean {
    const { channel } = this;
    if (channel === undefined) return false;
    try {
      channel.send(bytes, length);
      return true;
    } catch (error) {
      if (error instanceof Kicked) throw error;
      shut(this.#socket);
      return false;
    }
  }

  /** Has its reader find it lost. */
  break(): void {
    const socket = this.#signals.get('SOCKET');
    if (socket !== DOWN) shut(socket);
  }

  up(socket: SocketHandle): void {
    this.#signals.set('SOCKET', socket);
  }

  /** Ends what others send on it just now. */
  down(): void {
    const socket = this.#signals.get('SOCKET');
    this.#signals.set('SOCKET', DOWN);
    if (socket !== DOWN) shut(socket);
  }
}

/** Whoever blocks on it, here or at the source, returns. */
function shut(socket: number): void {
  try {
    native().socketShutdown(socket as SocketHandle);
  } catch (error) {
    if ((error as NativeError).code !== 'EBADF') throw error; // the owner has closed it
  }
}
