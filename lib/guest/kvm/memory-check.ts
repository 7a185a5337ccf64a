/**
 * A KVM guest's memory against what its programme must have left in it, page by page, from outside. Owner only,
 * while the guest is stopped and all pages are here.
 */
import { setImmediate as giveWay } from 'node:timers/promises';
import { TARGET_PAGE_SIZE } from '../../memory/page.js';
import type { StressGuestVerdict } from '../../native.js';
import type { ProgramState } from './device-state.js';
import { type GuestMemory, IMAGE_ADDRESS, ownPageAddress, WORK_ADDRESS } from './memory-map.js';
import { type PageRange, vcpuRanges } from './program.js';
import { examinePage, FILL_PASS, fillPage, type PageFinding, pageKey, type WriterPlace } from './writer-pages.js';

const BATCH_PAGES = 256;
const REPORTED_BAD_PAGES = 16;
const PAGE_WORDS = TARGET_PAGE_SIZE / 4;

/** Visits [begin, end) page by page; `words` has the page at `at`. */
async function eachPage(
  memory: GuestMemory,
  begin: number,
  end: number,
  visit: (words: Uint32Array, at: number, address: number) => void,
): Promise<void> {
  for (let batch = begin; batch < end; batch += BATCH_PAGES * TARGET_PAGE_SIZE) {
    const bytes = memory.read(batch, Math.min(BATCH_PAGES * TARGET_PAGE_SIZE, end - batch));
    const words = new Uint32Array(bytes.buffer);
    for (let at = 0; at < words.length; at += PAGE_WORDS) visit(words, at, batch + 4 * at);
    await giveWay();
  }
}

/** Writes what the programmes expect to find. */
export async function fillMemory(memory: GuestMemory, filledEnd: number): Promise<void> {
  const words = new Uint32Array(BATCH_PAGES * PAGE_WORDS);
  for (let batch = WORK_ADDRESS; batch < filledEnd; batch += words.byteLength) {
    const bytes = Math.min(words.byteLength, filledEnd - batch);
    for (let at = 0; at < bytes / 4; at += PAGE_WORDS) fillPage(words, at, batch + 4 * at, FILL_PASS);
    memory.write(batch, new Uint8Array(words.buffer, 0, bytes));
    await giveWay();
  }
}

class Tally {
  #pagesChecked = 0;
  #lostWrites = 0;
  readonly #counts = { good: 0, lost: 0, stale: 0, torn: 0 };
  readonly #badPages: number[] = [];

  count(address: number, { state, lostWrites }: PageFinding): void {
    this.#pagesChecked += 1;
    this.#counts[state] += 1;
    this.#lostWrites += lostWrites;
    if (state !== 'good') this.#badPages.push(address / TARGET_PAGE_SIZE);
  }

  /**
   * How many writes a vCPU has counted in its own page, against how many are there: the last may not be counted yet.
   * Fewer that are there are lost on no page in particular; more say that the own page is of an earlier time.
   */
  compare(counted: number, found: number, ownPage: number): void {
    this.#lostWrites += Math.max(0, counted - found);
    if (found <= counted + 1) return;
    this.#counts.stale += 1;
    this.#badPages.push(ownPage / TARGET_PAGE_SIZE);
  }

  verdict(): StressGuestVerdict {
    return {
      pagesChecked: this.#pagesChecked,
      lostPages: this.#counts.lost,
      tornPages: this.#counts.torn,
      stalePages: this.#counts.stale,
      lostWrites: this.#lostWrites,
      badPages: this.#badPages.slice(0, REPORTED_BAD_PAGES),
    };
  }
}

/** Returns how many writes its registers say it has done. */
async function checkWritten(memory: GuestMemory, range: PageRange, place: WriterPlace, tally: Tally): Promise<number> {
  await eachPage(memory, range.first, range.end, (words, at, address) => {
    const pass = address < place.page ? place.pass : place.pass - 1;
    tally.count(address, examinePage(words, at, address, pass, address === place.page ? place.words : 0));
  });
  const pages = (range.end - range.first) / TARGET_PAGE_SIZE;
  return (place.pass - FILL_PASS - 1) * pages + (place.page - range.first) / TARGET_PAGE_SIZE;
}

/**
 * Each page is as it was filled but for its count of touches. In rounds a page has had as many as any other, or one
 * more. Returns how many all have had, but for pages that hold something else.
 */
async function checkTouched(
  memory: GuestMemory,
  range: PageRange,
  done: number,
  inRounds: boolean,
  tally: Tally,
): Promise<number> {
  const rounds = Math.floor(done / ((range.end - range.first) / TARGET_PAGE_SIZE));
  let touches = 0;
  await eachPage(memory, range.first, range.end, (words, at, address) => {
    const had = (words[at] - pageKey(address, FILL_PASS)) >>> 0;
    words[at] = pageKey(address, FILL_PASS);
    const rest = examinePage(words, at, address, FILL_PASS);
    const isDue = inRounds ? had === rounds || had === rounds + 1 : had <= done + 1;
    tally.count(address, rest.state === 'good' && !isDue ? { state: 'stale', lostWrites: 0 } : rest);
    if (rest.state === 'good') touches += had;
  });
  return touches;
}

/** The first MiB: each vCPU's own page, of which it writes all but what it is to do, the image, and zeroes. */
async function checkBase(memory: GuestMemory, { workEnd, done }: ProgramState, image: Uint8Array, tally: Tally) {
  const due = new Uint8Array(WORK_ADDRESS);
  due.set(image, IMAGE_ADDRESS);
  const expected = new Uint32Array(due.buffer);
  const ranges = new Map(vcpuRanges(workEnd, done.length).map((range, vcpu) => [ownPageAddress(vcpu), range]));
  await eachPage(memory, 0, WORK_ADDRESS, (words, at, address) => {
    const range = ranges.get(address);
    const isGood =
      range === undefined
        ? words.subarray(at, at + PAGE_WORDS).every((word, index) => word === expected[address / 4 + index])
        : isTaskOf(words.subarray(at, at + 2), range);
    tally.count(address, { state: isGood ? 'good' : 'torn', lostWrites: isGood ? 0 : 1 });
  });
}

/** `words`: the first two of an own page. */
const isTaskOf = ([first, end]: Uint32Array, range: PageRange): boolean => first === range.first && end === range.end;

/** `image`: the programme's. `places`: of each vCPU, where it is `writer`. */
export async function checkMemory(
  memory: GuestMemory,
  program: ProgramState,
  image: Uint8Array,
  places: readonly WriterPlace[],
): Promise<StressGuestVerdict> {
  const tally = new Tally();
  await checkBase(memory, program, image, tally);
  for (const [vcpu, range] of vcpuRanges(program.workEnd, program.done.length).entries()) {
    const done = program.done[vcpu];
    const found =
      program.kind === 'writer'
        ? (await checkWritten(memory, range, places[vcpu], tally)) + 1 // counted before the registers go on
        : await checkTouched(memory, range, done, program.kind === 'latency', tally);
    tally.compare(done, found, ownPageAddress(vcpu));
  }
  await eachPage(memory, program.workEnd, memory.size, (words, at, address) => {
    tally.count(address, examinePage(words, at, address, address < program.filledEnd ? FILL_PASS : 0));
  });
  return tally.verdict();
}
