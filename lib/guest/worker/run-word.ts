/**
 * Whether a vCPU is to run: one shared word between its thread and the guest's owner. Even: it runs. Odd: it is asked
 * to stop, and the number says by which request, so that an answer to an earlier one is not taken for this one's.
 */

export class RunWord {
  readonly buffer: SharedArrayBuffer;
  readonly #word: Int32Array;

  /** Without `buffer` a new one, asked to stop from the beginning. */
  constructor(buffer?: SharedArrayBuffer) {
    this.buffer = buffer ?? new SharedArrayBuffer(4);
    this.#word = new Int32Array(this.buffer);
    if (buffer === undefined) this.#word[0] = 1;
  }

  get stopRequested(): boolean {
    return this.request !== undefined;
  }

  /** The number of the request that stands, if one does. One look: it may be withdrawn at any moment. */
  get request(): number | undefined {
    const word = Atomics.load(this.#word, 0);
    return (word & 1) === 1 ? word : undefined;
  }

  /** Owner: asks it to stop, if it was not asked yet. */
  askToStop(): void {
    if (!this.stopRequested) Atomics.add(this.#word, 0, 1);
  }

  /** Owner: lets it run, whether it has stopped or not. */
  letRun(): void {
    if (this.stopRequested) Atomics.add(this.#word, 0, 1);
    Atomics.notify(this.#word, 0);
  }

  /** Thread: blocks while this request stands. */
  standStill(request: number): void {
    Atomics.wait(this.#word, 0, request);
  }
}
