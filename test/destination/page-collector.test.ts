/** The page collector: batches of one block and one kind, in order, none lost and none twice. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { PageCollector, type PageInstaller } from '#lib/destination/page-collector.js';
import type { PageKind, PageRecord } from '#lib/wire/messages.js';

const BATCH_PAGES = 256;

interface Installed {
  readonly kind: 'normal' | 'zero';
  readonly blockIndex: number;
  readonly pages: readonly number[];
  /** Offsets into the arena, or fill bytes. */
  readonly what: readonly number[];
}

function recorder(): { installer: PageInstaller; batches: Installed[] } {
  const batches: Installed[] = [];
  const note =
    (kind: 'normal' | 'zero') =>
    (blockIndex: number, pages: Uint32Array, count: number, what: Uint32Array | Uint8Array): void => {
      batches.push({ kind, blockIndex, pages: [...pages.subarray(0, count)], what: [...what.subarray(0, count)] });
    };
  return { installer: { pages: note('normal'), fills: note('zero') }, batches };
}

/** As the decoder does, one object for all records. */
const record: { -readonly [Key in keyof PageRecord]: PageRecord[Key] } = {
  type: 'page',
  kind: 'normal',
  block: { index: 0, idstr: 'ram', usedLength: 2 ** 40 },
  offset: 0,
  fill: 0,
  dataStart: 0,
  dataLength: 0,
};

function add(collector: PageCollector, kind: PageKind, index: number, page: number, what: number): void {
  Object.assign(record, { kind, block: { index, idstr: `ram${index}`, usedLength: 2 ** 40 }, offset: page * 4096 });
  record.fill = kind === 'zero' ? what : 0;
  record.dataStart = kind === 'zero' ? 0 : what;
  collector.add(record, 1234);
}

const steps = fc.array(
  fc.oneof(
    {
      weight: 10,
      arbitrary: fc.record({
        kind: fc.constantFrom('normal' as const, 'zero' as const),
        blockIndex: fc.integer({ min: 0, max: 1 }),
        run: fc.integer({ min: 1, max: 600 }),
        page: fc.integer({ min: 0, max: 2 ** 27 }),
        what: fc.integer({ min: 0, max: 255 }),
      }),
    },
    { weight: 1, arbitrary: fc.constant('flush' as const) },
  ),
  { maxLength: 12 },
);

test('whatever comes is installed once, in order, by block and kind (property)', () => {
  fc.assert(
    fc.property(steps, (given) => {
      const { installer, batches } = recorder();
      const collector = new PageCollector(installer);
      const expected: string[] = [];
      for (const step of given) {
        if (step === 'flush') {
          collector.flush();
          const flushed = batches.reduce((sum, { pages }) => sum + pages.length, 0);
          expect(flushed).toBe(expected.length);
          continue;
        }
        for (let i = 0; i < step.run; i += 1) {
          add(collector, step.kind, step.blockIndex, step.page + i, step.what);
          expected.push(`${step.kind} ${step.blockIndex} ${step.page + i} ${step.what}`);
        }
      }
      collector.flush();
      collector.flush();
      const installed = batches.flatMap(({ kind, blockIndex, pages, what }) =>
        pages.map((page, i) => `${kind} ${blockIndex} ${page} ${what[i]}`),
      );
      expect(installed).toEqual(expected);
      expect(batches.every(({ pages }) => pages.length > 0 && pages.length <= BATCH_PAGES)).toBe(true);
      // As few as can be: a batch ends at a change, a flush, or when it is full.
      for (const [index, { kind, blockIndex, pages }] of batches.entries()) {
        const next = batches[index + 1];
        if (next === undefined || given.includes('flush')) continue;
        expect(next.kind !== kind || next.blockIndex !== blockIndex || pages.length === BATCH_PAGES).toBe(true);
      }
    }),
    { numRuns: 60 },
  );
});

test('a page in xbzrle form goes to the installer at once, behind what came before it', () => {
  const { installer, batches } = recorder();
  const order: string[] = [];
  const xbzrle = ({ block, offset, dataStart }: PageRecord, at: number): void => {
    order.push(`${batches.length} batches, then ${block.index} ${offset} ${dataStart} at ${at}`);
  };
  const collector = new PageCollector({ ...installer, xbzrle });
  add(collector, 'normal', 1, 7, 100);
  add(collector, 'xbzrle', 1, 7, 200);
  add(collector, 'normal', 1, 8, 300);
  collector.flush();
  expect(order).toEqual(['1 batches, then 1 28672 200 at 1234']);
  expect(batches.map(({ pages }) => pages)).toEqual([[7], [8]]);
});

test.each<[PageKind, string, string]>([
  ['xbzrle', 'ILLEGAL_COMMAND', 'after LISTEN'],
  ['compressed', 'UNSUPPORTED', 'capability compress'],
])('a page in %s form where none can be installed is %s, and says where it was', (kind, code, says) => {
  const { installer, batches } = recorder();
  const collector = new PageCollector(installer);
  expect(() => add(collector, kind, 0, 0, 0)).toThrow(
    expect.objectContaining({ code, offset: 1234, message: expect.stringContaining(says) }),
  );
  expect(batches).toEqual([]);
});
