/** Where a Prometheus comes for the metrics: `/metrics` on a server of this host's own user, in a thread of its own. */
import { ServingThread } from '../http/serving-thread.js';
import type { FromMetrics, MetricsThreadData } from './metrics-thread.js';
import type { MetricsLook } from './migration-metrics.js';

export type MetricsServer = Pick<ServingThread<MetricsLook, FromMetrics>, 'uri' | 'url' | 'close'>;

/** `look` is called when somebody asks, at most ten times a second. Rejects as LocalServer's `listen` does. */
export async function serveMetrics(data: MetricsThreadData, look: () => MetricsLook): Promise<MetricsServer> {
  const thread: ServingThread<MetricsLook, FromMetrics> = await ServingThread.open({
    entry: new URL('./metrics-thread.js', import.meta.url),
    name: 'metrics',
    data,
    onMessage: () => thread.tell(look()),
  });
  return thread;
}
