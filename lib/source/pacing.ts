/**
 * How fast the migration thread may send: the rate limit, in postcopy also the credit for background
 * pages, and neither while somebody waits for pages. Migration thread only.
 */
import { native } from '../native.js';
import type { Trace } from '../trace/trace.js';
import { Ping } from '../wire/protocol.js';
import { nowMs } from './clock.js';
import { CreditWindow } from './credit-window.js';
import type { PageRequestQueue } from './page-request-queue.js';
import { RateLimit } from './rate-limit.js';
import type { SourceSignals } from './source-signals.js';

/** Pages sent at once: many while nobody waits for one, few once somebody may, as that one goes behind them. */
export const PRECOPY_BATCH_PAGES = 128;
const QUIET_BATCH_PAGES = 64;
const BATCH_PAGES = 16;
/** Milliseconds without a request after which it is quiet, in postcopy. */
const QUIET_MS = 20;

export class Pacing {
  readonly #queue: PageRequestQueue;
  readonly #signals: SourceSignals;
  readonly #trace: Trace;
  readonly #limit: RateLimit;
  readonly #credit = new CreditWindow(Ping.PLACED, native().monotonicUs());
  #inPostcopy = false;
  #askedMs = 0;
  #isQuiet = false;

  /** `bytesPerSecond` 0 is no limit. */
  constructor(queue: PageRequestQueue, signals: SourceSignals, trace: Trace, bytesPerSecond: number) {
    this.#queue = queue;
    this.#signals = signals;
    this.#trace = trace;
    this.#limit = new RateLimit(bytesPerSecond, nowMs());
  }

  /** From here on background pages need credit, and have a rate limit of their own; 0 is none. */
  enterPostcopy(bytesPerSecond: number): void {
    this.#limit.reset(bytesPerSecond, nowMs());
    this.#inPostcopy = true;
    this.#askedMs = nowMs(); // the guest has yet to begin
  }

  /** The most pages to send in one go, as of the last {@link maySend}. */
  get batchPages(): number {
    if (!this.#inPostcopy) return PRECOPY_BATCH_PAGES;
    return this.#isQuiet ? QUIET_BATCH_PAGES : BATCH_PAGES;
  }

  /** The guest stands still at the end of a precopy: nothing holds back the rest. */
  lift(): void {
    this.#limit.reset(0, nowMs());
  }

  /** Somebody waits for pages, or neither rate limit nor credit says that it is enough for now. */
  maySend(): boolean {
    const now = nowMs();
    const isAsked = this.#queue.length > 0;
    if (isAsked) this.#askedMs = now;
    this.#setQuiet(now - this.#askedMs >= QUIET_MS);
    if (isAsked) return true;
    return this.#limit.restMs(now) === 0 && this.#credit.isOpen && !this.#credit.pingIsDue;
  }

  #setQuiet(isQuiet: boolean): void {
    this.#isQuiet = isQuiet;
    this.#credit.isQuiet = isQuiet;
  }

  /** Pages that nobody waits for were sent. */
  count(bytes: number): void {
    this.#limit.count(bytes);
    if (this.#inPostcopy) this.#credit.count(bytes);
  }

  /** The value of the ping that should go now, or undefined. */
  duePing(): number | undefined {
    return this.#credit.pingIsDue ? this.#credit.ping(native().monotonicUs()) : undefined;
  }

  /**
   * Over the rate limit, or with enough on its way: sleeps until there is something to see to. `attention` is
   * that signal from before the thread last looked whether there is.
   */
  rest(attention: number): void {
    this.#credit.pong(this.#signals.get('PONG_PLACED'), native().monotonicUs());
    const restMs = this.#credit.isOpen ? this.#limit.restMs(nowMs()) : Number.POSITIVE_INFINITY;
    if (restMs === 0 || this.#queue.length > 0) return;
    this.#trace.at('migration_rate_limit', restMs);
    this.#signals.waitWhile('ATTENTION', attention, restMs);
  }
}
