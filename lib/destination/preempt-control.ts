/**
 * How the listen thread has the preempt thread read a channel, stop, and come to its end. Without the capability there
 * is no such thread, and nothing to do.
 */
import { type EventfdHandle, native, type SocketHandle } from '../native.js';
import { type DestinationSignals, Preempt } from './destination-signals.js';

/** Milliseconds for the end of a channel that brings no page any more, as all are here. */
const END_MS = 1000;

export class PreemptControl {
  readonly #signals: DestinationSignals;
  readonly #kick: EventfdHandle | undefined;

  /** `kick` is the preempt thread's, where there is one. */
  constructor(signals: DestinationSignals, kick: EventfdHandle | undefined) {
    this.#signals = signals;
    this.#kick = kick;
  }

  /** It is to read the channel that comes to `listener`, or `socket` if that has come already. */
  begin(listener: SocketHandle, socket: SocketHandle | undefined): void {
    if (this.#kick === undefined) return;
    this.#signals.set('PREEMPT_AT', listener);
    this.#signals.set('PREEMPT_SOCKET', socket ?? 0);
    this.#signals.exchange('PREEMPT', Preempt.IDLE, Preempt.READING);
  }

  /** Returns when it reads no more: it takes in no page until it is told to begin again. */
  stop(): void {
    if (this.#kick === undefined) return;
    if (this.#signals.exchange('PREEMPT', Preempt.READING, Preempt.STOPPING)) native().eventfdSignal(this.#kick);
    this.#signals.waitWhile('PREEMPT', Preempt.STOPPING);
  }

  /**
   * The source has sent its last page: waits for the channel's end, as there may be pages on it yet; for no longer
   * than a moment if `isAllHere`. A source without the capability never makes one.
   */
  awaitEnd(isAllHere: () => boolean): void {
    if (this.#kick === undefined) return;
    while (this.#signals.get('PREEMPT') === Preempt.READING && !isAllHere()) {
      if (!this.#hasCome) return;
      this.#signals.waitWhile('PREEMPT', Preempt.READING, END_MS);
    }
    if (this.#hasCome) this.#signals.waitWhile('PREEMPT', Preempt.READING, END_MS);
  }

  /** It is not needed any more. */
  end(): void {
    if (this.#kick === undefined) return;
    this.stop();
    this.#signals.exchange('PREEMPT', Preempt.IDLE, Preempt.ENDED);
  }

  /** Also where the thread is about to find it. */
  get #hasCome(): boolean {
    if (this.#signals.get('PREEMPT_SOCKET') !== 0) return true;
    try {
      return native().socketReadable(this.#signals.get('PREEMPT_AT') as SocketHandle);
    } catch {
      return true; // the owner closes the listener when it has come
    }
  }
}
