/** Pages asked for and not there yet: against a map, beyond the slots, and between the two threads. */
import fc from 'fast-check';
import { expect, test, vi } from 'vitest';
import { PageRequested, type RequestTimes } from '#lib/destination/page-requested.js';
import { onLibThread } from '../../testing/lib-thread.ts';

const PAGE = 4096;
/** Requests that are measured at a time. */
const SLOTS = 1024;

/** When the fault was read; -1 if nobody had asked. */
const faultUs = (times: RequestTimes | undefined): number => times?.faultUs ?? -1;

test('does what a map of pages to moments does (property)', () => {
  const SIZES = [33, 1, 64];
  const place = fc
    .integer({ min: 0, max: SIZES.length - 1 })
    .chain((block) => fc.tuple(fc.constant(block), fc.integer({ min: 0, max: SIZES[block] - 1 })));
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.boolean(), place), { maxLength: 200 }), (steps) => {
      const requested = new PageRequested(SIZES.map((pages) => pages * PAGE));
      const model = new Map<string, number>();
      for (const [index, [isAdd, [block, page]]] of steps.entries()) {
        const key = `${block} ${page}`;
        const now = 1000 + index;
        if (isAdd) {
          expect(requested.add(block, page, now)).toBe(!model.has(key));
          if (!model.has(key)) model.set(key, now);
        } else {
          expect(faultUs(requested.settle(block, page))).toBe(model.get(key) ?? -1);
          model.delete(key);
        }
      }
    }),
    { numRuns: 300 },
  );
});

test('beyond its slots a page is asked for like any other, and only not measured', () => {
  const requested = new PageRequested([2 * SLOTS * PAGE]);
  for (let page = 0; page < SLOTS + 10; page += 1) expect(requested.add(0, page, page + 1)).toBe(true);
  expect(requested.add(0, SLOTS + 5, 1)).toBe(false);
  for (let page = SLOTS; page < SLOTS + 10; page += 1) expect(faultUs(requested.settle(0, page))).toBe(0);
  // A slot that is free again measures again.
  expect(faultUs(requested.settle(0, 3))).toBe(4);
  expect(requested.add(0, 2 * SLOTS - 1, 77)).toBe(true);
  expect(faultUs(requested.settle(0, 2 * SLOTS - 1))).toBe(77);
  for (let page = 0; page < SLOTS; page += 1)
    expect(faultUs(requested.settle(0, page))).toBe(page === 3 ? -1 : page + 1);
});

test('the moment of asking is of the page added last, and 0 before it is known', () => {
  const requested = new PageRequested([8 * PAGE]);
  const other = new PageRequested([8 * PAGE], requested.descriptor);
  requested.add(0, 1, 10);
  requested.sent(15);
  requested.add(0, 2, 20);
  expect(other.settle(0, 1)).toEqual({ faultUs: 10, sentUs: 15 });
  expect(other.settle(0, 2)).toEqual({ faultUs: 20, sentUs: 0 });
  requested.sent(25); // the page came before this thread could say that it had asked
  requested.add(0, 3, 30);
  expect(other.settle(0, 3)).toEqual({ faultUs: 30, sentUs: 0 });
});

test('who is given the descriptor sees the same requests', () => {
  const requested = new PageRequested([8 * PAGE, PAGE]);
  const other = new PageRequested([8 * PAGE, PAGE], structuredClone(requested.descriptor));
  requested.add(1, 0, 55);
  expect(other.add(1, 0, 66)).toBe(false);
  expect(faultUs(other.settle(1, 0))).toBe(55);
  expect(faultUs(requested.settle(1, 0))).toBe(-1);
});

test('one thread adds, another settles: each request is settled, and no slot is lost', async () => {
  const PAGES = 4096;
  const ROUNDS = 50;
  const requested = new PageRequested([PAGES * PAGE]);
  const settler = onLibThread(
    'test/settler',
    { requested: '#lib/destination/page-requested.js' },
    { descriptor: requested.descriptor, pages: PAGES, rounds: ROUNDS },
    (lib: { requested: typeof import('#lib/destination/page-requested.js') }, data) => {
      const mine = new lib.requested.PageRequested([data.pages * 4096], data.descriptor);
      let wrong = 0;
      for (let round = 0; round < data.rounds; round += 1) {
        for (let page = 0; page < data.pages; page += 1) {
          let times = mine.settle(0, page);
          while (times === undefined) times = mine.settle(0, page);
          if (times.faultUs !== 0 && times.faultUs !== page + 1) wrong += 1;
        }
      }
      return wrong;
    },
  );
  const adder = onLibThread(
    'test/adder',
    { requested: '#lib/destination/page-requested.js' },
    { descriptor: requested.descriptor, pages: PAGES, rounds: ROUNDS },
    (lib: { requested: typeof import('#lib/destination/page-requested.js') }, data) => {
      const mine = new lib.requested.PageRequested([data.pages * 4096], data.descriptor);
      for (let round = 0; round < data.rounds; round += 1) {
        for (let page = 0; page < data.pages; page += 1) while (!mine.add(0, page, page + 1));
      }
    },
  );
  await adder.result;
  expect(await settler.result).toBe(0);
  // All is settled, so as many as there are slots can be measured again.
  for (let page = 0; page < SLOTS; page += 1) requested.add(0, page, page + 1);
  const unmeasured = Array.from({ length: SLOTS }, (_, page) => page).filter(
    (page) => faultUs(requested.settle(0, page)) !== page + 1,
  );
  expect(unmeasured).toEqual([]);
});

test('a page that comes in the middle of being noted costs no slot', () => {
  const requested = new PageRequested([SLOTS * PAGE]);
  const settler = new PageRequested([SLOTS * PAGE], requested.descriptor);
  const realOr = Atomics.or as (words: Uint32Array, index: number, bits: number) => number;
  // The listen thread gets between the adder's first atomic step and what follows.
  const interrupted = (words: Uint32Array, index: number, bits: number): number => {
    const was = realOr(words, index, bits);
    settler.settle(0, 7);
    return was;
  };
  const spy = vi.spyOn(Atomics, 'or').mockImplementation(interrupted as never);
  expect(requested.add(0, 7, 1)).toBe(true);
  spy.mockRestore();
  requested.settle(0, 7);
  for (let page = 0; page < SLOTS; page += 1) requested.add(0, page, page + 1);
  const settled = Array.from({ length: SLOTS }, (_, page) => faultUs(requested.settle(0, page)));
  expect(settled).toEqual(Array.from({ length: SLOTS }, (_, page) => page + 1));
});
