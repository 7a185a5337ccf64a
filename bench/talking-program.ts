/** A programme in C++ (native/) that is talked to by lines: it says that it is ready, then answers each with one. */
import { execa } from 'execa';
import { nativeProgram } from './native-program.ts';

const run = (path: string, args: readonly string[]) => execa(path, args, { stdin: 'pipe' });

export class TalkingProgram implements AsyncDisposable {
  readonly #process: ReturnType<typeof run>;
  readonly #lines: AsyncIterator<string>;

  private constructor(process: ReturnType<typeof run>) {
    this.#process = process;
    this.#lines = process.iterable();
  }

  /** Of native/`name`.cc. Resolves once it is ready; rejects with what it says where it ends before. */
  static async start(name: string, ...args: readonly (string | number)[]): Promise<TalkingProgram> {
    const program = new TalkingProgram(run(await nativeProgram(name), args.map(String)));
    await program.#nextLine();
    return program;
  }

  async ask(line: string): Promise<unknown> {
    this.#process.stdin.write(`${line}\n`);
    return JSON.parse(await this.#nextLine());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.kill('SIGKILL');
    await this.#process.catch(() => {});
  }

  async #nextLine(): Promise<string> {
    const { value, done } = await this.#lines.next();
    if (done === true) throw new Error('the programme ended without an answer');
    return value;
  }
}
