/**
 * One worker's share of a fuzz: takes an input, changes it, runs it, and keeps it if it did what none did before.
 * The same seed makes the same executions in the same order.
 */
import { closeSync, openSync, writeSync } from 'node:fs';
import { type Input, MAX_INPUT_BYTES, type Origin, Outcome, piecesOf, type Target } from './input.ts';
import { Mutator } from './mutate.ts';
import { Random } from './random.ts';

/** An input that broke something, and all that is needed to run it again. */
export interface Finding {
  readonly target: string;
  readonly origin: string;
  readonly choice: number;
  readonly bytes: Uint8Array;
  /** What broke, with its stack. */
  readonly what: string;
}

export interface Figures {
  executions: number;
  seconds: number;
  /** Different steps seen: a record after another, an error after a record. */
  outcomes: number;
  kept: number;
  bytes: number;
  slowestMs: number;
}

export interface CampaignOptions {
  readonly target: Target;
  readonly seed: number;
  readonly executions: number;
  /** Takes the input before it is run: for when the process does not survive it. */
  readonly notebook?: Notebook;
  /** Called every second. */
  readonly onProgress?: (figures: Figures) => void;
}

/** Inputs kept for what they did; more would not be picked often enough to matter. */
const MAX_KEPT = 20_000;
/** One execution may take this long, a thousand times what it takes; on a busy machine in one of so many tries. */
const MAX_EXECUTION_MS = 200;
const SLOW_TRIES = 5;
const STACK_FRAMES = 30;
const PROGRESS_MS = 1_000;
const PROGRESS_EXECUTIONS = 64;

/** Runs until an input breaks something or all executions are done. */
export async function campaign(options: CampaignOptions): Promise<{ figures: Figures; finding: Finding | undefined }> {
  const { stackTraceLimit } = Error;
  // Most inputs end in an error, and to note where it comes from takes longer than to decode them.
  Error.stackTraceLimit = 0;
  try {
    return await run(options);
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
  }
}

async function run(options: CampaignOptions): Promise<{ figures: Figures; finding: Finding | undefined }> {
  const { target, executions, notebook, onProgress } = options;
  const random = new Random(options.seed);
  const mutator = new Mutator(random);
  const outcome = new Outcome();
  const bytes = notebook?.bytes ?? new Uint8Array(MAX_INPUT_BYTES);
  const kept: Input[] = [];
  const seen = new Set<number>();
  const figures: Figures = { executions: 0, seconds: 0, outcomes: 0, kept: 0, bytes: 0, slowestMs: 0 };
  const begin = performance.now();
  let told = begin;
  for (; figures.executions < executions; figures.executions++) {
    const input = kept.length > 0 && random.once(2) ? random.pick(kept) : random.pick(target.seeds);
    const length = mutator.mutate(input, random.pick(target.seeds), bytes);
    const choice = random.next();
    const { origin } = input;
    outcome.clear();
    notebook?.write(origin, choice, length);
    const from = performance.now();
    try {
      const promise = target.execute(bytes, length, origin, choice, outcome);
      if (promise !== undefined) await promise;
    } catch (error) {
      const traced = await failureOf(target, origin, choice, bytes, length);
      return { figures, finding: findingOf(target, origin, choice, bytes.slice(0, length), traced ?? error) };
    }
    const now = performance.now();
    figures.bytes += length;
    figures.slowestMs = Math.max(figures.slowestMs, now - from);
    figures.seconds = (now - begin) / 1000;
    if (now - from > MAX_EXECUTION_MS && (await isSlow(target, origin, choice, bytes, length))) {
      const slow = new Error(`takes more than ${MAX_EXECUTION_MS} ms, ${SLOW_TRIES} times`);
      return { figures, finding: findingOf(target, origin, choice, bytes.slice(0, length), slow) };
    }
    if (isNew(outcome, seen) && kept.length < MAX_KEPT) kept.push({ origin, pieces: piecesOf(bytes, length, outcome) });
    figures.outcomes = seen.size;
    figures.kept = kept.length;
    if (onProgress !== undefined && figures.executions % PROGRESS_EXECUTIONS === 0 && now - told > PROGRESS_MS) {
      told = now;
      onProgress(figures);
    }
  }
  return { figures, finding: undefined };
}

/** What it throws when it is run again, with the stack that the first time did without; nothing where it does not. */
async function failureOf(target: Target, origin: Origin, choice: number, bytes: Uint8Array, length: number) {
  Error.stackTraceLimit = STACK_FRAMES;
  try {
    await target.execute(bytes, length, origin, choice, new Outcome());
    return undefined;
  } catch (error) {
    return error;
  }
}

async function isSlow(target: Target, origin: Origin, choice: number, bytes: Uint8Array, length: number) {
  for (let i = 0; i < SLOW_TRIES; i++) {
    const from = performance.now();
    await target.execute(bytes, length, origin, choice, new Outcome());
    if (performance.now() - from <= MAX_EXECUTION_MS) return false;
  }
  return true;
}

function isNew({ features }: Outcome, seen: Set<number>): boolean {
  const before = seen.size;
  for (const feature of features) seen.add(feature);
  return seen.size > before;
}

function findingOf(target: Target, origin: Origin, choice: number, bytes: Uint8Array, error: unknown): Finding {
  const what = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return { target: target.name, origin: origin.name, choice, bytes, what };
}

// --- the notebook --------------------------------------------------------------------------------

const HEAD_BYTES = 12;

/** A file that holds the input being run. */
export class Notebook {
  readonly #file: number;
  readonly #numbers: ReadonlyMap<string, number>;
  readonly #entry = new Uint8Array(HEAD_BYTES + MAX_INPUT_BYTES);
  readonly #head = new DataView(this.#entry.buffer);
  /** Where the input is made. */
  readonly bytes = this.#entry.subarray(HEAD_BYTES);

  constructor(path: string, target: Target) {
    this.#file = openSync(path, 'w+');
    this.#numbers = new Map(target.seeds.map(({ origin }, index) => [origin.name, index]));
  }

  write(origin: Origin, choice: number, length: number): void {
    this.#head.setUint32(0, this.#numbers.get(origin.name) as number);
    this.#head.setUint32(4, choice);
    this.#head.setUint32(8, length);
    writeSync(this.#file, this.#entry, 0, HEAD_BYTES + length, 0);
  }

  close(): void {
    closeSync(this.#file);
  }
}

/** The input in a notebook of a worker that is gone. */
export function readNotebook(entry: Uint8Array, target: Target, what: string): Finding {
  const head = new DataView(entry.buffer, entry.byteOffset, entry.byteLength);
  const { origin } = target.seeds[head.getUint32(0)];
  const bytes = new Uint8Array(entry.subarray(HEAD_BYTES, HEAD_BYTES + head.getUint32(8)));
  return { target: target.name, origin: origin.name, choice: head.getUint32(4), bytes, what };
}
