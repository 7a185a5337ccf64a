/**
 * What this host can do, found by doing it, and what stands in the way of the rest (lib/doctor): the report behind
 * `postcopy probe`. Changes nothing on the host. Needs no privilege: what is forbidden is an answer.
 */
import { gatherFacts, type HostFacts } from '../doctor/facts.js';
import { kernelProblems } from '../doctor/kernel-problems.js';
import { type GuestToCome, memoryProblems } from '../doctor/memory-problems.js';
import type { Problem } from '../doctor/problem.js';
import { processProblems } from '../doctor/process-problems.js';
import { userfaultfdProblem } from '../doctor/userfaultfd-problem.js';
import { type MemoryKind, RAMBlock } from '../memory/ram-block.js';
import { userfaultfdWays } from '../memory/userfaultfd.js';
import { bitNames, type NativeError, native, type UserfaultfdHandle, type UserfaultfdVia } from '../native.js';
import { probeKvm } from './kvm.js';

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
  readonly hugepages: HostFacts['hugepages'];
  /** A migration works: there is no problem that is an error. */
  readonly works: boolean;
  /** Errors first. */
  readonly problems: readonly Problem[];
  /** What the problems were found by. */
  readonly facts: HostFacts;
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

type TriedWay = { readonly via: UserfaultfdVia } & (
  | { readonly available: bigint; readonly errno?: undefined }
  | { readonly available?: undefined; readonly errno: string }
);

/** What the open way has, by name and without the prefix. */
function featureNames(available: bigint): readonly string[] {
  const { constants } = native();
  return bitNames
    .filter((name) => name.startsWith(FEATURE_PREFIX) && (available & constants[name]) !== 0n)
    .map((name) => name.slice(FEATURE_PREFIX.length));
}

/** Looks at this host, and whether it has the memory for `guest`. Throws ADDON_MISSING only. */
export function probeHost(guest?: GuestToCome): HostProbe {
  const tried: readonly TriedWay[] = userfaultfdWays.map((via) => ({ via, ...tryWay(via) }));
  const open = tried.find((way) => way.available !== undefined);
  const available = open?.available ?? 0n;
  const memory = (kind: MemoryKind) => (open === undefined ? nothing : probeMemory(open.via, available, kind));
  const features = featureNames(available);
  const pagemapScan = native().hasPagemapScan();
  const { problem: kvmProblem, ...kvm } = probeKvm();
  const ways = Object.fromEntries(tried.map(({ via, errno }) => [via, errno ?? null])) as Record<
    UserfaultfdVia,
    string | null
  >;
  const facts = gatherFacts();
  const has = new Set([...features, ...(pagemapScan ? ['PAGEMAP_SCAN'] : [])]);
  const found = [
    userfaultfdProblem(ways, facts),
    // What a kernel has that lets nobody in is not known.
    ...(open === undefined ? [] : kernelProblems(has, facts)),
    ...processProblems(facts),
    ...(guest === undefined ? [] : memoryProblems(guest, facts)),
    kvmProblem,
  ].filter((problem) => problem !== undefined);
  const errors = found.filter(({ severity }) => severity === 'error');
  return {
    kernel: facts.kernel,
    userfaultfd: {
      available: open !== undefined,
      via: open?.via ?? null,
      ways,
      features,
      memory: { anonymous: memory('anonymous'), shmem: memory('memfd'), hugetlb: memory('hugetlb') },
    },
    pagemapScan,
    kvm,
    hugepages: facts.hugepages,
    works: errors.length === 0,
    problems: [...errors, ...found.filter(({ severity }) => severity === 'warning')],
    facts,
  };
}
