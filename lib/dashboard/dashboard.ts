/** The live page as its owner has it, who tells what is new; a thread of its own serves it. */
import { ServingThread } from '../http/serving-thread.js';
import type { DashboardThreadData, FromDashboard, ToDashboard } from './dashboard-thread.js';
import type { Run } from './model.js';

export class Dashboard {
  readonly #thread: ServingThread<ToDashboard, FromDashboard>;
  readonly #watched: { now: boolean };

  private constructor(thread: ServingThread<ToDashboard, FromDashboard>, watched: { now: boolean }) {
    this.#thread = thread;
    this.#watched = watched;
  }

  /** Rejects with BAD_URI, ADDRESS_IN_USE, LISTEN_FAILED, or BAD_ARGUMENT where others could connect and may not. */
  static async open(data: DashboardThreadData): Promise<Dashboard> {
    const watched = { now: false };
    const thread = await ServingThread.open<ToDashboard, FromDashboard>({
      entry: new URL('./dashboard-thread.js', import.meta.url),
      name: 'dashboard',
      data,
      onMessage: ({ isWatched }) => {
        watched.now = isWatched;
      },
    });
    return new Dashboard(thread, watched);
  }

  /** For a browser: `http://host:port/`; of a unix socket its URI. */
  get url(): string {
    return this.#thread.url;
  }

  /** Whether anybody looks. */
  get isWatched(): boolean {
    return this.#watched.now;
  }

  /** Tells what is new. */
  tell(updates: readonly Run[]): void {
    if (updates.length > 0) this.#thread.tell(updates);
  }

  /** Every browser is told that this was the last. */
  close(): Promise<void> {
    return this.#thread.close();
  }
}
