/**
 * Opening a userfaultfd the way this host allows, and the sentences for when it allows none.
 *
 * /dev/userfaultfd first, as its access is the administrator's to give; then the system call; then
 * the system call for user-mode faults only, which needs no privilege but does not cover memory that
 * the kernel touches for a process (read(2) into it, or KVM).
 */
import { gatherFacts } from '../doctor/facts.js';
import { type UserfaultfdWays, userfaultfdProblem } from '../doctor/userfaultfd-problem.js';
import { MigrationError } from '../errors.js';
import { type NativeError, native, type UserfaultfdHandle, type UserfaultfdVia } from '../native.js';

export interface OpenedUserfaultfd {
  readonly handle: UserfaultfdHandle;
  readonly via: UserfaultfdVia;
  readonly granted: bigint;
}

/** The ways in, best first. */
export const userfaultfdWays: readonly UserfaultfdVia[] = ['device', 'syscall', 'user-mode-only'];

/** Turns the errnos of every way that failed into the one that a person can act on. */
function unavailable(failures: readonly NativeError[]): MigrationError {
  const lacking = failures.find((failure) => failure.code === 'EINVAL');
  if (lacking !== undefined) {
    return new MigrationError(
      'KERNEL_TOO_OLD',
      `this kernel's userfaultfd lacks ${lacking.arguments.missing ?? 'a feature'}`,
      {
        cause: lacking,
      },
    );
  }
  const { code } = failures.find((failure) => failure.code === 'EPERM' || failure.code === 'EACCES') ?? {};
  const ways = Object.fromEntries(userfaultfdWays.map((via, index) => [via, failures[index].code]));
  const problem = userfaultfdProblem(ways as unknown as UserfaultfdWays, gatherFacts());
  return new MigrationError(
    code === undefined ? 'USERFAULTFD_UNAVAILABLE' : 'USERFAULTFD_FORBIDDEN',
    `${problem?.what} (${problem?.why})`,
    { ...(problem === undefined ? {} : { hint: problem.fix }), cause: failures[0] },
  );
}

/** The errno that closes each way, found by trying; null where it is open. Leaves nothing open. */
export function closedWays(): UserfaultfdWays {
  const answers = userfaultfdWays.map((via) => {
    try {
      native().userfaultfdClose(native().userfaultfdOpen(via, 0n).handle);
      return [via, null];
    } catch (error) {
      return [via, (error as NativeError).code];
    }
  });
  return Object.fromEntries(answers) as unknown as UserfaultfdWays;
}

/** Opens it one way with `needed`, and with those of `wished` that this kernel has. */
function open(via: UserfaultfdVia, needed: bigint, wished: bigint): OpenedUserfaultfd {
  const { userfaultfdClose, userfaultfdOpen } = native();
  const { handle, granted, available } = userfaultfdOpen(via, needed);
  const more = wished & available & ~granted;
  if (more === 0n) return { handle, via, granted };
  // What there is is only known once it is open, and the features of an open one can't be changed.
  userfaultfdClose(handle);
  return { via, ...userfaultfdOpen(via, needed | more) };
}

/**
 * Opens a userfaultfd with all of the features `needed` (`UFFD_FEATURE_*` bits), and those of `wished` that
 * there are, by the first way that works. Throws KERNEL_TOO_OLD naming what is missing, USERFAULTFD_FORBIDDEN
 * or USERFAULTFD_UNAVAILABLE.
 */
export function openUserfaultfd(needed: bigint, wished = 0n): OpenedUserfaultfd {
  const failures: NativeError[] = [];
  for (const via of userfaultfdWays) {
    try {
      return open(via, needed, wished);
    } catch (error) {
      failures.push(error as NativeError);
    }
  }
  throw unavailable(failures);
}
