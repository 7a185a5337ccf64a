/** Memory made ready for postcopy and put back: what the kernel then says of real mappings. */
import { readFileSync } from 'node:fs';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { createDestinationSignals, Memory } from '#lib/destination/destination-signals.js';
import { inhibitDiscards, prepareMemory, restoreMemory } from '#lib/destination/prepare-memory.js';
import { type MappingFlags, readMappingFlags } from '#lib/memory/mapping-flags.js';
import { type MemoryKind, RAMBlock } from '#lib/memory/ram-block.js';
import { native } from '#lib/native.js';
import { createTraceWords, Trace } from '#lib/trace/trace.js';

const n = native();
const c = n.constants;
const SIZE = 4 * 4096;
const trace = new Trace({ words: createTraceWords(), ring: undefined });

const unsaid: MappingFlags = { hugepages: 'unsaid', isLocked: false, isKeptFromChildren: false };
/** Huge pages of memory of which nothing is said, on this host. */
const always = (knob: string): boolean =>
  readFileSync(`/sys/kernel/mm/transparent_hugepage/${knob}`, 'utf8').includes('[always]');

afterEach(() => {
  vi.restoreAllMocks();
});

function withBlock(kind: MemoryKind, use: (block: RAMBlock) => void): void {
  using block = RAMBlock.create({ idstr: 'pc.ram', size: SIZE, kind });
  use(block);
}

const flagsOf = (block: RAMBlock): MappingFlags => readMappingFlags([block])[0];

/** Prepares it, looks at it, and puts it back; what it is like then. */
function roundTrip(block: RAMBlock): MappingFlags {
  const signals = createDestinationSignals();
  const before = readMappingFlags([block]);
  prepareMemory(signals, [block], before, trace);
  expect(flagsOf(block)).toEqual({ hugepages: 'unwanted', isLocked: false, isKeptFromChildren: true });
  expect(n.countPages(block.handle, 0, SIZE, c.PAGE_IS_PRESENT)).toBe(0);
  restoreMemory(signals, [block], before);
  return flagsOf(block);
}

describe.each<[MemoryKind, string]>([
  ['anonymous', 'enabled'],
  ['memfd', 'shmem_enabled'],
])('%s memory', (kind, knob) => {
  const wantsHuge = kind === 'anonymous' || always(knob);

  test('as it was made: anonymous memory wants huge pages, of memfd nothing is said', () =>
    withBlock(kind, (block) => {
      n.ramBlockWrite(block.handle, 0, Uint8Array.of(1));
      expect(roundTrip(block)).toEqual({ ...unsaid, hugepages: wantsHuge ? 'wanted' : 'unwanted' });
    }));

  test('that wanted huge pages gets them again', () =>
    withBlock(kind, (block) => {
      n.ramBlockAdvise(block.handle, c.MADV_HUGEPAGE, 0, SIZE);
      expect(roundTrip(block)).toEqual({ ...unsaid, hugepages: 'wanted' });
    }));

  test('that did not want them does not get any, nor do children get what they were not to', () =>
    withBlock(kind, (block) => {
      n.ramBlockAdvise(block.handle, c.MADV_NOHUGEPAGE, 0, SIZE);
      n.ramBlockAdvise(block.handle, c.MADV_DONTFORK, 0, SIZE);
      expect(roundTrip(block)).toEqual({ ...unsaid, hugepages: 'unwanted', isKeptFromChildren: true });
    }));

  test('that was locked is emptied all the same, and locked again', () =>
    withBlock(kind, (block) => {
      n.ramBlockLock(block.handle);
      n.ramBlockWrite(block.handle, 0, Uint8Array.of(1));
      expect(roundTrip(block).isLocked).toBe(true);
      expect(n.countPages(block.handle, 0, SIZE, c.PAGE_IS_PRESENT)).toBe(4);
    }));
});

test('discards of others are inhibited from LISTEN until it is put back, once', () =>
  withBlock('anonymous', (block) => {
    const signals = createDestinationSignals();
    const before = readMappingFlags([block]);
    prepareMemory(signals, [block], before, trace);
    expect(block.discard(0, 4096)).toBe(true);
    inhibitDiscards(signals, [block]);
    expect(block.discard(0, 4096)).toBe(false);
    restoreMemory(signals, [block], before);
    restoreMemory(signals, [block], before);
    expect(block.discard(0, 4096)).toBe(true);
    expect(signals.get('MEMORY')).toBe(Memory.PLAIN);
  }));

test('memory of a block that its guest has closed needs no more, and that of the others is put back', () =>
  withBlock('anonymous', (block) => {
    const closed = RAMBlock.create({ idstr: 'closed', size: SIZE });
    const signals = createDestinationSignals();
    const before = readMappingFlags([closed, block]);
    prepareMemory(signals, [closed, block], before, trace);
    inhibitDiscards(signals, [closed, block]);
    closed.close();
    restoreMemory(signals, [closed, block], before);
    expect(flagsOf(block)).toEqual(before[1]);
    expect(block.discard(0, 4096)).toBe(true);
  }));

test('memory that was never prepared is not touched', () =>
  withBlock('memfd', (block) => {
    restoreMemory(createDestinationSignals(), [block], [{ ...unsaid, isLocked: true }]);
    expect(flagsOf(block)).toEqual(unsaid);
  }));

test('memory that can not be locked again is a warning, not an error', () =>
  withBlock('anonymous', (block) => {
    const warned = vi.spyOn(process, 'emitWarning').mockImplementation(() => {});
    n.ramBlockLock(block.handle);
    vi.spyOn(n, 'ramBlockLock').mockImplementation(() => {
      throw new Error('mlock: ENOMEM');
    });
    expect(roundTrip(block).isLocked).toBe(false);
    expect(warned).toHaveBeenCalledWith(expect.stringMatching(/pc\.ram .*mlock: ENOMEM/));
  }));
