/**
 * What must hold after a migration that was made to fail, wherever it failed: the guest runs on at exactly one
 * side, with its memory whole, or is reported lost with the reason; both sides have ended in time and say why;
 * nothing is left behind.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { errorCodes, MigrationError } from '#lib/errors.js';
import { resources, threadsAndFds } from '#lib/testing/resources.js';
import type { Faults, Run, Scenario } from './failure-scenarios.ts';
import { scenarios, startRun } from './failure-scenarios.ts';
import { keepRecovering } from './keep-recovering.ts';
import { countThreads } from './native-thread.ts';
import type { ObservedGuest } from './observed-guest.ts';

/** Milliseconds in which both sides must have ended after whatever went wrong. The last word takes one second. */
export const END_WITHIN_MS = 5000;
/** Milliseconds for what a test does while it runs: to come to a point of the migration, on a busy machine. */
const MEANWHILE_WITHIN_MS = 20_000;
/** Milliseconds for the kernel to take down threads and connections that have ended. */
const GONE_WITHIN_MS = 5000;
/** Milliseconds between two looks at a fact that nobody announces. */
const LOOK_MS = 2;

/** Where the guest is after all: `paused` is at the source, stopped, where it was not started again. */
export type Whereabout = 'source' | 'destination' | 'lost' | 'paused';

export interface Ending {
  readonly where: Whereabout;
  /** Whether the guest was handed over before all of its memory was there. */
  readonly postcopy: boolean;
  /** Why each side failed; undefined where it completed. */
  readonly sourceError: Error | undefined;
  readonly destinationError: Error | undefined;
  /** What a side says went wrong although it completed. */
  readonly warnings: readonly Error[];
  /** Why a side has paused. */
  readonly pauses: readonly Error[];
  /** Whether the relay came to the message that it was to cut at. */
  readonly cut: boolean;
}

class Violations {
  readonly found: string[] = [];

  require(holds: boolean, what: string): void {
    if (!holds) this.found.push(what);
  }
}

/**
 * Runs a migration with these faults and holds it against the invariants; throws an error that names all that
 * are broken. `meanwhile` does what a test wants to happen while it runs.
 */
export async function survives(
  scenario: Scenario,
  faults: Faults = {},
  meanwhile: (run: Run) => Promise<void> = async () => {},
): Promise<Ending> {
  baseline ??= await warmUp();
  const run = await startRun(scenario, faults);
  // What is paused is recovered; what nobody is left to recover with is given up.
  const { reasons } = keepRecovering(run.outgoing, run.incoming);
  const violations = new Violations();
  let ending: Ending | undefined;
  try {
    await within(MEANWHILE_WITHIN_MS, run, meanwhile(run));
    const [sourceError, destinationError] = await within(END_WITHIN_MS, run, bothEnd(run));
    const { warnings, relay, incoming } = run;
    const { postcopy } = incoming.info();
    const went = { where: whereabout(run), postcopy, cut: relay.isCut };
    ending = { ...went, sourceError, destinationError, warnings, pauses: reasons };
    await judge(run, ending, violations);
    const mayPause = faults.guestAtSource !== undefined;
    violations.require(ending.where !== 'paused' || mayPause, 'the guest is left stopped at the source');
  } catch (error) {
    violations.require(false, (error as Error).message);
  }
  await cleanUp(run, faults, violations);
  const left = await leftBehind();
  violations.require(left === undefined, `left behind: ${left}`);
  if (ending !== undefined && violations.found.length === 0) return ending;
  throw new Error([...violations.found, ...(ending === undefined ? [] : [describeEnding(run, ending)])].join('\n'));
}

/** What this process holds between two migrations. */
let baseline: ReturnType<typeof resources> | undefined;

/** With the first migration the process gets what it keeps: Node's pool of threads, the addon's pagemap. */
async function warmUp(): Promise<ReturnType<typeof resources>> {
  const run = await startRun(scenarios['postcopy after a pass']);
  await Promise.all([run.outgoing.finished, run.incoming.finished]);
  await run.close();
  await comesTrue(() => countThreads('mig/') + countThreads('stress-vcpu/') === 0);
  return resources();
}

async function errorOf(finished: Promise<unknown>): Promise<Error | undefined> {
  try {
    await finished;
    return undefined;
  } catch (error) {
    return error as Error;
  }
}

/** Why each side failed. */
function bothEnd({ outgoing, incoming }: Run): Promise<[source: Error | undefined, destination: Error | undefined]> {
  return Promise.all([errorOf(outgoing.finished), errorOf(incoming.finished)]);
}

/** What `promise` gives; rejects, saying where both sides stand, when it takes longer. */
async function within<T>(boundMs: number, { outgoing, incoming, relay }: Run, promise: Promise<T>): Promise<T> {
  const bound = new AbortController();
  const hang = delay(boundMs, undefined, { signal: bound.signal }).then(() => {
    throw new Error(
      `no end within ${boundMs} ms: the source is ${outgoing.status}, the destination ${incoming.status}, the ` +
        `connection ${relay.isCut ? 'cut' : 'not cut'}; threads: ${engineThreads().join(', ')}`,
    );
  });
  hang.catch(() => {}); // also where it is not waited for any more
  try {
    return await Promise.race([promise, hang]);
  } finally {
    bound.abort();
  }
}

/** The engine's threads that are there, each with the number of the system call that it is in. */
function engineThreads(): string[] {
  return readdirSync('/proc/self/task').flatMap((task) => {
    try {
      const name = readFileSync(`/proc/self/task/${task}/comm`, 'utf8').trim();
      const [call] = readFileSync(`/proc/self/task/${task}/syscall`, 'utf8').split(' ');
      return name.startsWith('mig/') ? [`${name} in ${call.trim()}`] : [];
    } catch {
      return []; // it ended meanwhile
    }
  });
}

