/** Which guest the demo takes: the one asked for, or where that is open a virtual machine if there can be one. Pure. */
import type { Problem } from '../doctor/problem.js';
import { MigrationError } from '../errors.js';
import { MAX_VCPUS, MEMORY_MAX, WORK_ADDRESS } from '../guest/kvm/memory-map.js';
import type { HostProbe } from '../host/probe.js';
import type { DemoGuestName } from './demo-guest.js';
import { formatBytes } from './size.js';

/** Why not, and what to do for it. */
type Obstacle = Pick<Problem, 'what' | 'fix'>;

export interface GuestWish {
  readonly guest: DemoGuestName | 'auto';
  /** Bytes. */
  readonly memory: number;
  readonly vcpus: number;
}

/** What of the host it depends on. */
export interface GuestHost {
  /** Why there can be no KVM guest, if so. */
  readonly kvmProblem: Obstacle | undefined;
  readonly userfaultfdVia: HostProbe['userfaultfd']['via'];
}

export interface GuestChoice {
  readonly guest: DemoGuestName;
  /** Why it is not a virtual machine, and what to do for one; absent where it is, or was not wanted. */
  readonly because?: Obstacle;
}

/** Of whole mebibytes, as --memory takes it. */
const asOption = (bytes: number): string => `${bytes / 1024 / 1024}M`;

function whyNoKvm({ memory, vcpus }: GuestWish, { kvmProblem, userfaultfdVia }: GuestHost): Obstacle | undefined {
  if (kvmProblem !== undefined) return kvmProblem;
  if (userfaultfdVia === 'user-mode-only') {
    return {
      what: 'userfaultfd is allowed for faults of user mode only, and KVM faults in the kernel',
      fix: 'allow all of it, as "postcopy probe" says',
    };
  }
  if (memory > MEMORY_MAX) {
    const most = formatBytes(MEMORY_MAX);
    return {
      what: `a KVM guest has at most ${most} of memory`,
      fix: `give it --memory ${asOption(MEMORY_MAX)} or less`,
    };
  }
  if (memory < 2 * WORK_ADDRESS) {
    const least = formatBytes(2 * WORK_ADDRESS);
    return {
      what: `a KVM guest needs ${least} of memory`,
      fix: `give it --memory ${asOption(2 * WORK_ADDRESS)} or more`,
    };
  }
  if (vcpus > MAX_VCPUS) {
    return { what: `a KVM guest has at most ${MAX_VCPUS} vCPUs`, fix: `give it --vcpus ${MAX_VCPUS} or fewer` };
  }
  return undefined;
}

/** Throws GUEST_UNAVAILABLE where a KVM guest was asked for and there can be none. */
export function chooseGuest(wish: GuestWish, host: GuestHost): GuestChoice {
  if (wish.guest === 'stress') return { guest: 'stress' };
  const because = whyNoKvm(wish, host);
  if (because === undefined) return { guest: 'kvm' };
  if (wish.guest === 'auto') return { guest: 'stress', because };
  throw new MigrationError('GUEST_UNAVAILABLE', `no KVM guest can run here: ${because.what}`, { hint: because.fix });
}
