/**
 * How fast the migration thread may send: the rate limit, in postcopy also the credit for background
 * pages, and neither while somebody waits for pages. Migration thread only.
 */
import { HUGE_PAGE_PAGES, HUGE_PAGE_SIZE, pageOffset } from '../memory/page.js';
import { native } from '../native.js';
import type { Trace } from '../trace/trace.js';
import { Ping } from '../wire/protocol.js';
import { nowMs } from './clock.js';
import { CreditWindow } from './credit-window.js';
import type { LiveParameters } from './live-parameters.js';
import type { PageRequestQueue } from './page-request-queue.js';
import { RateLimit } from './rate-limit.js';
import type { SourceSignals } from './source-signals.js';

/**
 * Pages sent at once: many while nobody waits for one, few once somebody may, as that one goes behind them unless it
 * has a connection of its own.
 */
const PRECOPY_BATCH_PAGES = 128;
const QUIET_BATCH_PAGES = 64;
const BATCH_PAGES = 16;
/** Where runs are understood, a huge page, which the destination can move in as a whole. */
const RUN_BATCH_PAGES = HUGE_PAGE_PAGES;
export const MAX_BATCH_PAGES = RUN_BATCH_PAGES;
const KIB = 1024;
/**
 * Bytes of background pages between two pings: longer ones cost both ends less, and keep who asks waiting longer. With
 * a preempt channel, or lanes, that is only who asks for a page that is on its way already.
 */
const stepBytes = {
  oneConnection: { asked: 128 * KIB, quiet: 256 * KIB },
  demandChannel: { asked: 512 * KIB, quiet: 1024 * KIB },
} as const;
/** The same while it is quiet and runs are understood. */
const RUN_STEP_BYTES = HUGE_PAGE_SIZE;
/** With a rate limit below this, 10 ms for a huge page, runs stay short: it is kept from one batch to the next. */
const RUN_BYTES_PER_SECOND = 100 * HUGE_PAGE_SIZE;
/** Bytes of memory sent in the background in postcopy without a request among them, after which it is quiet. */
const QUIET_BYTES = 8 * 1024 * 1024;

/** Bytes that may wait in the kernel in postcopy: each time that it is emptied costs both ends a wait for the other. */
const queueBytes = { asked: 128 * KIB, quiet: 1024 * KIB } as const;

type Phase = 'precopy' | 'lifted' | 'postcopy';

const limitNames = { precopy: 'maxBandwidth', lifted: undefined, postcopy: 'maxPostcopyBandwidth' } as const;

export class Pacing {
  readonly #queue: PageRequestQueue;
  readonly #signals: SourceSignals;
  readonly #trace: Trace;
  readonly #parameters: LiveParameters;
  readonly #limit: RateLimit;
  readonly #credit = new CreditWindow(Ping.PLACED, stepBytes.oneConnection.asked, native().monotonicUs());
  readonly #signOfLifeMs: number;
  /** Requests over the preempt channel that were seen when {@link count} was called last. */
  #asked = 0;
  #phase: Phase = 'precopy';
  #heldUntilMs = 0;
  #pingedMs = 0;
  #bytesPerSecond: number;
  #bytesSinceRequest = 0;

  /** `signOfLifeMs`: milliseconds between two pings in postcopy, at most. */
  constructor(
    queue: PageRequestQueue,
    signals: SourceSignals,
    trace: Trace,
    parameters: LiveParameters,
    signOfLifeMs: number,
  ) {
    this.#queue = queue;
    this.#signals = signals;
    this.#trace = trace;
    this.#parameters = parameters;
    this.#signOfLifeMs = signOfLifeMs;
    this.#bytesPerSecond = parameters.get('maxBandwidth');
    this.#limit = new RateLimit(this.#bytesPerSecond, nowMs());
  }

  /** From here on background pages need credit, and have a rate limit of their own. */
  enterPostcopy(): void {
    this.#phase = 'postcopy';
    this.#limit.reset(this.#wantedBytesPerSecond, nowMs());
    this.#pingedMs = nowMs();
  }

  /** For so many milliseconds only requested pages go, unless the destination has loaded the device state before. */
  holdBackground(ms: number): void {
    this.#heldUntilMs = nowMs() + ms;
  }

  /** Another connection: nothing is on its way there. */
  reconnect(): void {
    this.#credit.reconnect(native().monotonicUs());
    this.#pingedMs = nowMs();
  }

