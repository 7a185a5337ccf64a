/**
 * The thread that serves metrics, to a Prometheus or whoever comes. It asks its owner how the migration stands, and at
 * most so often that the owner does not notice: who asks more is given the same again.
 */
import { workerData } from 'node:worker_threads';
import { LocalServer } from '../http/local-server.js';
import { serveInThread } from '../http/serve-in-thread.js';
import { createRegistry, type MetricsLook } from './migration-metrics.js';

export interface MetricsThreadData {
  /** `unix:/path` or `tcp:host:port`. */
  readonly uri: string;
  /** Listen also where other hosts can connect. */
  readonly anyHost: boolean;
}

/** To the owner: to have a look. From it: what that has found. */
export type FromMetrics = 'look';

/** Milliseconds for which a look is good enough. */
const FRESH_MS = 100;

const PAGE = 'The metrics of a migration are at /metrics, for a Prometheus.\n';

class OwnersLook {
  readonly #ask: () => void;
  #look: MetricsLook = {};
  #at = Number.NEGATIVE_INFINITY;
  #asking: Promise<void> | undefined;
  #answered: () => void = () => {};

  constructor(ask: () => void) {
    this.#ask = ask;
  }

  get last(): MetricsLook {
    return this.#look;
  }

  /** Resolved once the last one is fresh. */
  async refresh(): Promise<void> {
    if (performance.now() - this.#at < FRESH_MS) return;
    if (this.#asking === undefined) {
      this.#asking = new Promise((resolve) => {
        this.#answered = resolve;
      });
      this.#ask();
    }
    await this.#asking;
  }

  found(look: MetricsLook): void {
    this.#look = look;
    this.#at = performance.now();
    this.#asking = undefined;
    this.#answered();
  }
}

serveInThread<MetricsLook, FromMetrics>(async (tell) => {
  const { uri, anyHost } = workerData as MetricsThreadData;
  const look = new OwnersLook(() => tell('look'));
  const registry = createRegistry(() => look.last);
  const server = await LocalServer.listen(uri, {
    anyHost,
    shows: 'the metrics',
    routes: {
      '/': () => ({ type: 'text/plain; charset=utf-8', body: PAGE }),
      '/metrics': async () => {
        await look.refresh();
        return { type: registry.contentType, body: await registry.metrics() };
      },
    },
  });
  return { uri: server.uri, url: server.url, onMessage: (found) => look.found(found), close: () => server.close() };
});
