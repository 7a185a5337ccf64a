/**
 * How long a page takes that was asked for, while the source sends all else as fast as it can: a QEMU source beside
 * ours, which has the same guest from having received it. Asked and timed at the wire by a third (requester.ts).
 */
import { join } from 'node:path';
import { setUp, type Transport } from '../testing/qemu/migrate.ts';
import type { Benchmark, BenchOptions, Comparison, Sample } from './benchmark.ts';
import { MIB } from './benchmark.ts';
import { MemoryImage } from './memory-image.ts';
import type { PeerProcess } from './peer-process.ts';
import { RAM_ID, startQemuSource } from './qemu-peer.ts';
import { type Requested, startRequester } from './requester.ts';
import { startSource } from './send.ts';
import { quantile } from './statistics.ts';

/** Few enough that the background has not come to its end before the last. */
const REQUESTS_PER_MIB = 1;

function sampleOf({ latenciesUs, backgroundBytes, elapsedUs }: Requested): Sample {
  return {
    throughput: backgroundBytes / MIB / (elapsedUs / 1e6),
    figures: {
      'p50 µs': quantile(latenciesUs, 0.5),
      'p99 µs': quantile(latenciesUs, 0.99),
      'most µs': Math.max(...latenciesUs),
      requests: latenciesUs.length,
    },
  };
}

async function measure(
  image: MemoryImage,
  transport: Transport,
  preempt: boolean,
  send: (uri: string) => Promise<void>,
): Promise<Sample> {
  const uri = transport === 'unix' ? `unix:${join(image.folder, 'requester.socket')}` : 'tcp:127.0.0.1:0';
  const requests = Math.ceil((image.bytes / MIB) * REQUESTS_PER_MIB);
  const requester = await startRequester({ uri, idstr: RAM_ID, preempt, requests }, image.bytes);
  await send(requester.uri);
  return sampleOf(await requester.requested);
}

async function fromQemu(image: MemoryImage, transport: Transport, preempt: boolean): Promise<Sample> {
  await using source = await startQemuSource(image);
  await setUp(source, ['postcopy-ram', ...(preempt ? ['postcopy-preempt'] : [])], {
    'max-bandwidth': 2 ** 40,
    'max-postcopy-bandwidth': 0,
  });
  return await measure(image, transport, preempt, async (uri) => {
    await source.qmp.execute('migrate', { uri });
    await source.qmp.execute('migrate-start-postcopy');
  });
}

async function fromUs(image: MemoryImage, us: PeerProcess, transport: Transport, preempt: boolean): Promise<Sample> {
  let sending: Promise<void> | undefined;
  const sample = await measure(image, transport, preempt, async (uri) => {
    sending = us.sendUntilLost(uri, preempt);
  });
  await sending;
  return sample;
}

function comparisonOf(image: MemoryImage, us: PeerProcess, transport: Transport, preempt: boolean): Comparison {
  return {
    name: `requests under load, ${transport}, ${preempt ? 'preempt' : 'one connection'}`,
    baseline: 'QEMU',
    compared: ['p50 µs', 'p99 µs'],
    contenders: [
      { name: 'QEMU', run: () => fromQemu(image, transport, preempt) },
      { name: 'us', run: () => fromUs(image, us, transport, preempt) },
    ],
  };
}

export const latency: Benchmark = {
  name: 'latency',
  title: 'A requested page while all else is sent, timed at the wire by a third, beside a QEMU source',
  async open({ memoryBytes, transports }: BenchOptions) {
    const image = await MemoryImage.create(memoryBytes);
    try {
      const us = await startSource(image);
      const kinds = transports.flatMap((transport) => [true, false].map((preempt) => ({ transport, preempt })));
      return {
        comparisons: kinds.map(({ transport, preempt }) => comparisonOf(image, us, transport, preempt)),
        [Symbol.asyncDispose]: async () => {
          await us[Symbol.asyncDispose]();
          image[Symbol.dispose]();
        },
      };
    } catch (error) {
      image[Symbol.dispose]();
      throw error;
    }
  },
};
