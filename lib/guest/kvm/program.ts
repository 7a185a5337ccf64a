/** The programmes that come with a KVM guest: what part of memory each vCPU works on, and how fast. Pure. */
import { MigrationError } from '../../errors.js';
import { TARGET_PAGE_SIZE } from '../../memory/page.js';
import type { ProgramState } from './device-state.js';
import { WORK_ADDRESS } from './memory-map.js';
import type { VcpuTask } from './own-page.js';

export interface ProgramSettings {
  /** Share of the memory above the first MiB that has content from the start, the rest stays zero; 7/8 when absent. */
  readonly filledShare?: number;
  /** Share of that memory which the programme works on, at most what is filled; 1/4 when absent. */
  readonly workingSetShare?: number;
  /** Pages a second, over all vCPUs; 0 is as fast as they go. 20,000 when absent. */
  readonly writesPerSecond?: number;
  /** `writer`: passes of a vCPU from one line of output to the next; 0, none, when absent. */
  readonly reportPasses?: number;
}

/** Beyond it a page takes longer than the programmes can count: 50 ms at 2.6 GHz. */
const INTERVAL_MAX = 2 ** 27 - 1;

export interface PageRange {
  readonly first: number;
  /** Behind the last page. */
  readonly end: number;
}

const pagesOf = (begin: number, end: number): number => Math.floor((end - begin) / TARGET_PAGE_SIZE);

/** The memory that a programme has, by the settings. Throws BAD_ARGUMENT where it is less than a page for each vCPU. */
export function programMemory(
  memory: number,
  vcpus: number,
  { filledShare = 7 / 8, workingSetShare = 1 / 4 }: ProgramSettings,
): Pick<ProgramState, 'filledEnd' | 'workEnd'> {
  const pages = pagesOf(WORK_ADDRESS, memory);
  if (pages < vcpus) {
    throw new MigrationError('BAD_ARGUMENT', `a KVM guest of ${memory} bytes has no memory to work on`, {
      hint: `give it ${WORK_ADDRESS + vcpus * TARGET_PAGE_SIZE} bytes of memory or more`,
    });
  }
  const share = (of: number): number => Math.min(pages, Math.max(vcpus, Math.ceil(pages * of)));
  const filled = share(filledShare);
  const work = Math.min(filled, share(workingSetShare));
  return {
    filledEnd: WORK_ADDRESS + filled * TARGET_PAGE_SIZE,
    workEnd: WORK_ADDRESS + work * TARGET_PAGE_SIZE,
  };
}

/** The part of each vCPU: as many pages, but for one. */
export function vcpuRanges(workEnd: number, vcpus: number): PageRange[] {
  const pages = pagesOf(WORK_ADDRESS, workEnd);
  const begin = (vcpu: number): number => WORK_ADDRESS + Math.floor((pages * vcpu) / vcpus) * TARGET_PAGE_SIZE;
  return Array.from({ length: vcpus }, (_, vcpu) => ({ first: begin(vcpu), end: begin(vcpu + 1) }));
}

export function vcpuTasks(
  workEnd: number,
  vcpus: number,
  tscKhz: number,
  { writesPerSecond = 20_000, reportPasses = 0 }: ProgramSettings,
): VcpuTask[] {
  const cycles = writesPerSecond === 0 ? 0 : Math.round((tscKhz * 1000 * vcpus) / writesPerSecond);
  const interval = Math.min(cycles, INTERVAL_MAX);
  return vcpuRanges(workEnd, vcpus).map((range) => ({ ...range, interval, report: reportPasses }));
}

/** Whether a state from a peer speaks of memory that there is. An image has none. */
export function isProgramWithin({ kind, filledEnd, workEnd }: ProgramState, memory: number, vcpus: number): boolean {
  if (kind === 'image') return filledEnd === 0 && workEnd === 0;
  const whole = workEnd % TARGET_PAGE_SIZE === 0 && filledEnd % TARGET_PAGE_SIZE === 0;
  return whole && workEnd >= WORK_ADDRESS + vcpus * TARGET_PAGE_SIZE && workEnd <= filledEnd && filledEnd <= memory;
}
