/**
 * The demo while it runs: a few live lines on a terminal, else a plain line whenever something has changed or a second
 * has passed, and where nothing comes for longer, how long that takes; or records of a log. Always on stderr; stdout is
 * for the result.
 */
import { createJsonLog } from '../logs/json-log.js';
import { isLogged, type Log, type LogLevel } from '../logs/log.js';
import { incomingFields, outgoingFields } from '../logs/migration-fields.js';
import type { SideProgress } from './demo-messages.js';
import { forecastText } from './forecast-text.js';
import { type EventDetail, PlainPace } from './live-line.js';
import { defaultLogOptions, type LogOptions } from './log-options.js';
import { incomingText, outgoingText, recoveriesText } from './migration-lines.js';
import { RateMeter } from './progress-text.js';
import { formatCount, formatDuration } from './size.js';
import { type TerminalLines, terminalLines } from './terminal-lines.js';

/** Milliseconds between two plain lines, and two times that live lines are drawn where nothing comes. */
const PLAIN_MS = 1000;
const LIVE_MS = 250;

type SourceProgress = Extract<SideProgress, { side: 'source' }>;
type DestinationProgress = Extract<SideProgress, { side: 'destination' }>;

function sourceLine({ info, guest, passes, recoveries, forecast }: SourceProgress, rate: number): string {
  const pass = info.status === 'active' ? `, pass ${passes + 1}` : '';
  const throttle = info.cpuThrottlePercentage ? `, guest held back ${info.cpuThrottlePercentage} %` : '';
  const recovered = recoveries.count === 0 ? '' : `; recovered ${recoveriesText(recoveries)}`;
  const foreseen = forecast === null ? '' : `; ${forecastText(forecast)}`;
  return (
    `source       ${info.status}${pass}${throttle}: ${outgoingText(info, rate)}; ` +
    `guest wrote ${formatCount(guest.writesHere)} pages${recovered}${foreseen}`
  );
}

function destinationLine({ info, guest }: DestinationProgress): string {
  const wrote = formatCount(guest?.writesHere ?? 0);
  return `destination  ${info.status}: ${incomingText(info)}; guest wrote ${wrote} pages`;
}

/** What makes a line of each progress that comes, of which it has to be given all. */
function lineMaker(): (progress: SideProgress) => string {
  const sent = new RateMeter();
  return (progress) =>
    progress.side === 'source'
      ? sourceLine(progress, sent.look(progress.info.ram.transferred))
      : destinationLine(progress);
}

const fieldsOf = (progress: SideProgress) =>
  progress.side === 'source' ? outgoingFields(progress.info) : incomingFields(progress.info);

export interface DemoProgress {
  /** Something began that takes a while. */
  doing(what: string): void;
  progress(progress: SideProgress): void;
  /** Something happened. */
  event(text: string, detail?: EventDetail): void;
  /** No more is to come. */
  end(): void;
}

/** What takes a while, and for how long it does already, from a second on. */
class Doing {
  #what = '';
  #since = 0;

  begin(what: string): void {
    this.#what = what;
    this.#since = performance.now();
  }

  get text(): string {
    const ms = performance.now() - this.#since;
    return this.#what === '' || ms < PLAIN_MS ? this.plainText : `${this.#what} … ${formatDuration(ms)}`;
  }

  get plainText(): string {
    return this.#what === '' ? '' : `${this.#what} …`;
  }
}

function liveProgress(update: TerminalLines, stream: NodeJS.WriteStream): DemoProgress {
  const lineOf = lineMaker();
  const lines = { source: '', destination: '' };
  const doing = new Doing();
  const draw = () => update([doing.text, lines.source, lines.destination].filter((line) => line !== '').join('\n'));
  const timer = setInterval(draw, LIVE_MS);
  timer.unref();
  return {
    doing: (what) => {
      doing.begin(what);
      draw();
    },
    progress: (progress) => {
      lines[progress.side] = lineOf(progress);
      draw();
    },
    event: (text) => {
      update.clear();
      stream.write(`${text}\n`);
      draw();
    },
    end: () => {
      clearInterval(timer);
      update.done();
    },
  };
}

function plainProgress(stream: NodeJS.WriteStream): DemoProgress {
  const lineOf = lineMaker();
  const said = { source: { status: '', atMs: 0 }, destination: { status: '', atMs: 0 } };
  const doing = new Doing();
  let written = 0;
  const write = (text: string) => {
    written += 1;
    stream.write(`${text}\n`);
  };
  // A line that comes otherwise is a sign of life too.
  const pace = new PlainPace('');
  let seen = 0;
  const timer = setInterval(() => {
    const isQuiet = written === seen;
    if (pace.isDue(isQuiet ? 'quiet' : String(written)) && isQuiet && doing.text !== '') write(doing.text);
    seen = written;
  }, PLAIN_MS);
  timer.unref();
  return {
    doing: (what) => {
      doing.begin(what);
      write(doing.plainText);
    },
    progress: (progress) => {
      const line = lineOf(progress);
      const last = said[progress.side];
      const now = performance.now();
      if (progress.info.status === last.status && now - last.atMs < PLAIN_MS) return;
      said[progress.side] = { status: progress.info.status, atMs: now };
      write(line);
    },
    event: write,
    end: () => clearInterval(timer),
  };
}

/** Only what happens. */
function quietProgress(stream: NodeJS.WriteStream): DemoProgress {
  return { doing: () => {}, progress: () => {}, event: (text) => stream.write(`${text}\n`), end: () => {} };
}

/** With what happens only where it is as grave as is asked for. */
function filtered(progress: DemoProgress, logLevel: LogLevel): DemoProgress {
  return {
    ...progress,
    event: (text, detail = {}) => {
      if (isLogged(detail.level ?? 'info', logLevel)) progress.event(text, detail);
    },
  };
}

async function textProgress(logLevel: LogLevel, stream: NodeJS.WriteStream): Promise<DemoProgress> {
  if (!isLogged('info', logLevel)) return quietProgress(stream);
  const live = await terminalLines(stream);
  return live === undefined ? plainProgress(stream) : liveProgress(live, stream);
}

function loggedProgress(log: Log): DemoProgress {
  const said = { source: { status: '', atMs: 0 }, destination: { status: '', atMs: 0 } };
  return {
    doing: (what) => log('info', what, { event: 'doing' }),
    progress: (progress) => {
      const { side, info } = progress;
      const last = said[side];
      const now = performance.now();
      const isNews = info.status !== last.status;
      if (!isNews && now - last.atMs < PLAIN_MS) return;
      said[side] = { status: info.status, atMs: now };
      log(isNews ? 'info' : 'debug', info.status, { event: isNews ? 'status' : 'progress', ...fieldsOf(progress) });
    },
    event: (text, { level = 'info', ...fields } = {}) => log(level, text, fields),
    end: () => {},
  };
}

export async function createDemoProgress(
  options: LogOptions = defaultLogOptions,
  stream: NodeJS.WriteStream = process.stderr,
): Promise<DemoProgress> {
  const { logLevel, logFormat } = options;
  if (logFormat === 'json') return loggedProgress(await createJsonLog(logLevel));
  return filtered(await textProgress(logLevel, stream), logLevel);
}
