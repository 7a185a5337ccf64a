/** Where a Prometheus comes for the metrics: `/metrics` on a server of this host's own user. */
import { LocalServer } from '../http/local-server.js';
import { createRegistry, type MetricsLook } from './migration-metrics.js';

export interface MetricsServerOptions {
  /** `unix:/path` or `tcp:host:port`. */
  readonly uri: string;
  /** Listen also where other hosts can connect. */
  readonly anyHost: boolean;
}

const PAGE = `The metrics of a migration are at /metrics, for a Prometheus.\n`;

/** Rejects as {@link LocalServer.listen} does. */
export async function serveMetrics(
  { uri, anyHost }: MetricsServerOptions,
  look: () => MetricsLook,
): Promise<LocalServer> {
  const registry = createRegistry(look);
  return LocalServer.listen(uri, {
    anyHost,
    shows: 'the metrics',
    routes: {
      '/': () => ({ type: 'text/plain; charset=utf-8', body: PAGE }),
      '/metrics': async () => ({ type: registry.contentType, body: await registry.metrics() }),
    },
  });
}
