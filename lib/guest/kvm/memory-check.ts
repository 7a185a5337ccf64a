/**
 * A KVM guest's memory against what its programme must have left in it, page by page, from outside. Owner only,
 * while the guest is stopped and all pages are here.
 */
import { setImmediate as giveWay } from 'node:timers/promises';
import { TARGET_PAGE_SIZE } from '../../memory/page.js';
import type { StressGuestVerdict } from '../../native.js';
import type { ProgramState } from './device-state.js';
import { type GuestMemory, WORK_ADDRESS } from './memory-map.js';
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
    if (state !== 'good' && this.#badPages.length < REPORTED_BAD_PAGES) {
      this.#badPages.push(address / TARGET_PAGE_SIZE);
    }
  }

  /** Writes that are missing, on no page in particular. */
  lose(writes: number): void {
    this.#lostWrites += writes;
  }

  verdict(): StressGuestVerdict {
    return {
      pagesChecked: this.#pagesChecked,
      lostPages: this.#counts.lost,
      tornPages: this.#counts.torn,
      stalePages: this.#counts.stale,
      lostWrites: this.#lostWrites,
      badPages: this.#badPages,
    };
  }
}

async function checkWritten(memory: GuestMemory, range: PageRange, place: WriterPlace, tally: Tally): Promise<void> {
  await eachPage(memory, range.first, range.end, (words, at, address) => {
    const pass = address < place.page ? place.pass : place.pass - 1;
    tally.count(address, examinePage(words, at, address, pass, address === place.page ? place.words : 0));
  });
}

/** Of `done` touches each page has had as many as any other, or one more; the last may not be counted yet. */
async function checkTouched(memory: GuestMemory, range: PageRange, done: number, tally: Tally): Promise<void> {
  const rounds = Math.floor(done / ((range.end - range.first) / TARGET_PAGE_SIZE));
  let touches = 0;
  await eachPage(memory, range.first, range.end, (words, at, address) => {
    const had = (words[at] - pageKey(address, FILL_PASS)) >>> 0;
    words[at] = pageKey(address, FILL_PASS);
    const rest = examinePage(words, at, address, FILL_PASS);
    const even = had === rounds || had === rounds + 1;
    tally.count(address, rest.state === 'good' && !even ? { state: 'stale', lostWrites: 0 } : rest);
    touches += had;
  });
  tally.lose(Math.max(0, done - touches));
}

/** `places`: of each vCPU, where the programme is `writer`. */
export async function checkMemory(
  memory: GuestMemory,
  program: ProgramState,
  places: readonly WriterPlace[],
): Promise<StressGuestVerdict> {
  const tally = new Tally();
  for (const [vcpu, range] of vcpuRanges(program.workEnd, program.done.length).entries()) {
    if (program.kind === 'writer') await checkWritten(memory, range, places[vcpu], tally);
    else await checkTouched(memory, range, program.done[vcpu], tally);
  }
  await eachPage(memory, program.workEnd, memory.size, (words, at, address) => {
    tally.count(address, examinePage(words, at, address, address < program.filledEnd ? FILL_PASS : 0));
  });
  return tally.verdict();
}
