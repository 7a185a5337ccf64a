/**
 * What it costs to know which pages a guest writes: a round of the log by how many were written, and how much slower a
 * guest writes that is logged. By asynchronous write protection as the engine has it, and by KVM where there is one.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { KvmGuest } from '#lib/guest/kvm/kvm-guest.js';
import { StressGuest } from '#lib/guest/stress-guest.js';
import { probeKvm } from '#lib/host/kvm.js';
import { PageBitmap } from '#lib/memory/bitmap.js';
import { startWriteLog, type WriteLog, type WriteLogDescriptor } from '#lib/memory/write-log.js';
import { type Benchmark, type BenchOptions, type Comparison, GIB, mibPerSecond, type Sample } from './benchmark.ts';
import { type DirtiedMemory, kvmMemory, protectedMemory } from './dirtied-memory.ts';

/** A machine of KVM's has 3 GiB at most. */
const BYTES_MAX = 2 * GIB;
/** In per cent of all pages. */
const DIRTY_PERCENTS = [0, 1, 10, 50, 100];
/** Of each fraction, behind one that does not count. */
const ROUNDS = 4;
/** Milliseconds from one round to the next, as a migration has them. */
const ROUND_MS = 100;
const WRITING_ROUNDS = 20;
const WRITING_ROUNDS_QUICK = 3;

const WP_ASYNC = 'WP_ASYNC + PAGEMAP_SCAN';
const KVM = 'KVM dirty log';

const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];

async function logRounds(make: () => DirtiedMemory, bytes: number, percent: number): Promise<Sample> {
  using memory = make();
  const count = Math.floor((memory.pages * percent) / 100);
  await memory.write(memory.pages);
  const log = memory.startLog();
  const syncMs: number[] = [];
  const writeMs: number[] = [];
  try {
    log.sync(memory.dirty);
    for (let round = 0; round <= ROUNDS; round += 1) {
      const startMs = performance.now();
      if (count > 0) await memory.write(count);
      const writtenMs = performance.now();
      const found = log.sync(memory.dirty);
      if (found !== count) throw new Error(`the log has ${found} pages where ${count} were written`);
      if (round === 0) continue;
      syncMs.push(performance.now() - writtenMs);
      writeMs.push(writtenMs - startMs);
    }
  } finally {
    log.stop();
  }
  return {
    throughput: mibPerSecond(bytes, median(syncMs)),
    figures: {
      'ms a round and GiB': median(syncMs) / (bytes / GIB),
      ...(count > 0 ? { 'µs a page to write': (median(writeMs) * 1000) / count } : {}),
    },
  };
}

function byFraction(bytes: number, percent: number, hasKvm: boolean): Comparison {
  const contender = (name: string, make: (bytes: number) => DirtiedMemory) => ({
    name,
    run: () => logRounds(() => make(bytes), bytes, percent),
  });
  return {
    name: `a round, ${percent} % written`,
    baseline: hasKvm ? KVM : WP_ASYNC,
    compared: ['ms a round and GiB', 'µs a page to write'],
    contenders: [contender(WP_ASYNC, protectedMemory), ...(hasKvm ? [contender(KVM, kvmMemory)] : [])],
  };
}

type WritingGuest = StressGuest | KvmGuest;

/** Page writes a second while every round is logged; without a log where `log` gives none. */
async function writeRounds(
  made: Promise<WritingGuest>,
  log: (guest: WritingGuest) => WriteLog | undefined,
  rounds: number,
): Promise<Sample> {
  using guest = await made;
  await guest.start();
  const started = log(guest);
  const dirty = guest.ramBlocks.map(({ size }) => new PageBitmap(size / 4096));
  let syncMs = 0;
  try {
    started?.sync(dirty);
    const before = guest.stats.writes;
    const startMs = performance.now();
    for (let round = 0; round < rounds; round += 1) {
      await delay(ROUND_MS);
      const at = performance.now();
      started?.sync(dirty);
      syncMs += performance.now() - at;
    }
    const writes = guest.stats.writes - before;
    const seconds = (performance.now() - startMs) / 1000;
    await guest.stop();
    await requireSound(guest);
    return { throughput: writes / seconds, figures: { 'ms a round': syncMs / rounds } };
  } finally {
    started?.stop();
  }
}

async function requireSound(guest: WritingGuest): Promise<void> {
  const { lostPages, tornPages, stalePages } = await guest.verify();
  if (lostPages + tornPages + stalePages > 0) throw new Error('the guest that was logged has wrong pages');
}

const blocksOf = (guest: WritingGuest) => guest.ramBlocks.map(({ descriptor }) => descriptor);

function writing(
  name: string,
  make: () => Promise<WritingGuest>,
  logs: Readonly<Record<string, (guest: WritingGuest) => WriteLogDescriptor | undefined>>,
  rounds: number,
): Comparison {
  return {
    name: `a guest that writes, ${name}`,
    unit: 'page writes',
    baseline: 'not logged',
    contenders: [
      { name: 'not logged', run: () => writeRounds(make(), () => undefined, rounds) },
      ...Object.entries(logs).map(([log, descriptor]) => ({
        name: log,
        run: () => writeRounds(make(), (guest) => startWriteLog(blocksOf(guest), descriptor(guest)), rounds),
      })),
    ],
  };
}

const protectedOnly = { [WP_ASYNC]: () => undefined };
const both = { ...protectedOnly, [KVM]: (guest: WritingGuest) => ('writeLog' in guest ? guest.writeLog : undefined) };

export const dirty: Benchmark = {
  name: 'dirty',
  title: 'What a log of written pages costs, beside that of KVM',
  async open({ memoryBytes, quick }: BenchOptions) {
    const memory = Math.min(memoryBytes, BYTES_MAX);
    const rounds = quick ? WRITING_ROUNDS_QUICK : WRITING_ROUNDS;
    const hasKvm = probeKvm().available;
    const settings = { memory, writesPerSecond: 0 };
    const kvmGuest = () => KvmGuest.create({ ...settings, dirtyLog: 'kvm' });
    return {
      comparisons: [
        ...DIRTY_PERCENTS.map((percent) => byFraction(memory, percent, hasKvm)),
        writing('native threads', () => StressGuest.create(settings), protectedOnly, rounds),
        ...(hasKvm ? [writing('a vCPU of KVM', kvmGuest, both, rounds)] : []),
      ],
      [Symbol.asyncDispose]: async () => {},
    };
  },
};
