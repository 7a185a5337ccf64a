/** The options `--metrics`, of all commands that migrate, and the server that they ask for. */
import type { Command } from 'commander';
import { parseHttpAddress } from '../http/address.js';
import type { MetricsLook } from '../metrics/migration-metrics.js';
import { argument } from './command-line.js';
import type { EventDetail } from './live-line.js';

/** Where it is when nothing else is said: the port that exporters of telemetry are looked for at. */
const DEFAULT_ADDRESS = '9464';

export interface MetricsOptions {
  /** The URI where they are to be had; true: at the default port. */
  readonly metrics?: string | true;
  readonly metricsAnyHost?: boolean;
}

export interface ServedMetrics {
  close(): Promise<void>;
}

export function addMetricsOptions(command: Command): Command {
  return command
    .option(
      '--metrics [where]',
      `serve metrics for a Prometheus: at this port of loopback, host:port or unix:/path (${DEFAULT_ADDRESS})`,
      argument(parseHttpAddress),
    )
    .option('--metrics-any-host', 'let --metrics host:port be where other hosts can connect: they see the figures');
}

/**
 * Serves them, where that is asked for, from what `look` finds each time; says where. Rejects with BAD_ARGUMENT,
 * ADDRESS_IN_USE or LISTEN_FAILED.
 */
export async function openMetrics(
  { metrics, metricsAnyHost: anyHost = false }: MetricsOptions,
  look: () => MetricsLook,
  tell: (text: string, detail?: EventDetail) => void,
): Promise<ServedMetrics | undefined> {
  if (metrics === undefined) return undefined;
  const { serveMetrics } = await import('../metrics/metrics-server.js');
  const uri = metrics === true ? parseHttpAddress(DEFAULT_ADDRESS) : metrics;
  const server = await serveMetrics({ uri, anyHost }, look);
  const place = server.url === server.uri ? `${server.url}, path /metrics` : `${server.url}metrics`;
  tell(`metrics at ${place}`, { event: 'metrics', uri: server.uri });
  return server;
}
