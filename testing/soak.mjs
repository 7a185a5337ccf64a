/**
 * The double-service soak: `npm run soak`, or node testing/soak.mjs [faults] [anonymous | memfd].
 *
 * Threads fault on real memory, one thread reads the faults, and two others race to place each page: every page
 * is placed twice, some by copy, some by zero page, and one of the two finds it present. Of some pages only that
 * one wakes the waiting thread, which stays blocked for ever unless EEXIST is success plus WAKE. Then the pages
 * are discarded, while others are faulted in, and touched again.
 *
 * ```
 *  4 touchers of bank 0 ─┐ fault            ┌─ ring ─► placer 0 ─┐
 *                        ├───────► reader ──┤                    ├─► each page, twice
 *  4 touchers of bank 1 ─┘ userfaultfd      └─ ring ─► placer 1 ─┘
 * ```
 * Each page of a bank is faulted exactly once a generation. When all of a generation were placed twice, the
 * bank's first toucher discards it whole: a REMOVE event to the reader, and RETRY for what is placed meanwhile in
 * the other bank.
 *
 * Prints progress each second and the figures as its last line. Exit status 1 where a touch found wrong content,
 * a thread stayed blocked, or the counts don't add up.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { native } from '#lib/native.js';
import { Counters } from '#lib/threads/counters.js';
import { Ring } from '#lib/threads/ring.js';
import { Signals } from '#lib/threads/signals.js';
import { BANK_PAGES, BANKS, counterNames, createBanks, PAGE, signalNames, TOUCHERS_PER_BANK } from './soak-threads.mjs';

/** Seconds without a fault after which the soak is given up. */
const STALLED_SECONDS = 10;

const [faultsWanted = '10000000', kind = 'anonymous'] = process.argv.slice(2);
const generations = Math.ceil(Number(faultsWanted) / (BANKS * BANK_PAGES));
if (!(generations > 0) || !['anonymous', 'memfd'].includes(kind)) {
  console.error('usage: node testing/soak.mjs [faults] [anonymous | memfd]');
  process.exit(2);
}

const n = native();
const c = n.constants;
const size = BANKS * BANK_PAGES * PAGE;
const isShared = kind === 'memfd';
const block = n.ramBlockCreate(isShared ? c.MEMORY_MEMFD : c.MEMORY_ANONYMOUS, size, PAGE);
n.ramBlockAdvise(block, c.MADV_NOHUGEPAGE, 0, size);
const features = c.UFFD_FEATURE_EVENT_REMOVE | (isShared ? c.UFFD_FEATURE_MISSING_SHMEM : 0n);
const { handle: uffd } = n.userfaultfdOpen('syscall', features);
n.userfaultfdRegister(uffd, block, 0, size, c.UFFDIO_REGISTER_MODE_MISSING);
const kick = n.eventfdCreate();
const signals = new Signals(signalNames);
const counters = new Counters(counterNames);
const shared = {
  block,
  uffd,
  kick,
  generations,
  address: n.ramBlockInfo(block).address,
  signals: signals.buffer,
  counters: counters.buffer,
  banks: createBanks(),
  rings: [0, 1].map(() => Ring.create(1, BANKS * BANK_PAGES).buffer),
};

/** Resolves to what the thread found; rejects with what it threw. */
function start(role, name, data = {}) {
  const workerData = { soak: { ...shared, ...data, role, name } };
  const worker = new Worker(new URL('./soak-threads.mjs', import.meta.url), { workerData });
  return new Promise((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
  });
}

/** How many touchers are in a page fault: the kernel shows system call -1. */
function countBlocked() {
  return readdirSync('/proc/self/task').filter((task) => {
    const isToucher = readFileSync(`/proc/self/task/${task}/comm`, 'utf8').startsWith('soak/touch');
    return isToucher && readFileSync(`/proc/self/task/${task}/syscall`, 'utf8').startsWith('-1 ');
  }).length;
}

const startUs = n.monotonicUs();
const seconds = () => (n.monotonicUs() - startUs) / 1e6;
const whole = (value) => Math.round(value).toLocaleString('en');
let blocked = 0;
/** Lets everyone go: who waits for a page reads zeroes, and ends. */
function giveUp() {
  blocked = countBlocked();
  signals.set('STOP', 1);
  n.userfaultfdUnregister(uffd, block, 0, size);
}

let last = { faults: 0, second: 0 };
const progress = setInterval(() => {
  const faults = counters.get('faults');
  console.log(`${whole(seconds())} s: ${whole(faults)} faults`);
  if (faults > last.faults) last = { faults, second: seconds() };
  else if (seconds() - last.second > STALLED_SECONDS && signals.get('STOP') === 0) giveUp();
}, 1000);

const reader = start('readFaults', 'soak/reader');
const placers = [0, 1].map((index) => start('place', `soak/place-${index}`, { index }));
const touchers = Array.from({ length: BANKS * TOUCHERS_PER_BANK }, (_, i) =>
  start('touch', `soak/touch-${i}`, { bank: i % BANKS, index: Math.floor(i / BANKS) }),
);
const failures = [];
for (const thread of [reader, ...placers]) {
  thread.catch((error) => {
    failures.push(`a thread failed: ${error.message}`);
    giveUp();
  });
}
const touched = await Promise.all(touchers);
const took = seconds();
clearInterval(progress);
signals.set('STOP', 1);
signals.bump('PUSHED');
n.eventfdSignal(kick);
const [placed] = await Promise.all([Promise.allSettled(placers), reader.catch(() => {})]);

const sum = (of) => of.reduce((total, each) => total + each, 0);
const tallies = placed.map(({ value }) => value ?? { placed: 0, present: 0, retries: 0 });
const faults = counters.get('faults');
const found = {
  touches: sum(touched.map(({ touches }) => touches)),
  placed: sum(tallies.map((tally) => tally.placed)),
  present: sum(tallies.map((tally) => tally.present)),
};
const wrong = sum(touched.map((toucher) => toucher.wrong));
const due = generations * BANKS * BANK_PAGES;
for (const [what, count] of [['faults', faults], ...Object.entries(found)]) {
  if (count !== due) failures.push(`${whole(count)} ${what} where there must be ${whole(due)}`);
}
if (counters.get('removes') !== generations * BANKS) failures.push(`${counters.get('removes')} discards were told of`);
if (wrong > 0) failures.push(`${whole(wrong)} touches found wrong content`);
if (blocked > 0) failures.push(`${blocked} threads stayed blocked although their page was there`);
for (const failure of failures) console.error(failure);
console.log(
  [
    `${kind}: faults ${whole(faults)}`,
    `${whole(faults / took)} a second`,
    `EEXIST ${whole(found.present)}`,
    `EAGAIN ${whole(sum(tallies.map(({ retries }) => retries)))}`,
    `won ${whole((100 * tallies[0].placed) / Math.max(1, found.placed))} % by the first placer`,
    `wrong ${wrong}`,
    `blocked ${blocked}`,
  ].join(', '),
);
process.exit(failures.length === 0 ? 0 : 1);
