/**
 * The demo while it runs: a few live lines on a terminal, else a plain line whenever something has
 * changed or a second has passed. Always on stderr; stdout is for the result.
 */
import type { SideProgress } from './demo-messages.js';
import { forecastText } from './forecast-text.js';
import { incomingText, outgoingText, recoveriesText } from './migration-lines.js';
import { formatCount } from './size.js';
import { type TerminalLines, terminalLines } from './terminal-lines.js';

/** Milliseconds between two plain lines. */
const PLAIN_MS = 1000;

type SourceProgress = Extract<SideProgress, { side: 'source' }>;
type DestinationProgress = Extract<SideProgress, { side: 'destination' }>;

function sourceLine({ info, guest, passes, recoveries, forecast }: SourceProgress): string {
  const pass = info.status === 'active' ? `, pass ${passes + 1}` : '';
  const throttle = info.cpuThrottlePercentage ? `, guest held back ${info.cpuThrottlePercentage} %` : '';
  const recovered = recoveries.count === 0 ? '' : `; recovered ${recoveriesText(recoveries)}`;
  const foreseen = forecast === null ? '' : `; ${forecastText(forecast)}`;
  return (
    `source       ${info.status}${pass}${throttle}: ${outgoingText(info)}; ` +
    `guest wrote ${formatCount(guest.writesHere)} pages${recovered}${foreseen}`
  );
}

function destinationLine({ info, guest }: DestinationProgress): string {
  const wrote = formatCount(guest?.writesHere ?? 0);
  return `destination  ${info.status}: ${incomingText(info)}; guest wrote ${wrote} pages`;
}

export interface DemoProgress {
  /** Something began that takes a while. */
  doing(what: string): void;
  progress(progress: SideProgress): void;
  /** No more is to come. */
  end(): void;
}

function liveProgress(update: TerminalLines): DemoProgress {
  const lines = { source: '', destination: '' };
  let doing = '';
  const draw = () => update([doing, lines.source, lines.destination].filter((line) => line !== '').join('\n'));
  return {
    doing: (what) => {
      doing = `${what} …`;
      draw();
    },
    progress: (progress) => {
      lines[progress.side] = progress.side === 'source' ? sourceLine(progress) : destinationLine(progress);
      draw();
    },
    end: () => update.done(),
  };
}

function plainProgress(stream: NodeJS.WriteStream): DemoProgress {
  const said = { source: { status: '', atMs: 0 }, destination: { status: '', atMs: 0 } };
  return {
    doing: (what) => stream.write(`${what} …\n`),
    progress: (progress) => {
      const last = said[progress.side];
      const now = performance.now();
      if (progress.info.status === last.status && now - last.atMs < PLAIN_MS) return;
      said[progress.side] = { status: progress.info.status, atMs: now };
      stream.write(`${progress.side === 'source' ? sourceLine(progress) : destinationLine(progress)}\n`);
    },
    end: () => {},
  };
}

export async function createDemoProgress(stream: NodeJS.WriteStream = process.stderr): Promise<DemoProgress> {
  const live = await terminalLines(stream);
  return live === undefined ? plainProgress(stream) : liveProgress(live);
}
