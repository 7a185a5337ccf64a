/**
 * A migration as Prometheus has it: a table of metrics, each made of how the migration stands when it is asked for.
 * Nothing is counted for them: the threads of a migration do not know that there are any. Names have their unit,
 * seconds and bytes.
 */
import { Registry } from 'prom-client';
import type { IncomingInfo } from '../destination/incoming-info.js';
import { incomingStatuses } from '../destination/incoming-state.js';
import { migrationStatuses } from '../source/migration-state.js';
import type { OutgoingInfo } from '../source/outgoing-info.js';
import { histogramSamples, type LatencyCounts } from './latency-histogram.js';
import type { Pauses } from './pause-count.js';

export interface SourceLook {
  readonly info: OutgoingInfo;
  readonly pauses: Pauses;
}

export interface DestinationLook {
  readonly info: IncomingInfo;
  readonly pauses: Pauses;
  readonly latency: LatencyCounts | undefined;
}

/** The sides of migrations that this process knows of, as they stand now. Plain. */
export interface MetricsLook {
  readonly source?: SourceLook | undefined;
  readonly destination?: DestinationLook | undefined;
}

interface Sample {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
  /** Where it is not that of the metric. */
  readonly metricName?: string;
}

interface Metric {
  readonly name: string;
  readonly type: 'gauge' | 'counter' | 'histogram';
  readonly help: string;
  readonly source?: (look: SourceLook) => readonly Sample[];
  readonly destination?: (look: DestinationLook) => readonly Sample[];
}

type Values = Readonly<Record<string, number>>;

/** One sample for each value of a label. */
const by = (label: string, values: Values): Sample[] =>
  Object.entries(values).map(([each, value]) => ({ labels: { [label]: each }, value }));
const one = (value: number | undefined): Sample[] => (value === undefined ? [] : [{ labels: {}, value }]);
const states = (all: readonly string[], now: string): Sample[] =>
  by('status', Object.fromEntries(all.map((status) => [status, status === now ? 1 : 0])));
const seconds = (ms: number): number => ms / 1000;

