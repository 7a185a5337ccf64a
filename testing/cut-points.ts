/** The table of cuts of a scenario: made from what goes by in runs of it in which nothing is cut. */
import { cleanRun } from './clean-run.ts';
import type { Cut, CutKind, CuttingRelay, Direction } from './cutting-relay.ts';
import { survives } from './failure-invariants.ts';
import type { Scenario } from './failure-scenarios.ts';

/** Runs that a message must go by in, to be one that a run surely comes to. */
const CLEAN_RUNS = 3;
/** Of the pages of a section: which. */
const SAMPLED_PAGES: ReadonlySet<number> = new Set([1, 2, 17]);

export interface CutPoint extends Cut {
  /** For the test's name. */
  readonly title: string;
}

/**
 * Of what comes again and again the first few; pages are counted in their section, all else in the whole run. How many
 * pages a later section has is a matter of time, so of those only the first is one that a run surely comes to.
 */
function isSampled(message: string, { repetitions }: Scenario): boolean {
  const [, ...numbers] = message.split('#').map((part) => Number.parseInt(part, 10));
  if (!message.startsWith('page ')) return numbers[0] <= repetitions;
  const [page, section] = numbers;
  return section === 1 ? SAMPLED_PAGES.has(page) : page === 1 && section <= repetitions;
}

function title({ direction, message, place, kind }: Cut): string {
  const how = { close: 'closed', reset: 'reset', half: 'half closed', stall: 'stalled' }[kind];
  return `${how} ${place} ${message} of the ${direction}`;
}

/** Runs the scenario whole a few times, and lists where it can be cut. */
export async function cutPoints(scenario: Scenario): Promise<CutPoint[]> {
  const relays: CuttingRelay[] = [];
  for (let run = 0; run < CLEAN_RUNS; run += 1) {
    await cleanRun(scenario, () => async ({ relay }) => {
      relays[run] = relay;
    });
  }
  const points: Cut[] = [];
  const kinds: CutKind[] = scenario.transport === 'tcp' ? ['close', 'half', 'reset'] : ['close', 'half'];
  for (const direction of ['stream', 'return path'] satisfies Direction[]) {
    const [first, ...others] = relays.map((relay) => relay.seen(direction));
    const messages = first.filter(
      ({ name }) =>
        scenario.ownMessages.test(name) &&
        isSampled(name, scenario) &&
        others.every((seen) => seen.some((other) => other.name === name)),
    );
    for (const [index, { name: message, length }] of messages.entries()) {
      points.push({ direction, message, place: 'before', kind: 'close' });
      // Once more where it has begun, each in another of the ways in which a connection ends.
      const kind = kinds[index % kinds.length];
      if (scenario.thorough && length > 1) points.push({ direction, message, place: 'within', kind });
    }
  }
  return points.map((point) => ({ ...point, title: title(point) }));
}

/** A point that this run did not come to, though two others did, is tried again; a few times. */
const TRIES = 4;

/** Cuts there, and holds what is left against the invariants. Throws where no run comes to that point. */
export async function survivesCut(scenario: Scenario, cut: Cut): Promise<void> {
  for (let attempt = 1; attempt <= TRIES; attempt += 1) {
    const { where, cut: isCut } = await survives(scenario, { cut });
    // With postcopy a connection alone costs no guest: after the switch there is another one.
    const isPostcopy = scenario.postcopyAfterPasses !== undefined;
    if (isPostcopy && where !== 'source' && where !== 'destination') throw new Error(`the guest is ${where}`);
    if (isCut) return;
  }
  throw new Error(`${TRIES} runs did not come to ${cut.message}`);
}
