/**
 * Looks at migrations for whoever wants to see them: a dashboard while they go on, a report in the end. The figures are
 * looked at a few times a second; the map of the pages only while somebody has the dashboard open, and at the end.
 */
import { Dashboard } from './dashboard.js';
import { readPageAssets, reportPage, writeReport } from './html.js';
import type { Model, Outcome, Run } from './model.js';
import { Recorder } from './recorder.js';
import type { LookOptions } from './side-watch.js';
import type { SideSnapshot } from './snapshot.js';

/** Milliseconds between two looks. */
const LOOK_MS = 250;

/** A side that may be in another process; undefined where that has nothing to tell, or any more. */
export type Look = (options: LookOptions) => SideSnapshot | undefined | Promise<SideSnapshot | undefined>;

export interface ObserverOptions {
  /** What is shown, in a few words. */
  readonly title: string;
  /** Where the dashboard listens; absent: there is none. */
  readonly dashboard?: { readonly uri: string; readonly anyHost: boolean };
  /** The file that the report becomes; absent: none. */
  readonly report?: string;
}

/** A migration that is looked at. */
export interface ObservedRun {
  /** Looks for the last time; it has ended so. */
  end(outcome: Outcome): Promise<void>;
}

export class Observer {
  readonly #recorder: Recorder;
  readonly #report: string | undefined;
  #dashboard: Dashboard | undefined;
  readonly #timers = new Set<NodeJS.Timeout>();

  private constructor({ title, report }: ObserverOptions) {
    this.#recorder = new Recorder(title);
    this.#report = report;
  }

  /** Rejects as LocalServer's `listen` does, or with BAD_ARGUMENT where the report can't be written. */
  static async open(options: ObserverOptions): Promise<Observer> {
    const observer = new Observer(options);
    // Not that a migration is run for a report that can't be kept.
    await observer.#writeReport();
    if (options.dashboard !== undefined) {
      observer.#dashboard = await Dashboard.open({ ...options.dashboard, model: observer.model });
    }
    return observer;
  }

  get model(): Model {
    return this.#recorder.model;
  }

  /** Of the dashboard, for a browser. */
  get url(): string | undefined {
    return this.#dashboard?.url;
  }

  /** Looks at these sides of one migration until it has ended. */
  begin(looks: readonly Look[]): ObservedRun {
    const startedMs = performance.timeOrigin + performance.now();
    const id = this.#recorder.begin(startedMs);
    let current: Promise<void> | undefined;
    const lookOnce = () => {
      current ??= this.#look(id, looks, { map: this.#dashboard?.isWatched ?? false }).finally(() => {
        current = undefined;
      });
      return current;
    };
    const timer = setInterval(() => void lookOnce(), LOOK_MS).unref();
    this.#timers.add(timer);
    void lookOnce();
    return {
      end: async (outcome) => {
        clearInterval(timer);
        this.#timers.delete(timer);
        await current;
        this.#recorder.end(id, outcome);
        await this.#look(id, looks, { map: true, isLast: true });
        this.#dashboard?.tell([{ id, startedMs, outcome, source: null, destination: null }]);
      },
    };
  }

  /** Writes the report, and closes the dashboard. Rejects with BAD_ARGUMENT where the report can't be written. */
  async close(): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer);
    try {
      await this.#writeReport();
    } finally {
      await this.#dashboard?.close();
    }
  }

  async #look(id: number, looks: readonly Look[], options: LookOptions): Promise<void> {
    const seen = await Promise.allSettled(looks.map(async (look) => look(options)));
    const updates = seen.flatMap((each): readonly Run[] => {
      const snapshot = each.status === 'fulfilled' ? each.value : undefined; // a side that has gone is not looked at
      const update = snapshot === undefined ? undefined : this.#recorder.add(id, snapshot);
      return update === undefined ? [] : [update];
    });
    this.#dashboard?.tell(updates);
  }

  async #writeReport(): Promise<void> {
    if (this.#report !== undefined) await writeReport(this.#report, reportPage(this.model, readPageAssets()));
  }
}