const metrics: readonly Metric[] = [
  {
    name: 'postcopy_migration_status',
    type: 'gauge',
    help: 'The status of the migration, as QEMU names it: 1 of the present one, 0 of all others',
    source: ({ info }) => states(migrationStatuses, info.status),
    destination: ({ info }) => states(incomingStatuses, info.status),
  },
  {
    name: 'postcopy_transferred_bytes_total',
    type: 'counter',
    help: 'Bytes on the stream, of every kind',
    source: ({ info }) => one(info.ram.transferred),
    destination: ({ info }) => one(info.ram.transferred),
  },
  {
    name: 'postcopy_ram_transferred_bytes_total',
    type: 'counter',
    help: 'Bytes of RAM on the stream, by when: before the switch, while the guest stood still, and after it',
    source: ({ info: { ram } }) =>
      by('phase', { precopy: ram.precopyBytes, downtime: ram.downtimeBytes, postcopy: ram.postcopyBytes }),
    destination: ({ info: { ram } }) => by('phase', { precopy: ram.precopyBytes, postcopy: ram.postcopyBytes }),
  },
  {
    name: 'postcopy_pages_total',
    type: 'counter',
    help: 'Target pages on the stream, with content or told to be zero',
    source: ({ info: { ram } }) => by('kind', { normal: ram.normal, zero: ram.duplicate }),
    destination: ({ info: { ram } }) => by('kind', { normal: ram.normal, zero: ram.duplicate }),
  },
  {
    name: 'postcopy_ram_bytes',
    type: 'gauge',
    help: 'RAM of the guest',
    source: ({ info }) => one(info.ram.total),
  },
  {
    name: 'postcopy_ram_remaining_bytes',
    type: 'gauge',
    help: 'RAM still to be sent, when last looked at',
    source: ({ info }) => one(info.ram.remaining),
  },
  {
    name: 'postcopy_throughput_bytes_per_second',
    type: 'gauge',
    help: 'Bytes sent a second, in the last 100 ms; of the whole migration once it has ended',
    source: ({ info }) => one((info.ram.mbps * 1e6) / 8),
  },
  {
    name: 'postcopy_dirty_pages_per_second',
    type: 'gauge',
    help: 'Target pages that the guest dirties a second, when last measured',
    source: ({ info }) => one(info.ram.dirtyPagesRate),
  },
  {
    name: 'postcopy_dirty_syncs_total',
    type: 'counter',
    help: 'How often it was looked which pages the guest has written',
    source: ({ info }) => one(info.ram.dirtySyncCount),
  },
  {
    name: 'postcopy_cpu_throttle_ratio',
    type: 'gauge',
    help: 'Share of the time for which auto-converge holds the guest back',
    source: ({ info }) => one((info.cpuThrottlePercentage ?? 0) / 100),
  },
  {
    name: 'postcopy_setup_seconds',
    type: 'gauge',
    help: 'How long the setup took',
    source: ({ info }) => one(seconds(info.setupTime)),
  },
  {
    name: 'postcopy_migration_seconds',
    type: 'gauge',
    help: 'How long the migration takes, or took',
    source: ({ info }) => one(seconds(info.totalTime)),
  },
  {
    name: 'postcopy_downtime_seconds',
    type: 'gauge',
    help: 'From the stop of the guest to when all had been sent that it needs to start; 0 until then',
    source: ({ info }) => one(seconds(info.downtime)),
  },
  {
    name: 'postcopy_expected_downtime_seconds',
    type: 'gauge',
    help: 'What the downtime of a precopy would be now',
    source: ({ info }) => one(seconds(info.expectedDowntime)),
  },
  {
    name: 'postcopy_page_requests_total',
    type: 'counter',
    help: 'Target pages that the destination has asked for',
    source: ({ info }) => one(info.ram.postcopyRequests),
    destination: ({ info }) => one(info.ram.postcopyRequests),
  },
  {
    name: 'postcopy_page_requests_served_total',
    type: 'counter',
    help: 'Of the target pages that were asked for, those that are there',
    destination: ({ info }) => one(info.ram.postcopyRequestsServed),
  },
  {
    name: 'postcopy_prefetched_pages_total',
    type: 'counter',
    help: 'Target pages that were asked for ahead of a fault',
    destination: ({ info }) => one(info.ram.prefetched),
  },
  {
    name: 'postcopy_page_faults_total',
    type: 'counter',
    help: 'Page faults read from the kernel',
    destination: ({ info }) => one(info.faults.count),
  },
  {
    name: 'postcopy_fault_latency_seconds',
    type: 'histogram',
    help: 'How long faults took: in total, to the sending of the request, to the arrival of the page, to its placing',
    destination: ({ latency }) =>
      latency === undefined ? [] : histogramSamples('postcopy_fault_latency_seconds', latency),
  },
  {
    name: 'postcopy_blocktime_seconds',
    type: 'gauge',
    help: 'For how long all vCPUs waited for pages at once',
    destination: ({ info }) => one(info.postcopyBlocktime === undefined ? undefined : seconds(info.postcopyBlocktime)),
  },
  {
    name: 'postcopy_vcpu_blocktime_seconds',
    type: 'gauge',
    help: 'For how long each vCPU waited for pages',
    destination: ({ info }) =>
      (info.postcopyVcpuBlocktime ?? []).map((ms, vcpu) => ({ labels: { vcpu: String(vcpu) }, value: seconds(ms) })),
  },
  {
    name: 'postcopy_pauses_total',
    type: 'counter',
    help: 'How often the connection was lost in postcopy',
    source: ({ pauses }) => one(pauses.pauses),
    destination: ({ pauses }) => one(pauses.pauses),
  },
  {
    name: 'postcopy_recoveries_total',
    type: 'counter',
    help: 'How many of these pauses have ended in a recovery',
    source: ({ pauses }) => one(pauses.recoveries),
    destination: ({ pauses }) => one(pauses.recoveries),
  },
  {
    name: 'postcopy_paused_seconds_total',
    type: 'counter',
    help: 'How long all pauses took, with the present one',
    source: ({ pauses }) => one(seconds(pauses.pausedMs)),
    destination: ({ pauses }) => one(seconds(pauses.pausedMs)),
  },
  {
    name: 'postcopy_lost_pages',
    type: 'gauge',
    help: 'Target pages that did not come of a guest which is lost; 0 of one that is not',
    destination: ({ info }) => one(info.lost?.missingPages ?? 0),
  },
];

/** The names of all metrics, for those who document them. */
export const metricNames: readonly string[] = metrics.map(({ name }) => name);

function samplesOf({ source, destination }: Metric, look: MetricsLook): Sample[] {
  const ofSide = (side: string, samples: readonly Sample[]): Sample[] =>
    samples.map((sample) => ({ ...sample, labels: { side, ...sample.labels } }));
  return [
    ...(look.source === undefined || source === undefined ? [] : ofSide('source', source(look.source))),
    ...(look.destination === undefined || destination === undefined
      ? []
      : ofSide('destination', destination(look.destination))),
  ];
}

/** A registry of its own, which looks each time that it is asked for its metrics. */
export function createRegistry(look: () => MetricsLook): Registry {
  const registry = new Registry();
  for (const metric of metrics) {
    const { name, help, type } = metric;
    const get = async () => ({ name, help, type, values: samplesOf(metric, look()), aggregator: 'sum' });
    // As much of the library's own metrics as a registry asks for: theirs are counted, these are looked at.
    registry.registerMetric({ name, help, get } as unknown as Parameters<Registry['registerMetric']>[0]);
  }
  return registry;
}
