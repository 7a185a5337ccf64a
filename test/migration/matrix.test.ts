/**
 * Kinds of memory, transports, sizes of guests, numbers of blocks, ways to migrate and numbers of vCPUs against
 * each other, with a guest that writes all the while and is checked to the last byte.
 *
 * Not the full product, of which most would say the same again: rows in which each value meets each other at
 * least once, which a test holds them to.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  listen,
  type MemoryKind,
  type MigrateOptions,
  migrate,
  StressGuest,
  type StressGuestSettings,
} from '#lib/index.js';
import { native } from '#lib/native.js';
import { HUGEPAGE, withHugepages } from '../../testing/hugepages.ts';
import { onThread, until } from '../../testing/native-thread.ts';
import { PatternGuest, patternPage } from '../../testing/pattern-guest.ts';

const PAGE = 4096;
const ODD_PAGES = 1001;
const ODD_HUGEPAGES = 7;

const kinds = {
  anonymous: ['anonymous'],
  memfd: ['memfd'],
  hugetlb: ['hugetlb'],
  /** Host pages of two sizes in one guest. */
  mixed: ['anonymous', 'hugetlb', 'memfd'],
} as const satisfies Record<string, readonly MemoryKind[]>;

const transports = {
  unix: (folder: string) => `unix:${join(folder, 'm.sock')}`,
  tcp: () => 'tcp:127.0.0.1:0',
};

/** Bytes, by what is asked for and the size of the largest host page. */
const sizes = {
  /** A host page in each block. */
  page: (blocks: number) => blocks * PAGE,
  odd: (_blocks: number, isHuge: boolean) => (isHuge ? ODD_HUGEPAGES * HUGEPAGE : ODD_PAGES * PAGE),
  '64 MiB': () => 64 * 2 ** 20,
  '256 MiB': () => 256 * 2 ** 20,
};

const blockCounts = [1, 3, 64] as const;

const ways = {
  precopy: { capabilities: {} },
  'postcopy at once': { capabilities: { postcopyRam: true }, postcopyAfterPasses: 0 },
  'postcopy after a pass': { capabilities: { postcopyRam: true }, postcopyAfterPasses: 1 },
} as const satisfies Record<string, MigrateOptions>;

const vcpuCounts = [1, 2] as const;

type Row = readonly [
  size: keyof typeof sizes,
  kind: keyof typeof kinds,
  blocks: (typeof blockCounts)[number],
  transport: keyof typeof transports,
  way: keyof typeof ways,
  vcpus: (typeof vcpuCounts)[number],
];

const rows: readonly Row[] = [
  ['page', 'anonymous', 1, 'unix', 'postcopy at once', 1],
  ['page', 'memfd', 64, 'unix', 'precopy', 2],
  ['page', 'hugetlb', 64, 'unix', 'postcopy after a pass', 1],
  ['page', 'mixed', 3, 'tcp', 'postcopy after a pass', 1],
  ['odd', 'anonymous', 3, 'tcp', 'precopy', 1],
  ['odd', 'memfd', 1, 'unix', 'precopy', 1],
  ['odd', 'hugetlb', 1, 'tcp', 'postcopy at once', 2],
  ['odd', 'mixed', 64, 'unix', 'postcopy after a pass', 2],
  ['64 MiB', 'anonymous', 64, 'tcp', 'postcopy at once', 2],
  ['64 MiB', 'memfd', 1, 'tcp', 'postcopy after a pass', 1],
  ['64 MiB', 'hugetlb', 3, 'unix', 'precopy', 1],
  ['64 MiB', 'mixed', 3, 'unix', 'postcopy at once', 2],
  ['256 MiB', 'anonymous', 1, 'tcp', 'postcopy after a pass', 1],
  ['256 MiB', 'memfd', 3, 'tcp', 'postcopy at once', 1],
  ['256 MiB', 'hugetlb', 64, 'tcp', 'postcopy at once', 1],
  ['256 MiB', 'mixed', 3, 'unix', 'precopy', 2],
];

const columns = [
  Object.keys(sizes),
  Object.keys(kinds),
  blockCounts,
  Object.keys(transports),
  Object.keys(ways),
  vcpuCounts,
] as const;

test('the rows have each value meet each other, but for what cannot be', () => {
  const missing: string[] = [];
  for (let a = 0; a < columns.length; a += 1) {
    for (let b = a + 1; b < columns.length; b += 1) {
      for (const left of columns[a]) {
        for (const right of columns[b]) {
          if (!rows.some((row) => row[a] === left && row[b] === right)) missing.push(`${left} with ${right}`);
        }
      }
    }
  }
  expect(missing).toEqual(['mixed with 1']); // one block is of one kind
});

let folder: string;
const guests: StressGuest[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'postcopy-matrix-'));
});
afterEach(() => {
  for (const guest of guests.splice(0)) guest.close();
  rmSync(folder, { recursive: true });
});

function keep(guest: StressGuest): StressGuest {
  guests.push(guest);
  return guest;
}

