/**
 * How many page faults are served a second, how long each takes, and in how many system calls, with QEMU and us at
 * either end: every page of the destination's RAM is touched from when the guest has come, from outside (toucher.ts),
 * while next to nothing else is sent, or all else as fast as it goes.
 */
import type { FaultInfo } from '#lib/destination/incoming-info.js';
import type { Transport } from '../testing/qemu/migrate.ts';
import { type Benchmark, type BenchOptions, type Comparison, type Contender, MIB, type Sample } from './benchmark.ts';
import { ourDestination, ourSource, qemuDestination, qemuSource } from './ends.ts';
import { measureFaults } from './limits-program.ts';
import type { MemoryImage } from './memory-image.ts';
import type { ListenSettings, SendSettings } from './peer-messages.ts';
import type { PeerProcess } from './peer-process.ts';
import { openWithSource } from './source-with-guest.ts';
import { quantileFigures } from './statistics.ts';
import { syscallCounterProblem } from './syscall-counter.ts';
import { type TouchOutcome, touchAll } from './touched-postcopy.ts';
import type { TouchOptions } from './toucher.ts';

const PAGE = 4096;
/** Nearly every page is a fault then, so that little memory is enough of them. */
const IDLE_BYTES = 64 * MIB;
const IDLE_BYTES_QUICK = 8 * MIB;
/** What an idle source sends besides, in bytes a second. */
const BACKGROUND = MIB;
const LIMIT = 'the limit';

type Side = 'QEMU' | 'us';

/** What is touched, and how. */
interface Kind {
  readonly transport: Transport;
  readonly touch: TouchOptions;
}

/** How pages that are asked for come. */
interface Channel {
  readonly name: string;
  /** What both ends are told. */
  readonly settings: Omit<ListenSettings & SendSettings, 'mode'>;
}

const main: Channel = { name: '', settings: {} };
const preempt: Channel = { name: ', preempt', settings: { preempt: true } };
const lane: Channel = { name: ', 1 lane', settings: { lanes: 1 } };
const lanes: Channel = { name: ', 2 lanes', settings: { lanes: 2 } };
const around: Channel = { name: ', 1 lane, prefetch around', settings: { lanes: 1, prefetch: 'around' } };
const adaptive: Channel = { name: ', 1 lane, prefetch adaptive', settings: { lanes: 1, prefetch: 'adaptive' } };

/** What the source does besides, and who is compared then. */
interface Load {
  readonly name: string;
  /** No limit when absent. */
  readonly backgroundBytesPerSecond?: number;
  readonly ways: readonly (readonly [source: Side, destination: Side, channel: Channel])[];
  readonly baseline: string;
}

/** A QEMU source that is told to send little holds requested pages back too: so ours sends to both. */
const idle: Load = {
  name: 'idle',
  backgroundBytesPerSecond: BACKGROUND,
  ways: [
    ['us', 'QEMU', main],
    ['us', 'QEMU', preempt],
    ...[main, preempt, lane, lanes, around, adaptive].map((channel) => ['us', 'us', channel] as const),
  ],
  baseline: 'us → QEMU',
};

const loaded: Load = {
  name: 'all sent meanwhile',
  ways: [
    ['QEMU', 'QEMU', main],
    ['QEMU', 'QEMU', preempt],
    ['QEMU', 'us', main],
    ['QEMU', 'us', preempt],
    ...[main, preempt, lane, lanes, adaptive].map((channel) => ['us', 'us', channel] as const),
  ],
  baseline: 'QEMU → QEMU, preempt',
};

/** As many as show that all of it works: with the limit beside it, and without. */
const quickTouches: readonly TouchOptions[] = [
  { threads: 1, order: 'sequential' },
  { threads: 4, order: 'random' },
];

const threadCounts = [1, 4];
const orders = ['sequential', 'random'] as const;
const touches = threadCounts.flatMap((threads) => orders.map((order): TouchOptions => ({ threads, order })));

/** From the reading of a fault on. */
const faultFigures = ({ count, p50Us, p99Us, stages }: FaultInfo): Sample['figures'] => ({
  faults: count,
  'fault p50 µs': p50Us,
  'fault p99 µs': p99Us,
  'request out p50 µs': stages.requestSent.p50Us,
  'page in p50 µs': stages.pageArrived.p50Us,
  'placed p50 µs': stages.pagePlaced.p50Us,
});

/** What is measured while all is touched. */
interface Measure {
  readonly name: string;
  readonly countsCalls: boolean;
  readonly compared: readonly string[];
  sampleOf(outcome: TouchOutcome): Sample;
}

const times: Measure = {
  name: 'faults',
  countsCalls: false,
  compared: ['wait p50 µs', 'wait p99 µs'],
  sampleOf: ({ pages, touched, requests, faults }) => ({
    throughput: pages / (touched.allMs / 1000),
    figures: {
      waits: touched.waits,
      requests,
      ...quantileFigures(touched, 'wait '),
      ...(faults === undefined ? {} : faultFigures(faults)),
    },
  }),
};

