/**
 * A vCPU's thread: sets the program up, runs it, has it stand still at its checkpoints and carries its messages.
 *
 * The program's code is the user's, and all of it runs here. A vCPU that is stopped blocks its thread, so that
 * nothing the program has left behind (timers, sockets) touches RAM either. What goes wrong is thrown out of the
 * worker, whose owner hears of it.
 */
import { deserialize, serialize } from 'node:v8';
import { parentPort, workerData } from 'node:worker_threads';
import { MigrationError, type PlainError, toPlainError } from '../../errors.js';
import { type AdoptableMemory, RAMBlock } from '../../memory/ram-block.js';
import { native } from '../../native.js';
import type { FromVcpu, SavedState, ToVcpu, VcpuBoot } from './messages.js';
import { type AdoptingVcpu, programOf } from './program.js';
import { RunWord } from './run-word.js';

const boot = workerData as VcpuBoot;
const post = (message: FromVcpu) => parentPort?.postMessage(message);
const { setThreadName, threadId } = native();
setThreadName(`worker-vcpu/${boot.index}`);
const program = programOf(await import(boot.program), boot.program);

function savedState(state: () => unknown): SavedState {
  try {
    const given = state();
    return { bytes: serialize(program.save === undefined ? given : program.save(given)) };
  } catch (error) {
    return { error: toPlainError(error) };
  }
}

/** Answers that have not gone out; in the order of the calls. */
class Replies {
  #values: unknown[] = [];
  #errors = new Map<number, PlainError>();

  add(value: unknown): void {
    this.#values.push(value);
  }

  addError(error: unknown): void {
    this.#errors.set(this.#values.length, toPlainError(error));
    this.#values.push(undefined);
  }

  flush(): void {
    if (this.#values.length === 0) return;
    const values = this.#values;
    const errors = this.#errors;
    this.#values = [];
    this.#errors = new Map();
    try {
      post({ kind: 'replies', values, errors });
    } catch {
      this.#postOneByOne(values, errors);
    }
  }

  /** Among them is one that can't be cloned, which becomes an error. */
  #postOneByOne(values: readonly unknown[], errors: ReadonlyMap<number, PlainError>): void {
    for (const [index, value] of values.entries()) {
      const error = errors.get(index);
      try {
        post({ kind: 'replies', values: [value], errors: new Map(error === undefined ? [] : [[0, error]]) });
      } catch (cause) {
        post({ kind: 'replies', values: [undefined], errors: new Map([[0, toPlainError(cause)]]) });
      }
    }
  }
}

class ThreadVcpu implements AdoptingVcpu {
  readonly index = boot.index;
  readonly count = boot.count;
  readonly data = boot.data;
  readonly #runWord = new RunWord(boot.runWord);
  readonly #replies = new Replies();
  /** Calls that have come and are not begun. */
  #calls: unknown[] = [];
  /** The request it stopped for last: calls sent before the owner knew of it come again. */
  #stoppedFor = 0;
  #handles = false;
  #wake = () => {};

  ram(idstr: string): ArrayBuffer {
    const block = boot.blocks.find((candidate) => candidate.idstr === idstr);
    if (block !== undefined) return native().ramBlockBuffer(block.handle);
    throw new MigrationError('BAD_ARGUMENT', `the guest has no RAM block "${idstr}"`, {
      hint: `its blocks are ${boot.blocks.map((known) => known.idstr).join(', ')}`,
    });
  }

  adopt(idstr: string, memory: AdoptableMemory): void {
    post({ kind: 'adopted', block: RAMBlock.adopt(idstr, memory).descriptor });
  }

  get stopRequested(): boolean {
    return this.#runWord.stopRequested;
  }

  async checkpoint(state?: unknown): Promise<void> {
    if (this.#handles) throw new Error('a checkpoint while a message is handled: its answer would be lost by a move');
    this.#standStillIfAsked(() => state);
  }

  async serve<Message, Reply>(
    handle: (message: Message) => Reply | Promise<Reply>,
    state: () => unknown = () => undefined,
  ): Promise<never> {
    for (;;) {
      this.#standStillIfAsked(state);
      if (this.#calls.length === 0) await this.#arrival();
      this.#handles = true;
      await this.#handleCalls(handle as (message: unknown) => unknown);
      this.#handles = false;
    }
  }

  /** Up to the next stop. Gives way only to a handler that does. */
  async #handleCalls(handle: (message: unknown) => unknown): Promise<void> {
    const calls = this.#calls;
    this.#calls = [];
    for (const [index, message] of calls.entries()) {
      if (this.stopRequested) {
        this.#calls = [...calls.slice(index), ...this.#calls]; // for here, should the request be withdrawn
        break;
      }
      try {
        const reply = handle(message);
        if (reply instanceof Promise) this.#replies.flush();
        this.#replies.add(reply instanceof Promise ? await reply : reply);
      } catch (error) {
        this.#replies.addError(error);
      }
    }
    this.#replies.flush();
  }

  #standStillIfAsked(state: () => unknown): void {
    for (let { request } = this.#runWord; request !== undefined; { request } = this.#runWord) {
      this.#calls = [];
      this.#stoppedFor = request;
      post({ kind: 'parked', request, state: savedState(state) });
      this.#runWord.standStill(request);
    }
  }

  #arrival(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  /** Something has come for a program that waits. */
  wake(): void {
    this.#wake();
  }

  take({ since, messages }: ToVcpu & { kind: 'calls' }): void {
    if (since !== this.#stoppedFor) return;
    this.#calls = this.#calls.length === 0 ? [...messages] : [...this.#calls, ...messages];
    this.#wake();
  }
}

async function live(vcpu: AdoptingVcpu, state: unknown): Promise<void> {
  try {
    await program.run(vcpu, state);
    post({ kind: 'halted' });
  } catch (error) {
    // Not a rejection: what becomes of those is for the user's flags to say.
    process.nextTick(() => {
      throw error;
    });
  }
}

function listenToOwner(vcpu: ThreadVcpu): void {
  let state: unknown;
  const load = (bytes: Uint8Array): void => {
    try {
      const saved: unknown = deserialize(bytes);
      state = program.load === undefined ? saved : program.load(saved);
      post({ kind: 'loaded' });
    } catch (error) {
      post({ kind: 'refused', error: toPlainError(error) });
    }
  };
  parentPort?.on('message', (message: ToVcpu) => {
    switch (message.kind) {
      case 'load':
        return load(message.state);
      case 'run':
        return void live(vcpu, state);
      case 'stop':
        return vcpu.wake();
      case 'calls':
        return vcpu.take(message);
    }
  });
}

const vcpu = new ThreadVcpu();
await program.setup?.(vcpu);
listenToOwner(vcpu);
const state = program.save === undefined ? undefined : savedState(() => undefined);
post({ kind: 'ready', name: program.name, version: program.version, thread: threadId(), state });
