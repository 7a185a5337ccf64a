/** Saving RAM: the bytes that come out of a real socket decode to exactly the pages that went in. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { RAMBlock } from '#lib/memory/ram-block.js';
import { OutgoingStream } from '#lib/source/outgoing-stream.js';
import { createPageBatch } from '#lib/source/page-search.js';
import { RamSave } from '#lib/source/ram-save.js';
import { createSourceCounters } from '#lib/source/source-counters.js';
import { StreamDecoder } from '#lib/wire/decode.js';
import { encodeConfiguration, encodeEof, encodeHeader, encodePing } from '#lib/wire/encode.js';
import { Ping, RamFlag } from '#lib/wire/protocol.js';
import { channelPair } from '../../testing/channel-pair.ts';
import { feed, type Plain, text } from '../../testing/feed.ts';

const PAGE = 4096;
const BATCH = 16;
const NAMES = ['pc.ram', 'x'.repeat(255), 'vga'];
const SIZES = [40, 8, 1];

/** A page's content by its number; every third is zero, and one differs from zero in its last byte alone. */
function content(blockIndex: number, page: number): Uint8Array {
  const bytes = new Uint8Array(PAGE);
  if (page % 3 === 0) return bytes;
  if (page % 3 === 1) bytes[PAGE - 1] = page + 1;
  else bytes.fill(blockIndex * 64 + page + 1);
  return bytes;
}

function createBlocks(): RAMBlock[] {
  return NAMES.map((idstr, index) => {
    const block = RAMBlock.create({ idstr, size: SIZES[index] * PAGE });
    for (let page = 0; page < SIZES[index]; page += 1) block.bytes().set(content(index, page), page * PAGE);
    return block;
  });
}

/** Not the number that our own machine has. */
const SECTION = { id: 9, idstr: 'ram', instanceId: 0, versionId: 4 };

interface Saved {
  readonly records: readonly Plain[];
  readonly bytes: Uint8Array;
  readonly counters: Record<string, number>;
  /** Stream offset behind the block list. */
  readonly pagesFrom: number;
}

/** A whole stream of a block list and what `save` puts behind it. */
async function saveStream(blocks: readonly RAMBlock[], save: (ram: RamSave) => void): Promise<Saved> {
  const pair = channelPair();
  const counters = createSourceCounters();
  const stream = new OutgoingStream(pair.near, counters);
  const received = pair.drainFar();
  stream.send(encodeHeader());
  stream.send(encodeConfiguration({ machine: 'test' }));
  stream.send(encodePing(Ping.RUNS));
  const ram = new RamSave(stream, SECTION, blocks, counters, BATCH);
  ram.sendBlockList(PAGE);
  const pagesFrom = stream.offset;
  save(ram);
  stream.send(encodeEof());
  pair.shutNear();
  const bytes = await received;
  pair.close();
  expect(bytes.length).toBe(stream.offset);
  const { records, error, left } = feed(new StreamDecoder(), bytes);
  expect({ error, left }).toEqual({ error: undefined, left: 0 });
  return { records, bytes, counters: counters.snapshot(), pagesFrom };
}

const batches = fc.array(
  fc.integer({ min: 0, max: NAMES.length - 1 }).chain((blockIndex) =>
    fc.record({
      blockIndex: fc.constant(blockIndex),
      pages: fc
        .uniqueArray(fc.integer({ min: 0, max: SIZES[blockIndex] - 1 }), { minLength: 1, maxLength: BATCH })
        .map((pages) => pages.sort((a, b) => a - b)),
    }),
  ),
  { maxLength: 6 },
);

test.each([
  ['one by one', false],
  ['as runs', true],
])('pages sent %s decode to what they are: content, or a zero record (property)', async (_how, asRuns) => {
  const blocks = createBlocks();
  await fc.assert(
    fc.asyncProperty(batches, async (given) => {
      const batch = createPageBatch(BATCH);
      const { records, counters } = await saveStream(blocks, (ram) => {
        ram.asRuns = asRuns;
        ram.beginSection('PART');
        for (const { blockIndex, pages } of given) {
          batch.blockIndex = blockIndex;
          batch.count = pages.length;
          batch.pages.set(pages);
          ram.savePages(batch);
        }
        ram.endSection();
      });
      const expected = given.flatMap(({ blockIndex, pages }) =>
        pages.map((page) => {
          const isZero = page % 3 === 0;
          return {
            type: 'page',
            kind: isZero ? 'zero' : 'normal',
            idstr: NAMES[blockIndex],
            offset: page * PAGE,
            fill: 0,
            data: isZero ? '' : text(content(blockIndex, page)),
          };
        }),
      );
      expect(records.filter(({ type }) => type === 'page')).toEqual(expected);
      const zeroes = expected.filter(({ kind }) => kind === 'zero').length;
      const begins = records.filter(({ type }) => type === 'page-run');
      expect(begins.every(({ pages }) => (pages as number) > 1)).toBe(true);
      if (!asRuns) expect(begins).toEqual([]);
      expect(counters).toMatchObject({ normal: expected.length - zeroes, duplicate: zeroes });
    }),
    { numRuns: 25 },
  );
  for (const block of blocks) block.close();
});

