/** The part of the contract that is about the end: what close() of the kit must let go of. */
import { setTimeout as delay } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import type { Guest } from '../memory/guest.js';
import { type ContractRule, type ContractRun, require } from './contract-run.js';
import { resources, threadsAndFds } from './resources.js';

type Resources = ReturnType<typeof resources>;

/** Milliseconds in which what has been ended is gone, or it takes longer. */
const SETTLED_MS = 20;

/** What the process holds when nothing changes any more: threads are not gone at once. */
async function settledResources(): Promise<Resources> {
  for (let held = resources(); ; ) {
    await delay(SETTLED_MS);
    const now = resources();
    if (isDeepStrictEqual(now, held)) return now;
    held = now;
  }
}

function isNoMore(now: Resources, before: Resources): boolean {
  const kinds = Object.keys(now.handles);
  return (
    now.threads <= before.threads &&
    now.fds <= before.fds &&
    now.mappings <= before.mappings &&
    kinds.every((kind) => now.handles[kind] <= before.handles[kind])
  );
}

async function requireNothingLeft<G extends Guest>(
  run: ContractRun<G>,
  when: string,
  lifeOf: () => Promise<G>,
): Promise<void> {
  // With the first of its kind the process gets what it keeps, such as Node's pool of threads.
  await run.closeGuest(await lifeOf());
  const before = await settledResources();
  const guest = await lifeOf();
  await run.closeGuest(guest);
  await run.within('a second kit.close()', (async () => run.kit.close(guest))());
  const isGone = await run.comesTrue(() => isNoMore(resources(), before));
  const left = `${JSON.stringify(resources())}, before ${JSON.stringify(before)}: ${threadsAndFds().join(', ')}`;
  require(isGone, `left behind by one that was closed ${when}: ${left}`);
}

const letsGoOfAll: ContractRule = {
  name: 'closed, it leaves nothing behind',
  rule: 'A guest that is closed keeps no thread, descriptor or memory, whether it ran or not; twice is harmless.',
  mend: 'Close its RAM blocks, end its threads, and let a second close() do nothing.',
  async check(run) {
    await requireNothingLeft(run, 'before it was started', () => run.create());
    await requireNothingLeft(run, 'while it was empty', () => run.empty());
    await requireNothingLeft(run, 'after it ran', async () => {
      const guest = await run.createRunning();
      await run.stop(guest);
      await run.verify(guest);
      return guest;
    });
  },
};

export const resourceRules: readonly ContractRule[] = [letsGoOfAll];
