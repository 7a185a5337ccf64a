/** stress_guest.cc: it writes what it says it wrote, finds every wrong page, and travels in its device state. */
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { native, type RamBlockHandle, type StressGuestHandle, type StressGuestOptions } from '#lib/native.js';
import { blockedIn, countThreads, systemCallOf, until } from '../../testing/native-thread.ts';

const n = native();
const c = n.constants;
const PAGE = 4096;
const PAGES = 256;

const options: StressGuestOptions = { vcpus: 2, seed: 7, filledPages: 200, workingSetPages: 100, writesPerSecond: 0 };
/** Where the sequence numbers begin in the device state of two vCPUs. */
const TABLE = 44 + 2 * 16;
const good = { pagesChecked: PAGES, lostPages: 0, tornPages: 0, stalePages: 0, lostWrites: 0, badPages: [] };

function makeBlock(): RamBlockHandle {
  return n.ramBlockCreate(c.MEMORY_ANONYMOUS, PAGES * PAGE, c.HOST_PAGE_SIZE);
}

async function runFor(guest: StressGuestHandle, writes: number): Promise<void> {
  const target = n.stressGuestStats(guest).writes + writes;
  n.stressGuestStart(guest);
  await until(`it wrote ${writes} pages`, () => n.stressGuestStats(guest).writes >= target);
  expect(n.stressGuestStop(guest, 10_000)).toBe(true);
}

async function withGuest(
  overrides: Partial<StressGuestOptions>,
  use: (guest: StressGuestHandle, view: Uint8Array, block: RamBlockHandle) => Promise<void>,
): Promise<void> {
  const threads = countThreads('stress-vcpu/');
  const block = makeBlock();
  const guest = n.stressGuestCreate([block], { ...options, ...overrides });
  await use(guest, new Uint8Array(n.ramBlockBuffer(block)), block);
  expect(n.stressGuestClose(guest)).toBe(0);
  n.ramBlockClose(block);
  // Of an earlier guest some may have been on their way out when they were counted.
  await until('its threads ended', () => countThreads('stress-vcpu/') <= threads);
}

/** A device state as docs/stress-guest.md lays it out. */
interface DeviceState {
  readonly vcpus: readonly { readonly order: bigint; readonly writes: number }[];
  readonly sequences: readonly number[];
}

function stateOf(guest: StressGuestHandle): DeviceState {
  const bytes = n.stressGuestSave(guest);
  const words = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const count = words.getUint32(16, true);
  const begin = 40 + 4 * words.getUint32(36, true);
  const vcpus = Array.from({ length: count }, (_, k) => ({
    order: words.getBigUint64(begin + 16 * k, true),
    writes: Number(words.getBigUint64(begin + 8 + 16 * k, true)),
  }));
  const sequences = Array.from({ length: words.getUint32(28, true) }, (_, page) =>
    words.getUint32(begin + 16 * count + 4 * page, true),
  );
  return { vcpus, sequences };
}

const u64 = (x: bigint): bigint => BigInt.asUintN(64, x);

/** The pages that a vCPU which owns `count` of them draws next, by the formula in docs/stress-guest.md. */
function draw(order: bigint, count: number, draws: number): { order: bigint; drawn: number[] } {
  const drawn: number[] = [];
  for (let i = 0; i < draws; i++) {
    order = u64(order + 0x9e3779b97f4a7c15n);
    let x = order;
    x = u64((x ^ (x >> 31n)) * 0xd6e8feb86659fd93n);
    x = u64((x ^ (x >> 29n)) * 0xa0761d6478bd642fn);
    x ^= x >> 32n;
    drawn.push(Number(((x >> 32n) * BigInt(count)) >> 32n));
  }
  return { order, drawn };
}

/** What `from` becomes once each vCPU has done as many writes as in `to`. */
function replay(from: DeviceState, to: DeviceState): DeviceState {
  const sequences = [...from.sequences];
  const count = from.vcpus.length;
  const vcpus = from.vcpus.map((vcpu, k) => {
    const { writes } = to.vcpus[k];
    const owned = Math.ceil((sequences.length - k) / count);
    const { order, drawn } = draw(vcpu.order, owned, writes - vcpu.writes);
    for (const page of drawn) sequences[page * count + k]++;
    return { order, writes };
  });
  return { vcpus, sequences };
}

