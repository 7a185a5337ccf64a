/** The options by which a migration is watched, `--dashboard` and `--report`: those of all commands that migrate. */
import type { Command } from 'commander';
import type { ObservedRun, Observer } from '../dashboard/observer.js';
import { describeError } from '../errors.js';
import { parseHttpAddress } from '../http/address.js';
import { errorFields } from '../logs/migration-fields.js';
import { argument } from './command-line.js';
import type { EventDetail } from './live-line.js';

export interface WatchOptions {
  /** The URI where the dashboard listens; true: a port that is free. */
  readonly dashboard?: string | true;
  readonly dashboardAnyHost?: boolean;
  readonly report?: string;
}

export function addWatchOptions(command: Command): Command {
  return command
    .optionsGroup('Watching:')
    .option(
      '--dashboard [where]',
      'serve a page that shows it live: at this port of loopback, host:port or unix:/path; else at a port that is free',
      argument(parseHttpAddress),
    )
    .option(
      '--dashboard-any-host',
      'let --dashboard host:port be where other hosts can connect: they see what it shows',
    )
    .option('--report <file>', 'write what the page shows in the end to this HTML file, which needs nothing else');
}

/**
 * What watches, and says where; undefined where nothing is wished. Rejects with BAD_ARGUMENT, ADDRESS_IN_USE or
 * LISTEN_FAILED.
 */
export async function openObserver(
  { dashboard, dashboardAnyHost: anyHost = false, report }: WatchOptions,
  title: string,
  tell: (text: string) => void,
): Promise<Observer | undefined> {
  if (dashboard === undefined && report === undefined) return undefined;
  const { Observer } = await import('../dashboard/observer.js');
  const uri = dashboard === true ? parseHttpAddress('0') : dashboard;
  const observer = await Observer.open({
    title,
    ...(uri === undefined ? {} : { dashboard: { uri, anyHost } }),
    ...(report === undefined ? {} : { report }),
  });
  if (observer.url !== undefined) tell(`dashboard at ${observer.url}`);
  return observer;
}

/**
 * Closes it, with its report written. Where that can't be it is told of, and nothing else: what became of the migration
 * is what the command is for. Never rejects.
 */
export async function closeObserver(
  observer: Observer | undefined,
  tell: (text: string, detail: EventDetail) => void,
): Promise<void> {
  try {
    await observer?.close();
  } catch (error) {
    tell(describeError(error), { level: 'error', ...errorFields(error) });
  }
}

/** Ends it with what became of the migration. Never rejects. */
export async function endRun(run: ObservedRun | undefined, finished: Promise<unknown>): Promise<void> {
  try {
    await finished;
    await run?.end({ isSuccess: true, text: 'completed' });
  } catch (error) {
    await run?.end({ isSuccess: false, text: `failed: ${describeError(error)}` });
  }
}
