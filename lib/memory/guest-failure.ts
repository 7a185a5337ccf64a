/**
 * The ways in which a guest fails a migration: it throws, it does not answer in time, it dies. The same at both
 * sides. Owners only.
 */
import { MigrationError } from '../errors.js';
import type { Guest } from './guest.js';

const messageOf = (thrown: unknown): string => (thrown instanceof Error ? thrown.message : String(thrown));

/** It was asked to do `what` and threw `cause`. */
export function guestFailed(what: string, cause: unknown): MigrationError {
  return new MigrationError('GUEST_FAILED', `the guest failed to ${what}: ${messageOf(cause)}`, { cause });
}

/** It says of itself that it can't go on. */
export function guestDied(reason: unknown): MigrationError {
  return new MigrationError('GUEST_FAILED', `the guest died: ${messageOf(reason)}`, {
    cause: reason,
    hint: 'see the cause, which comes from the guest, and make another guest',
  });
}

/**
 * What `answer` gives, if that comes within `limitMs` milliseconds (0: whenever it comes) of when it began to count:
 * at once, or when `counts` is settled. Otherwise rejects with GUEST_FAILED; `answer` is then no longer listened to.
 */
export async function withinLimit<T>(
  what: string,
  answer: Promise<T>,
  limitMs: number,
  counts?: Promise<void>,
): Promise<T> {
  if (limitMs === 0) return answer;
  let isAnswered = false;
  let timer: NodeJS.Timeout | undefined;
  const tooLate = new Promise<never>((_, reject) => {
    const begin = () => {
      if (!isAnswered) timer = setTimeout(() => reject(tookTooLong(what, limitMs)), limitMs);
    };
    if (counts === undefined) begin();
    else void counts.then(begin);
  });
  try {
    return await Promise.race([answer, tooLate]);
  } finally {
    isAnswered = true;
    clearTimeout(timer);
  }
}

function tookTooLong(what: string, limitMs: number): MigrationError {
  return new MigrationError('GUEST_FAILED', `the guest did not ${what} within ${limitMs / 1000} s`, {
    hint: 'look at what it waits for, or give it longer with the option guestTimeoutMs',
  });
}

/** Calls `onDeath` when the guest dies, until the function that this returns is called. */
export function watchForDeath({ died }: Guest, onDeath: (death: MigrationError) => void): () => void {
  // The promise may live as long as the guest; it must not hold on to every migration that there was.
  let watcher: ((death: MigrationError) => void) | undefined = onDeath;
  const tell = (reason: unknown) => watcher?.(guestDied(reason));
  died?.then(tell, tell);
  return () => {
    watcher = undefined;
  };
}

/** Rejects with GUEST_FAILED where it is dead already. */
export async function requireAlive({ died }: Guest): Promise<void> {
  if (died === undefined) return;
  const alive = Symbol('alive');
  const reason = await Promise.race([died, alive]).catch((thrown: unknown) => thrown);
  if (reason !== alive) throw guestDied(reason);
}