const pageOf = (view: Uint8Array, page: number): Uint8Array => view.subarray(page * PAGE, (page + 1) * PAGE);
const sequenceOf = (view: Uint8Array, page: number): number =>
  Number(new DataView(view.buffer, page * PAGE).getBigUint64(8, true));

describe('a run', () => {
  test.each([1, 2, 3, 7])('of %i vCPUs verifies at every stop', async (vcpus) => {
    await withGuest({ vcpus }, async (guest, view) => {
      expect(await n.stressGuestVerify(guest)).toEqual(good); // empty
      await n.stressGuestFill(guest);
      expect(await n.stressGuestVerify(guest)).toEqual(good);
      for (const writes of [1, 50, 12_345]) {
        await runFor(guest, writes);
        expect(await n.stressGuestVerify(guest)).toEqual(good);
      }
      // The sequence numbers in memory add up to the writes it counted, over and above the fill.
      let sum = 0;
      for (let page = 0; page < options.workingSetPages; page++) sum += sequenceOf(view, page) - 1;
      expect(sum).toBe(n.stressGuestStats(guest).writes);
      expect(sequenceOf(view, options.workingSetPages)).toBe(1);
      expect(sequenceOf(view, options.filledPages)).toBe(0);
    });
  });

  test.each([1, 3])('of %i vCPUs draws pages by the documented generator, from its first write on', async (vcpus) => {
    await withGuest({ vcpus }, async (guest, view) => {
      const empty = stateOf(guest);
      await n.stressGuestFill(guest);
      const filled = stateOf(guest);
      expect(filled).toEqual({ vcpus: empty.vcpus, sequences: new Array(options.workingSetPages).fill(1) });
      expect(new Set(filled.vcpus.map(({ order }) => order)).size).toBe(vcpus); // each an order of its own
      await runFor(guest, 3000);
      const after = stateOf(guest);
      expect(after).toEqual(replay(filled, after));
      expect(after.sequences).toEqual(after.sequences.map((_, page) => sequenceOf(view, page)));
      const writes = after.vcpus.reduce((sum, vcpu) => sum + vcpu.writes, 0);
      expect(writes).toBe(n.stressGuestStats(guest).writes);
    });
  });

  test('spreads its writes as chance does: over every page, and not evenly', async () => {
    await withGuest({ vcpus: 1 }, async (guest, view) => {
      await n.stressGuestFill(guest);
      await runFor(guest, 20_000);
      const { writes } = n.stressGuestStats(guest);
      const expected = writes / options.workingSetPages;
      const written = Array.from({ length: options.workingSetPages }, (_, page) => sequenceOf(view, page) - 1);
      for (const count of written) expect(Math.abs(count - expected)).toBeLessThan(6 * Math.sqrt(expected));
      // Chi-square of 99 degrees of freedom: mean 99, standard deviation 14. Even rounds would give 0.
      const chiSquare = written.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0);
      expect(chiSquare).toBeGreaterThan(99 - 4 * 14);
      expect(chiSquare).toBeLessThan(99 + 6 * 14);
    });
  });

  test('meets pages again before it has met all: a share of 1/e is left after as many writes as pages', async () => {
    const block = n.ramBlockCreate(c.MEMORY_ANONYMOUS, 4 * PAGE, c.HOST_PAGE_SIZE);
    const left: number[] = [];
    for (let seed = 0; seed < 20; seed++) {
      const guest = n.stressGuestCreate([block], {
        vcpus: 4,
        seed,
        filledPages: 4,
        workingSetPages: 4,
        writesPerSecond: 0,
      });
      for (const { order } of stateOf(guest).vcpus) left.push(1000 - new Set(draw(order, 1000, 1000).drawn).size);
      n.stressGuestClose(guest);
    }
    n.ramBlockClose(block);
    // 368 expected, standard deviation about 10.
    for (const pages of left) expect(Math.abs(pages - 1000 / Math.E)).toBeLessThan(50);
  });

  test('never lets a sequence number wrap: a page that has the greatest is written no more', async () => {
    await withGuest({ vcpus: 1, filledPages: 2, workingSetPages: 2 }, async (guest, view) => {
      await n.stressGuestFill(guest);
      const state = n.stressGuestSave(guest);
      const words = new DataView(state.buffer, state.byteOffset, state.byteLength);
      words.setBigUint64(52, 2n ** 32n - 3n, true);
      words.setUint32(60, 2 ** 32 - 2, true);
      n.stressGuestLoad(guest, state);
      await runFor(guest, 1000);
      const { sequences } = stateOf(guest);
      expect(sequences[0]).toBe(2 ** 32 - 1);
      expect(sequences[1]).toBeGreaterThanOrEqual(1000);
      expect(sequenceOf(view, 0)).toBe(2 ** 32 - 1);
      expect(await n.stressGuestVerify(guest)).toEqual(good);
    });
  });

  test('starts without a fill from zeroes', async () => {
    await withGuest({}, async (guest, view) => {
      await runFor(guest, 500);
      expect(await n.stressGuestVerify(guest)).toEqual(good);
      expect(sequenceOf(view, 150)).toBe(0); // filled pages were never filled
      expect(n.stressGuestStats(guest).badPages).toBe(0);
      expect(() => n.stressGuestFill(guest)).toThrow(/EINVAL/); // too late
    });
  });

  test('keeps to its rate and never sleeps off the time it was stopped', async () => {
    await withGuest({ writesPerSecond: 2000 }, async (guest) => {
      await n.stressGuestFill(guest);
      for (let start = 0; start < 2; start++) {
        await runFor(guest, 400);
        const { firstWriteUs, stoppedUs, startedUs, writesHere } = n.stressGuestStats(guest);
        expect(firstWriteUs).toBeGreaterThanOrEqual(startedUs);
        expect(stoppedUs).toBeGreaterThan(firstWriteUs);
        // Never faster than the rate, but for what it may catch up: 10 ms worth a vCPU.
        const allowed = ((stoppedUs - startedUs) / 1e6 + 0.02) * 2000 + 4;
        expect(writesHere - 400 * start).toBeLessThanOrEqual(allowed);
      }
    });
  });

  test('threads carry the names of vCPUs and appear at the first start', async () => {
    await withGuest({ vcpus: 3 }, async (guest) => {
      expect(countThreads('stress-vcpu/')).toBe(0);
      await runFor(guest, 10);
      expect(countThreads('stress-vcpu/')).toBe(3);
      await runFor(guest, 10);
      expect(countThreads('stress-vcpu/')).toBe(3);
    });
  });

  test('what needs a stopped guest is EBUSY otherwise', async () => {
    await withGuest({}, async (guest, _view, block) => {
      const state = n.stressGuestSave(guest);
      // A fill that can't end before its pages are placed.
      const { handle: uffd } = n.userfaultfdOpen('syscall', 0n);
      n.userfaultfdRegister(uffd, block, 0, PAGES * PAGE, c.UFFDIO_REGISTER_MODE_MISSING);
      const filling = n.stressGuestFill(guest);
      expect(() => n.stressGuestFill(guest)).toThrow(/EBUSY/);
      expect(() => n.stressGuestStart(guest)).toThrow(/EBUSY/);
      expect(() => n.stressGuestVerify(guest)).toThrow(/EBUSY/);
      expect(() => n.stressGuestLoad(guest, state)).toThrow(/EBUSY/);
      n.userfaultfdUnregister(uffd, block, 0, PAGES * PAGE);
      n.userfaultfdClose(uffd);
      await filling;
      n.stressGuestStart(guest);
      n.stressGuestStart(guest); // runs already
      for (const call of [
        () => n.stressGuestSave(guest),
        () => n.stressGuestLoad(guest, state),
        () => n.stressGuestVerify(guest),
      ]) {
        expect(call).toThrow(expect.objectContaining({ code: 'EBUSY' }));
      }
      await until('it writes', () => n.stressGuestStats(guest).writes > 0);
      expect(() => n.stressGuestFill(guest)).toThrow();
      expect(n.stressGuestStop(guest, 10_000)).toBe(true);
      expect(n.stressGuestStop(guest, 0)).toBe(true);
    });
  });
});

