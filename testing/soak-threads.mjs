/** The threads of the soak (testing/soak.mjs): who faults, who reads the faults, and who places the pages. */
import { isMainThread, parentPort, workerData } from 'node:worker_threads';
import { native } from '#lib/native.js';
import { Counters } from '#lib/threads/counters.js';
import { Ring } from '#lib/threads/ring.js';
import { Signals } from '#lib/threads/signals.js';

export const PAGE = 4096;
export const BANKS = 2;
export const BANK_PAGES = 1024;
export const TOUCHERS_PER_BANK = 4;
/** EVENTS_READ: the reader has read some; PUSHED: and handed on its faults; STOP: all that were to come have. */
export const signalNames = ['EVENTS_READ', 'PUSHED', 'STOP'];
/** Written by the reader. */
export const counterNames = ['faults', 'removes'];

/** Most pages that a placer takes at once. */
const BATCH = 32;
/** Milliseconds between two looks at STOP, and between two tries while a mapping changes. */
const LOOK_MS = 1000;
const RETRY_MS = 1;

/** The words that say how far a bank is: a cache line each. */
const BANK_WORDS = 16;
const GENERATION = 0;
/** Touchers that have all their pages of the generation, over all generations. */
const ARRIVED = 1;
/** Placings done, two for each fault, over all generations. */
const SERVED = 2;
export const createBanks = () => new SharedArrayBuffer(BANKS * BANK_WORDS * 4);
const wordOf = (bank, word) => bank * BANK_WORDS + word;

/**
 * How a page is placed in a generation; the same for four neighbours, so that they go in one ioctl. `copies[i]`:
 * placer i copies, else it places zeroes. Without `wakes` a copy leaves the waiting thread asleep: only the placer
 * that finds the page PRESENT wakes it. `word` fills the page where it is copied.
 */
function planOf(page, generation) {
  const kind = (Math.imul((page >>> 2) ^ Math.imul(generation, 0x9e3779b1), 0x85ebca6b) >>> 15) & 3;
  const word = ((Math.imul(page + 1, 0x9e3779b1) ^ Math.imul(generation, 0x85ebca6b)) | 1) >>> 0;
  return {
    copies: [
      [true, true],
      [true, true],
      [true, false],
      [false, false],
    ][kind],
    wakes: kind === 0,
    word,
  };
}

/** Reads events until the kick, and hands each fault to both placers. */
function readFaults({ uffd, kick, address, rings, signals, counters }) {
  const n = native();
  const c = n.constants;
  const events = new Float64Array(64 * c.EVENT_WORDS);
  const record = new Uint32Array(1);
  for (;;) {
    const count = n.readEvents(uffd, kick, events, -1);
    if (count === c.KICKED) return {};
    for (let at = 0; at < count * c.EVENT_WORDS; at += c.EVENT_WORDS) {
      if (events[at + c.EVENT_KIND] === c.UFFD_EVENT_PAGEFAULT) {
        record[0] = Math.floor((events[at + c.EVENT_ADDRESS] - address) / PAGE);
        for (const ring of rings) ring.push(record);
        counters.add('faults', 1);
      } else {
        counters.add('removes', 1);
      }
    }
    signals.bump('EVENTS_READ');
    signals.bump('PUSHED');
  }
}