/** Has `use` run with hugepages for both sides, where the guest has any. */
function withMemory<T>(settings: StressGuestSettings, use: () => Promise<T>): Promise<T> {
  const { memory, blocks = 1, kinds = [] } = settings;
  if (!kinds.includes('hugetlb')) return use();
  // Each block of a mixed guest may end within a hugepage, and not all are of hugepages.
  return withHugepages(2 * (Math.ceil(memory / HUGEPAGE) + blocks), use);
}

async function migrateVerified([size, kind, blocks, transport, way, vcpus]: Row): Promise<void> {
  const settings: StressGuestSettings = {
    memory: sizes[size](blocks, kind === 'hugetlb'),
    blocks,
    kinds: kinds[kind],
    vcpus,
    filledShare: 7 / 8,
  };
  await withMemory(settings, async () => {
    const source = keep(await StressGuest.create(settings));
    const target = keep(StressGuest.empty(settings));
    await source.start();
    await until('the guest writes at the source', () => source.stats.writesHere > 0);
    const { capabilities } = ways[way];
    const incoming = await listen(transports[transport](folder), { guest: target, capabilities });
    const outgoing = await migrate(source, incoming.uri, { ...ways[way], parameters: { maxBandwidth: 0 } });
    const statuses: string[] = [];
    outgoing.on('status', (status) => statuses.push(status));
    const [sent, received] = await Promise.all([outgoing.finished, incoming.finished]);
    await until('the guest writes at the destination', () => target.stats.writesHere > 100);
    await target.stop();

    const pagesChecked = target.ramBlocks.reduce((sum, block) => sum + block.size / PAGE, 0);
    const none = { lostPages: 0, tornPages: 0, stalePages: 0, lostWrites: 0, badPages: [] };
    expect(await target.verify()).toEqual({ pagesChecked, ...none });
    expect(target.stats).toMatchObject({ badPages: 0, lostWrites: 0 });
    expect(target.stats.writes).toBe(source.stats.writes + target.stats.writesHere);
    expect(sent.ram.total).toBe(pagesChecked * PAGE);
    expect(received.postcopy).toBe(statuses.includes('postcopy-active'));
    // Of a few pages all may be there after a pass: then there is nothing to switch for.
    const isSmall = size === 'page' || size === 'odd';
    if (!isSmall || way !== 'postcopy after a pass') expect(received.postcopy).toBe(way !== 'precopy');
    // Hugepages go back before the pool shrinks.
    for (const guest of guests.splice(0)) guest.close();
  });
}

for (const row of rows) {
  const [size, kind, blocks, transport, way, vcpus] = row;
  test(`${size}, ${kind}, ${blocks} blocks, ${transport}, ${way}, ${vcpus} vCPUs`, () => migrateVerified(row));
}

/**
 * Offsets up to the last that 32 bits hold, and past what a signed one does. All other pages are zero, which takes no
 * memory, and next to no time, at either side.
 */
describe('4 GiB in one block', () => {
  const PAGES = 2 ** 20;
  const written = [0, PAGES / 2 - 1, PAGES / 2, PAGES - 3, PAGES - 1];
  const SEED = 1;

  test.each(['precopy', 'postcopy at once'] as const)('%s', async (way) => {
    const [source, target] = [0, 1].map(() => new PatternGuest([{ idstr: 'ram', pages: PAGES }]));
    const [from, to] = [source, target].map(({ ramBlocks }) => ramBlocks[0].handle);
    const n = native();
    for (const page of written) n.ramBlockWrite(from, page * PAGE, patternPage(0, page, SEED));
    try {
      await source.start();
      const incoming = await listen(transports.unix(folder), { guest: target, capabilities: ways[way].capabilities });
      // Zeroes take some bytes each: all of them some seconds.
      const parameters = { maxBandwidth: 0, maxPostcopyBandwidth: 2 ** 20 };
      const outgoing = await migrate(source, incoming.uri, { ...ways[way], parameters });
      if (way !== 'precopy') {
        await until('the guest runs', () => incoming.status === 'postcopy-active');
        const { result } = onThread('test/read', { handle: to, offset: (PAGES - 1) * PAGE }, (nn, at) => {
          const bytes = new Uint8Array(4096);
          nn.ramBlockRead(at.handle, at.offset, bytes);
          return bytes;
        });
        expect(Buffer.compare(await result, patternPage(0, PAGES - 1, SEED))).toBe(0);
        expect(incoming.status).toBe('postcopy-active');
        outgoing.setParameters({ maxPostcopyBandwidth: 0 });
      }
      const [{ ram }, { faults }] = await Promise.all([outgoing.finished, incoming.finished]);
      expect(ram).toMatchObject({ total: PAGES * PAGE, normal: written.length, duplicate: PAGES - written.length });
      expect(faults.count).toBe(way === 'precopy' ? 0 : 1);
      const found = new Uint8Array(PAGE);
      for (const page of written) {
        n.ramBlockRead(to, page * PAGE, found);
        expect(Buffer.compare(found, patternPage(0, page, SEED))).toBe(0);
      }
    } finally {
      source.close();
      target.close();
    }
  });
});