  /** The most pages to send in one go. */
  get batchPages(): number {
    if (this.#phase !== 'postcopy') return this.#sendsHugePages ? RUN_BATCH_PAGES : PRECOPY_BATCH_PAGES;
    if (!this.#isQuiet) return this.#hasDemandChannel ? QUIET_BATCH_PAGES : BATCH_PAGES;
    return this.#sendsHugePages ? RUN_BATCH_PAGES : QUIET_BATCH_PAGES;
  }

  /** How many bytes may wait in the kernel, ahead of a requested page; undefined before postcopy. */
  get queueBytes(): number | undefined {
    if (this.#phase !== 'postcopy') return undefined;
    return this.#isQuiet && this.#sendsHugePages ? queueBytes.quiet : queueBytes.asked;
  }

  /** Whether a run may be as long as a huge page: one is nothing beside what the rate limit lets go in a moment. */
  get #sendsHugePages(): boolean {
    const limit = this.#wantedBytesPerSecond;
    return this.sendsRuns && (limit === 0 || limit >= RUN_BYTES_PER_SECOND);
  }

  /** Whether the destination understands runs of pages. */
  get sendsRuns(): boolean {
    return this.#signals.get('RUNS') === 1;
  }

  /** The guest stands still at the end of a precopy: nothing holds back the rest. */
  lift(): void {
    this.#phase = 'lifted';
    this.#limit.reset(0, nowMs());
  }

  /** Somebody waits for pages, or neither rate limit nor credit says that it is enough for now. */
  maySend(): boolean {
    if (this.#queue.length > 0) {
      this.#bytesSinceRequest = 0;
      this.#setStep();
      return true;
    }
    return this.#heldMs === 0 && this.#restMs() === 0 && this.#hasCredit && !this.#credit.pingIsDue;
  }

  /** Pages that nobody waits for were sent: so many, as so many bytes. */
  count(bytes: number, pages: number): void {
    this.#limit.count(bytes);
    if (this.#phase !== 'postcopy') return;
    this.#credit.count(bytes);
    this.#bytesSinceRequest += pageOffset(pages);
    if (this.#wasAsked()) this.#bytesSinceRequest = 0;
    this.#setStep();
  }

  /** The value of the ping that should go now, behind a step of pages or as a sign of life; or undefined. */
  duePing(): number | undefined {
    return this.#credit.pingIsDue || this.#untilSignOfLifeMs === 0 ? this.ping() : undefined;
  }

  /** The value of a ping that goes now. */
  ping(): number {
    this.#pingedMs = nowMs();
    return this.#credit.ping(native().monotonicUs());
  }

  /**
   * Over the rate limit, or with enough on its way: sleeps until there is something to see to. `attention` is
   * that signal from before the thread last looked whether there is.
   */
  rest(attention: number): void {
    this.#credit.pong(this.#signals.get('PONG_PLACED'), native().monotonicUs());
    const backgroundMs = this.#hasCredit ? Math.max(this.#restMs(), this.#heldMs) : Number.POSITIVE_INFINITY;
    const restMs = Math.min(backgroundMs, this.#untilSignOfLifeMs);
    if (restMs === 0 || this.#queue.length > 0) return;
    this.#trace.at('migration_rate_limit', restMs);
    this.#signals.waitWhile('ATTENTION', attention, restMs);
  }

  get #heldMs(): number {
    if (this.#signals.get('LOADED') === 1) return 0;
    return Math.max(0, this.#heldUntilMs - nowMs());
  }

  /** Milliseconds; 0 where a ping is due. */
  get #untilSignOfLifeMs(): number {
    if (this.#phase !== 'postcopy') return Number.POSITIVE_INFINITY;
    return Math.max(0, this.#pingedMs + this.#signOfLifeMs - nowMs());
  }

  /** Nobody waits for a page, nor for the processor, which the kernel gives away only between two sends. */
  get #isQuiet(): boolean {
    return this.#bytesSinceRequest >= QUIET_BYTES;
  }

  #setStep(): void {
    const steps = this.#hasDemandChannel ? stepBytes.demandChannel : stepBytes.oneConnection;
    const quiet = this.#sendsHugePages ? RUN_STEP_BYTES : steps.quiet;
    this.#credit.stepBytes = this.#isQuiet ? quiet : steps.asked;
  }

  get #hasDemandChannel(): boolean {
    return this.#signals.get('PREEMPT') !== 0 || this.#signals.get('LANES_OPEN') > 0;
  }

  /** With a preempt channel, or lanes, requests don't come by the queue. */
  #wasAsked(): boolean {
    const asked = this.#signals.get('ASKED');
    const wasAsked = asked !== this.#asked;
    this.#asked = asked;
    return wasAsked;
  }

  /** Whether more may be on its way. A destination that answers no pings can't tell how much is. */
  get #hasCredit(): boolean {
    return this.#credit.isOpen || this.#signals.get('PONG') === 0;
  }

  /** Milliseconds until the rate limit, as it is now, lets more go. */
  #restMs(): number {
    const wanted = this.#wantedBytesPerSecond;
    if (wanted !== this.#bytesPerSecond) this.#limit.reset(wanted, nowMs());
    this.#bytesPerSecond = wanted;
    return this.#limit.restMs(nowMs());
  }

  /** 0 is no limit. */
  get #wantedBytesPerSecond(): number {
    const name = limitNames[this.#phase];
    return name === undefined ? 0 : this.#parameters.get(name);
  }
}
