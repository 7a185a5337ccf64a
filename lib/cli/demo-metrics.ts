/** The demo's metrics: of both sides, from what they report to the parent. */
import type { MetricsLook } from '../metrics/migration-metrics.js';
import { PauseCount } from '../metrics/pause-count.js';
import type { SideProgress } from './demo-messages.js';
import type { DemoProgress } from './demo-progress.js';

export class DemoMetrics {
  readonly #pauses = { source: new PauseCount(), destination: new PauseCount() };
  #look: MetricsLook = {};

  /** As the sides last reported. */
  look(): MetricsLook {
    return this.#look;
  }

  /** The same progress, which this hears of too. */
  hearing(progress: DemoProgress): DemoProgress {
    return {
      ...progress,
      progress: (side) => {
        this.#heard(side);
        progress.progress(side);
      },
    };
  }

  #heard(progress: SideProgress): void {
    const pauses = this.#pauses[progress.side];
    pauses.at(progress.info.status);
    if (progress.side === 'source') this.#look = { ...this.#look, source: { info: progress.info, pauses } };
    else {
      const { info, latency } = progress;
      this.#look = { ...this.#look, destination: { info, pauses, latency } };
    }
  }
}
