/** Whether this host has the memory for a guest that is to come. Pure. */
import type { HostFacts } from './facts.js';
import type { Problem } from './problem.js';

/** The guest that is asked about. */
export interface GuestToCome {
  /** Bytes. */
  readonly memory: number;
  readonly kind: 'anonymous' | 'memfd' | 'hugetlb';
  /** It locks its memory (mlock). */
  readonly isLocked: boolean;
}

const HUGE_PAGE = 2 ** 21;

/** `1.5 GiB`, rounded down. */
function size(bytes: number): string {
  if (bytes >= 2 ** 30) return `${(Math.floor((bytes / 2 ** 30) * 10) / 10).toFixed(1)} GiB`;
  return bytes >= 2 ** 20 ? `${Math.floor(bytes / 2 ** 20)} MiB` : `${Math.floor(bytes / 1024)} KiB`;
}

interface Rule {
  readonly id: string;
  readonly check: (guest: GuestToCome, facts: HostFacts) => Omit<Problem, 'id' | 'severity'> | undefined;
}

const rules: readonly Rule[] = [
  {
    id: 'memory-hugepages',
    check: ({ memory, kind }, { hugepages }) => {
      if (kind !== 'hugetlb') return undefined;
      const { total, free } = hugepages.find((pages) => pages.size === HUGE_PAGE) ?? { total: 0, free: 0 };
      const needed = Math.ceil(memory / HUGE_PAGE);
      if (free >= needed) return undefined;
      return {
        what: `too few hugepages are free for ${size(memory)}`,
        why: `it takes ${needed} of 2 MiB, and ${free} of ${total} are free`,
        fix: `"echo ${total + needed - free} | sudo tee /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"`,
        effect: 'a guest of --memory-kind hugetlb is not made: ENOMEM',
      };
    },
  },
  {
    id: 'memory-available',
    check: ({ memory, kind }, { memory: { available } }) =>
      kind === 'hugetlb' || available === null || available >= memory
        ? undefined
        : {
            what: `this host has no ${size(memory)} of memory left`,
            why: `MemAvailable in /proc/meminfo is ${size(available)}`,
            fix: 'end what else needs memory, or move the guest to a larger host',
            effect: 'the destination swaps, or the kernel ends it while the guest arrives',
          },
  },
  {
    id: 'memory-cgroup',
    check: ({ memory }, { container, memory: { cgroupLeft } }) =>
      cgroupLeft === null || cgroupLeft >= memory
        ? undefined
        : {
            what: `the memory cgroup has no ${size(memory)} left`,
            why: `its limit leaves ${size(cgroupLeft)}`,
            fix:
              container === 'kubernetes'
                ? `set "resources: {limits: {memory: ${Math.ceil((memory * 1.25) / 2 ** 30)}Gi}}"`
                : `"docker run --memory ${Math.ceil((memory * 1.25) / 2 ** 30)}g …", or MemoryMax= in the unit`,
            effect: 'the kernel ends the destination (OOM) while the guest arrives',
          },
  },
  {
    id: 'memory-overcommit',
    check: ({ memory, kind }, { sysctl, memory: { commitLeft } }) =>
      kind === 'hugetlb' || sysctl.overcommitMemory !== 2 || commitLeft === null || commitLeft >= memory
        ? undefined
        : {
            what: `the kernel does not promise ${size(memory)} of memory`,
            why: `vm.overcommit_memory is 2, and CommitLimit leaves ${size(commitLeft)}`,
            fix: '"sudo sysctl -w vm.overcommit_memory=0", or a higher vm.overcommit_ratio',
            effect: 'a guest is not made: ENOMEM',
          },
  },
  {
    id: 'memory-address-space',
    check: ({ memory }, { limits: { addressSpace } }) =>
      addressSpace === null || addressSpace >= memory + 2 ** 36
        ? undefined
        : {
            what: 'the address space of this process is limited',
            why: `the limit is ${size(addressSpace)}, the guest has ${size(memory)}, and Node reserves tens of GiB`,
            fix: '"ulimit -v unlimited"',
            effect: 'a guest is not made: ENOMEM',
          },
  },
  {
    id: 'memory-locked',
    check: ({ memory, isLocked }, { status, limits: { lockedMemory } }) =>
      !isLocked || status.capabilities.includes('CAP_IPC_LOCK') || lockedMemory === null || lockedMemory >= memory
        ? undefined
        : {
            what: `this process may not lock ${size(memory)} of memory`,
            why: `the limit is ${size(lockedMemory)}, and CAP_IPC_LOCK is not in CapEff`,
            fix: '"ulimit -l unlimited" (LimitMEMLOCK=infinity in a unit, --ulimit memlock=-1 of docker)',
            effect: 'what the guest had locked at the source is not locked here again',
          },
  },
];

/** Being killed or not being made is an error; that it is not locked is none. */
const warnings: ReadonlySet<string> = new Set(['memory-locked']);

export function memoryProblems(guest: GuestToCome, facts: HostFacts): readonly Problem[] {
  return rules.flatMap(({ id, check }) => {
    const problem = check(guest, facts);
    return problem === undefined ? [] : [{ id, severity: warnings.has(id) ? 'warning' : 'error', ...problem }];
  });
}
