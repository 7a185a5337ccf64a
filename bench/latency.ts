/**
 * How long a page takes that was asked for, while the source sends all else as fast as it can: a QEMU source beside
 * ours, which has the same guest from having received it. Asked and timed at the wire by a third (requester.ts). What a
 * preempt connection can do at most is beside them: a source that does nothing but answer (native/bare_source.cc).
 */
import { join } from 'node:path';
import { execa, type ResultPromise } from 'execa';
import { setUp, type Transport } from '../testing/qemu/migrate.ts';
import type { Benchmark, BenchOptions, Comparison, Sample } from './benchmark.ts';
import { MIB } from './benchmark.ts';
import type { MemoryImage } from './memory-image.ts';
import { nativeProgram } from './native-program.ts';
import type { PeerProcess } from './peer-process.ts';
import { RAM_ID, startQemuSource } from './qemu-peer.ts';
import { type Requested, startRequester } from './requester.ts';
import { openWithSource } from './source-with-guest.ts';
import { quantileFigures, quantilesOf } from './statistics.ts';

/** Few enough that the background has not come to its end before the last. */
const REQUESTS_PER_MIB = 1;

/** What the main connection carries, in bytes a second: as much as it can, or as much as a link of 2.5 Gbit/s. */
const links = { loopback: undefined, '2.5 Gbit/s': 2.5e9 / 8 } as const;

interface Kind {
  readonly preempt: boolean;
  readonly link: keyof typeof links;
}

const kinds: readonly Kind[] = [true, false].flatMap((preempt) =>
  (Object.keys(links) as (keyof typeof links)[]).map((link) => ({ preempt, link })),
);

function sampleOf({ latenciesUs, backgroundBytes, elapsedUs }: Requested): Sample {
  return {
    throughput: backgroundBytes / MIB / (elapsedUs / 1e6),
    figures: { ...quantileFigures(quantilesOf(latenciesUs)), requests: latenciesUs.length },
  };
}

async function measure(
  image: MemoryImage,
  transport: Transport,
  { preempt, link }: Kind,
  send: (uri: string) => Promise<void>,
  more: { readonly bare?: true } = {},
): Promise<Sample> {
  const uri = transport === 'unix' ? `unix:${join(image.folder, 'requester.socket')}` : 'tcp:127.0.0.1:0';
  const requests = Math.ceil((image.bytes / MIB) * REQUESTS_PER_MIB);
  const linkBytesPerSecond = links[link];
  const options = { uri, idstr: RAM_ID, preempt, linkBytesPerSecond, requests, ...more };
  const requester = await startRequester(options, image.bytes);
  await send(requester.uri);
  return sampleOf(await requester.requested);
}

async function fromQemu(image: MemoryImage, transport: Transport, kind: Kind): Promise<Sample> {
  await using source = await startQemuSource(image);
  await setUp(source, ['postcopy-ram', ...(kind.preempt ? ['postcopy-preempt'] : [])], {
    'max-bandwidth': 2 ** 40,
    'max-postcopy-bandwidth': 0,
  });
  return await measure(image, transport, kind, async (uri) => {
    await source.qmp.execute('migrate', { uri });
    await source.qmp.execute('migrate-start-postcopy');
  });
}

async function fromUs(image: MemoryImage, us: PeerProcess, transport: Transport, kind: Kind): Promise<Sample> {
  let sending: Promise<void> | undefined;
  const sample = await measure(image, transport, kind, async (uri) => {
    sending = us.sendUntilLost(uri, kind.preempt);
  });
  await sending;
  return sample;
}

async function fromBare(image: MemoryImage, transport: Transport, kind: Kind): Promise<Sample> {
  const program = await nativeProgram('bare_source');
  let source: ResultPromise | undefined;
  const start = async (uri: string): Promise<void> => {
    // Of `tcp:127.0.0.1:PORT` the port, of `unix:PATH` the path.
    source = execa(program, [transport, uri.slice(uri.lastIndexOf(':') + 1)]);
  };
  const sample = await measure(image, transport, kind, start, { bare: true });
  await source;
  return sample;
}

function comparisonOf(image: MemoryImage, us: PeerProcess, transport: Transport, kind: Kind): Comparison {
  return {
    name: `requests, ${transport}, ${kind.preempt ? 'preempt' : 'one connection'}, ${kind.link}`,
    baseline: 'QEMU',
    compared: ['p50 µs', 'p99 µs'],
    contenders: [
      { name: 'QEMU', run: () => fromQemu(image, transport, kind) },
      { name: 'us', run: () => fromUs(image, us, transport, kind) },
      ...(kind.preempt ? [{ name: 'bare', run: () => fromBare(image, transport, kind) }] : []),
    ],
  };
}

export const latency: Benchmark = {
  name: 'latency',
  title: 'A requested page while all else is sent, timed at the wire by a third, beside a QEMU source',
  open: ({ memoryBytes, transports }: BenchOptions) =>
    openWithSource(memoryBytes, (image, us) =>
      transports.flatMap((transport) => kinds.map((kind) => comparisonOf(image, us, transport, kind))),
    ),
};
