/** `npm run test:chaos -- [options]`: the chaos from the command line, with progress and a closing summary. */
import { parseArgs } from 'node:util';
import { EXIT_INTERRUPTED, onInterrupt } from '#lib/cli/command-line.js';
import { createLiveLine } from '#lib/cli/live-line.js';
import { formatCount, formatMs } from '#lib/cli/size.js';
import { type ChaosFigures, chaosCampaign } from './campaign.ts';
import { withHugepagesIfAny } from './hugepages.ts';
import { chaosMigration } from './migration.ts';
import { drawPlan, planText } from './plan.ts';

const usage = `npm run test:chaos -- [options]
  --cuts N     how often the network breaks, over as many migrations as it takes; 200 by default
  --seed S     the same seed draws the same migrations and cuts; a random one by default
  --replay S   the one migration with that seed, which a failure names; prints what happened
  --no-preempt without the preempt channel`;

const CUTS = 200;
/** More of them than a migration may have. */
const CUTS_OF_REPLAY = 1000;

function whole(text: string | undefined, name: string, preset: number): number {
  const value = text === undefined ? preset : Number(text);
  if (Number.isSafeInteger(value) && value >= 0 && value < 2 ** 32) return value;
  console.error(`--${name} ${text} is no whole number from 0\n${usage}`);
  process.exit(2);
}

function figuresText({ cuts, migrations, recoveries, kept, worstPauseMs, pausedMs }: ChaosFigures): string {
  return [
    `${formatCount(cuts)} cuts`,
    `${formatCount(migrations)} migrations`,
    `${formatCount(recoveries)} recoveries`,
    `${formatCount(kept)} guests kept at the source`,
    `worst pause ${formatMs(worstPauseMs)}`,
    `mean ${formatMs(recoveries === 0 ? 0 : pausedMs / recoveries)}`,
  ].join(', ');
}

const line = await createLiveLine();
// What was reserved is given back also where it is ended.
const signal = onInterrupt();

async function campaign(seed: number, cuts: number, preempt: boolean): Promise<void> {
  let now = 'warming up';
  let figures: ChaosFigures | undefined;
  const began = performance.now();
  console.error(`seed ${seed}`);
  line.follow(() => {
    const done = figures === undefined ? '' : `${figuresText(figures)} of ${formatCount(cuts)} cuts; `;
    return { text: `${done}${now}`, mark: now };
  });
  const result = await withHugepagesIfAny((hugepages) =>
    chaosCampaign({
      ...{ seed, cuts, hugepages, preempt, signal },
      onMigration: (plan, soFar) => {
        now = planText(plan);
        figures = soFar;
      },
    }),
  );
  line.end();
  console.log(`seed ${seed}: ${figuresText(result)}, in ${formatMs(performance.now() - began)}; nothing lost`);
  if (signal.aborted) process.exitCode = EXIT_INTERRUPTED;
}

async function replay(seed: number, preempt: boolean): Promise<void> {
  await withHugepagesIfAny(async (hugepages) => {
    const plan = drawPlan(seed, { cuts: CUTS_OF_REPLAY, hugepages, preempt });
    const { where, breaks, recoveries, history } = await chaosMigration(plan);
    console.error(history);
    console.log(`the guest is whole at the ${where}: ${breaks.length} cuts, ${recoveries.count} recoveries`);
  });
}

try {
  const { values } = parseArgs({
    options: {
      seed: { type: 'string' },
      cuts: { type: 'string' },
      replay: { type: 'string' },
      'no-preempt': { type: 'boolean', default: false },
    },
  });
  const preempt = !values['no-preempt'];
  if (values.replay !== undefined) await replay(whole(values.replay, 'replay', 0), preempt);
  else {
    const seed = whole(values.seed, 'seed', Math.floor(Math.random() * 2 ** 32));
    await campaign(seed, whole(values.cuts, 'cuts', CUTS), preempt);
  }
} catch (error) {
  line.end();
  const isUsage = (error as NodeJS.ErrnoException).code?.startsWith('ERR_PARSE_ARGS') ?? false;
  console.error(isUsage ? `${(error as Error).message}\n${usage}` : (error as Error).message);
  process.exitCode = isUsage ? 2 : 1;
}
