/**
 * One line of numbers while a command runs, and lines of events above it. Always on stderr: live on a terminal; else a
 * plain line each second in which the numbers have changed, and now and then where they have not, as a sign of life;
 * or, where it is asked for, records of a log instead of lines.
 */
import { createJsonLog } from '../logs/json-log.js';
import { isLogged, type Log, type LogFields, type LogLevel } from '../logs/log.js';
import { defaultLogOptions, type LogOptions } from './log-options.js';
import { terminalLines } from './terminal-lines.js';

/** Milliseconds from one look at the numbers to the next. */
const LIVE_MS = 250;
const PLAIN_MS = 1000;
/** Looks from one sign of life to the next: one at first, then twice as many each time, at most these. */
const QUIET_LOOKS_MAX = 32;

export interface Look {
  readonly text: string;
  /** Another one than at the last look: something has changed. The text itself may hold a rate, which always does. */
  readonly mark: string;
  /** The same for a log. */
  readonly fields?: LogFields;
}

/** What a log has of an event beside its text, and how grave it is: `info` where nothing is said. */
export interface EventDetail extends LogFields {
  readonly level?: LogLevel;
}

export interface LiveLine {
  /** Something happened. */
  event(text: string, detail?: EventDetail): void;
  /** From now on looks at these numbers now and then, until {@link end}. */
  follow(look: () => Look): void;
  end(): void;
}

/** Says when a plain line is due, of looks that are a second apart. */
export class PlainPace {
  #mark: string;
  #quietLooks = 0;
  #patience = 1;

  constructor(mark: string) {
    this.#mark = mark;
  }

  isDue(mark: string): boolean {
    if (mark !== this.#mark) {
      this.#mark = mark;
      this.#quietLooks = 0;
      this.#patience = 1;
      return true;
    }
    this.#quietLooks += 1;
    if (this.#quietLooks < this.#patience) return false;
    this.#quietLooks = 0;
    this.#patience = Math.min(2 * this.#patience, QUIET_LOOKS_MAX);
    return true;
  }
}

/** Something that is looked at again and again, one at a time. What is waited for is something else. */
function createLooker() {
  let timer: NodeJS.Timeout | undefined;
  return {
    start: (ms: number, look: () => void) => {
      clearInterval(timer);
      timer = setInterval(look, ms);
      timer.unref();
    },
    stop: () => clearInterval(timer),
  };
}

function logLine(log: Log): LiveLine {
  const looker = createLooker();
  return {
    event: (text, { level = 'info', ...fields } = {}) => log(level, text, fields),
    follow: (look) => {
      looker.start(PLAIN_MS, () => {
        const { text, fields } = look();
        log('debug', text, { event: 'progress', ...fields });
      });
    },
    end: looker.stop,
  };
}

async function textLine(stream: NodeJS.WriteStream, logLevel: LogLevel): Promise<LiveLine> {
  const looker = createLooker();
  const hasProgress = isLogged('info', logLevel);
  const live = hasProgress ? await terminalLines(stream) : undefined;
  const followPlainly = (look: () => Look) => {
    const pace = new PlainPace(look().mark);
    looker.start(PLAIN_MS, () => {
      const { text, mark } = look();
      if (pace.isDue(mark)) stream.write(`${text}\n`);
    });
  };
  return {
    event: (text, { level = 'info' } = {}) => {
      if (!isLogged(level, logLevel)) return;
      live?.clear();
      stream.write(`${text}\n`);
    },
    follow: (look) => {
      if (live !== undefined) looker.start(LIVE_MS, () => live(look().text));
      else if (hasProgress) followPlainly(look);
    },
    end: () => {
      looker.stop();
      live?.clear();
      live?.done();
    },
  };
}

export async function createLiveLine(
  { logLevel, logFormat }: LogOptions = defaultLogOptions,
  stream: NodeJS.WriteStream = process.stderr,
): Promise<LiveLine> {
  return logFormat === 'json' ? logLine(await createJsonLog(logLevel)) : textLine(stream, logLevel);
}
