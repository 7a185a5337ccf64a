/** Migrations one after the other over a network that breaks, until it has broken as often as was asked for. */
import { setTimeout as delay } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { resources, threadsAndFds } from '#lib/testing/resources.js';
import { chaosMigration } from './migration.ts';
import { type ChaosLimits, type ChaosPlan, drawPlan, migrationSeed, planText } from './plan.ts';

export interface ChaosFigures {
  cuts: number;
  migrations: number;
  recoveries: number;
  /** Guests that stayed at the source, as a connection broke before the hand-over. */
  kept: number;
  /** Milliseconds. */
  worstPauseMs: number;
  pausedMs: number;
}

export interface ChaosWish extends ChaosLimits {
  readonly seed: number;
  /** Aborted: no other migration is begun. */
  readonly signal?: AbortSignal;
  /** Told before each migration. */
  readonly onMigration?: (plan: ChaosPlan, figures: ChaosFigures) => void;
}

/** Milliseconds for the kernel to take down threads and connections that have ended, and between two looks. */
const GONE_WITHIN_MS = 5000;
const LOOK_MS = 5;

/** Throws where something is there that was not there before. */
async function requireNothingLeft(before: ReturnType<typeof resources>): Promise<void> {
  for (let leftMs = GONE_WITHIN_MS; leftMs > 0; leftMs -= LOOK_MS) {
    if (isDeepStrictEqual(resources(), before)) return;
    await delay(LOOK_MS);
  }
  const text = `${JSON.stringify(resources())}, and before ${JSON.stringify(before)}: ${threadsAndFds().join(', ')}`;
  throw new Error(`left behind: ${text}`);
}

/** One migration with no cuts, with which the process gets what it keeps: Node's threads, the addon's pagemap. */
async function warmUp(): Promise<ReturnType<typeof resources>> {
  const plan = drawPlan(1, { cuts: 0, hugepages: false, preempt: false });
  await chaosMigration({ ...plan, precopyPasses: 1, weather: { rate: 0, delayMs: 0, jitterMs: 0 } });
  for (let last = resources(), same = 0; same < 10; same++) {
    await delay(LOOK_MS);
    const now = resources();
    if (!isDeepStrictEqual(now, last)) same = 0;
    last = now;
  }
  return resources();
}

/**
 * Throws the first failure: what is wrong, and the seed of the migration, with which `--replay` runs that one again.
 */
export async function chaosCampaign({ seed, cuts, signal, onMigration, ...may }: ChaosWish): Promise<ChaosFigures> {
  const figures: ChaosFigures = { cuts: 0, migrations: 0, recoveries: 0, kept: 0, worstPauseMs: 0, pausedMs: 0 };
  const before = await warmUp();
  while (figures.cuts < cuts && !signal?.aborted) {
    const plan = drawPlan(migrationSeed(seed, figures.migrations), { ...may, cuts: cuts - figures.cuts });
    onMigration?.(plan, figures);
    try {
      const { where, breaks, recoveries } = await chaosMigration(plan);
      await requireNothingLeft(before);
      figures.cuts += breaks.length;
      figures.recoveries += recoveries.count;
      figures.pausedMs += recoveries.pausedMs;
      figures.worstPauseMs = Math.max(figures.worstPauseMs, recoveries.longestMs);
      if (where === 'source') figures.kept += 1;
    } catch (error) {
      const which = `migration ${figures.migrations} (--replay ${plan.seed}, ${planText(plan)})`;
      throw new Error(`${which}: ${(error as Error).message}`, { cause: error });
    }
    figures.migrations += 1;
  }
  return figures;
}
