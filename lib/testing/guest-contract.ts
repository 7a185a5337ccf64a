/** The contract of docs/guests.md as checks of a guest, for any test framework. */
import type { Guest } from '../memory/guest.js';
import { type ContractRule, ContractRun } from './contract-run.js';
import type { GuestKit } from './guest-kit.js';
import { moveRules } from './move-rules.js';
import { resourceRules } from './resource-rules.js';
import { runningRules } from './running-rules.js';
import { stateRules } from './state-rules.js';

export interface ContractOptions {
  /** Milliseconds to wait for any one thing; 10,000 when absent. A slow guest needs more. */
  readonly timeoutMs?: number;
}

export interface ContractCheck {
  /** What the guest does, as a test's name. */
  readonly name: string;
  /** What the contract says. */
  readonly rule: string;
  /** Rejects with a {@link ContractError} where the guest does not keep the rule. */
  run(): Promise<void>;
}

/** Says the rule that a guest breaks, what was seen, and what to do. */
export class ContractError extends Error {
  readonly rule: string;
  readonly seen: string;
  readonly mend: string;

  constructor({ rule, mend }: ContractRule, cause: unknown) {
    const seen = cause instanceof Error ? cause.message : String(cause);
    super(`${rule}\n  seen: ${seen}\n  what to do: ${mend}`, { cause });
    this.name = 'ContractError';
    this.rule = rule;
    this.seen = seen;
    this.mend = mend;
  }
}

/**
 * The checks, each with guests of its own, in real memory and real migrations: make a test of each, and run them one
 * after the other, as they look at what the process holds. What a guest leaves out of `Guest` is not asked of it.
 */
export function guestContract<G extends Guest>(
  kit: GuestKit<G>,
  { timeoutMs = 10_000 }: ContractOptions = {},
): readonly ContractCheck[] {
  return [...runningRules, ...stateRules, ...moveRules, ...resourceRules].map((contractRule) => ({
    name: contractRule.name,
    rule: contractRule.rule,
    run: () => runCheck(contractRule, new ContractRun(kit, timeoutMs)),
  }));
}

async function runCheck<G extends Guest>(contractRule: ContractRule, run: ContractRun<G>): Promise<void> {
  try {
    await contractRule.check(run);
  } catch (thrown) {
    await run.close().catch(() => {}); // the first is the one to look at
    throw new ContractError(contractRule, thrown);
  }
  await run.close();
}
