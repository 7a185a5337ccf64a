/**
 * How many page faults are served a second, and how long each takes, with QEMU and us at either end: every page of the
 * destination's RAM is touched from when the guest has come, from outside (toucher.ts), while next to nothing else is
 * sent, or all else as fast as it goes.
 */
import type { FaultInfo } from '#lib/destination/incoming-info.js';
import type { Transport } from '../testing/qemu/migrate.ts';
import { type Benchmark, type BenchOptions, type Comparison, type Contender, MIB, type Sample } from './benchmark.ts';
import { type DestinationEnd, ourDestination, ourSource, qemuDestination, qemuSource, type SourceEnd } from './ends.ts';
import { measureFaults } from './limits-program.ts';
import type { MemoryImage } from './memory-image.ts';
import type { ListenSettings, SendSettings } from './peer-messages.ts';
import type { PeerProcess } from './peer-process.ts';
import { openWithSource } from './source-with-guest.ts';
import { quantileFigures } from './statistics.ts';
import { Toucher, type TouchOptions } from './toucher.ts';

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

/** What the source does besides, and who is compared then. */
interface Load {
  readonly name: string;
  /** No limit when absent. */
  readonly backgroundBytesPerSecond?: number;
  readonly pairs: readonly (readonly [source: Side, destination: Side])[];
  readonly baseline: string;
}

/** A QEMU source that is told to send little holds requested pages back too: so ours sends to both. */
const idle: Load = {
  name: 'idle',
  backgroundBytesPerSecond: BACKGROUND,
  pairs: [
    ['us', 'QEMU'],
    ['us', 'us'],
  ],
  baseline: 'us → QEMU',
};

const loaded: Load = {
  name: 'all sent meanwhile',
  pairs: [
    ['QEMU', 'QEMU'],
    ['QEMU', 'us'],
    ['us', 'us'],
  ],
  baseline: 'QEMU → QEMU, preempt',
};

/** How pages that are asked for come: what both ends are told. */
interface Channel {
  readonly name: string;
  readonly settings: Omit<ListenSettings & SendSettings, 'mode'>;
}

const channels: readonly Channel[] = [
  { name: '', settings: {} },
  { name: ', preempt', settings: { preempt: true } },
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

async function touchAll(
  image: MemoryImage,
  touch: TouchOptions,
  opening: () => SourceEnd | Promise<SourceEnd>,
  accepting: Promise<DestinationEnd>,
): Promise<Sample> {
  await using destination = await accepting;
  await using source = await opening();
  await using toucher = await Toucher.start(destination.pid, image.bytes, touch);
  const receive = async () => {
    const touched = await toucher.touchAll(await destination.handedOver());
    return { touched, ...(await destination.completed()) };
  };
  const [{ requests }, { touched, faults }] = await Promise.all([source.send(destination.uri), receive()]);
  await destination.requireSameRam();
  const seen = { waits: touched.waits, requests, ...quantileFigures(touched, 'wait ') };
  return {
    throughput: image.bytes / PAGE / (touched.allMs / 1000),
    figures: { ...seen, ...(faults === undefined ? {} : faultFigures(faults)) },
  };
}

function contendersOf(image: MemoryImage, us: PeerProcess, load: Load, kind: Kind): readonly Contender[] {
  const { backgroundBytesPerSecond } = load;
  const background = backgroundBytesPerSecond === undefined ? {} : { backgroundBytesPerSecond };
  const sources = {
    QEMU: (settings: SendSettings) => qemuSource(image, settings),
    us: (settings: SendSettings) => ourSource(us, settings),
  };
  const destinations = { QEMU: qemuDestination, us: ourDestination };
  return load.pairs.flatMap(([from, to]) =>
    channels.map(({ name, settings }) => {
      const both = { mode: 'postcopy', ...settings } as const;
      const open = () => sources[from]({ ...both, ...background });
      const run = () => touchAll(image, kind.touch, open, destinations[to](image, kind.transport, both));
      return { name: `${from} → ${to}${name}`, run };
    }),
  );
}

/** The programme has one thread that touches: of more it tells nothing. */
function limitsOf(image: MemoryImage, { transport, touch }: Kind): readonly Contender[] {
  const run = async (): Promise<Sample> => {
    const times = await measureFaults(transport, image.bytes / PAGE);
    return { throughput: times.perSecond, figures: quantileFigures(times, 'wait ') };
  };
  return touch.threads === 1 ? [{ name: LIMIT, run }] : [];
}

function comparisonOf(load: Load, { transport, touch }: Kind, contenders: readonly Contender[]): Comparison {
  const threads = touch.threads === 1 ? '1 thread' : `${touch.threads} threads`;
  return {
    name: `faults, ${load.name}, ${transport}, ${touch.order}, ${threads}`,
    unit: 'pages',
    baseline: load.baseline,
    compared: ['wait p50 µs', 'wait p99 µs'],
    contenders,
  };
}

const kindsOf = (transports: readonly Transport[], touched: readonly TouchOptions[]): readonly Kind[] =>
  transports.flatMap((transport) => touched.map((touch) => ({ transport, touch })));

/** The same odd end as the memory that is asked for. */
const atMost = (bytes: number, most: number): number => Math.min(bytes - (bytes % MIB), most) + (bytes % MIB);

export const faults: Benchmark = {
  name: 'faults',
  title: 'Page faults served a second while little else is sent, and how long each takes',
  open({ memoryBytes, transports, quick }: BenchOptions) {
    const comparisons = (image: MemoryImage, us: PeerProcess) =>
      kindsOf(transports, touches).map((kind) => {
        const limits = limitsOf(image, kind);
        const comparison = comparisonOf(idle, kind, [...contendersOf(image, us, idle, kind), ...limits]);
        return limits.length > 0 ? { ...comparison, limit: LIMIT } : comparison;
      });
    return openWithSource(atMost(memoryBytes, quick ? IDLE_BYTES_QUICK : IDLE_BYTES), comparisons, 'incompressible');
  },
};

/** In order, what is sent in the background is what is touched next. */
const scattered = touches.filter(({ order }) => order === 'random');

export const faultsUnderLoad: Benchmark = {
  name: 'faults-under-load',
  title: 'Page faults while all else is sent as fast as it goes, and how long each takes',
  open({ memoryBytes, transports }: BenchOptions) {
    const comparisons = (image: MemoryImage, us: PeerProcess) =>
      kindsOf(transports, scattered).map((kind) => comparisonOf(loaded, kind, contendersOf(image, us, loaded, kind)));
    return openWithSource(memoryBytes, comparisons, 'incompressible');
  },
};
