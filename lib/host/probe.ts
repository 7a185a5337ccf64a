/**
 * What this host can do, found by doing it, and how to allow what it can't: the report behind
 * `postcopy probe`. Changes nothing on the host. Needs no privilege: what is forbidden is an answer.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { release } from 'node:os';
import { type MemoryKind, RAMBlock } from '../memory/ram-block.js';
import { userfaultfdWays } from '../memory/userfaultfd.js';
import { bitNames, type NativeError, native, type UserfaultfdHandle, type UserfaultfdVia } from '../native.js';
import { type Problem, probeKvm } from './kvm.js';

export type { Problem } from './kvm.js';

/** Which register modes a kind of memory takes. */
export interface MemoryProbe {
  readonly missing: boolean;
  readonly wp: boolean;
  readonly minor: boolean;
}

export interface HostProbe {
  readonly kernel: string;
  readonly userfaultfd: {
    readonly available: boolean;
    /** The way the engine would take. */
    readonly via: UserfaultfdVia | null;
    /** Each way, and the errno that closes it or null. */
    readonly ways: Readonly<Record<UserfaultfdVia, string | null>>;
    readonly features: readonly string[];
    readonly memory: Readonly<Record<'anonymous' | 'shmem' | 'hugetlb', MemoryProbe>>;
  };
  readonly pagemapScan: boolean;
  readonly kvm: { readonly available: boolean; readonly apiVersion: number | null };
  readonly hugepages: readonly { readonly size: number; readonly total: number; readonly free: number }[];
  readonly problems: readonly Problem[];
}

const FEATURE_PREFIX = 'UFFD_FEATURE_';
const nothing: MemoryProbe = { missing: false, wp: false, minor: false };

function errnoName(error: unknown): string {
  return (error as NativeError).code ?? 'unknown';
}

/** Tries one way in; closes what it opened. */
function tryWay(via: UserfaultfdVia): { available: bigint } | { errno: string } {
  try {
    const { handle, available } = native().userfaultfdOpen(via, 0n);
    native().userfaultfdClose(handle);
    return { available };
  } catch (error) {
    return { errno: errnoName(error) };
  }
}

function canRegister(uffd: UserfaultfdHandle, block: RAMBlock, mode: number): boolean {
  const { userfaultfdRegister, userfaultfdUnregister } = native();
  try {
    userfaultfdRegister(uffd, block.handle, 0, block.size, mode);
    userfaultfdUnregister(uffd, block.handle, 0, block.size);
    return true;
  } catch {
    return false;
  }
}

/** Registers a small block of that kind in each mode. What can't be mapped (no hugepages reserved) takes none. */
function probeMemory(via: UserfaultfdVia, available: bigint, kind: MemoryKind): MemoryProbe {
  const { constants: c, userfaultfdClose, userfaultfdOpen } = native();
  let block: RAMBlock;
  try {
    block = RAMBlock.create({ idstr: 'probe', size: 1, kind });
  } catch {
    return nothing;
  }
  const { handle } = userfaultfdOpen(via, available & ~c.UFFD_FEATURE_EVENT_FORK & ~c.UFFD_FEATURE_SIGBUS);
  try {
    return {
      missing: canRegister(handle, block, c.UFFDIO_REGISTER_MODE_MISSING),
      wp: canRegister(handle, block, c.UFFDIO_REGISTER_MODE_WP),
      minor: canRegister(handle, block, c.UFFDIO_REGISTER_MODE_MINOR),
    };
  } finally {
    userfaultfdClose(handle);
    block.close();
  }
}

function probeHugepages(): HostProbe['hugepages'] {
  const root = '/sys/kernel/mm/hugepages';
  const read = (path: string) => Number(readFileSync(path, 'utf8'));
  try {
    return readdirSync(root).map((name) => ({
      size: Number(/\d+/.exec(name)?.[0]) * 1024,
      total: read(`${root}/${name}/nr_hugepages`),
      free: read(`${root}/${name}/free_hugepages`),
    }));
  } catch {
    return []; // a kernel without hugetlbfs
  }
}

const userfaultfdProblems: Readonly<Record<string, Problem>> = {
  ENOSYS: {
    what: 'this kernel, or the container it is seen through, has no userfaultfd',
    fix: 'use a kernel built with CONFIG_USERFAULTFD; in a container, allow the system call in its seccomp profile',
  },
  EPERM: {
    what: 'this user may not use userfaultfd',
    fix:
      'run as root, or "setfacl -m u:$USER:rw /dev/userfaultfd", or "sysctl -w vm.unprivileged_userfaultfd=1"; ' +
      'in a container, pass --device /dev/userfaultfd or --privileged',
  },
};

/** Looks at this host. Throws ADDON_MISSING only. */
export function probeHost(): HostProbe {
  const results = userfaultfdWays.map((via) => ({ via, ...tryWay(via) }));
  const open = results.find((result): result is { via: UserfaultfdVia; available: bigint } => 'available' in result);
  const { constants } = native();
  const pagemapScan = native().hasPagemapScan();
  const { problem: kvmProblem, ...kvm } = probeKvm();
  const problems: Problem[] = [];
  if (open === undefined) {
    const errnos = results.map((result) => ('errno' in result ? result.errno : ''));
    problems.push(
      userfaultfdProblems[errnos.some((errno) => errno === 'EPERM' || errno === 'EACCES') ? 'EPERM' : 'ENOSYS'],
    );
  } else if (open.via === 'user-mode-only') {
    problems.push({
      what: 'userfaultfd works for user-mode faults only: memory that the kernel touches (KVM guests) is not covered',
      fix: userfaultfdProblems.EPERM.fix,
    });
  }
  const tracks = pagemapScan && open !== undefined && (open.available & constants.UFFD_FEATURE_WP_ASYNC) !== 0n;
  if (!tracks)
    problems.push({
      what: 'dirty pages cannot be tracked here: postcopy at once works, precopy does not',
      fix: 'use Linux 6.7 or newer',
    });
  if (kvmProblem !== undefined) problems.push(kvmProblem);
  return {
    kernel: release(),
    userfaultfd: {
      available: open !== undefined,
      via: open?.via ?? null,
      ways: Object.fromEntries(
        results.map((result) => [result.via, 'errno' in result ? result.errno : null]),
      ) as Record<UserfaultfdVia, string | null>,
      features: bitNames
        .filter(
          (name) => name.startsWith(FEATURE_PREFIX) && open !== undefined && (open.available & constants[name]) !== 0n,
        )
        .map((name) => name.slice(FEATURE_PREFIX.length)),
      memory: {
        anonymous: open ? probeMemory(open.via, open.available, 'anonymous') : nothing,
        shmem: open ? probeMemory(open.via, open.available, 'memfd') : nothing,
        hugetlb: open ? probeMemory(open.via, open.available, 'hugetlb') : nothing,
      },
    },
    pagemapScan,
    kvm,
    hugepages: probeHugepages(),
    problems,
  };
}
