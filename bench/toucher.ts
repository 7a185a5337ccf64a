/**
 * What reads one byte of every page of a destination's RAM, as the vCPUs of a guest may that has only just come, and
 * times each: a process of its own (native/toucher.cc), the same whoever the destination is.
 */
import { once } from 'node:events';
import { execa } from 'execa';
import { nativeProgram } from './native-program.ts';
import type { Quantiles } from './statistics.ts';

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

const startProgram = (program: string, args: readonly string[]) => execa(program, args, { stdin: 'pipe' });

export class Toucher implements AsyncDisposable {
  readonly #program: ReturnType<typeof startProgram>;

  private constructor(program: ReturnType<typeof startProgram>) {
    this.#program = program;
  }

  /** Of that many bytes of a process. Resolves once all threads wait for the word. */
  static async start(pid: number, bytes: number, { threads, order }: TouchOptions): Promise<Toucher> {
    const args = [pid, bytes, threads, order].map(String);
    const program = startProgram(await nativeProgram('toucher'), args);
    await Promise.race([once(program.stdout, 'data'), program]);
    return new Toucher(program);
  }

  /** Touches every page of the memory that the process has at this address. Once only. */
  async touchAll(address: number): Promise<Touched> {
    this.#program.stdin.end(`${address}\n`);
    const { stdout } = await this.#program;
    return JSON.parse(stdout.slice(stdout.lastIndexOf('\n') + 1)) as Touched;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#program.kill('SIGKILL');
    await this.#program.catch(() => {});
  }
}
