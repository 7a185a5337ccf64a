/** What this kernel is too old for, or was built without: each facility, since when there is one, and its use. Pure. */
import type { HostFacts } from './facts.js';
import type { Problem } from './problem.js';
import { isKernelOlder } from './proc-files.js';

interface Facility {
  readonly id: string;
  /** The bit of UFFDIO_API without its prefix, or `PAGEMAP_SCAN`. */
  readonly name: string;
  readonly since: string;
  readonly what: string;
  readonly effect: string;
}

/** In the order of the releases, newest first. Those that only belong to another of the list are left out. */
const facilities: readonly Facility[] = [
  {
    id: 'kernel-move',
    name: 'MOVE',
    since: '6.8',
    what: 'huge pages cannot be moved into place here',
    effect: 'huge pages are copied page by page: the same content, and more time',
  },
  {
    id: 'kernel-tracking',
    name: 'WP_ASYNC',
    since: '6.7',
    what: 'dirty pages cannot be tracked here: postcopy at once works, precopy does not',
    effect: 'a running guest is switched to postcopy at once; without postcopy-ram it is not moved',
  },
  {
    id: 'kernel-pagemap-scan',
    name: 'PAGEMAP_SCAN',
    since: '6.7',
    what: 'dirty pages cannot be tracked here: postcopy at once works, precopy does not',
    effect: 'a running guest is switched to postcopy at once; without postcopy-ram it is not moved',
  },
  {
    id: 'kernel-poison',
    name: 'POISON',
    since: '6.6',
    what: 'pages that are lost cannot be poisoned here',
    effect: 'a recovery is given up with "freeze" only',
  },
  {
    id: 'kernel-unpopulated',
    name: 'WP_UNPOPULATED',
    since: '6.4',
    what: 'pages that are not there yet cannot be tracked here',
    effect: 'no precopy of a running guest',
  },
  {
    id: 'kernel-shared-tracking',
    name: 'WP_HUGETLBFS_SHMEM',
    since: '5.19',
    what: 'writes to shared memory and hugepages cannot be tracked here',
    effect: 'no precopy of a running guest of --memory-kind memfd or hugetlb',
  },
  {
    id: 'kernel-shared-memory',
    name: 'MISSING_SHMEM',
    since: '4.11',
    what: 'shared memory takes no userfaultfd here',
    effect: 'no postcopy to --memory-kind memfd',
  },
  {
    id: 'kernel-hugetlb',
    name: 'MISSING_HUGETLBFS',
    since: '4.11',
    what: 'hugepages take no userfaultfd here',
    effect: 'no postcopy to --memory-kind hugetlb',
  },
  {
    id: 'kernel-remove-events',
    name: 'EVENT_REMOVE',
    since: '4.11',
    what: 'what a guest discards is not seen here',
    effect: 'a guest must not discard memory while pages of it are missing (no balloon)',
  },
];

/** Each effect once: of two facilities for the same the first is named. */
export function kernelProblems(has: ReadonlySet<string>, { kernel, arch }: HostFacts): readonly Problem[] {
  const told = new Set<string>();
  return facilities.flatMap(({ id, name, since, what, effect }) => {
    if (has.has(name) || told.has(effect)) return [];
    told.add(effect);
    const isOld = isKernelOlder(kernel, since);
    return {
      id,
      severity: 'warning',
      what,
      why: isOld
        ? `${name} came with Linux ${since}, and this is ${kernel}`
        : `Linux ${kernel} was built without ${name}, or has none on ${arch}`,
      fix: isOld
        ? `use Linux ${since} or newer`
        : `use a kernel of ${arch} that has ${name}, as that of a distribution`,
      effect,
    };
  });
}
