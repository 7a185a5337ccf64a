/**
 * What a peer has said so far, in order, and waiting for what it says next: QMP events, console lines,
 * return-path messages, stream records.
 *
 * Whoever waits for what has been said already is answered at once, so there is no race between asking for
 * something and listening for it. A wait that fails says what was heard last.
 */

/** How many of the last things heard a failure shows. */
const SHOWN = 8;

const DEFAULT_TIMEOUT_MS = 60_000;

export interface WaitOptions {
  /** Index in `all` of the first thing that counts; 0 by default. */
  readonly from?: number;
  /** Milliseconds; a minute by default: whoever boots a guest under TCG on a busy host needs some. */
  readonly timeoutMs?: number;
}

export interface HeardOptions<T> {
  /** Who speaks, as failures name it. */
  readonly who: string;
  /** One thing heard, short enough for a failure's message. */
  readonly show: (item: T) => string;
  /** What else a failure should show: the peer's error output. */
  readonly context?: () => string;
}

export class Heard<T> {
  readonly all: T[] = [];
  readonly #options: HeardOptions<T>;
  readonly #changed = new Set<() => void>();
  #ended: string | undefined;

  constructor(options: HeardOptions<T>) {
    this.#options = options;
  }

  /** Why nothing more will be heard; undefined as long as something may. */
  get ended(): string | undefined {
    return this.#ended;
  }

  add(item: T): void {
    this.all.push(item);
    this.#notify();
  }

  /** Nothing more will come; who waits for it is told `why`. Only the first call counts. */
  end(why: string): void {
    this.#ended ??= why;
    this.#notify();
  }

  /** The first for which `holds`, heard or to come. Rejects when none came in time, or none can come any more. */
  async first<Wanted extends T>(
    what: string,
    holds: ((item: T) => item is Wanted) | ((item: T) => boolean),
    options: WaitOptions = {},
  ): Promise<Wanted> {
    let next = options.from ?? 0;
    const found = await this.#until(what, options, () => {
      while (next < this.all.length) {
        const item = this.all[next];
        next += 1;
        if (holds(item)) return { item };
      }
      return undefined;
    });
    return found.item as Wanted;
  }

  /** Resolves with the reason when nothing more will be heard. */
  async silence(options: WaitOptions = {}): Promise<string> {
    return this.#until('its end', options, () => this.#ended);
  }

  /** Resolves with what `check` returns, as soon as that is not undefined. */
  #until<R>(what: string, options: WaitOptions, check: () => R | undefined): Promise<R> {
    const { timeoutMs = DEFAULT_TIMEOUT_MS } = options;
    return new Promise<R>((resolve, reject) => {
      const finish = (): void => {
        clearTimeout(timer);
        this.#changed.delete(look);
      };
      const look = (): void => {
        const result = check();
        if (result !== undefined) {
          finish();
          resolve(result);
        } else if (this.#ended !== undefined) {
          finish();
          reject(this.#failure(`${what} did not come: ${this.#ended}`));
        }
      };
      const timer = setTimeout(() => {
        finish();
        reject(this.#failure(`${what} did not come within ${timeoutMs} ms`));
      }, timeoutMs);
      this.#changed.add(look);
      look();
    });
  }

  #notify(): void {
    for (const look of [...this.#changed]) look();
  }

  #failure(what: string): Error {
    const { who, show, context } = this.#options;
    const last = this.all.slice(-SHOWN).map((item) => `\n  ${show(item)}`);
    const heard = last.length === 0 ? 'nothing was heard' : `last heard:${last.join('')}`;
    return new Error(`${who}: ${what}; ${heard}${context === undefined ? '' : context()}`);
  }
}