describe('verification', () => {
  test('tells lost, torn and stale pages apart and counts them exactly', async () => {
    // One vCPU: with two it could be that only the other one got to write.
    await withGuest({ vcpus: 1 }, async (guest, view) => {
      await n.stressGuestFill(guest);
      const old = view.slice();
      await runFor(guest, 5000);
      const sequences = Array.from({ length: PAGES }, (_, page) => sequenceOf(view, page));
      pageOf(view, 3).fill(0); // lost
      pageOf(view, 150).fill(0); // lost: the fill
      pageOf(view, 4).set(pageOf(old, 4)); // stale
      pageOf(view, 5).set(pageOf(old, 5).subarray(PAGE / 2), PAGE / 2); // torn: new and old halves
      pageOf(view, 6).fill(0, PAGE / 2); // torn: a half is zero
      view[7 * PAGE + 4095] ^= 1; // torn: one bit
      pageOf(view, 8).set(pageOf(view, 9)); // torn: another page's content
      view[230 * PAGE] = 1; // torn: should be zero
      expect(await n.stressGuestVerify(guest)).toEqual({
        pagesChecked: PAGES,
        lostPages: 2,
        stalePages: 1,
        tornPages: 5,
        lostWrites: sequences[3] + 1 + (sequences[4] - 1) + 4,
        badPages: [3, 4, 5, 6, 7, 8, 150, 230],
      });
    });
  });

  test('finds any single flipped bit (property)', async () => {
    await withGuest({}, async (guest, view) => {
      await n.stressGuestFill(guest);
      await runFor(guest, 1000);
      await fc.assert(
        fc.asyncProperty(fc.nat(PAGES * PAGE - 1), fc.nat(7), async (at, bit) => {
          view[at] ^= 1 << bit;
          const verdict = await n.stressGuestVerify(guest);
          view[at] ^= 1 << bit;
          expect(verdict.tornPages).toBe(1);
          expect(verdict.badPages).toEqual([Math.floor(at / PAGE)]);
        }),
        { numRuns: 100 },
      );
      expect(await n.stressGuestVerify(guest)).toEqual(good);
    });
  });

  test('names at most 16 bad pages', async () => {
    await withGuest({}, async (guest, view) => {
      await n.stressGuestFill(guest);
      view.fill(0);
      const verdict = await n.stressGuestVerify(guest);
      expect(verdict).toMatchObject({ lostPages: 200, lostWrites: 200, tornPages: 0 });
      expect(verdict.badPages).toEqual(Array.from({ length: 16 }, (_, page) => page));
    });
  });

  test('the vCPUs themselves count what they find wrong', async () => {
    await withGuest({ vcpus: 1, workingSetPages: 100 }, async (guest, view) => {
      await n.stressGuestFill(guest);
      await runFor(guest, 300);
      const lost = sequenceOf(view, 10);
      pageOf(view, 10).fill(0);
      view[20 * PAGE + 100] ^= 1;
      n.stressGuestStart(guest);
      await until('it came by both', () => n.stressGuestStats(guest).badPages === 2);
      expect(n.stressGuestStop(guest, 10_000)).toBe(true);
      expect(n.stressGuestStats(guest)).toMatchObject({ badPages: 2, lostWrites: lost + 1 });
      expect(await n.stressGuestVerify(guest)).toEqual(good); // they were written again since
    });
  });
});

