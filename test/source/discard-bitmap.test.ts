/** The discard bitmap: runs of dirty pages, as commands that a destination decodes, and what is new since the last. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { PageBitmap } from '#lib/memory/bitmap.js';
import { canonicalize, dirtyRanges, discardCommands, newlyDirty } from '#lib/source/discard-bitmap.js';
import { StreamDecoder } from '#lib/wire/decode.js';
import type { CommandRecord } from '#lib/wire/messages.js';
import { MAX_DISCARD_RANGES } from '#lib/wire/protocol.js';

const PAGE = 4096;
const SIZE = 300;
const pageSet = fc.uniqueArray(fc.integer({ min: 0, max: SIZE - 1 }), { maxLength: SIZE, size: 'max' });

/** Runs of dirty pages and gaps: few long ones, or more than a command holds. */
const runs = fc
  .constantFrom(2, 4, 40)
  .chain((longest) =>
    fc.array(fc.integer({ min: 1, max: longest }), { minLength: 2 * MAX_DISCARD_RANGES, maxLength: 100, size: 'max' }),
  )
  .map((lengths) => lengths.flatMap((length, index) => new Array<boolean>(length).fill(index % 2 === 0)))
  .map((bits) => bits.slice(0, SIZE).flatMap((dirty, page) => (dirty ? [page] : [])));

function bitmapOf(pages: readonly number[]): PageBitmap {
  const bitmap = new PageBitmap(SIZE);
  for (const page of pages) bitmap.set(page);
  return bitmap;
}

const pagesOf = (bitmap: PageBitmap): number[] =>
  Array.from({ length: bitmap.pageCount }, (_, page) => page).filter((page) => bitmap.test(page));

const pagesIn = ({ start, length }: { start: number; length: number }): number[] =>
  Array.from({ length: length / PAGE }, (_, index) => start / PAGE + index);

test('ranges are the runs of dirty pages, ascending and apart (property)', () => {
  fc.assert(
    fc.property(fc.oneof(runs, pageSet), (pages) => {
      const ranges = [...dirtyRanges(bitmapOf(pages))];
      expect(ranges.flatMap(pagesIn)).toEqual([...pages].sort((a, b) => a - b));
      for (const [index, { start }] of ranges.entries()) {
        if (index === 0) continue;
        expect(start).toBeGreaterThan(ranges[index - 1].start + ranges[index - 1].length);
      }
    }),
  );
});

/** The commands as a destination decodes them: it checks ranges against the block. */
function decode(
  idstr: string,
  commands: readonly Uint8Array[],
): Extract<CommandRecord, { command: 'POSTCOPY_RAM_DISCARD' }>[] {
  const decoder = new StreamDecoder({
    resumed: true,
    context: {
      targetPageSize: PAGE,
      pageSizeSummary: PAGE,
      ignoreShared: false,
      mayHaveRuns: false,
      sections: [],
      blocks: [{ index: 0, idstr, usedLength: SIZE * PAGE }],
    },
  });
  return commands.map((command) => {
    const record = decoder.next(command, new DataView(command.buffer, command.byteOffset), 0, command.length);
    expect(decoder.consumed).toBe(command.length);
    if (record?.type !== 'command' || record.command !== 'POSTCOPY_RAM_DISCARD') throw new Error('no discard');
    return record;
  });
}

test('commands decode to exactly the dirty pages, in as few as there can be (property)', () => {
  fc.assert(
    fc.property(fc.oneof(runs, pageSet), fc.constantFrom('pc.ram', 'x'.repeat(255)), (pages, idstr) => {
      const bitmap = bitmapOf(pages);
      const records = decode(idstr, [...discardCommands(idstr, bitmap)]);
      expect(records.every((record) => record.idstr === idstr)).toBe(true);
      expect(records.flatMap(({ ranges }) => ranges.flatMap(pagesIn))).toEqual([...pages].sort((a, b) => a - b));
      const count = [...dirtyRanges(bitmap)].length;
      const expected = Array.from({ length: Math.ceil(count / MAX_DISCARD_RANGES) }, (_, index) =>
        Math.min(MAX_DISCARD_RANGES, count - index * MAX_DISCARD_RANGES),
      );
      expect(records.map(({ ranges }) => ranges.length)).toEqual(expected);
    }),
  );
});

test('nothing dirty is no command', () => {
  expect([...discardCommands('pc.ram', new PageBitmap(SIZE))]).toEqual([]);
});

test('discarding what is newly dirty each time discards all of it, nothing twice (property)', () => {
  fc.assert(
    fc.property(fc.array(pageSet, { minLength: 1, maxLength: 6 }), (rounds) => {
      const dirty = new PageBitmap(SIZE);
      const before = new PageBitmap(SIZE);
      const discarded: number[] = [];
      for (const written of rounds) {
        for (const page of written) dirty.set(page); // pages only become dirty: none is sent meanwhile
        const was = pagesOf(dirty);
        discarded.push(...pagesOf(newlyDirty(dirty, before)));
        expect(pagesOf(dirty)).toEqual(was);
        expect(pagesOf(before)).toEqual(was);
      }
      expect([...discarded].sort((a, b) => a - b)).toEqual(pagesOf(dirty));
    }),
  );
});

test('a host page that is dirty in part becomes dirty throughout, and no other page does (property)', () => {
  const given = fc.constantFrom(1, 2, 3, 512).chain((hostPages) =>
    fc.integer({ min: 1, max: 5 }).chain((count) =>
      fc.record({
        hostPages: fc.constant(hostPages),
        count: fc.constant(count),
        pages: fc.uniqueArray(fc.nat(hostPages * count - 1), { maxLength: 20 }),
      }),
    ),
  );
  fc.assert(
    fc.property(given, ({ hostPages, count, pages }) => {
      const dirty = new PageBitmap(hostPages * count);
      for (const page of pages) dirty.set(page);
      canonicalize(dirty, hostPages);
      const expected = Array.from({ length: hostPages * count }, (_, page) => page).filter((page) =>
        pages.some((written) => Math.floor(written / hostPages) === Math.floor(page / hostPages)),
      );
      expect(pagesOf(dirty)).toEqual(expected);
      for (const { start, length } of dirtyRanges(dirty)) {
        expect([start % (hostPages * PAGE), length % (hostPages * PAGE)]).toEqual([0, 0]);
      }
    }),
  );
});
