/** The fuzzer itself: a short fuzz of each target finds nothing, and finds each fault that is planted. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { campaign, Notebook, readNotebook } from '../fuzz/campaign.ts';
import { DecodeTarget } from '../fuzz/decode-target.ts';
import { readFinding, replay, writeFinding } from '../fuzz/findings.ts';
import { GuestMemory } from '../fuzz/guest-memory.ts';
import { Broken, type Input, Outcome, piecesOf, type Target } from '../fuzz/input.ts';
import { InspectTarget } from '../fuzz/inspect-target.ts';
import { LoadTarget } from '../fuzz/load-target.ts';
import { readSeeds } from '../fuzz/seeds.ts';
import { joined } from '../testing/feed.ts';
import { type PlantedFault, withPlantedFault } from '../testing/planted-fault.ts';

const MIB = 2 ** 20;
const seeds = readSeeds();
const bytesOf = ({ pieces }: Input): Uint8Array => joined(pieces.map(({ bytes }) => bytes));

describe('a short fuzz finds nothing', () => {
  const shares: [string, () => Target, number, number][] = [
    ['decode', () => new DecodeTarget(seeds), 40_000, 700],
    ['load', () => new LoadTarget(seeds), 20_000, 250],
    ['inspect', () => new InspectTarget(seeds), 400, 30],
  ];
  test.each(shares)('%s', async (_name, create, executions, outcomes) => {
    const target = create();
    try {
      const { figures, finding } = await campaign({ target, seed: 1, executions });
      expect(finding).toBeUndefined();
      expect(figures.executions).toBe(executions);
      // Else it would be the same inputs over and over.
      expect(figures.outcomes).toBeGreaterThan(outcomes);
      expect(figures.kept).toBeGreaterThan(outcomes / 10);
    } finally {
      target.close();
    }
  });
});

test('the same seed makes the same executions, another one others', async () => {
  const run = async (seed: number) => {
    const { figures } = await campaign({ target: new DecodeTarget(seeds), seed, executions: 2000 });
    return [figures.bytes, figures.outcomes, figures.kept];
  };
  const first = await run(7);
  expect(await run(7)).toEqual(first);
  expect(await run(8)).not.toEqual(first);
});

test('an input that is always slow is a finding, one that was so once is not', async () => {
  const takes = (ms: (time: number) => number): Target => {
    let times = 0;
    const execute = () => {
      const until = performance.now() + ms(++times);
      while (performance.now() < until);
    };
    return { name: 'slow', seeds, execute, close: () => {} };
  };
  const always = await campaign({ target: takes(() => 210), seed: 1, executions: 2 });
  expect(always.finding?.what).toContain('more than 200 ms');
  const once = await campaign({ target: takes((time) => (time === 1 ? 210 : 0)), seed: 1, executions: 2 });
  expect(once.finding).toBeUndefined();
});

test('each seed is decoded to the records that it is made of', () => {
  const target = new DecodeTarget(seeds);
  const outcome = new Outcome();
  for (const seed of seeds) {
    const bytes = bytesOf(seed);
    outcome.clear();
    target.execute(bytes, bytes.length, seed.origin, 0, outcome);
    const { pieces } = seed;
    expect(piecesOf(bytes, bytes.length, outcome), seed.origin.name).toEqual(pieces);
  }
  const channels = new Set(seeds.map(({ origin }) => origin.channel));
  expect([...channels].sort()).toEqual(['main', 'main-resumed', 'multifd', 'preempt', 'return-path']);
});

describe('a planted fault is found', () => {
  const faults: [string, 'decode' | 'load', PlantedFault][] = [
    [
      'a page outside its block',
      'load',
      { file: 'decode.js', check: 'offset + this.targetPageSize > block.entry.usedLength', instead: 'false' },
    ],
    [
      'a discard outside its block',
      'load',
      { file: 'decode.js', check: 'start + length > block.usedLength', instead: 'false' },
    ],
    [
      'a page that has not come whole',
      'decode',
      { file: 'decode.js', check: 'dataStart + dataLength > end', instead: 'false' },
    ],
    [
      'a page that has not come whole, loaded',
      'load',
      { file: 'decode.js', check: 'dataStart + dataLength > end', instead: 'false' },
    ],
    [
      'any field that is not there',
      'decode',
      { file: 'cursor.js', check: 'length > this.end - this.at', instead: 'false' },
    ],
    [
      'as many offsets as the peer likes',
      'decode',
      { file: 'multifd.js', check: 'pagesAllocated > this.maxPages', instead: 'false' },
    ],
    [
      'a footer that is not there whole',
      'decode',
      { file: 'footer-scan.js', check: 'at + i === end', instead: 'at + i > end + 4' },
    ],
    ['a reader that would spin', 'decode', { file: 'decode.js', check: 'this.needed = needed;', instead: '' }],
    [
      'a length that is believed',
      'decode',
      { file: 'return-path.js', check: 'size > this.maxBitmapBytes', instead: 'false' },
    ],
  ];
  test.each(faults)('%s, %s', async (_what, name, fault) => {
    const decoders = await withPlantedFault(fault);
    const target = name === 'load' ? new LoadTarget(seeds, decoders.StreamDecoder) : new DecodeTarget(seeds, decoders);
    try {
      const { finding } = await campaign({ target, seed: 3, executions: 20_000 });
      expect(finding?.what, 'a finding').toContain('-target.ts');
      await expect(replay(target, finding!)).rejects.toThrow();
    } finally {
      target.close();
    }
  });
});

describe('guest memory', () => {
  const memory = new GuestMemory([{ idstr: 'a', size: 8192 }]);
  const [block] = memory.blocks;
  const arena = new Uint8Array(4096).fill(3);
  afterAll(() => memory.close());

  test('is checked page by page against what was sent', () => {
    block.block.bytes().set(arena, 4096);
    block.load(1, 0);
    expect(() => memory.check(arena)).not.toThrow();
    block.fill(0, 3);
    expect(() => memory.check(arena)).toThrow(Broken);
    memory.reset();
    expect(block.block.bytes().every((byte) => byte === 0)).toBe(true);
    expect(() => memory.check(arena)).not.toThrow();
  });

  test('has guards on both sides, whose change is seen', () => {
    expect(memory.guards.map(({ address }) => address - block.block.address)).toEqual([8192, -4096]);
    for (const guard of memory.guards) {
      const bytes = guard.bytes();
      const was = bytes[9];
      bytes[9] = 0;
      expect(() => memory.check(arena)).toThrow('beside a RAM block');
      bytes[9] = was;
      expect(() => memory.check(arena)).not.toThrow();
    }
  });
});

test('an input outlives the worker that ran it, and runs again from its file', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'postcopy-fuzz-'));
  const target = new DecodeTarget(seeds);
  try {
    const notebook = new Notebook(join(folder, 'notebook'), target);
    const seed = seeds[3];
    const bytes = bytesOf(seed);
    notebook.bytes.set(bytes);
    notebook.write(seed.origin, 77, bytes.length);
    notebook.close();
    const kept = readNotebook(readFileSync(join(folder, 'notebook')), target, 'SIGABRT');
    expect(kept).toEqual({ target: 'decode', origin: seed.origin.name, choice: 77, bytes, what: 'SIGABRT' });
    const path = writeFinding(kept, folder);
    expect(readFinding(path)).toEqual(kept);
    await replay(target, readFinding(path));
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('memory does not grow with the executions', async () => {
  const target = new DecodeTarget(seeds);
  await campaign({ target, seed: 5, executions: 5_000 });
  const before = process.memoryUsage().rss;
  await campaign({ target, seed: 6, executions: 20_000 });
  expect(process.memoryUsage().rss - before).toBeLessThan(100 * MIB);
});
