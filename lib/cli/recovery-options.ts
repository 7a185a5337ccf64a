/** Options that `receive` and `send` have in common: for how long they recover, and what they take for a lost peer. */
import type { Command } from 'commander';
import { number } from './command-line.js';

export interface RecoveryOptions {
  /** Seconds that a pause may last; 0: none is waited for. */
  readonly recoverFor: number;
  /** Seconds of silence; 0 is no limit. */
  readonly peerTimeout: number;
}

const SECONDS_MAX = 2_000_000;
const RECOVER_FOR_SECONDS = 60;
const PEER_TIMEOUT_SECONDS = 30;

export function addRecoveryOptions(command: Command): Command {
  return command
    .option(
      '--recover-for <seconds>',
      'how long a postcopy whose connection is lost is tried to be recovered, each time; 0: not at all',
      number(0, SECONDS_MAX, false),
      RECOVER_FOR_SECONDS,
    )
    .option(
      '--peer-timeout <seconds>',
      'a peer that is silent for so long in postcopy is lost; 0: it may be silent for ever',
      number(0, SECONDS_MAX, false),
      PEER_TIMEOUT_SECONDS,
    );
}

export const toMs = (seconds: number): number => Math.round(seconds * 1000);