test('neighbours that are alike go as one run, and a page alone as it always does', async () => {
  const block = RAMBlock.create({ idstr: 'pc.ram', size: 8 * PAGE });
  for (const page of [2, 3, 4, 7]) block.bytes().fill(page, page * PAGE, (page + 1) * PAGE);
  const { records } = await saveStream([block], (ram) => {
    ram.asRuns = true;
    ram.beginSection('PART');
    const batch = createPageBatch(BATCH);
    batch.pages.set([0, 1, 2, 3, 4, 6, 7]);
    batch.count = 7;
    ram.savePages(batch);
    ram.endSection();
  });
  block.close();
  const begins = records.filter(({ type }) => type === 'page-run');
  expect(begins.map(({ kind, offset, pages }) => [kind, (offset as number) / PAGE, pages])).toEqual([
    ['zero', 0, 2],
    ['normal', 2, 3],
  ]);
  const pages = records.filter(({ type }) => type === 'page');
  expect(pages.map(({ offset }) => (offset as number) / PAGE)).toEqual([0, 1, 2, 3, 4, 6, 7]);
});

test('sections open and close as they should around the block list and the pages', async () => {
  const blocks = createBlocks();
  const { records } = await saveStream(blocks, (ram) => {
    ram.beginSection('PART');
    ram.endSection();
    ram.beginSection('END');
    ram.endSection();
  });
  const { id, idstr, instanceId, versionId } = SECTION;
  expect(records.slice(3)).toEqual([
    { type: 'section-start', kind: 'START', id, idstr, instanceId, versionId },
    {
      type: 'ram-blocks',
      total: SIZES.reduce((sum, pages) => sum + pages * PAGE, 0),
      blocks: NAMES.map((name, index) => ({ index, idstr: name, usedLength: SIZES[index] * PAGE })),
    },
    { type: 'ram-eos' },
    { type: 'section-end', id, idstr },
    { type: 'section-part', kind: 'PART', id, idstr },
    { type: 'ram-eos' },
    { type: 'section-end', id, idstr },
    { type: 'section-part', kind: 'END', id, idstr },
    { type: 'ram-eos' },
    { type: 'section-end', id, idstr },
    { type: 'eof' },
  ]);
  for (const block of blocks) block.close();
});

test('a block is named on its first page, on a change, and after forgetLastBlock; else CONTINUE', async () => {
  const blocks = createBlocks();
  const batch = createPageBatch(BATCH);
  // One zero page each time, so that all that goes out is headers and fill bytes.
  const isNamed: boolean[] = [];
  let at = 0;
  const { bytes, pagesFrom } = await saveStream(blocks, (ram) => {
    const one = (blockIndex: number): void => {
      batch.blockIndex = blockIndex;
      batch.pages[0] = 0;
      batch.count = 1;
      ram.savePages(batch);
    };
    ram.beginSection('PART');
    for (const blockIndex of [0, 0, 2, 2, 0]) one(blockIndex);
    ram.endSection();
    ram.beginSection('PART');
    one(0); // CONTINUE goes on over sections
    ram.forgetLastBlock();
    one(0);
    ram.endSection();
  });
  const view = new DataView(bytes.buffer);
  const record = (): void => {
    const flags = view.getUint32(at + 4) & (PAGE - 1);
    expect(flags & ~RamFlag.CONTINUE).toBe(RamFlag.ZERO);
    isNamed.push((flags & RamFlag.CONTINUE) === 0);
    at += 8 + (isNamed.at(-1) ? 1 + bytes[at + 8] : 0) + 1;
  };
  at = pagesFrom + 5;
  for (let i = 0; i < 5; i += 1) record();
  at += 8 + 5 + 5; // end of section, footer, head of the next
  for (let i = 0; i < 2; i += 1) record();
  expect(isNamed).toEqual([true, false, true, false, true, false, true]);
  for (const block of blocks) block.close();
});
