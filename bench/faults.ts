/**
 * How many page faults are served a second, and how long each takes: threads of a destination of ours touch every page
 * from when the guest has come, while next to nothing else is sent, or all else as fast as it goes.
 */
import { setUp, type Transport } from '../testing/qemu/migrate.ts';
import { type Benchmark, type BenchOptions, type Comparison, MIB, type Sample } from './benchmark.ts';
import { measureFaults } from './limits-program.ts';
import type { MemoryImage } from './memory-image.ts';
import { PeerProcess } from './peer-process.ts';
import { RAM_ID, sendFromQemu, sendingParameters, startQemuSource } from './qemu-peer.ts';
import { openWithSource } from './source-with-guest.ts';
import type { TouchOptions } from './toucher.ts';

const PAGE = 4096;
/** Nearly every page is a fault then, so that little memory is enough of them. */
const IDLE_BYTES = 64 * MIB;
const IDLE_BYTES_QUICK = 8 * MIB;
/** What an idle source sends besides, in bytes a second. */
const BACKGROUND = MIB;
const LIMIT = 'the limit';

interface Kind {
  readonly transport: Transport;
  readonly touch: TouchOptions;
  readonly load: 'idle' | 'all sent meanwhile';
}

const touches: readonly TouchOptions[] = ([1, 4] as const).flatMap((threads) =>
  (['sequential', 'random'] as const).map((order) => ({ threads, order })),
);

/** Has a source send to a new process of ours, which touches all. */
async function touchAll(
  image: MemoryImage,
  { transport, touch }: Kind,
  preempt: boolean,
  send: (uri: string) => Promise<unknown>,
): Promise<Sample> {
  await using destination = PeerProcess.start();
  const settings = { mode: 'postcopy', preempt, touch: { ...touch, idstr: RAM_ID } } as const;
  const uri = await destination.listen(transport, settings);
  const [{ touched, faults, requests }] = await Promise.all([destination.received(), send(uri)]);
  await destination.requireSameRam(RAM_ID, image.path);
  if (touched === undefined) throw new Error('nobody has touched a page');
  const { requestSent, pageArrived, pagePlaced } = faults.stages;
  return {
    throughput: image.bytes / PAGE / (touched.allMs / 1000),
    figures: {
      faults: faults.count,
      requests,
      'touch p50 µs': touched.p50Us,
      'touch p99 µs': touched.p99Us,
      'touch p999 µs': touched.p999Us,
      'touch most µs': touched.mostUs,
      'fault p50 µs': faults.p50Us,
      'fault p99 µs': faults.p99Us,
      'request out p50 µs': requestSent.p50Us,
      'page in p50 µs': pageArrived.p50Us,
      'placed p50 µs': pagePlaced.p50Us,
    },
  };
}

async function fromQemu(image: MemoryImage, kind: Kind, preempt: boolean): Promise<Sample> {
  await using source = await startQemuSource(image);
  await setUp(source, ['postcopy-ram', ...(preempt ? ['postcopy-preempt'] : [])], sendingParameters);
  return await touchAll(image, kind, preempt, (uri) => sendFromQemu(source, uri, 'postcopy'));
}

function fromUs(image: MemoryImage, us: PeerProcess, kind: Kind, preempt: boolean): Promise<Sample> {
  const background = kind.load === 'idle' ? { backgroundBytesPerSecond: BACKGROUND } : {};
  return touchAll(image, kind, preempt, (uri) => us.send(uri, { mode: 'postcopy', preempt, ...background }));
}

async function limit(image: MemoryImage, transport: Transport): Promise<Sample> {
  const { perSecond, p50Us, p99Us, mostUs } = await measureFaults(transport, image.bytes / PAGE);
  return { throughput: perSecond, figures: { 'touch p50 µs': p50Us, 'touch p99 µs': p99Us, 'touch most µs': mostUs } };
}

const preempts = [
  { preempt: false, how: '' },
  { preempt: true, how: ', preempt' },
];

const nameOf = ({ transport, touch, load }: Kind): string =>
  `faults, ${load}, ${transport}, ${touch.order}, ${touch.threads === 1 ? '1 thread' : `${touch.threads} threads`}`;

/** Of a QEMU there is none: where it is told to send little, that holds requested pages back as well. */
function idleComparison(image: MemoryImage, us: PeerProcess, kind: Kind): Comparison {
  const ours = preempts.map(({ preempt, how }) => ({
    name: `us → us${how}`,
    run: () => fromUs(image, us, kind, preempt),
  }));
  // The programme has one thread that touches: of more it tells nothing.
  const hasLimit = kind.touch.threads === 1;
  const bare = { name: LIMIT, run: () => limit(image, kind.transport) };
  return {
    name: nameOf(kind),
    unit: 'pages',
    baseline: 'us → us',
    compared: ['touch p50 µs', 'touch p99 µs'],
    ...(hasLimit ? { limit: LIMIT } : {}),
    contenders: [...ours, ...(hasLimit ? [bare] : [])],
  };
}

function loadedComparison(image: MemoryImage, us: PeerProcess, kind: Kind): Comparison {
  return {
    name: nameOf(kind),
    unit: 'pages',
    baseline: 'QEMU → us',
    compared: ['fault p50 µs', 'fault p99 µs'],
    contenders: preempts.flatMap(({ preempt, how }) => [
      { name: `QEMU → us${how}`, run: () => fromQemu(image, kind, preempt) },
      { name: `us → us${how}`, run: () => fromUs(image, us, kind, preempt) },
    ]),
  };
}

/** The same odd end as the memory that is asked for. */
const atMost = (bytes: number, most: number): number => Math.min(bytes - (bytes % MIB), most) + (bytes % MIB);

export const faults: Benchmark = {
  name: 'faults',
  title: 'Page faults served a second at a destination of ours while little else is sent, and how long each takes',
  open({ memoryBytes, transports, quick }: BenchOptions) {
    const kinds = transports.flatMap((transport) => touches.map((touch): Kind => ({ transport, touch, load: 'idle' })));
    const comparisons = (image: MemoryImage, us: PeerProcess) => kinds.map((kind) => idleComparison(image, us, kind));
    return openWithSource(atMost(memoryBytes, quick ? IDLE_BYTES_QUICK : IDLE_BYTES), comparisons, 'incompressible');
  },
};

/** In order, what is sent in the background is what is touched next. */
const scattered = touches.filter(({ order }) => order === 'random');

export const faultsUnderLoad: Benchmark = {
  name: 'faults-under-load',
  title: 'Page faults at a destination of ours while all else is sent as fast as it goes',
  open({ memoryBytes, transports }: BenchOptions) {
    const kinds = transports.flatMap((transport) =>
      scattered.map((touch): Kind => ({ transport, touch, load: 'all sent meanwhile' })),
    );
    const comparisons = (image: MemoryImage, us: PeerProcess) => kinds.map((kind) => loadedComparison(image, us, kind));
    return openWithSource(memoryBytes, comparisons, 'incompressible');
  },
};
