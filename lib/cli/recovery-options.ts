/** Options that `receive` and `send` have in common: for how long they recover, and what they take for a lost peer. */
import type { Command } from 'commander';
import { MigrationError } from '../errors.js';
import { sized } from './command-line.js';
import { parseSeconds } from './size.js';

export interface RecoveryOptions {
  /** Seconds that a pause may last; 0: none is waited for. */
  readonly recoverFor: number;
  /** Seconds of silence; 0 is no limit. */
  readonly peerTimeout: number;
}

const SECONDS_MAX = 2_000_000;

/** Throws BAD_ARGUMENT. */
function pauseSeconds(text: string): number {
  const seconds = parseSeconds(text);
  if (seconds <= SECONDS_MAX) return seconds;
  throw new MigrationError('BAD_ARGUMENT', `"${text}" is too long`, { hint: `give at most ${SECONDS_MAX} seconds` });
}

export function addRecoveryOptions(command: Command): Command {
  return command
    .addOption(
      sized(
        '--recover-for <time>',
        'how long a postcopy whose connection is lost is tried to be recovered, each time, such as 90s or 5min; ' +
          '0: not at all',
        pauseSeconds,
        '60s',
      ),
    )
    .addOption(
      sized(
        '--peer-timeout <time>',
        'a peer that is silent for so long in postcopy is lost; 0: it may be silent for ever',
        pauseSeconds,
        '30s',
      ),
    );
}

export const toMs = (seconds: number): number => Math.round(seconds * 1000);
