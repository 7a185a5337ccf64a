/**
 * Whoever watches the migrations of one process, as its options wish: metrics, a dashboard, a report. Of `receive`,
 * `send` and `host`; the demo's sides are in other processes.
 */
import type { Observer } from '../dashboard/observer.js';
import { type SideWatch, watchIncoming, watchOutgoing } from '../dashboard/side-watch.js';
import type { GuestFigures } from '../dashboard/snapshot.js';
import type { IncomingMigration } from '../destination/incoming.js';
import { WatchedMigrations } from '../metrics/watched-migrations.js';
import type { OutgoingMigration } from '../source/outgoing.js';
import type { EventDetail } from './live-line.js';
import { type MetricsOptions, openMetrics, type ServedMetrics } from './metrics-options.js';
import { closeObserver, endRun, openObserver, type WatchOptions } from './watch-options.js';

type Tell = (text: string, detail?: EventDetail) => void;

export class Watchers {
  readonly #tell: Tell;
  readonly #migrations = new WatchedMigrations();
  #metrics: ServedMetrics | undefined;
  #observer: Observer | undefined;
  readonly #looks: Promise<void>[] = [];

  private constructor(tell: Tell) {
    this.#tell = tell;
  }

  /** `title` is that of the page. Rejects as {@link openMetrics} and {@link openObserver} do. */
  static async open(options: MetricsOptions & WatchOptions, title: string, tell: Tell): Promise<Watchers> {
    const watchers = new Watchers(tell);
    try {
      watchers.#metrics = await openMetrics(options, () => watchers.#migrations.look(), tell);
      watchers.#observer = await openObserver(options, title, tell);
    } catch (error) {
      await watchers.close();
      throw error;
    }
    return watchers;
  }

  /** Whether somebody will see for how long each vCPU waits. */
  get showBlocktime(): boolean {
    return this.#observer !== undefined;
  }

  /** Resolved when it has ended and been looked at for the last time. Never rejects. */
  outgoing(migration: OutgoingMigration, figures?: () => GuestFigures): Promise<void> {
    this.#migrations.outgoing(migration);
    return this.#observe(migration, () => watchOutgoing(migration, figures));
  }

  /** The same of one to here. */
  incoming(migration: IncomingMigration, figures?: () => GuestFigures): Promise<void> {
    this.#migrations.incoming(migration);
    return this.#observe(migration, () => watchIncoming(migration, figures));
  }

  /** When all of them have ended. Never rejects. */
  async close(): Promise<void> {
    await Promise.all(this.#looks);
    await this.#metrics?.close();
    await closeObserver(this.#observer, this.#tell);
  }

  async #observe({ finished }: { readonly finished: Promise<unknown> }, watch: () => SideWatch): Promise<void> {
    if (this.#observer === undefined) return;
    const looked = endRun(this.#observer.begin([watch().look]), finished);
    this.#looks.push(looked);
    await looked;
  }
}
