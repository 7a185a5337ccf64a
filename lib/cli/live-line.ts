/**
 * One line of numbers while a command runs, and lines of events above it: live on a terminal, else a plain line
 * each second in which the numbers have changed. Always on stderr.
 */
import { terminalLines } from './terminal-lines.js';

/** Milliseconds from one look at the numbers to the next. */
const LIVE_MS = 250;
const PLAIN_MS = 1000;

export interface Look {
  readonly text: string;
  /** Another one than at the last look: something has changed. The text itself may hold a rate, which always does. */
  readonly mark: string;
}

export interface LiveLine {
  /** Something happened. */
  event(text: string): void;
  /** From now on looks at these numbers now and then, until {@link end}. */
  follow(look: () => Look): void;
  end(): void;
}

export async function createLiveLine(stream: NodeJS.WriteStream = process.stderr): Promise<LiveLine> {
  const live = await terminalLines(stream);
  let timer: NodeJS.Timeout | undefined;
  return {
    event: (text) => {
      live?.clear();
      stream.write(`${text}\n`);
    },
    follow: (look) => {
      clearInterval(timer);
      let said = look().mark;
      timer = setInterval(
        () => {
          const { text, mark } = look();
          if (live !== undefined) live(text);
          else if (mark !== said) stream.write(`${text}\n`);
          said = mark;
        },
        live === undefined ? PLAIN_MS : LIVE_MS,
      );
      // What is waited for is something else.
      timer.unref();
    },
    end: () => {
      clearInterval(timer);
      live?.clear();
      live?.done();
    },
  };
}
