/**
 * A destination in a process of its own, which a test may have killed by what it reads. The test plays the source; the
 * process does as it is told, and says what it finds.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

/** What the process can be told: a page to touch in the named thread, or to give up. */
export type Order =
  | { readonly kind: 'touch'; readonly page: number; readonly thread: string }
  | { readonly kind: 'give-up' };

export type Answer =
  | { readonly kind: 'listening'; readonly uri: string }
  | { readonly kind: 'status'; readonly status: string }
  /** The first byte of the page. */
  | { readonly kind: 'touched'; readonly page: number; readonly byte: number }
  | { readonly kind: 'failed'; readonly code: string; readonly lost: unknown };

export class DoomedDestination {
  readonly child: ChildProcess;
  readonly #answers: Answer[] = [];
  /** The signal that ended it, or its exit code. */
  readonly ended: Promise<string | number | null>;

  constructor(kind: string, pages: number) {
    const program = fileURLToPath(new URL('doomed-process.mjs', import.meta.url));
    // A sanitizer would turn the signal into an exit code of its own.
    const env = { ...process.env, ASAN_OPTIONS: `${process.env.ASAN_OPTIONS ?? ''}:handle_sigbus=0` };
    this.child = fork(program, [kind, String(pages)], { env });
    this.child.on('message', (answer: Answer) => this.#answers.push(answer));
    this.ended = once(this.child, 'exit').then(([code, signal]) => signal ?? code);
  }

  tell(order: Order): void {
    this.child.send(order);
  }

  /** The first answer for which that holds, past or to come. Rejects when the process ends without. */
  async says<Kind extends Answer['kind']>(
    kind: Kind,
    holds: (answer: Extract<Answer, { kind: Kind }>) => boolean = () => true,
  ): Promise<Extract<Answer, { kind: Kind }>> {
    const isIt = (answer: Answer): answer is Extract<Answer, { kind: Kind }> =>
      answer.kind === kind && holds(answer as Extract<Answer, { kind: Kind }>);
    for (;;) {
      const found = this.#answers.find(isIt);
      if (found !== undefined) return found;
      const ended = this.ended.then((how) => {
        throw new Error(`it ended with ${how}, and had said ${JSON.stringify(this.#answers)}`);
      });
      await Promise.race([once(this.child, 'message'), ended]);
    }
  }

  kill(): void {
    this.child.kill('SIGKILL');
  }
}
