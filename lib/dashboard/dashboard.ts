/** The live page as its owner has it, who tells what is new; a thread of its own serves it. */
import { Worker } from 'node:worker_threads';
import { fromPlainError } from '../errors.js';
import type { DashboardThreadData, FromDashboard, ToDashboard } from './dashboard-thread.js';
import type { Run } from './model.js';

/** Milliseconds for clients to be told the last, and for the thread to end. */
const END_MS = 2000;

export class Dashboard {
  readonly #worker: Worker;
  readonly #ended: Promise<void>;
  #isWatched = false;
  /** For a browser: `http://host:port/`; of a unix socket its URI. */
  readonly url: string;

  private constructor(worker: Worker, url: string) {
    this.#worker = worker;
    this.url = url;
    this.#ended = new Promise((resolve) => worker.once('exit', () => resolve()));
    worker.on('message', (message: FromDashboard) => {
      if (message.kind === 'watched') this.#isWatched = message.isWatched;
    });
    // Without it nothing is shown, and everything else goes on.
    worker.on('error', () => {});
    worker.unref();
  }

  /** Rejects with BAD_URI, ADDRESS_IN_USE, LISTEN_FAILED, or BAD_ARGUMENT where others could connect and may not. */
  static async open(data: DashboardThreadData): Promise<Dashboard> {
    const entry = new URL('./dashboard-thread.js', import.meta.url);
    const worker = new Worker(entry, { workerData: data, name: 'dashboard' });
    const url = await new Promise<string>((resolve, reject) => {
      worker.once('error', reject);
      worker.once('message', (message: FromDashboard) => {
        if (message.kind === 'listening') resolve(message.url);
        else if (message.kind === 'failed') reject(fromPlainError(message.error));
      });
    });
    return new Dashboard(worker, url);
  }

  /** Whether anybody looks. */
  get isWatched(): boolean {
    return this.#isWatched;
  }

  /** Tells what is new. */
  tell(updates: readonly Run[]): void {
    if (updates.length > 0) this.#post({ kind: 'tell', updates });
  }

  /** Every browser is told that this was the last. */
  async close(): Promise<void> {
    this.#post({ kind: 'close' });
    const timer = setTimeout(() => void this.#worker.terminate(), END_MS);
    this.#worker.ref();
    await this.#ended;
    clearTimeout(timer);
  }

  #post(message: ToDashboard): void {
    this.#worker.postMessage(message);
  }
}