function whereabout({ source, target, outgoing, incoming }: Run): Whereabout {
  if (source.running) return 'source';
  const { postcopy, lost } = incoming.info();
  // A destination that fails when it has all of the guest does not lose it.
  if (incoming.status === 'completed' || (postcopy && lost === undefined)) return 'destination';
  return outgoing.handedOver || target.running ? 'lost' : 'paused';
}

async function judge(run: Run, ending: Ending, violations: Violations): Promise<void> {
  const { outgoing, incoming, source, target, whereabouts } = run;
  const { where, sourceError, destinationError } = ending;
  violations.require(!whereabouts.ranTwice, 'the guest ran at both sides at once');
  violations.require(
    outgoing.status === (sourceError === undefined ? 'completed' : 'failed') ||
      (outgoing.status === 'cancelled' && (sourceError as MigrationError).code === 'CANCELLED'),
    `the source's last status is ${outgoing.status}`,
  );
  violations.require(
    incoming.status === (destinationError === undefined ? 'completed' : 'failed'),
    `the destination's last status is ${incoming.status}`,
  );
  violations.require(outgoing.handedOver === (where === 'destination' || where === 'lost'), 'handedOver is wrong');
  requireTyped('source', sourceError, violations);
  requireTyped('destination', destinationError, violations);
  if (where === 'source') {
    violations.require(!target.running, 'the guest runs at the destination too');
    violations.require(sourceError !== undefined, 'the source completed, and runs its guest');
    await requireRuns('source', source, violations);
  } else if (where === 'destination') {
    violations.require(target.running, 'the destination has the guest, and does not run it');
    await requireRuns('destination', target, violations);
  } else if (where === 'lost') {
    const { postcopy, lost } = incoming.info();
    const reason = postcopy ? lost?.reason : destinationError?.message;
    violations.require(
      reason !== undefined && reason === destinationError?.message,
      'the guest is lost, and the destination does not say why',
    );
  }
  // Its memory is not changed by a migration, wherever the guest has gone.
  await requireIntact('source', source, violations);
}

/** What a thread or a guest of a test threw keeps its message; all else is of the table of codes. */
function requireTyped(side: string, error: Error | undefined, violations: Violations): void {
  if (error === undefined || /made to fail at/.test(error.message)) return;
  const typed = error instanceof MigrationError && Object.hasOwn(errorCodes, error.code);
  violations.require(typed, `the ${side}'s error is no MigrationError`);
  if (typed) violations.require(error.message !== '' && error.hint !== '', `the ${side}'s error says too little`);
}

/** The guest makes progress; then it is stopped. */
async function requireRuns(side: string, guest: ObservedGuest, violations: Violations): Promise<void> {
  const { writesHere } = guest.stress.stats;
  const goesOn = await comesTrue(() => guest.stress.stats.writesHere > writesHere);
  violations.require(goesOn, `the guest is said to run at the ${side}, and does nothing`);
  await guest.stress.stop();
  await requireIntact(side, guest, violations);
}

async function requireIntact(side: string, { stress }: ObservedGuest, violations: Violations): Promise<void> {
  const { lostPages, tornPages, stalePages, lostWrites } = await stress.verify();
  const bad = stress.stats.badPages + lostPages + tornPages + stalePages + lostWrites;
  violations.require(
    bad === 0,
    `memory at the ${side}: ${lostPages} lost, ${tornPages} torn, ${stalePages} stale pages, ${lostWrites} lost ` +
      `writes, ${stress.stats.badPages} bad pages found by the guest`,
  );
}

/** Whatever happened, the next test begins with nothing of this one. */
async function cleanUp(run: Run, { atSource, atDestination }: Faults, violations: Violations): Promise<void> {
  atSource?.release();
  atDestination?.release();
  run.outgoing.cancel();
  run.incoming.abort();
  await run.relay.close();
  await Promise.race([Promise.allSettled([run.outgoing.finished, run.incoming.finished]), delay(END_WITHIN_MS)]);
  // A guest that is lost stands before its missing pages; it must not have gone on with others' content.
  violations.require(run.target.stress.stats.badPages === 0, 'the guest ran into pages that are not its own');
  run.incoming.abandon();
  await run.close();
}

/** True once it holds; false where it does not within a bound. */
async function comesTrue(holds: () => boolean): Promise<boolean> {
  for (let leftMs = GONE_WITHIN_MS; !holds(); leftMs -= LOOK_MS) {
    if (leftMs <= 0) return false;
    await delay(LOOK_MS);
  }
  return true;
}

/** What is there that was not there before, as text; the next run is not blamed for it. */
async function leftBehind(): Promise<string | undefined> {
  if (await comesTrue(() => isDeepStrictEqual(resources(), baseline))) return undefined;
  const before = baseline;
  baseline = resources();
  return `${JSON.stringify(baseline)}, and before ${JSON.stringify(before)}: ${threadsAndFds().join(', ')}`;
}

function describeEnding({ outgoing, incoming, source, target }: Run, { where, sourceError, destinationError }: Ending) {
  const say = (error: Error | undefined) => (error === undefined ? 'completed' : `failed with ${error.stack}`);
  return (
    `The guest is ${where}: source ${source.running ? 'running' : 'stopped'}, handedOver ${outgoing.handedOver}; ` +
    `destination ${target.running ? 'running' : 'stopped'}.\nThe source is ${outgoing.status}: ${say(sourceError)}\n` +
    `The destination is ${incoming.status}: ${say(destinationError)}`
  );
}