/** Takes faults in batches and places their pages by plan, until the stop. */
function place({ index, uffd, block, banks, rings, signals }) {
  const n = native();
  const { OUTCOME_PLACED, OUTCOME_PRESENT, OUTCOME_RETRY, UFFDIO_COPY_MODE_DONTWAKE } = n.constants;
  const arena = new Uint32Array((BATCH * PAGE) / 4);
  const bytes = new Uint8Array(arena.buffer);
  const outcomes = new Uint8Array(BATCH);
  const record = new Uint32Array(1);
  const tally = { placed: 0, present: 0, retries: 0 };
  /** Has `call` place the pages of these plans until each has a final outcome, and counts those. */
  const settle = (plans, call) => {
    for (let pending = plans; pending.length > 0; ) {
      const eventsRead = signals.get('EVENTS_READ');
      const pages = Uint32Array.from(pending, ({ page }) => page);
      call(
        pages,
        Uint32Array.from(pending, ({ slot }) => slot * PAGE),
      );
      const these = (outcome) => pending.filter((_, i) => outcomes[i] === outcome);
      tally.placed += these(OUTCOME_PLACED).length;
      tally.present += these(OUTCOME_PRESENT).length;
      // A run behind one that must be tried again may have gone in: only those that say so are left.
      pending = these(OUTCOME_RETRY);
      if (pending.length === 0) return;
      tally.retries += 1;
      signals.waitWhile('EVENTS_READ', eventsRead, RETRY_MS);
    }
  };
  const copy = (plans, mode) =>
    settle(plans, (pages, offsets) => {
      n.placePages(uffd, block, PAGE, pages, pages.length, bytes, offsets, mode, outcomes);
    });
  const zero = (plans) =>
    settle(plans, (pages) => {
      n.placeZeroPages(uffd, block, PAGE, pages, pages.length, outcomes);
    });
  for (;;) {
    const pushed = signals.get('PUSHED');
    const batch = [];
    while (batch.length < BATCH && rings[index].shift(record)) batch.push(record[0]);
    if (batch.length === 0) {
      if (signals.get('STOP') === 1) return tally;
      signals.waitWhile('PUSHED', pushed, LOOK_MS);
      continue;
    }
    const plans = batch
      .sort((a, b) => a - b)
      .map((page, slot) => {
        const bank = Math.floor(page / BANK_PAGES);
        return { page, slot, bank, ...planOf(page, Atomics.load(banks, wordOf(bank, GENERATION))) };
      });
    for (const { slot, word } of plans) arena.fill(word, (slot * PAGE) / 4, ((slot + 1) * PAGE) / 4);
    const copies = plans.filter((plan) => plan.copies[index]);
    copy(
      copies.filter(({ wakes }) => wakes),
      0,
    );
    copy(
      copies.filter(({ wakes }) => !wakes),
      UFFDIO_COPY_MODE_DONTWAKE,
    );
    zero(plans.filter((plan) => !plan.copies[index]));
    for (const { bank } of plans) Atomics.add(banks, wordOf(bank, SERVED), 1);
    for (let bank = 0; bank < BANKS; bank += 1) Atomics.notify(banks, wordOf(bank, SERVED));
  }
}

/** Whether the word came to be `value`; not when all was stopped before. */
function waitFor(words, at, value, signals) {
  for (;;) {
    const now = Atomics.load(words, at);
    if (now === value) return true;
    if (signals.get('STOP') === 1) return false;
    Atomics.wait(words, at, now, LOOK_MS);
  }
}

/** Touches its pages of one bank, generation after generation; the first toucher of a bank begins the next one. */
function touch({ bank, index, block, banks, generations, signals }) {
  const n = native();
  const first = bank * BANK_PAGES;
  const found = new Uint32Array(PAGE / 4);
  const foundBytes = new Uint8Array(found.buffer);
  const due = new Uint32Array(PAGE / 4);
  const dueBytes = new Uint8Array(due.buffer);
  const tally = { touches: 0, wrong: 0 };
  for (let generation = 0; generation < generations; generation += 1) {
    for (let page = first + index; page < first + BANK_PAGES; page += TOUCHERS_PER_BANK) {
      n.ramBlockRead(block, page * PAGE, foundBytes); // faults
      const { copies, word } = planOf(page, generation);
      const mayBeZero = !copies[1];
      due.fill(mayBeZero && (found[0] === 0 || !copies[0]) ? 0 : word);
      if (Buffer.compare(foundBytes, dueBytes) !== 0) tally.wrong += 1;
      tally.touches += 1;
    }
    Atomics.add(banks, wordOf(bank, ARRIVED), 1);
    Atomics.notify(banks, wordOf(bank, ARRIVED));
    if (index === 0) {
      const round = generation + 1;
      const all =
        waitFor(banks, wordOf(bank, ARRIVED), round * TOUCHERS_PER_BANK, signals) &&
        waitFor(banks, wordOf(bank, SERVED), round * BANK_PAGES * 2, signals);
      if (!all) return tally;
      n.ramBlockDiscard(block, Float64Array.of(first * PAGE, BANK_PAGES * PAGE), 1);
      Atomics.store(banks, wordOf(bank, GENERATION), round);
      Atomics.notify(banks, wordOf(bank, GENERATION));
    } else if (!waitFor(banks, wordOf(bank, GENERATION), generation + 1, signals)) {
      return tally;
    }
  }
  return tally;
}

if (!isMainThread && workerData?.soak !== undefined) {
  const { role, name, rings, signals, counters, banks, ...data } = workerData.soak;
  native().setThreadName(name);
  const result = { readFaults, place, touch }[role]({
    ...data,
    rings: rings.map((buffer) => Ring.attach(buffer, 1)),
    signals: new Signals(signalNames, signals),
    counters: new Counters(counterNames, counters),
    banks: new Int32Array(banks),
  });
  parentPort.postMessage(result);
}