describe('device state', () => {
  test('carries the order: a guest goes on with the same pages wherever it is loaded', async () => {
    await withGuest({ vcpus: 2 }, async (guest, view) => {
      await n.stressGuestFill(guest);
      await runFor(guest, 777);
      const saved = n.stressGuestSave(guest);
      const before = stateOf(guest);
      const memory = view.slice();
      await withGuest({ vcpus: 1, seed: 99 }, async (copy, copiedView) => {
        n.stressGuestLoad(copy, saved);
        copiedView.set(memory);
        for (const each of [guest, copy]) {
          await runFor(each, 2000);
          const after = stateOf(each);
          expect(after).toEqual(replay(before, after));
        }
      });
    });
  });

  test('continues in another block that holds the memory', async () => {
    await withGuest({ vcpus: 3 }, async (guest, view) => {
      await n.stressGuestFill(guest);
      await runFor(guest, 2345);
      const { writes } = n.stressGuestStats(guest);
      const state = n.stressGuestSave(guest);
      const other = { vcpus: 1, seed: 0, filledPages: 1, workingSetPages: 1, writesPerSecond: 5 };
      await withGuest(other, async (copy, copiedView) => {
        n.stressGuestLoad(copy, state);
        expect(n.stressGuestStats(copy)).toMatchObject({ writes, writesHere: 0 });
        expect((await n.stressGuestVerify(copy)).lostPages).toBe(200); // memory has not come yet
        copiedView.set(view);
        expect(await n.stressGuestVerify(copy)).toEqual(good);
        expect(n.stressGuestSave(copy)).toEqual(state);
        await runFor(copy, 3000);
        expect(await n.stressGuestVerify(copy)).toEqual(good);
        const stats = n.stressGuestStats(copy);
        expect(stats.writes).toBe(writes + stats.writesHere);
        expect(stats.badPages).toBe(0);
        // An earlier state can be loaded over threads that already ran.
        n.stressGuestLoad(copy, state);
        copiedView.set(view);
        await runFor(copy, 100);
        expect(await n.stressGuestVerify(copy)).toEqual(good);
      });
    });
  });

  test('has the documented layout', async () => {
    await withGuest({ vcpus: 2, workingSetPages: 99, writesPerSecond: 100_000 }, async (guest, view) => {
      await n.stressGuestFill(guest);
      await runFor(guest, 500);
      const state = n.stressGuestSave(guest);
      expect(new TextDecoder().decode(state.subarray(0, 8))).toBe('stressvm');
      const words = new DataView(state.buffer, state.byteOffset, state.byteLength);
      const at = [8, 12, 16, 20, 24, 28, 32, 36, 40].map((offset) => words.getUint32(offset, true));
      expect(at).toEqual([3, 1, 2, 7, 200, 99, 100_000, 1, PAGES]);
      expect(state.length).toBe(44 + 2 * 16 + 99 * 4);
      const { vcpus, sequences } = stateOf(guest);
      expect(sequences).toEqual(sequences.map((_, page) => sequenceOf(view, page)));
      for (const [k, { writes }] of vcpus.entries()) {
        expect(writes).toBe(sequences.reduce((sum, sequence, page) => sum + (page % 2 === k ? sequence - 1 : 0), 0));
      }
    });
  });

  test('is refused whole when a field is wrong', async () => {
    await withGuest({}, async (guest) => {
      await n.stressGuestFill(guest);
      await runFor(guest, 500);
      const { sequences } = stateOf(guest);
      const state = n.stressGuestSave(guest);
      const changed = (change: (words: DataView) => void): Uint8Array => {
        const copy = state.slice();
        change(new DataView(copy.buffer));
        return copy;
      };
      const wrong = [
        new Uint8Array(0),
        state.subarray(0, 39),
        state.subarray(0, state.length - 1),
        new Uint8Array([...state, 0]),
        changed((words) => words.setUint8(0, 1)), // magic
        changed((words) => words.setUint32(8, 2, true)), // version
        changed((words) => words.setUint32(12, 3, true)), // flags
        changed((words) => words.setUint32(12, 0, true)), // not filled, so one write more a page
        changed((words) => words.setUint32(16, 0, true)), // vcpus
        changed((words) => words.setUint32(16, 65, true)),
        changed((words) => words.setUint32(24, PAGES + 1, true)), // filled pages
        changed((words) => words.setUint32(28, 201, true)), // working set
        changed((words) => words.setUint32(28, 1, true)),
        changed((words) => words.setUint32(32, 0xffffffff, true)), // rate
        changed((words) => words.setUint32(36, 0, true)), // blocks
        changed((words) => words.setUint32(36, 2, true)),
        changed((words) => words.setUint32(40, PAGES + 1, true)), // pages of the block
        changed((words) => words.setUint32(28, 99, true)), // one page less than the table has
        changed((words) => words.setUint32(16, 3, true)), // one vCPU more than there is
        changed((words) => words.setBigUint64(52, words.getBigUint64(52, true) + 1n, true)), // writes
        changed((words) => words.setBigUint64(68, 1n << 63n, true)),
        changed((words) => words.setUint32(TABLE, sequences[0] + 1, true)), // sequence numbers
        changed((words) => words.setUint32(TABLE + 4 * 99, 0xffffffff, true)),
        changed((words) => {
          // Zero for a page that was filled, with the writes that would follow in 32 bits.
          words.setUint32(TABLE, 0, true);
          words.setBigUint64(52, words.getBigUint64(52, true) + BigInt(0xffffffff - (sequences[0] - 1)), true);
        }),
        changed((words) => {
          // A write of one vCPU counted to the other.
          words.setUint32(TABLE, sequences[0] + 1, true);
          words.setUint32(TABLE + 4, sequences[1] - 1, true);
        }),
      ];
      for (const bytes of wrong) expect(() => n.stressGuestLoad(guest, bytes)).toThrow(/^state must/);
      expect(n.stressGuestSave(guest)).toEqual(state); // unchanged
    });
  });

  test('any bytes are either refused or load a guest that runs in bounds (property)', async () => {
    await withGuest({}, async (guest) => {
      const state = n.stressGuestSave(guest);
      const mutations = fc.array(fc.tuple(fc.nat(state.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 });
      await fc.assert(
        fc.asyncProperty(mutations, async (mutations) => {
          const bytes = state.slice();
          for (const [at, value] of mutations) bytes[at] = value;
          try {
            n.stressGuestLoad(guest, bytes);
          } catch (error) {
            expect((error as Error).message).toMatch(/^state must/);
            return;
          }
          n.stressGuestStart(guest);
          expect(n.stressGuestStop(guest, 10_000)).toBe(true);
          n.stressGuestLoad(guest, state);
        }),
        { numRuns: 200 },
      );
    });
  });
});

describe('several blocks', () => {
  const SIZES = [3, 100, 1, 57];
  const TOTAL = 161;
  const spread = { ...options, filledPages: 120, workingSetPages: 60 };
  // Of 3, 103, 104 and all 161 pages the share of 120 filled, and of those the share of 60 rewritten.
  const FILLED = [2, 74, 1, 43];
  const WRITTEN = [1, 37, 0, 22];

  async function withBlocks(
    sizes: readonly number[],
    use: (guest: StressGuestHandle, views: readonly Uint8Array[]) => Promise<void>,
  ): Promise<void> {
    const blocks = sizes.map((pages) => n.ramBlockCreate(c.MEMORY_ANONYMOUS, pages * PAGE, PAGE));
    const guest = n.stressGuestCreate(blocks, spread);
    await use(
      guest,
      blocks.map((block) => new Uint8Array(n.ramBlockBuffer(block))),
    );
    expect(n.stressGuestClose(guest)).toBe(0);
    for (const block of blocks) n.ramBlockClose(block);
  }

  /** Page numbers and sequence numbers that the pages of a block hold. */
  function heads(view: Uint8Array): { index: number; sequence: number }[] {
    const words = new DataView(view.buffer);
    return Array.from({ length: view.length / PAGE }, (_, page) => ({
      index: Number(words.getBigUint64(page * PAGE, true)),
      sequence: Number(words.getBigUint64(page * PAGE + 8, true)),
    }));
  }

  test('are filled and rewritten by their shares, their pages numbered through', async () => {
    await withBlocks(SIZES, async (guest, views) => {
      await n.stressGuestFill(guest);
      await runFor(guest, 5000);
      const all = views.map(heads);
      const { sequences } = stateOf(guest);
      let first = 0;
      let number = 0;
      for (const [block, pages] of all.entries()) {
        for (const [page, { index, sequence }] of pages.entries()) {
          expect(index).toBe(page < FILLED[block] ? first + page : 0);
          const due = page < FILLED[block] ? 1 : 0;
          expect(sequence).toBe(page < WRITTEN[block] ? sequences[number++] : due);
        }
        first += pages.length;
      }
      expect(number).toBe(60);
      expect(await n.stressGuestVerify(guest)).toEqual({ ...good, pagesChecked: TOTAL });
    });
  });

  test('are checked to the last page of each, which is named by its number in the guest', async () => {
    await withBlocks(SIZES, async (guest, views) => {
      await n.stressGuestFill(guest);
      const last = [2, 102, 103, 160];
      for (const view of views) view[view.length - 1] ^= 1;
      expect(await n.stressGuestVerify(guest)).toMatchObject({ badPages: last, tornPages: 4 });
    });
  });

  test('stand in the device state, which fits blocks of the same sizes in the same order only', async () => {
    await withBlocks(SIZES, async (guest, views) => {
      await n.stressGuestFill(guest);
      await runFor(guest, 1000);
      const state = n.stressGuestSave(guest);
      const words = new DataView(state.buffer, state.byteOffset, state.byteLength);
      expect([36, 40, 44, 48, 52].map((offset) => words.getUint32(offset, true))).toEqual([4, ...SIZES]);
      expect(state.length).toBe(40 + 4 * 4 + 2 * 16 + 60 * 4);
      for (const sizes of [[3, 100, 57, 1], [3, 100, 58], [161], [3, 100, 1, 56, 1]]) {
        await withBlocks(sizes, async (other) => {
          expect(() => n.stressGuestLoad(other, state)).toThrow(/^state must have (as many )?blocks/);
        });
      }
      await withBlocks(SIZES, async (copy, copied) => {
        n.stressGuestLoad(copy, state);
        for (const [block, view] of copied.entries()) view.set(views[block]);
        await runFor(copy, 1000);
        expect(await n.stressGuestVerify(copy)).toEqual({ ...good, pagesChecked: TOTAL });
        expect(n.stressGuestStats(copy).badPages).toBe(0);
      });
    });
  });

  test('may be of one page each, as many as there can be', async () => {
    const blocks = Array.from({ length: 64 }, () => n.ramBlockCreate(c.MEMORY_ANONYMOUS, PAGE, PAGE));
    const guest = n.stressGuestCreate(blocks, { ...options, filledPages: 64, workingSetPages: 64 });
    await n.stressGuestFill(guest);
    await runFor(guest, 6400);
    expect(await n.stressGuestVerify(guest)).toEqual({ ...good, pagesChecked: 64 });
    n.stressGuestClose(guest);
    const few = (handles: readonly RamBlockHandle[]) => () => n.stressGuestCreate(handles, options);
    expect(few([])).toThrow(/^blocks must hold 1 to 64 handles/);
    expect(few([...blocks, blocks[0]])).toThrow(/^blocks must hold 1 to 64 handles/);
    expect(few([blocks[0], blocks[1], blocks[0]])).toThrow(/^blocks must be different/);
    expect(few(blocks[0] as unknown as RamBlockHandle[])).toThrow(/^blocks must be an array of handles/);
    expect(few([blocks[0], 0 as RamBlockHandle])).toThrow(expect.objectContaining({ code: 'EBADF' }));
    for (const block of blocks) n.ramBlockClose(block);
  });
});

describe('held back', () => {
  /** Writes that two guests which run side by side do while the first does `writes`. */
  async function sideBySide(free: StressGuestHandle, held: StressGuestHandle, writes: number): Promise<number> {
    const before = [free, held].map((guest) => n.stressGuestStats(guest).writes);
    await until('it has written enough', () => n.stressGuestStats(free).writes >= before[0] + writes);
    const after = [free, held].map((guest) => n.stressGuestStats(guest).writes);
    return (after[1] - before[1]) / (after[0] - before[0]);
  }

  test.each([
    ['as fast as it goes', 90, 0, 100_000, 0.5],
    // 10 ms of a pace may be caught up after a fault: of a rest nothing is.
    ['at a pace', 50, 4000, 1200, 0.75],
  ])('a guest that writes %s gets its share of the time', async (_how, percent, writesPerSecond, writes, most) => {
    await withGuest({ vcpus: 1, writesPerSecond }, async (free) => {
      n.stressGuestStart(free);
      await until('it writes', () => n.stressGuestStats(free).writes > 0);
      await withGuest({ vcpus: 1, writesPerSecond }, async (held) => {
        n.stressGuestThrottle(held, percent);
        n.stressGuestStart(held);
        const share = await sideBySide(free, held, writes);
        expect(share).toBeGreaterThan(0);
        expect(share).toBeLessThan(most);
        n.stressGuestThrottle(held, 0);
        let last = 0;
        for (let tries = 0; tries < 50 && last <= most; tries++) last = await sideBySide(free, held, writes / 4);
        expect(last).toBeGreaterThan(most);
        for (const guest of [free, held]) expect(n.stressGuestStop(guest, 10_000)).toBe(true);
        expect(await n.stressGuestVerify(held)).toEqual(good);
      });
    });
  });

  test('a vCPU that rests stops at once, and rests on after a load', async () => {
    await withGuest({ vcpus: 1 }, async (guest) => {
      const state = n.stressGuestSave(guest);
      n.stressGuestThrottle(guest, 99);
      for (let start = 0; start < 2; start++) {
        n.stressGuestStart(guest);
        const rests = () =>
          n.stressGuestStats(guest).writesHere > 0 && systemCallOf('stress-vcpu/0') === blockedIn.futex;
        await until('it rests', rests);
        expect(n.stressGuestStop(guest, 400)).toBe(true); // of 990 ms
        n.stressGuestLoad(guest, state);
      }
    });
  });

  test('by no more than 99 percent', async () => {
    await withGuest({}, async (guest) => {
      expect(() => n.stressGuestThrottle(guest, 100)).toThrow(/^percent must/);
      expect(() => n.stressGuestThrottle(guest, -1)).toThrow(/^percent must/);
    });
  });
});

test('names the kernel threads of its vCPUs, in their order', async () => {
  await withGuest({ vcpus: 3 }, async (guest) => {
    expect(n.stressGuestThreads(guest)).toEqual([]);
    n.stressGuestStart(guest);
    const threads = n.stressGuestThreads(guest);
    expect(threads.map((thread) => readFileSync(`/proc/self/task/${thread}/comm`, 'utf8'))).toEqual([
      'stress-vcpu/0\n',
      'stress-vcpu/1\n',
      'stress-vcpu/2\n',
    ]);
    expect(n.stressGuestStop(guest, 10_000)).toBe(true);
    expect(n.stressGuestThreads(guest)).toEqual(threads);
    n.stressGuestLoad(guest, n.stressGuestSave(guest));
    expect(n.stressGuestThreads(guest)).toEqual([]);
  });
});

test('options are checked against each other and the block', () => {
  const block = makeBlock();
  const create = (overrides: object) => () => n.stressGuestCreate([block], { ...options, ...overrides });
  expect(create({ vcpus: 0 })).toThrow(/^vcpus must/);
  expect(create({ vcpus: 65 })).toThrow(/^vcpus must/);
  expect(create({ seed: 2 ** 32 })).toThrow(/^seed must/);
  expect(create({ seed: undefined })).toThrow(/^seed must be a number/);
  expect(create({ filledPages: PAGES + 1 })).toThrow(/^options must/);
  expect(create({ workingSetPages: 201 })).toThrow(/^options must/);
  expect(create({ workingSetPages: 1 })).toThrow(/^options must/);
  expect(create({ writesPerSecond: -1 })).toThrow(/^writesPerSecond must/);
  n.ramBlockClose(block);
});
