/**
 * Can this host do postcopy for these blocks? Answered by doing it: a userfaultfd is opened with the
 * features the memory kinds need, and one page of each kind is registered and placed (D4). Early, so
 * that it fails while the guest still runs at the source.
 */
import { gatherFacts } from '../doctor/facts.js';
import { userfaultfdProblem } from '../doctor/userfaultfd-problem.js';
import { MigrationError } from '../errors.js';
import type { MemoryKind, RAMBlockDescriptor } from '../memory/ram-block.js';
import { RAMBlock } from '../memory/ram-block.js';
import { closedWays, type OpenedUserfaultfd, openUserfaultfd } from '../memory/userfaultfd.js';
import { native, type UserfaultfdHandle, type UserfaultfdVia } from '../native.js';

function missingFeatures(kinds: ReadonlySet<MemoryKind>): bigint {
  const { constants: c } = native();
  return (
    (kinds.has('memfd') ? c.UFFD_FEATURE_MISSING_SHMEM : 0n) |
    (kinds.has('hugetlb') ? c.UFFD_FEATURE_MISSING_HUGETLBFS : 0n)
  );
}

/**
 * What the guest does to its own memory while pages are missing, and which thread it was; and that what never comes
 * can be poisoned. Not EVENT_FORK, which needs a privilege of its own: a child simply does not get this memory
 * (prepare-memory.ts).
 */
function wishedFeatures(): bigint {
  const { constants: c } = native();
  return (
    c.UFFD_FEATURE_THREAD_ID |
    c.UFFD_FEATURE_EVENT_REMOVE |
    c.UFFD_FEATURE_EVENT_UNMAP |
    c.UFFD_FEATURE_EVENT_REMAP |
    c.UFFD_FEATURE_POISON
  );
}

/** Hugepages are tried in the guest itself, which is empty: it has reserved what it needs, and there may be no more. */
function tryPlacingHugepage(uffd: UserfaultfdHandle, block: RAMBlockDescriptor): void {
  placeFirst(uffd, block);
  native().ramBlockDiscard(block.handle, Float64Array.of(0, block.pageSize), 1);
}

function tryPlacing(uffd: UserfaultfdHandle, kind: MemoryKind): void {
  const block = RAMBlock.create({ idstr: 'host-check', size: 1, kind });
  try {
    // Where the process locks all it maps (mlockall), it has been populated.
    native().ramBlockUnlock(block.handle);
    native().ramBlockDiscard(block.handle, Float64Array.of(0, block.size), 1);
    placeFirst(uffd, block);
  } finally {
    block.close();
  }
}

/** Has the first page of a block, which is missing, placed as in postcopy. */
function placeFirst(uffd: UserfaultfdHandle, { handle, pageSize, kind }: RAMBlockDescriptor): void {
  const { constants, placeZeroPages, userfaultfdRegister, userfaultfdUnregister } = native();
  userfaultfdRegister(uffd, handle, 0, pageSize, constants.UFFDIO_REGISTER_MODE_MISSING);
  const placed = placeZeroPages(uffd, handle, pageSize, new Uint32Array(1), 1, new Uint8Array(1));
  userfaultfdUnregister(uffd, handle, 0, pageSize);
  if (placed !== 1) throw new MigrationError('KERNEL_TOO_OLD', `this kernel can't place a page of ${kind} memory`);
}

/** With such a one the kernel's own access to a missing page fails instead of waiting: read(2), or KVM's run. */
function requireKernelFaults(via: UserfaultfdVia): void {
  if (via !== 'user-mode-only') return;
  const problem = userfaultfdProblem({ ...closedWays(), [via]: null }, gatherFacts());
  throw new MigrationError(
    'USERFAULTFD_FORBIDDEN',
    'this user may serve page faults of user mode only, and the kernel touches the RAM of this guest' +
      (problem === undefined ? '' : ` (${problem.why})`),
    problem === undefined ? {} : { hint: problem.fix },
  );
}

/** A userfaultfd that was opened before it was known for which blocks. */
export interface HostTriedAhead {
  readonly opened: OpenedUserfaultfd;
  /** A page of each was placed with it. */
  readonly tried: ReadonlySet<MemoryKind>;
}

/** What can be tried ahead of {@link openForPostcopy}, in which the guest may stand still; undefined where it fails. */
export function openAhead(): HostTriedAhead | undefined {
  let opened: OpenedUserfaultfd | undefined;
  try {
    opened = openUserfaultfd(0n, wishedFeatures() | missingFeatures(new Set(['memfd', 'hugetlb'])));
    const tried = new Set<MemoryKind>(['anonymous']);
    if (canServe(opened, new Set(['memfd']))) tried.add('memfd');
    for (const kind of tried) tryPlacing(opened.handle, kind);
    return { opened, tried };
  } catch {
    if (opened !== undefined) native().userfaultfdClose(opened.handle);
    return undefined;
  }
}

function canServe({ granted }: OpenedUserfaultfd, kinds: ReadonlySet<MemoryKind>): boolean {
  const needed = missingFeatures(kinds);
  return (granted & needed) === needed;
}

/**
 * A userfaultfd that can serve faults in these blocks, of which nothing is populated; those of the kernel too where
 * the guest has any (`Guest.faultsInKernel`). `ahead` is taken over. Throws KERNEL_TOO_OLD, USERFAULTFD_FORBIDDEN or
 * USERFAULTFD_UNAVAILABLE.
 */
export function openForPostcopy(
  blocks: readonly RAMBlockDescriptor[],
  faultsInKernel = false,
  ahead?: HostTriedAhead,
): OpenedUserfaultfd {
  const kinds = new Set(blocks.map(({ kind }) => kind));
  const isServed = ahead !== undefined && canServe(ahead.opened, kinds);
  if (ahead !== undefined && !isServed) native().userfaultfdClose(ahead.opened.handle);
  const tried: ReadonlySet<MemoryKind> = isServed ? ahead.tried : new Set();
  const opened = isServed ? ahead.opened : openUserfaultfd(missingFeatures(kinds), wishedFeatures());
  const { handle, via } = opened;
  try {
    if (faultsInKernel) requireKernelFaults(via);
    for (const kind of kinds) if (kind !== 'hugetlb' && !tried.has(kind)) tryPlacing(handle, kind);
    for (const block of blocks) if (block.kind === 'hugetlb') tryPlacingHugepage(handle, block);
  } catch (cause) {
    native().userfaultfdClose(handle);
    if (cause instanceof MigrationError) throw cause;
    throw new MigrationError(
      'KERNEL_TOO_OLD',
      `this kernel can't register memory of this guest: ${(cause as Error).message}`,
      {
        cause,
      },
    );
  }
  return opened;
}
