/**
 * How many bytes of background pages may be on their way in postcopy. A requested page waits behind
 * all of them, in whichever queues there are between the two hosts, so it is no more than keeps the
 * link busy: twice what it carries in one round trip. Pure: the caller tells the time. Migration
 * thread only.
 *
 * Measured with pings: one behind each step of pages; its pong says that these have been placed. Any
 * destination answers pings, so this needs nothing new of it.
 */

/** How many steps may always be on their way. */
const STEPS_MIN = 2;
const WINDOW_MAX_BYTES = 256 * 1024 * 1024;
/** Microseconds over which throughput is measured. */
const MEASURE_US = 10_000;

interface SentPing {
  readonly value: number;
  readonly sentUs: number;
  /** Bytes sent before it. */
  readonly bytes: number;
}

export class CreditWindow {
  readonly #firstValue: number;
  readonly #unanswered: SentPing[] = [];
  #nextValue: number;
  #sentBytes = 0;
  #placedBytes = 0;
  #pingedBytes = 0;
  #roundTripUs = Number.POSITIVE_INFINITY;
  #measureStartUs: number;
  #measureStartBytes = 0;
  /** Bytes of background pages between two pings. */
  stepBytes: number;
  #linkBytes = 0;

  /** `firstValue`: that of the first ping; the others count up from it. */
  constructor(firstValue: number, stepBytes: number, nowUs: number) {
    this.stepBytes = stepBytes;
    this.#firstValue = firstValue;
    this.#nextValue = firstValue;
    this.#measureStartUs = nowUs;
  }

  /** Bytes that may be on their way. */
  get windowBytes(): number {
    return Math.max(STEPS_MIN * this.stepBytes, this.#linkBytes);
  }

  /** More background pages may be sent. */
  get isOpen(): boolean {
    return this.#sentBytes - this.#placedBytes < this.windowBytes;
  }

  /** A ping should be sent before more background pages are. */
  get pingIsDue(): boolean {
    return this.#sentBytes - this.#pingedBytes >= this.stepBytes;
  }

  /** Background pages were sent. */
  count(bytes: number): void {
    this.#sentBytes += bytes;
  }

  /** A ping is sent now; its value. */
  ping(nowUs: number): number {
    const value = this.#nextValue;
    this.#nextValue += 1;
    this.#pingedBytes = this.#sentBytes;
    this.#unanswered.push({ value, sentUs: nowUs, bytes: this.#sentBytes });
    return value;
  }

  /** The last pong that came is for `value`: that ping and all before it are answered. Other values are ignored. */
  pong(value: number, nowUs: number): void {
    if (value < this.#firstValue || value >= this.#nextValue) return;
    while (this.#unanswered.length > 0 && this.#unanswered[0].value <= value) {
      const { sentUs, bytes } = this.#unanswered.shift() as SentPing;
      this.#placedBytes = bytes;
      this.#roundTripUs = Math.min(this.#roundTripUs, nowUs - sentUs);
    }
    this.#measure(nowUs);
  }

  /** The connection was lost, and with it whatever was on its way: nothing is, on the next one. */
  reconnect(nowUs: number): void {
    this.#unanswered.length = 0;
    this.#placedBytes = this.#sentBytes;
    this.#pingedBytes = this.#sentBytes;
    this.#measureStartUs = nowUs;
    this.#measureStartBytes = this.#placedBytes;
  }

  #measure(nowUs: number): void {
    const elapsedUs = nowUs - this.#measureStartUs;
    if (elapsedUs < MEASURE_US) return;
    const bytesPerUs = (this.#placedBytes - this.#measureStartBytes) / elapsedUs;
    this.#linkBytes = Math.min(WINDOW_MAX_BYTES, 2 * bytesPerUs * this.#roundTripUs);
    this.#measureStartUs = nowUs;
    this.#measureStartBytes = this.#placedBytes;
  }
}
