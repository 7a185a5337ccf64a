/**
 * For how long vCPUs wait for pages: each by itself, and all of them at once, which is when the guest stands
 * still. A thread is blocked from the moment its fault is read until the page is placed.
 *
 * The state is shared memory. The fault thread begins and both it and the listen thread end, each while it has
 * the lock of removed-pages.ts, so that moments come in order; the owner says who the vCPUs are, and reads.
 */

/** Threads that are accounted for; faults of others go unmeasured. */
const THREADS_MAX = 1024;

/** One number each, in the order in which they lie. */
const Header = { THREADS: 0, OVERALL_US: 1, ALL_SINCE_US: 2, VCPUS: 3, BLOCKED_VCPUS: 4 } as const;
const HEADER_NUMBERS = 8;
/** Of each thread. `SINCE_US` is 0 while it is not blocked. */
const Slot = { THREAD: 0, SINCE_US: 1, BLOCK: 2, PAGE: 3, TOTAL_US: 4, IS_VCPU: 5 } as const;
const SLOT_NUMBERS = 6;

const NUMBERS_BYTES = (HEADER_NUMBERS + THREADS_MAX * SLOT_NUMBERS) * 8;

export class Blocktime {
  readonly #numbers: Float64Array<SharedArrayBuffer>;
  /** How many vCPUs the owner has told of, then their thread ids. */
  readonly #told: Int32Array<SharedArrayBuffer>;

  /** `buffer` shares the accounts of another thread. */
  constructor(buffer: SharedArrayBuffer = new SharedArrayBuffer(NUMBERS_BYTES + (1 + THREADS_MAX) * 4)) {
    this.#numbers = new Float64Array(buffer, 0, NUMBERS_BYTES / 8);
    this.#told = new Int32Array(buffer, NUMBERS_BYTES);
  }

  get buffer(): SharedArrayBuffer {
    return this.#numbers.buffer;
  }

  /** Owner, once: the kernel's ids of the vCPUs' threads. */
  setVcpus(threads: readonly number[]): void {
    const known = threads.slice(0, THREADS_MAX);
    this.#told.set(known, 1);
    Atomics.store(this.#told, 0, known.length);
  }

  /** A fault of `thread` on a page was read. */
  begin(thread: number, blockIndex: number, page: number, nowUs: number): void {
    this.#adoptVcpus();
    const n = this.#numbers;
    const at = this.#slotOf(thread);
    if (at < 0) return;
    if (n[at + Slot.SINCE_US] !== 0) {
      if (n[at + Slot.BLOCK] === blockIndex && n[at + Slot.PAGE] === page) return; // woken, and come back
      this.#unblock(at, nowUs);
    }
    n[at + Slot.SINCE_US] = nowUs;
    n[at + Slot.BLOCK] = blockIndex;
    n[at + Slot.PAGE] = page;
    if (n[at + Slot.IS_VCPU] === 0) return;
    n[Header.BLOCKED_VCPUS] += 1;
    if (this.#allBlocked) n[Header.ALL_SINCE_US] = nowUs;
  }

  /** A page is there. */
  end(blockIndex: number, page: number, nowUs: number): void {
    this.#adoptVcpus();
    const n = this.#numbers;
    for (let at = HEADER_NUMBERS; at < this.#slotsEnd; at += SLOT_NUMBERS) {
      const waitsForIt = n[at + Slot.SINCE_US] !== 0 && n[at + Slot.PAGE] === page && n[at + Slot.BLOCK] === blockIndex;
      if (waitsForIt) this.#unblock(at, nowUs);
    }
  }

  /** µs in which all vCPUs were blocked at once. */
  get overallUs(): number {
    return this.#numbers[Header.OVERALL_US];
  }

  /** µs for which each vCPU was blocked, in the order of {@link setVcpus}; empty before that. */
  vcpuUs(): number[] {
    const threads = this.#told.subarray(1, 1 + Atomics.load(this.#told, 0));
    return Array.from(threads, (thread) => {
      const at = this.#find(thread);
      return at < 0 ? 0 : this.#numbers[at + Slot.TOTAL_US];
    });
  }

  #unblock(at: number, nowUs: number): void {
    const n = this.#numbers;
    n[at + Slot.TOTAL_US] += nowUs - n[at + Slot.SINCE_US];
    n[at + Slot.SINCE_US] = 0;
    if (n[at + Slot.IS_VCPU] === 0) return;
    if (this.#allBlocked) n[Header.OVERALL_US] += nowUs - n[Header.ALL_SINCE_US];
    n[Header.BLOCKED_VCPUS] -= 1;
  }

  get #allBlocked(): boolean {
    return this.#numbers[Header.BLOCKED_VCPUS] === this.#numbers[Header.VCPUS];
  }

  /** Takes over what the owner has told. Vcpus that are blocked already have been so since their faults. */
  #adoptVcpus(): void {
    const n = this.#numbers;
    const count = Atomics.load(this.#told, 0);
    if (n[Header.VCPUS] === count) return;
    let latest = 0;
    for (const thread of this.#told.subarray(1, 1 + count)) {
      const at = this.#slotOf(thread);
      if (at < 0) return; // no room: overall stays unmeasured
      n[at + Slot.IS_VCPU] = 1;
      if (n[at + Slot.SINCE_US] !== 0) n[Header.BLOCKED_VCPUS] += 1;
      latest = Math.max(latest, n[at + Slot.SINCE_US]);
    }
    n[Header.VCPUS] = count;
    if (this.#allBlocked) n[Header.ALL_SINCE_US] = latest;
  }

  get #slotsEnd(): number {
    return HEADER_NUMBERS + this.#numbers[Header.THREADS] * SLOT_NUMBERS;
  }

  #find(thread: number): number {
    for (let at = HEADER_NUMBERS; at < this.#slotsEnd; at += SLOT_NUMBERS) {
      if (this.#numbers[at + Slot.THREAD] === thread) return at;
    }
    return -1;
  }

  /** The thread's slot, a new one if it has none; -1 where there is no room. */
  #slotOf(thread: number): number {
    const found = this.#find(thread);
    if (found >= 0 || this.#numbers[Header.THREADS] === THREADS_MAX) return found;
    const at = this.#slotsEnd;
    this.#numbers[at + Slot.THREAD] = thread;
    this.#numbers[Header.THREADS] += 1;
    return at;
  }
}
