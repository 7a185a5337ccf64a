/**
 * Watches for signs of life of a destination that is pinged all the time: whatever it says is one. A thread that blocks
 * in a send can't watch, so the owner does. Owner only.
 */
import type { SourceSignals } from './source-signals.js';

/** Looks in the time after which it is taken to be gone. */
const LOOKS = 4;

export class PeerWatch {
  readonly #signals: SourceSignals;
  readonly #timer: NodeJS.Timeout | undefined;
  #heard = 0;
  #silentLooks = 0;

  /** `timeoutMs` milliseconds without a sign of life, `onSilence` is called; once for each silence. 0 is never. */
  constructor(signals: SourceSignals, timeoutMs: number, onSilence: () => void) {
    this.#signals = signals;
    if (timeoutMs === 0) return;
    this.#timer = setInterval(() => {
      if (this.#isSilent()) onSilence();
    }, timeoutMs / LOOKS).unref();
  }

  close(): void {
    clearInterval(this.#timer);
  }

  /** True once the silence is long enough. A look that came late, as the owner was busy, counts as one. */
  #isSilent(): boolean {
    const heard = this.#signals.get('HEARD');
    const isExpected = this.#signals.get('SIGNS_DUE') === 1 && this.#signals.get('PONG') !== 0;
    this.#silentLooks = isExpected && heard === this.#heard ? this.#silentLooks + 1 : 0;
    this.#heard = heard;
    return this.#silentLooks === LOOKS;
  }
}
