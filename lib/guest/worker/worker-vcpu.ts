/**
 * A vCPU of a worker guest as its owner has it: the thread, whether it runs, and the calls it has to answer.
 *
 * A call is waiting or sent. What a stopped vCPU was sent and has not answered it has not begun (messages.ts), so that
 * is waiting again: a call is begun once, at one side.
 */
import { type ResourceLimits, Worker } from 'node:worker_threads';
import { fromPlainError, MigrationError } from '../../errors.js';
import { RAMBlock, type RAMBlockDescriptor } from '../../memory/ram-block.js';
import type { VcpuState } from './device-state.js';
import type { FromVcpu, SavedState, ToVcpu, VcpuBoot } from './messages.js';
import { RunWord } from './run-word.js';

interface Call {
  readonly message: unknown;
  readonly resolve: (reply: unknown) => void;
  readonly reject: (error: Error) => void;
}

/** What its thread said of itself when the program was set up. */
export type Ready = FromVcpu & { readonly kind: 'ready' };

export class WorkerVcpu {
  readonly #index: number;
  readonly #worker: Worker;
  readonly #runWord = new RunWord();
  /** A vCPU whose program has not begun is new. */
  #phase: 'new' | 'begun' | 'halted' | 'ended' = 'new';
  /** While it stands still in a checkpoint. */
  #state: SavedState | undefined;
  /** Where it begins at its first start, unless that is where its program does. */
  #initial: SavedState | undefined;
  /** Memory of its own, by the name of the block; and what was that before, which a migration may still use. */
  readonly #adopted = new Map<string, RAMBlock>();
  readonly #superseded: RAMBlock[] = [];
  #closed = false;
  /** The request that it stopped for last, as far as is known here. */
  #stoppedFor = 0;
  #waiting: Call[] = [];
  #sent: Call[] = [];
  #willSend = false;
  #error: Error | undefined;
  #onStandstill = () => {};
  #onLoad = (_refusal: Error | undefined) => {};

  /** Rejects where the program can't be set up. */
  readonly ready: Promise<Ready>;
  /** Resolved with the reason when its thread has gone. */
  readonly ended: Promise<Error>;

