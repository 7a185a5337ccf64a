/**
 * A server in a thread of its own, as its owner has it. However clients trouble it, the owner's thread does not notice;
 * and the serving one comes after every other of this host (serve-in-thread.ts), so a migration does not either.
 */
import { Worker } from 'node:worker_threads';
import { fromPlainError, type PlainError } from '../errors.js';

/** Milliseconds for clients to be told the last, and for the thread to end. */
const END_MS = 2000;

/** What every such thread says, beside what is its own. */
export type FromServing<Own> =
  | { readonly kind: 'listening'; readonly uri: string; readonly url: string }
  | { readonly kind: 'failed'; readonly error: PlainError }
  | { readonly kind: 'own'; readonly message: Own };

/** What every such thread is told, beside what is its own. */
export type ToServing<Own> = { readonly kind: 'close' } | { readonly kind: 'own'; readonly message: Own };

export interface ServingThreadOptions<From> {
  /** The thread's module. */
  readonly entry: URL;
  readonly name: string;
  /** Plain: what it begins with. */
  readonly data: unknown;
  readonly onMessage: (message: From) => void;
}

export class ServingThread<To, From> {
  readonly #worker: Worker;
  readonly #ended: Promise<void>;
  /** Where it listens; the port filled in. */
  readonly uri: string;
  /** The same for a browser: `http://host:port/`; of a unix socket its URI. */
  readonly url: string;

  private constructor(worker: Worker, uri: string, url: string, onMessage: (message: From) => void) {
    this.#worker = worker;
    this.uri = uri;
    this.url = url;
    this.#ended = new Promise((resolve) => worker.once('exit', () => resolve()));
    worker.on('message', (message: FromServing<From>) => {
      if (message.kind === 'own') onMessage(message.message);
    });
    // Without it nothing is served, and everything else goes on.
    worker.on('error', () => {});
    worker.unref();
  }

  /** Resolved once it listens. Rejects as its server's `listen` does. */
  static async open<To, From>(options: ServingThreadOptions<From>): Promise<ServingThread<To, From>> {
    const { entry, name, data: workerData, onMessage } = options;
    const worker = new Worker(entry, { workerData, name });
    const { uri, url } = await new Promise<{ uri: string; url: string }>((resolve, reject) => {
      worker.once('error', reject);
      worker.once('message', (message: FromServing<From>) => {
        if (message.kind === 'listening') resolve(message);
        else if (message.kind === 'failed') reject(fromPlainError(message.error));
      });
    });
    return new ServingThread<To, From>(worker, uri, url, onMessage);
  }

  tell(message: To): void {
    this.#post({ kind: 'own', message });
  }

  /** Clients are told the last yet. */
  async close(): Promise<void> {
    this.#post({ kind: 'close' });
    const timer = setTimeout(() => void this.#worker.terminate(), END_MS);
    this.#worker.ref();
    await this.#ended;
    clearTimeout(timer);
  }

  #post(message: ToServing<To>): void {
    this.#worker.postMessage(message);
  }
}
