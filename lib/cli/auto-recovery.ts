/**
 * Recovers a migration whose connection is lost, by itself and as often as it takes: tries at once, then again and
 * again with growing waits, until a pause has lasted for so long that the migration is given up. For either side.
 */
import { describeError } from '../errors.js';
import { errorFields } from '../logs/migration-fields.js';
import type { EventDetail, Look } from './live-line.js';
import { formatDuration, formatMs } from './size.js';

/** Milliseconds from a try that failed to the next: the first such wait, and the longest, as each doubles. */
const FIRST_WAIT_MS = 100;
const LONGEST_WAIT_MS = 2000;
/** Milliseconds that a pause lasts at most where nothing is lost by giving up. */
const HARMLESS_MS = 3000;

const pauseStatuses = new Set(['postcopy-paused', 'postcopy-recover-setup', 'postcopy-recover']);
const finalStatuses = new Set(['completed', 'failed', 'cancelled']);

/** What there is of a migration, at either side, for its recovery. */
export interface PausableMigration {
  readonly pauseReason: Error | undefined;
  on(event: 'status', listener: (status: string) => void): unknown;
}

export interface AutoRecoveryOptions {
  /** Milliseconds that a pause may last; 0: none is waited for. */
  readonly forMs: number;
  /** One try: rejects where the migration is still paused, and one has to try again. */
  readonly attempt: () => Promise<unknown>;
  /** Ends the migration. */
  readonly giveUp: () => unknown;
  /** Whether nothing would be lost by that any more, so that it is not worth the whole wait. Never, when absent. */
  readonly isHarmless?: () => boolean;
  /** Something happened that a person should know. */
  readonly tell: (text: string, detail?: EventDetail) => void;
}

/** Over all pauses that have ended in a recovery, in milliseconds. */
export interface Recoveries {
  readonly count: number;
  readonly pausedMs: number;
  readonly longestMs: number;
}

/** Whether the status is one of a pause, of which this tells in its own words. */
export function isOfPause(status: string): boolean {
  return pauseStatuses.has(status);
}

/** As reports have it: nothing where there were none. */
export interface RecoveriesReport {
  readonly recoveries?: Pick<Recoveries, 'count' | 'pausedMs'>;
}

export function recoveriesReport({ count, pausedMs }: Recoveries): RecoveriesReport {
  return count === 0 ? {} : { recoveries: { count, pausedMs } };
}

interface Pause {
  /** By performance.now(). */
  readonly since: number;
  tries: number;
  reason: string;
  /** Aborted when the pause is over, however. */
  readonly over: AbortController;
}

/** Resolved after so long, or when the signal is given. */
function elapsed(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener('abort', done);
    if (signal.aborted) done();
  });
}

export class AutoRecovery {
  readonly #migration: PausableMigration;
  readonly #options: AutoRecoveryOptions;
  #pause: Pause | undefined;
  #count = 0;
  #pausedMs = 0;
  #longestMs = 0;

  /** Begins when the migration pauses. */
  constructor(migration: PausableMigration, options: AutoRecoveryOptions) {
    this.#migration = migration;
    this.#options = options;
    migration.on('status', (status) => this.#moved(status));
  }

  get recoveries(): Recoveries {
    return { count: this.#count, pausedMs: this.#pausedMs, longestMs: this.#longestMs };
  }

  /** How the present pause stands; undefined while there is none. */
  look(): Look | undefined {
    if (this.#pause === undefined) return undefined;
    const { since, tries, reason } = this.#pause;
    const made = tries === 1 ? '1 try' : `${tries} tries`;
    const ms = performance.now() - since;
    const text = `paused for ${formatMs(ms)}, ${made} to recover, given up ${this.#untilGivenUp(ms)}: ${reason}`;
    return { text, mark: `paused ${since} ${tries}`, fields: { pausedMs: ms, tries } };
  }

  /** Said of a pause that has lasted for so long. */
  #untilGivenUp(pausedMs: number): string {
    const leftMs = this.#options.forMs - pausedMs;
    return leftMs > 0 ? `in ${formatDuration(leftMs)}` : 'now';
  }

  /** Does not wait for the present pause's end; nothing where there is none. */
  giveUpNow(): void {
    if (this.#pause !== undefined) this.#giveUp(this.#pause);
  }

  /** Between the statuses of a recovery that comes to nothing it is paused all the while. */
  #moved(status: string): void {
    if (status === 'postcopy-paused' && this.#pause === undefined) this.#begin();
    else if (status === 'postcopy-active' && this.#pause !== undefined) this.#recovered(this.#pause);
    else if (finalStatuses.has(status)) this.#end();
  }

  #begin(): void {
    const { forMs, tell } = this.#options;
    const { pauseReason } = this.#migration;
    const reason = pauseReason === undefined ? 'it was asked to' : describeError(pauseReason);
    const pause: Pause = { since: performance.now(), tries: 0, reason, over: new AbortController() };
    this.#pause = pause;
    const cause = pauseReason === undefined ? {} : errorFields(pauseReason);
    tell(`paused: ${reason}`, { level: 'warn', event: 'pause', ...cause });
    if (forMs === 0) return this.#giveUp(pause);
    const deadline = setTimeout(() => this.#giveUp(pause), forMs);
    pause.over.signal.addEventListener('abort', () => clearTimeout(deadline));
    // Not within the event, whose other listeners have yet to hear of it.
    queueMicrotask(() => void this.#try(pause));
  }

  async #try(pause: Pause): Promise<void> {
    const { signal } = pause.over;
    for (let waitMs = FIRST_WAIT_MS; !signal.aborted; waitMs = Math.min(LONGEST_WAIT_MS, 2 * waitMs)) {
      pause.tries += 1;
      try {
        await this.#options.attempt();
        return;
      } catch (error) {
        pause.reason = describeError(error);
      }
      if (this.#isLongEnough(pause)) return this.#giveUp(pause);
      await elapsed(waitMs, signal);
    }
  }

  #isLongEnough({ since, over }: Pause): boolean {
    const isHarmless = this.#options.isHarmless?.() ?? false;
    return isHarmless && !over.signal.aborted && performance.now() - since >= HARMLESS_MS;
  }

  #recovered(pause: Pause): void {
    const ms = performance.now() - pause.since;
    this.#count += 1;
    this.#pausedMs += ms;
    this.#longestMs = Math.max(this.#longestMs, ms);
    this.#end();
    this.#options.tell(`recovered after ${formatMs(ms)}`, { event: 'recovery', pausedMs: ms });
  }

  #giveUp(pause: Pause): void {
    pause.over.abort();
    const ms = performance.now() - pause.since;
    const detail = { level: 'error' as const, event: 'giveUp', pausedMs: ms };
    this.#options.tell(`given up after ${formatMs(ms)}: ${pause.reason}`, detail);
    this.#options.giveUp();
  }

  #end(): void {
    this.#pause?.over.abort();
    this.#pause = undefined;
  }
}
