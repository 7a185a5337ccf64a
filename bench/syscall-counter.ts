/** How many system calls other processes make (native/syscall_counter.cc). That slows them: time nothing meanwhile. */
import { TalkingProgram } from './talking-program.ts';

export class SyscallCounter implements AsyncDisposable {
  readonly #program: TalkingProgram;

  private constructor(program: TalkingProgram) {
    this.#program = program;
  }

  /** Rejects where they can't be counted: it takes root, and a kernel with that tracepoint. */
  static async start(...pids: readonly number[]): Promise<SyscallCounter> {
    return new SyscallCounter(await TalkingProgram.start('syscall_counter', ...pids));
  }

  /** Of each process, since it was started; in its order. */
  async counts(): Promise<readonly number[]> {
    return (await this.#program.ask('')) as readonly number[];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#program[Symbol.asyncDispose]();
  }
}

/** Why system calls can't be counted on this host; undefined where they can. */
export async function syscallCounterProblem(): Promise<string | undefined> {
  try {
    await using counter = await SyscallCounter.start(process.pid);
    await counter.counts();
    return undefined;
  } catch (error) {
    const { stderr } = error as { readonly stderr?: string };
    return stderr === undefined || stderr === '' ? (error as Error).message : stderr;
  }
}
