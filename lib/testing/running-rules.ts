/** The part of the contract that is about running: blocks, start, stop, throttle, vCPU threads. */
import { existsSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import type { Guest } from '../memory/guest.js';
import { requireAlive } from '../memory/guest-failure.js';
import { TARGET_PAGE_SIZE } from '../memory/page.js';
import { type ContractRule, type ContractRun, failureOf, require } from './contract-run.js';
import { countPages, writtenWhile } from './written-pages.js';

/** Milliseconds in which a guest that stands still could give itself away. */
const STILL_MS = 100;
/**
 * Milliseconds over which is measured how much a guest does, how often, and how hard it is held back. Long enough for
 * slices of 10 ms and the rests between them to be met some times over.
 */
const THROTTLED_MS = 200;
const THROTTLE_ROUNDS = 3;
const THROTTLE_PERCENT = 90;

const describeBlocks = ({ ramBlocks }: Guest): string =>
  ramBlocks.map(({ idstr, size }) => `${idstr} ${size}`).join(', ');
const identify = ({ ramBlocks }: Guest): string =>
  ramBlocks.map(({ idstr, size, pageSize, handle }) => `${idstr} ${size} ${pageSize} (${handle})`).join(', ');

const stableBlocks: ContractRule = {
  name: 'its RAM blocks are the same from its making to its end',
  rule: 'ramBlocks has the same blocks in the same order all the time, and an empty guest has blocks like them.',
  mend: 'Make the blocks with the guest, and keep them in an array that does not change.',
  async check(run) {
    const guest = await run.create();
    const atFirst = identify(guest);
    require(guest.ramBlocks.length > 0, 'there are none');
    const stillThose = (when: string) =>
      require(identify(guest) === atFirst, `at first ${atFirst}; ${when} ${identify(guest)}`);
    await run.start(guest);
    stillThose('when it has started');
    await run.progress(guest);
    await run.stop(guest);
    stillThose('when it has stopped');
    await guest.saveDeviceState();
    stillThose('when it has been saved');
    const other = await run.empty();
    require(describeBlocks(other) ===
      describeBlocks(guest), `${describeBlocks(guest)}; the empty one ${describeBlocks(other)}`);
  },
};

const saysWhetherItRuns: ContractRule = {
  name: 'running says whether it runs',
  rule: 'running is true from when start() has resolved until stop() has, and false otherwise.',
  mend: 'Set it where start() and stop() have done their work; a new guest stands still.',
  async check(run) {
    const guest = await run.create();
    const says = (running: boolean, when: string) => require(guest.running === running, `${guest.running} ${when}`);
    says(false, 'before it was started');
    require(!(await run.empty()).running, 'true of an empty one');
    await run.start(guest);
    says(true, 'when start() has resolved');
    await run.stop(guest);
    says(false, 'when stop() has resolved');
  },
};

const startsAndStops: ContractRule = {
  name: 'it starts and stops again and again',
  rule: 'A guest that was stopped can be started again, and goes on where it was.',
  mend: 'Let stop() end nothing that start() can not bring back.',
  async check(run) {
    const guest = await run.create();
    for (let round = 1; round <= 3; round += 1) {
      await run.start(guest);
      await run.requireRunsOn(guest);
    }
  },
};

const repeatedCalls: ContractRule = {
  name: 'to be started while it runs, and stopped while it stands still, changes nothing',
  rule: 'start() of a guest that runs, and stop() of one that stands still, do nothing, or reject and do nothing.',
  mend: 'Look at running first.',
  async check(run) {
    const guest = await run.createRunning();
    await failureOf(run.start(guest));
    await run.requireRunsOn(guest);
    await failureOf(run.stop(guest));
    require(!guest.running, 'running is true after a second stop()');
    await run.requireGoesOn(guest);
  },
};

const writesWhileItRuns: ContractRule = {
  name: 'what it writes is in its RAM blocks',
  rule: 'A guest that runs writes memory of its RAM blocks, as only that is migrated.',
  mend: 'Have progress() of the kit wait until the guest has written, and the guest write into ramBlocks.',
  async check(run) {
    const guest = await run.createRunning();
    const written = await writtenWhile(guest, () => run.progress(guest));
    require(countPages(written) > 0, 'no page was written while it ran and progress() resolved');
  },
};

const leavesItsRamAlone: ContractRule = {
  name: 'from stop() on it leaves its RAM alone, also while it is saved',
  rule: 'From stop() to start() nothing writes RAM, saveDeviceState() included: what is written then may be lost.',
  mend: 'Let stop() wait for whoever writes: threads, timers, I/O that is under way. Keep what is saved out of RAM.',
  async check(run) {
    const guest = await run.createRunning();
    await run.stop(guest);
    const written = await writtenWhile(guest, async () => {
      await delay(STILL_MS);
      await guest.saveDeviceState();
    });
    const where = guest.ramBlocks.map(({ idstr }, index) => `${idstr} ${written[index].describeRanges(8)}`);
    require(countPages(written) === 0, `written while it stood still: pages ${where.join('; ')}`);
  },
};

const noticesLostWrites: ContractRule = {
  name: 'verify() of the kit notices what is not as it was written',
  rule: 'kit.verify() throws where pages that the guest has written hold something else.',
  mend: 'Have verify() look at all that progress() waits for; a check that passes whatever is there checks nothing.',
  async check(run) {
    const guest = await run.createRunning();
    const written = await writtenWhile(guest, () => run.progress(guest));
    await run.stop(guest);
    await run.verify(guest);
    for (const [index, pages] of written.entries()) {
      const bytes = guest.ramBlocks[index].bytes();
      for (let page = pages.findNext(0); page < pages.pageCount; page = pages.findNext(page + 1)) {
        const start = page * TARGET_PAGE_SIZE;
        for (let offset = start; offset < start + TARGET_PAGE_SIZE; offset += 1) bytes[offset] ^= 0xff;
      }
    }
    const noticed = await failureOf(run.verify(guest));
    require(noticed !== undefined, `${countPages(written)} pages were spoilt, and verify() passed`);
  },
};

const vcpuThreads: ContractRule = {
  name: 'vcpuThreads are its threads',
  rule: 'vcpuThreads, where it is there, has the kernel thread ids of the vCPUs while the guest runs, each once.',
  mend: 'Give what gettid() says in each vCPU thread, or leave vcpuThreads out.',
  async check(run) {
    const guest = await run.create();
    if (guest.vcpuThreads === undefined) return;
    await run.start(guest);
    await run.progress(guest);
    const ids = guest.vcpuThreads;
    require(ids.length > 0, 'none, while it runs');
    require(new Set(ids).size === ids.length, `one twice: ${ids.join(', ')}`);
    const strangers = ids.filter((id) => !existsSync(`/proc/self/task/${id}`));
    require(strangers.length === 0, `no threads of this process: ${strangers.join(', ')}`);
  },
};

const throttle: ContractRule = {
  name: 'throttle holds it back, and lets it go',
  rule: 'throttle(percent), where it is there, holds the vCPUs back for that share of the time, until throttle(0).',
  mend: 'Let the vCPUs rest, in slices of some milliseconds, or leave throttle out; give the kit work() to see it by.',
  async check(run) {
    const guest = await run.createRunning();
    if (guest.throttle === undefined) return;
    let held = 0;
    let free = 0;
    // In turn, as the host may be busy with something else for a while.
    for (let round = 1; round <= THROTTLE_ROUNDS; round += 1) {
      held += await workOf(run, guest, THROTTLE_PERCENT);
      free += await workOf(run, guest, 0);
    }
    const did = `it did ${held} at ${THROTTLE_PERCENT} %, and ${free} when it was let go`;
    require(held * 3 < free, `in ${THROTTLE_ROUNDS * THROTTLED_MS} ms each ${did}`);
    await run.requireRunsOn(guest);
  },
};

async function workOf<G extends Guest>({ kit }: ContractRun<G>, guest: G, percent: number): Promise<number> {
  require(kit.work !== undefined, 'the guest has throttle(), and the kit has no work()');
  guest.throttle?.(percent);
  const before = kit.work(guest);
  await delay(THROTTLED_MS);
  return kit.work(guest) - before;
}

const lives: ContractRule = {
  name: 'it does not say that it died while it lives',
  rule: 'died, where it is there, is settled only when the guest can not go on: not by stop(), nor by being saved.',
  mend: 'Resolve it where a vCPU or worker ends that nobody has asked to end.',
  async check(run) {
    const guest = await run.create();
    for (let round = 1; round <= 3; round += 1) {
      await run.start(guest);
      await run.progress(guest);
      await run.stop(guest);
      await guest.saveDeviceState();
    }
    await requireAlive(guest);
  },
};

export const runningRules: readonly ContractRule[] = [
  stableBlocks,
  saysWhetherItRuns,
  startsAndStops,
  repeatedCalls,
  writesWhileItRuns,
  leavesItsRamAlone,
  noticesLostWrites,
  vcpuThreads,
  throttle,
  lives,
];