const SOURCE_CALLS = "source's calls a fault";
const DESTINATION_CALLS = "destination's calls a fault";

/** By themselves, as to be counted slows them down. */
const calls: Measure = {
  name: 'system calls',
  countsCalls: true,
  compared: [SOURCE_CALLS, DESTINATION_CALLS],
  sampleOf: ({ touched: { waits }, requests, calls: made }) => {
    if (made === undefined) throw new Error('no system calls were counted');
    const perFault = { [SOURCE_CALLS]: made.source / waits, [DESTINATION_CALLS]: made.destination / waits };
    return { figures: { ...perFault, waits, requests } };
  },
};

function contendersOf(
  image: MemoryImage,
  us: PeerProcess,
  { touch, transport }: Kind,
  { ways, backgroundBytesPerSecond }: Load,
  { countsCalls, sampleOf }: Measure,
): readonly Contender[] {
  const background = backgroundBytesPerSecond === undefined ? {} : { backgroundBytesPerSecond };
  const sources = {
    QEMU: (settings: SendSettings) => qemuSource(image, settings),
    us: (settings: SendSettings) => ourSource(us, settings),
  };
  const destinations = { QEMU: qemuDestination, us: ourDestination };
  return ways.map(([from, to, { name, settings }]) => {
    const both = { mode: 'postcopy', ...settings } as const;
    const open = () => sources[from]({ ...both, ...background });
    return {
      name: `${from} → ${to}${name}`,
      run: async () =>
        sampleOf(await touchAll(image, touch, open, destinations[to](image, transport, both), countsCalls)),
    };
  });
}

function comparisonOf(image: MemoryImage, us: PeerProcess, kind: Kind, load: Load, measure: Measure): Comparison {
  const { transport, touch } = kind;
  const threads = touch.threads === 1 ? '1 thread' : `${touch.threads} threads`;
  return {
    name: `${measure.name}, ${load.name}, ${transport}, ${touch.order}, ${threads}`,
    unit: 'pages',
    baseline: load.baseline,
    compared: measure.compared,
    contenders: contendersOf(image, us, kind, load, measure),
  };
}

const kindsOf = (transports: readonly Transport[], touched: readonly TouchOptions[]): readonly Kind[] =>
  transports.flatMap((transport) => touched.map((touch) => ({ transport, touch })));

/** The same odd end as the memory that is asked for. */
const atMost = (bytes: number, most: number): number => Math.min(bytes - (bytes % MIB), most) + (bytes % MIB);

/** The programme has one thread that touches: of more it tells nothing. */
function withLimit(image: MemoryImage, { transport, touch }: Kind, comparison: Comparison): Comparison {
  if (touch.threads > 1) return comparison;
  const run = async (): Promise<Sample> => {
    const limit = await measureFaults(transport, image.bytes / PAGE);
    return { throughput: limit.perSecond, figures: quantileFigures(limit, 'wait ') };
  };
  return { ...comparison, limit: LIMIT, contenders: [...comparison.contenders, { name: LIMIT, run }] };
}

export const faults: Benchmark = {
  name: 'faults',
  title: 'Page faults served a second while little else is sent, how long each takes, and in how many system calls',
  async open({ memoryBytes, transports, quick }: BenchOptions) {
    const kinds = kindsOf(transports, quick ? quickTouches : touches);
    const unavailable = await syscallCounterProblem();
    const bytes = atMost(memoryBytes, quick ? IDLE_BYTES_QUICK : IDLE_BYTES);
    const comparisons = (image: MemoryImage, us: PeerProcess) => [
      ...kinds.map((kind) => withLimit(image, kind, comparisonOf(image, us, kind, idle, times))),
      ...kinds.slice(quick ? -1 : 0).map((kind) => ({
        ...comparisonOf(image, us, kind, idle, calls),
        ...(unavailable === undefined ? {} : { unavailable }),
      })),
    ];
    return await openWithSource(bytes, comparisons, 'incompressible');
  },
};

/** In order, what is sent in the background is what is touched next. */
const isScattered = ({ order }: TouchOptions): boolean => order === 'random';

export const faultsUnderLoad: Benchmark = {
  name: 'faults-under-load',
  title: 'Page faults while all else is sent as fast as it goes, and how long each takes',
  open({ memoryBytes, transports, quick }: BenchOptions) {
    const scattered = (quick ? quickTouches : touches).filter(isScattered);
    const comparisons = (image: MemoryImage, us: PeerProcess) =>
      kindsOf(transports, scattered).map((kind) => comparisonOf(image, us, kind, loaded, times));
    return openWithSource(memoryBytes, comparisons, 'incompressible');
  },
};