  constructor(boot: Omit<VcpuBoot, 'runWord'>, resourceLimits: ResourceLimits | undefined) {
    this.#index = boot.index;
    this.#worker = new Worker(new URL('./vcpu-thread.js', import.meta.url), {
      name: `vCPU ${boot.index}`,
      workerData: { ...boot, runWord: this.#runWord.buffer } satisfies VcpuBoot,
      ...(resourceLimits === undefined ? {} : { resourceLimits }),
    });
    this.#worker.on('error', (error) => {
      this.#error = error;
    });
    this.ended = new Promise((resolve) => {
      this.#worker.on('exit', (code) => resolve(this.#end(code)));
    });
    this.ready = new Promise((resolve, reject) => {
      this.#worker.on('message', (message: FromVcpu) => {
        if (message.kind === 'ready') {
          this.#initial = message.state;
          resolve(message);
        } else this.#take(message);
      });
      void this.ended.then(reject);
    });
    this.ready.catch(() => {}); // also of one that nobody waits for
  }

  /** Nothing of it touches RAM, until it is started. */
  get standsStill(): boolean {
    return this.#phase !== 'begun' || this.#state !== undefined;
  }

  /** RAM that its thread has brought, in the order in which it did. */
  get adopted(): readonly RAMBlock[] {
    return [...this.#adopted.values()];
  }

  get hasBegun(): boolean {
    return this.#phase !== 'new';
  }

  /** Why its thread has gone, if it has. */
  get error(): Error | undefined {
    return this.#phase === 'ended' ? this.#error : undefined;
  }

  start(): void {
    const isFirst = this.#phase === 'new';
    if (isFirst) this.#phase = 'begun';
    this.#state = undefined;
    this.#runWord.letRun();
    if (isFirst) this.#post({ kind: 'run' });
    this.#sendSoon();
  }

  /** Asks it to stop; resolved when it stands still. Withdrawn by {@link start}. */
  async stop(): Promise<void> {
    this.#runWord.askToStop();
    if (this.standsStill) return;
    this.#post({ kind: 'stop' });
    await new Promise<void>((resolve) => {
      this.#onStandstill = resolve;
    });
  }

  /** Throws GUEST_FAILED where it does not stand still, and where the program's state can't be saved. */
  save(): VcpuState {
    if (!this.standsStill)
      throw new MigrationError('GUEST_FAILED', `vCPU ${this.#index} runs: it has no state to save`);
    if (this.#phase === 'halted') return { kind: 'halted' };
    const state = this.#phase === 'new' ? this.#initial : this.#state;
    if (state === undefined) return { kind: 'new' };
    if ('bytes' in state) return { kind: 'stopped', state: state.bytes };
    const cause = fromPlainError(state.error);
    throw new MigrationError('GUEST_FAILED', `the state of vCPU ${this.#index} can't be saved: ${cause.message}`, {
      hint:
        cause instanceof MigrationError
          ? cause.hint
          : 'give checkpoint() or serve() a state that structured clone can carry',
      cause,
    });
  }

  /**
   * Before its first start: has its thread read where it is to begin. Resolved with what makes it begin there. Throws
   * GUEST_FAILED for a state that V8 does not read.
   */
  async load(saved: VcpuState): Promise<() => void> {
    if (saved.kind === 'new') return () => {};
    if (saved.kind === 'halted') {
      return () => {
        this.#phase = 'halted';
      };
    }
    this.#post({ kind: 'load', state: saved.state });
    const refusal = await Promise.race([
      new Promise<Error | undefined>((resolve) => {
        this.#onLoad = resolve;
      }),
      this.ended,
    ]);
    if (refusal instanceof MigrationError) throw refusal;
    if (refusal !== undefined) {
      const message = `the state of vCPU ${this.#index} can't be read: ${refusal.message}`;
      throw new MigrationError('GUEST_FAILED', message, { cause: refusal });
    }
    return () => {
      this.#initial = { bytes: saved.state };
    };
  }

  call(message: unknown): Promise<unknown> {
    if (this.#phase === 'halted' || this.#phase === 'ended') return Promise.reject(this.#noAnswer());
    return new Promise((resolve, reject) => {
      this.#waiting.push({ message, resolve, reject });
      this.#sendSoon();
    });
  }

  /** Only while it stands still: the messages that it has not begun, whose calls reject with `error`. */
  takeUnanswered(error: Error): unknown[] {
    const calls = this.#waiting;
    this.#waiting = [];
    for (const { reject } of calls) reject(error);
    return calls.map(({ message }) => message);
  }

  /**
   * Ends the thread; one that waits for a page ends when that has come, and does not keep the process alive. Calls
   * without an answer reject with `reason`.
   */
  close(reason: Error): void {
    this.#leave(reason);
    this.#worker.unref();
    void this.#worker.terminate();
    this.#closed = true;
    for (const block of [...this.#adopted.values(), ...this.#superseded]) block.close();
  }

  #post(message: ToVcpu): void {
    this.#worker.postMessage(message);
  }

  #take(message: FromVcpu): void {
    switch (message.kind) {
      case 'adopted':
        return this.#adopt(message.block);
      case 'loaded':
        return this.#onLoad(undefined);
      case 'refused':
        return this.#onLoad(fromPlainError(message.error));
      case 'replies':
        return this.#settle(message);
      case 'parked':
        return this.#park(message);
      case 'halted':
        this.#phase = 'halted';
        this.#rejectAll();
        return this.#onStandstill();
    }
  }

  #adopt(descriptor: RAMBlockDescriptor): void {
    const block = RAMBlock.attach(descriptor);
    if (this.#closed) return block.close(); // what its thread did last
    const before = this.#adopted.get(block.idstr);
    if (before !== undefined) this.#superseded.push(before);
    this.#adopted.set(block.idstr, block);
  }

  #settle({ values, errors }: FromVcpu & { kind: 'replies' }): void {
    for (const [index, { resolve, reject }] of this.#sent.splice(0, values.length).entries()) {
      const error = errors.get(index);
      if (error === undefined) resolve(values[index]);
      else reject(fromPlainError(error));
    }
  }

  #park({ request, state }: FromVcpu & { kind: 'parked' }): void {
    this.#stoppedFor = request;
    this.#waiting = [...this.#sent, ...this.#waiting];
    this.#sent = [];
    if (this.#runWord.request === request) {
      this.#state = state;
      this.#onStandstill();
    } else {
      this.#sendSoon(); // the request was withdrawn, and it runs on
    }
  }

  /** All calls of one turn of the event loop go together. */
  #sendSoon(): void {
    if (this.#willSend || this.#waiting.length === 0 || this.#runWord.stopRequested) return;
    this.#willSend = true;
    setImmediate(() => {
      this.#willSend = false;
      if (this.#phase !== 'begun' || this.#runWord.stopRequested) return;
      const calls = this.#waiting;
      this.#waiting = [];
      this.#send(calls);
    });
  }

  #send(calls: readonly Call[]): void {
    try {
      this.#post({ kind: 'calls', since: this.#stoppedFor, messages: calls.map(({ message }) => message) });
      this.#sent = this.#sent.length === 0 ? [...calls] : [...this.#sent, ...calls];
    } catch (error) {
      // A message that can't be cloned is its caller's mistake, and nobody else's.
      if (calls.length === 1) calls[0].reject(error as Error);
      else for (const call of calls) this.#send([call]);
    }
  }

  /** Why, which is known already where it was closed. */
  #end(code: number): Error {
    if (this.error !== undefined) return this.error;
    const how = this.#error?.message ?? `its thread ended with code ${code}`;
    const reason = new MigrationError('GUEST_FAILED', `vCPU ${this.#index} of the guest died: ${how}`, {
      hint: 'look for the cause in its program',
      cause: this.#error,
    });
    this.#leave(reason);
    return reason;
  }

  #leave(reason: Error): void {
    this.#phase = 'ended';
    this.#error = reason;
    this.#rejectAll();
    this.#onStandstill();
  }

  #noAnswer(): Error {
    if (this.#error !== undefined) return this.#error;
    return new MigrationError('GUEST_FAILED', `the program of vCPU ${this.#index} has returned`, {
      hint: 'have it serve() as long as it is called',
    });
  }

  #rejectAll(): void {
    const calls = [...this.#sent, ...this.#waiting];
    this.#sent = [];
    this.#waiting = [];
    for (const { reject } of calls) reject(this.#noAnswer());
  }
}
