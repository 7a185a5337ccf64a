/** The demo's metrics: of both sides, from what they report to the parent. */
import type { DestinationLook, MetricsLook, SourceLook } from '../metrics/migration-metrics.js';
import { PauseCount } from '../metrics/pause-count.js';
import type { SideProgress } from './demo-messages.js';
import type { DemoProgress } from './demo-progress.js';

export class DemoMetrics {
  readonly #pauses = { source: new PauseCount(), destination: new PauseCount() };
  #source: Omit<SourceLook, 'pauses'> | undefined;
  #destination: Omit<DestinationLook, 'pauses'> | undefined;

  /** As the sides last reported. */
  look(): MetricsLook {
    const { source, destination } = this.#pauses;
    return {
      source: this.#source && { ...this.#source, pauses: source.figures },
      destination: this.#destination && { ...this.#destination, pauses: destination.figures },
    };
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
    this.#pauses[progress.side].at(progress.info.status);
    if (progress.side === 'source') this.#source = { info: progress.info };
    else this.#destination = { info: progress.info, latency: progress.latency };
  }
}
