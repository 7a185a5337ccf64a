/**
 * What reads one byte of every page of a destination's RAM, as the vCPUs of a guest may that has only just come, and
 * times each: a process of its own (native/toucher.cc), the same whoever the destination is.
 */
import type { Quantiles } from './statistics.ts';
import { TalkingProgram } from './talking-program.ts';

export interface TouchOptions {
  /** Each has a part of its own of the memory. */
  readonly threads: number;
  readonly order: 'sequential' | 'random';
}

/** Of the touches that waited, their quantiles. */
export interface Touched extends Quantiles {
  /** Milliseconds from the first touch until the last had returned. */
  readonly allMs: number;
  /** Touches that found no page there. */
  readonly waits: number;
}

export class Toucher implements AsyncDisposable {
  readonly #program: TalkingProgram;

  private constructor(program: TalkingProgram) {
    this.#program = program;
  }

  /** Of that many bytes of a process. Resolves once all threads wait for the word. */
  static async start(pid: number, bytes: number, { threads, order }: TouchOptions): Promise<Toucher> {
    return new Toucher(await TalkingProgram.start('toucher', pid, bytes, threads, order));
  }

  /** Touches every page of the memory that the process has at this address. Once only. */
  async touchAll(address: number): Promise<Touched> {
    return (await this.#program.ask(String(address))) as Touched;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#program[Symbol.asyncDispose]();
  }
}
