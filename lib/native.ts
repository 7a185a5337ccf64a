/**
 * The typed face of the C++ addon: all that TypeScript can call, and the only file that loads it.
 *
 * Handles are small positive integers into one process-wide table (native/handles.h), so any worker
 * may use what another made. They are never reused. A closed or unknown handle throws `EBADF`.
 * A handle does not end with the worker that made it: a userfaultfd must not be closed because a
 * thread died, as closing one turns missing pages into zeroes. Whoever owns a handle closes it, and
 * an object that a call in another thread still uses lives until that call returns.
 *
 * Every failed system call throws a {@link NativeError}. Bad arguments throw a `TypeError` or
 * `RangeError` with the argument's name, before anything is done. Offsets and lengths are bytes
 * (exact up to 2^53); page indexes count pages of the page size given beside them.
 *
 * Calls that can block take a kick: an eventfd handle that, once signalled, makes this and every
 * later blocking call with it return `constants.KICKED` until it is drained. They never time out
 * unless they say so, and cannot be ended otherwise: `worker.terminate()` waits for them.
 */
import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import bindings from 'bindings';

declare const brand: unique symbol;
type Handle<Name extends string> = number & { readonly [brand]: Name };
export type RamBlockHandle = Handle<'RamBlock'>;
export type UserfaultfdHandle = Handle<'Userfaultfd'>;
export type EventfdHandle = Handle<'Eventfd'>;
export type SocketHandle = Handle<'Socket'>;
export type StressGuestHandle = Handle<'StressGuest'>;
export type KvmMachineHandle = Handle<'KvmMachine'>;

/** What every failed system call throws. */
export interface NativeError extends Error {
  /** The errno's name, such as `EPERM`. */
  readonly code: string;
  readonly errno: number;
  /** The call that failed, such as `ioctl(UFFDIO_COPY)` or `mmap`. */
  readonly syscall: string;
  /** What it was called with, by name. */
  readonly arguments: Readonly<Record<string, string | number | bigint>>;
}

export type SocketAddress =
  | { readonly family: 'unix'; readonly path: string }
  | { readonly family: 'tcp'; readonly host: string; readonly port: number };

/** How a userfaultfd was opened; see `userfaultfdOpen`. */
export type UserfaultfdVia = 'syscall' | 'device' | 'user-mode-only';

export interface StressGuestOptions {
  /** Native threads that write; 1 to 64. */
  readonly vcpus: number;
  /** Seed of page contents and of the write order; any unsigned 32-bit number. */
  readonly seed: number;
  /** Pages filled before the start, each block's share from its first page on; the others stay zero. */
  readonly filledPages: number;
  /** Pages written while running, each block's share from its first; at least `vcpus`, at most `filledPages`. */
  readonly workingSetPages: number;
  /** Writes a second over all vCPUs; 0 is as fast as they go. */
  readonly writesPerSecond: number;
}

/** What a full check of the guest's memory against its device state found. */
export interface StressGuestVerdict {
  readonly pagesChecked: number;
  /** Pages that hold zeroes although they were written. */
  readonly lostPages: number;
  /** Pages whose parts belong to different writes, or to none. */
  readonly tornPages: number;
  /** Whole pages of an earlier write. */
  readonly stalePages: number;
  /** Writes that are missing, summed over all pages. */
  readonly lostWrites: number;
  /** The first bad pages, at most 16. */
  readonly badPages: readonly number[];
}

/** Counters of a stress guest at this moment. */
export interface StressGuestStats {
  /** Page writes done since it was made, at the source included (they travel in the device state). */
  readonly writes: number;
  /** Page writes done in this process. */
  readonly writesHere: number;
  /** Pages found wrong when the guest came to write them again. */
  readonly badPages: number;
  /** Writes found missing when the guest came to write those pages again. */
  readonly lostWrites: number;
  /** CLOCK_MONOTONIC µs of the last start, of the first write after it, and of the last full stop; 0 if none. */
  readonly startedUs: number;
  readonly firstWriteUs: number;
  readonly stoppedUs: number;
}

/** What a vCPU put out at a port, one write after the other. */
export interface KvmOutput {
  readonly vcpu: number;
  /** 0xe9 or 0x3f8. */
  readonly port: number;
  readonly bytes: Uint8Array;
}

export interface KvmMachineStatus {
  /** CLOCK_MONOTONIC µs of the last start and of the last full stop; 0 if none. */
  readonly startedUs: number;
  readonly stoppedUs: number;
  /** vCPUs that executed HLT, where there are no interrupt chips that could wake them. */
  readonly halted: number;
  /** Why the machine can't go on: which vCPU, what happened (its predicate), and where in the guest. */
  readonly death?: { readonly vcpu: number; readonly reason: string; readonly instruction: number };
}

/** Registers of a vCPU at entry; each 0 to 2^32 - 1. */
export interface KvmEntry {
  readonly eip: number;
  readonly esp: number;
  readonly ebp: number;
  readonly eax: number;
  readonly ecx: number;
}

export interface Native {
  /** Kernel constants and boundary record shapes, exported by name (native/constants.cc). */
  readonly constants: NativeConstants;

  // --- clock and threads -----------------------------------------------------------------------
  /** CLOCK_MONOTONIC in microseconds: the same clock in every process of this host. */
  monotonicUs(): number;
  /** Names the calling thread for ps, top and /proc; cut to 15 bytes. */
  setThreadName(name: string): void;
  /**
   * How many steps the calling thread comes before an ordinary one when it wakes, 0 to 20: its nice value, negated.
   * False where it may not: that takes CAP_SYS_NICE, or a limit RLIMIT_NICE. From 1 on it also has slices of 0.1 ms,
   * whether or not it may, so that it need not wait for the end of another's (from Linux 6.12 on).
   */
  raiseThread(steps: number): boolean;
  /** The calling thread's id as the kernel knows it: EVENT_THREAD of its faults, and its folder of /proc. */
  threadId(): number;
  /** How many objects of each kind are open in this process, for leak tests. */
  openHandles(): Record<'ramBlocks' | 'userfaultfds' | 'eventfds' | 'sockets' | 'stressGuests' | 'kvmMachines', number>;

  // --- eventfd.cc ------------------------------------------------------------------------------
  eventfdCreate(): EventfdHandle;
  eventfdSignal(kick: EventfdHandle): void;
  eventfdDrain(kick: EventfdHandle): void;
  eventfdClose(kick: EventfdHandle): void;

  // --- ram_block.cc ----------------------------------------------------------------------------
  /**
   * Maps `size` bytes of unpopulated memory: MAP_NORESERVE, except that hugepages are reserved, so that too
   * few of them are ENOMEM here and not SIGBUS later. `kind` is one of `MEMORY_*`;
   * `pageSize` must be the host's page size, or a hugepage size for `MEMORY_HUGETLB`.
   */
  ramBlockCreate(kind: number, size: number, pageSize: number): RamBlockHandle;
  /**
   * A block over memory that a runtime has mapped, such as a WebAssembly.Memory: whole pages, anonymous and private.
   * It keeps the memory mapped, also when `memory` or its thread has gone, and leaves it to the runtime to unmap it.
   * Closed, it stays as long as `memory` does. Throws ENOTSUP where the runtime gives no share in the buffer.
   */
  ramBlockAdopt(memory: { readonly buffer: ArrayBuffer | SharedArrayBuffer }): RamBlockHandle;
  /**
   * Forgets the block, and detaches this thread's view: unmapped when the last call and the last view are gone.
   * What is registered with a userfaultfd is unregistered before, so that this waits for no reader of events.
   */
  ramBlockClose(block: RamBlockHandle): void;
  /** The host address is exact in a double (47 bits); `fd` is the memfd, -1 for anonymous memory. */
  ramBlockInfo(block: RamBlockHandle): { kind: number; address: number; size: number; pageSize: number; fd: number };
  /**
   * A view of the whole block. One per thread: later calls in the same thread return the same ArrayBuffer.
   * Node 20 refuses more than 4 GiB (`ERR_BUFFER_TOO_LARGE`): use ramBlockRead and ramBlockWrite there.
   */
  ramBlockBuffer(block: RamBlockHandle): ArrayBuffer;
  /** madvise with one of `MADV_*` on a page-aligned range. */
  ramBlockAdvise(block: RamBlockHandle, advice: number, offset: number, length: number): void;
  /**
   * Has a page-aligned range populated by a thread of the pool (MADV_POPULATE_WRITE), its content as it is. Only a
   * wish: resolved, never rejected, also where the kernel can't.
   */
  ramBlockPopulate(block: RamBlockHandle, offset: number, length: number): Promise<void>;
  /**
   * Makes the ranges missing: MADV_DONTNEED for anonymous memory and hugepages, MADV_REMOVE for shared.
   * `ranges` holds `count` pairs (offset, length), page-aligned, inside the block: all are checked
   * before the first is discarded.
   */
  ramBlockDiscard(block: RamBlockHandle, ranges: Float64Array, count: number): void;
  /**
   * The same for one range, on behalf of the guest: false, and nothing done, while anyone inhibits it.
   */
  ramBlockTryDiscard(block: RamBlockHandle, offset: number, length: number): boolean;
  /**
   * 1: ramBlockTryDiscard does nothing until this is called with 0 as often. Waits for one that is under way.
   * Throws a RangeError for a 0 too many.
   */
  ramBlockInhibitDiscard(block: RamBlockHandle, inhibit: 0 | 1): void;
  /**
   * What a guest may do to its own memory, and tests do: munmap of a range, which leaves a hole that is not
   * touched again; and mremap of a range to somewhere else, which leaves the same. With a userfaultfd that has
   * the event, they wait until it is read. Not of an adopted block, whose runtime relies on its mapping.
   */
  ramBlockUnmap(block: RamBlockHandle, offset: number, length: number): void;
  ramBlockMoveAway(block: RamBlockHandle, offset: number, length: number): void;
  /** mlock of the whole block, which populates it. ENOMEM above RLIMIT_MEMLOCK. */
  ramBlockLock(block: RamBlockHandle): void;
  ramBlockUnlock(block: RamBlockHandle): void;
  /** Copies out of / into the block without a view; may fault like any access. */
  ramBlockRead(block: RamBlockHandle, offset: number, target: Uint8Array): void;
  ramBlockWrite(block: RamBlockHandle, offset: number, source: Uint8Array): void;
  /** Copies `count` pages from `arena` at `offsets[i]` to page `pages[i]`, without userfaultfd. */
  loadPages(
    block: RamBlockHandle,
    pageSize: number,
    pages: Uint32Array,
    count: number,
    arena: Uint8Array,
    offsets: Uint32Array,
  ): void;
  /**
   * Fills page `pages[i]` with byte `fills[i]`. A page that already reads so is not written, but is
   * populated: after this no access to it faults.
   */
  fillPages(block: RamBlockHandle, pageSize: number, pages: Uint32Array, count: number, fills: Uint8Array): void;
  /** zero_page.cc: sets `zero[i]` to 1 where page `pages[i]` is all zero, else 0. Returns how many are. */
  findZeroPages(block: RamBlockHandle, pageSize: number, pages: Uint32Array, count: number, zero: Uint8Array): number;

  // --- userfaultfd.cc --------------------------------------------------------------------------
  /**
   * Opens a non-blocking, close-on-exec userfaultfd one way, and does the API handshake asking for
   * `features` (`UFFD_FEATURE_*` bits). Throws EPERM / ENOENT / ENOSYS where this way is closed,
   * EINVAL naming the missing features where the kernel lacks some. `granted` are the features
   * switched on, `available` all that the kernel has.
   */
  userfaultfdOpen(
    via: UserfaultfdVia,
    features: bigint,
  ): { handle: UserfaultfdHandle; granted: bigint; available: bigint };
  userfaultfdClose(uffd: UserfaultfdHandle): void;
  /** UFFDIO_REGISTER with `UFFDIO_REGISTER_MODE_*` bits; returns the ioctls the range allows, as bits. */
  userfaultfdRegister(
    uffd: UserfaultfdHandle,
    block: RamBlockHandle,
    offset: number,
    length: number,
    mode: number,
  ): bigint;
  userfaultfdUnregister(uffd: UserfaultfdHandle, block: RamBlockHandle, offset: number, length: number): void;
  /**
   * UFFDIO_COPY of `count` pages from `arena` at `offsets[i]` to page `pages[i]`; neighbours in both
   * go in one ioctl. `outcomes[i]` becomes one of `OUTCOME_*`: PLACED; PRESENT (already there; its
   * waiters woken); RETRY (the mapping is changing: drain the events, then try again); GONE (no
   * longer registered or mapped). Anything else throws, and leaves 0 where it did not come to.
   * `pageSize` must be the block's, `mode` holds `UFFDIO_COPY_MODE_*` bits. Returns how many were PLACED.
   */
  placePages(
    uffd: UserfaultfdHandle,
    block: RamBlockHandle,
    pageSize: number,
    pages: Uint32Array,
    count: number,
    arena: Uint8Array,
    offsets: Uint32Array,
    mode: number,
    outcomes: Uint8Array,
  ): number;
  /** The same with UFFDIO_ZEROPAGE (UFFDIO_COPY of zeroes where the memory is hugetlb). */
  placeZeroPages(
    uffd: UserfaultfdHandle,
    block: RamBlockHandle,
    pageSize: number,
    pages: Uint32Array,
    count: number,
    outcomes: Uint8Array,
  ): number;
  /** UFFDIO_CONTINUE for minor faults on shared memory. Returns bytes mapped (all, or it throws). */
  userfaultfdContinue(uffd: UserfaultfdHandle, block: RamBlockHandle, offset: number, length: number): number;
  /** UFFDIO_MOVE of whole pages between blocks (or within one) of this process; the source range becomes missing. */
  userfaultfdMove(
    uffd: UserfaultfdHandle,
    target: RamBlockHandle,
    targetOffset: number,
    source: RamBlockHandle,
    sourceOffset: number,
    length: number,
  ): number;
  /** UFFDIO_WRITEPROTECT with `UFFDIO_WRITEPROTECT_MODE_*` bits. */
  userfaultfdWriteProtect(
    uffd: UserfaultfdHandle,
    block: RamBlockHandle,
    offset: number,
    length: number,
    mode: number,
  ): void;
  /** UFFDIO_POISON: later accesses to the range raise SIGBUS. */
  userfaultfdPoison(uffd: UserfaultfdHandle, block: RamBlockHandle, offset: number, length: number): number;
  userfaultfdWake(uffd: UserfaultfdHandle, block: RamBlockHandle, offset: number, length: number): void;
  /** Blocks until there are events: 1, or 0 where there are none after `timeoutMs` (-1 waits for ever), or KICKED. */
  awaitEvents(uffd: UserfaultfdHandle, kick: EventfdHandle, timeoutMs: number): number;
  /**
   * Blocks until there are events or the kick, then reads as many as are there and fit: `events`
   * receives records of `EVENT_WORDS` numbers. Word EVENT_KIND is one of `UFFD_EVENT_*`; then
   *   PAGEFAULT  EVENT_ADDRESS (exact with EXACT_ADDRESS, else page start), EVENT_FLAGS
   *              (`UFFD_PAGEFAULT_FLAG_*`), EVENT_THREAD (with THREAD_ID, else 0)
   *   REMOVE, UNMAP  EVENT_ADDRESS start, EVENT_LENGTH
   *   REMAP      EVENT_ADDRESS from, EVENT_TO, EVENT_LENGTH
   *   FORK       EVENT_HANDLE: the child's userfaultfd, ours to close
   * Returns the number of events or KICKED. `timeoutMs` -1 waits for ever; else 0 events at the end.
   */
  readEvents(uffd: UserfaultfdHandle, kick: EventfdHandle, events: Float64Array, timeoutMs: number): number;

  // --- dirty_log.cc ----------------------------------------------------------------------------
  /**
   * PAGEMAP_SCAN of a range: sets the bit of every page (of `pageSize`) written since the last scan
   * in `bitmap` (bit i of word i >> 5 is page i of the block, atomically or-ed), and write-protects
   * it again. The range must be registered WP on a userfaultfd with WP_ASYNC, and protected once.
   * Returns how many pages were written.
   */
  harvestDirtyPages(
    block: RamBlockHandle,
    offset: number,
    length: number,
    pageSize: number,
    bitmap: Uint32Array,
  ): number;
  /**
   * PAGEMAP_SCAN of a range: sets the bit of every page (of `pageSize`) that is not mapped now: never touched,
   * discarded, or not in memory. Returns how many they are.
   */
  findAbsentPages(block: RamBlockHandle, offset: number, length: number, pageSize: number, bitmap: Uint32Array): number;
  /** Raw PAGEMAP_SCAN without write-protecting: counts the pages whose `PAGE_IS_*` categories include all of `mask`. */
  countPages(block: RamBlockHandle, offset: number, length: number, mask: bigint): number;
  /** Whether this kernel has PAGEMAP_SCAN. */
  hasPagemapScan(): boolean;

  // --- socket.cc -------------------------------------------------------------------------------
  /** Binds and listens; close-on-exec. Returns the bound port for tcp (port 0 asks for a free one), 0 for unix. */
  socketListen(address: SocketAddress, backlog: number): { handle: SocketHandle; port: number };
  /** Blocks until a peer connects. */
  socketAccept(listener: SocketHandle, kick: EventfdHandle): SocketHandle | number;
  /** Connects in the thread pool. `host` is a numeric address. Rejects with ETIMEDOUT after `timeoutMs`. */
  socketConnect(address: SocketAddress, timeoutMs: number): Promise<SocketHandle>;
  socketPair(): [SocketHandle, SocketHandle];
  /**
   * Whether a process has the unix socket at `path` open. Its listener sees nothing of the question. False for
   * a file that a dead process left; throws ENOENT where there is none.
   */
  unixSocketIsOpen(path: string): boolean;
  /** SHUT_RDWR: whoever blocks on it, here or at the peer, returns. Harmless when already shut. */
  socketShutdown(socket: SocketHandle): void;
  socketClose(socket: SocketHandle): void;
  /** Caps bytes queued in the kernel: TCP_NOTSENT_LOWAT for tcp, SO_SNDBUF for unix. */
  socketLimitQueue(socket: SocketHandle, bytes: number): void;
  /** Whether a receive, or of a listener an accept, would find something now: bytes, an end, an error, a peer. */
  socketReadable(socket: SocketHandle): boolean;
  /** Waits as long for what socketReadable tells: 1, or 0 where the time was over first, or KICKED. */
  socketAwait(socket: SocketHandle, kick: EventfdHandle, timeoutMs: number): number;
  /**
   * Has the kernel break a tcp connection whose peer gives no sign of life for that long (from 1 ms; keepalive needs
   * at least 3 s). Of a unix socket the kernel knows; nothing is done.
   */
  socketSetPeerTimeout(socket: SocketHandle, timeoutMs: number): void;
  /** Blocks for at least one byte (`length` is not 0); returns bytes read, 0 at the peer's end, or KICKED. */
  socketReceive(socket: SocketHandle, kick: EventfdHandle, target: Uint8Array, offset: number, length: number): number;
  /**
   * Sends all of `bytes[offset … offset+length)` or throws. Two sends on one socket never interleave.
   * Returns 0 or KICKED (the stream is then broken).
   */
  socketSend(socket: SocketHandle, kick: EventfdHandle, bytes: Uint8Array, offset: number, length: number): number;
  /**
   * Gathers `count` records and sends them whole: record i is `arena[ends[i-1] … ends[i])` (from 0
   * for the first) followed by page `pages[i]` of the block, or by nothing where that is `NO_PAGE`.
   * `still` 1: the pages stay as they are until the peer has them, so 256 KiB and more of neighbouring
   * ones are referred to rather than copied. Returns bytes sent or KICKED.
   */
  socketSendPages(
    socket: SocketHandle,
    kick: EventfdHandle,
    arena: Uint8Array,
    ends: Uint32Array,
    block: RamBlockHandle,
    pageSize: number,
    pages: Uint32Array,
    count: number,
    still: number,
  ): number;

  // --- kvm.cc ----------------------------------------------------------------------------------
  /** KVM_GET_API_VERSION through /dev/kvm; throws where it can't be opened. */
  kvmApiVersion(): number;
  /**
   * Which of the capabilities (`KVM_CAP_*`) that a machine needs this KVM lacks. This and all that follows throws
   * ENOTSUP on other processors than x86-64, and the error of opening /dev/kvm.
   */
  kvmMissing(): string[];
  /** KVM_GET_SUPPORTED_CPUID: `struct kvm_cpuid_entry2` of 40 bytes each. */
  kvmSupportedCpuid(): Uint8Array;
  /** KVM_GET_MSR_INDEX_LIST. */
  kvmMsrIndexes(): Uint32Array;

  // --- kvm_machine.cc, kvm_vcpu.cc -------------------------------------------------------------
  /**
   * A virtual machine with 1 to 16 vCPUs. The blocks are its memory from address 0 on, in their order and without
   * gaps, 3 GiB at most. `irqchip` 1: with the kernel's interrupt chips and timer. `onEvent` is called in this
   * thread when there is output or the machine died; it does not keep the event loop alive. Made stopped; threads
   * are made at the first start.
   */
  kvmMachineCreate(
    blocks: readonly RamBlockHandle[],
    vcpus: number,
    irqchip: 0 | 1,
    onEvent: () => void,
  ): KvmMachineHandle;
  /** EBUSY where a vCPU is not parked yet or has died. */
  kvmMachineStart(machine: KvmMachineHandle): void;
  /**
   * Asks every vCPU to stop and waits up to `waitMs`; true once all are outside KVM, with every exit completed. To
   * be repeated until then: a vCPU that waits for a page is asked again when it has it.
   */
  kvmMachineStop(machine: KvmMachineHandle, waitMs: number): boolean;
  /** Holds each vCPU back for `percent` of the time, 0 to 99, in slices of 10 ms. At once, until told otherwise. */
  kvmMachineThrottle(machine: KvmMachineHandle, percent: number): void;
  /** Kernel thread ids of the vCPUs in their order; none before the first start. */
  kvmMachineThreads(machine: KvmMachineHandle): number[];
  kvmMachineStatus(machine: KvmMachineHandle): KvmMachineStatus;
  /** What was put out since the last call, in its order; the vCPUs wait while more than 64 KiB are kept. */
  kvmMachineTakeOutput(machine: KvmMachineHandle): KvmOutput[];
  /**
   * Ends the vCPU threads. Those that wait for a page are left behind, keep the blocks alive, and end when they
   * have it. Returns how many were left.
   */
  kvmMachineClose(machine: KvmMachineHandle): number;

  // --- kvm_state.cc: only while stopped, else EBUSY --------------------------------------------
  /** The states that this machine has, per vCPU and of the whole machine, in the order to set them in. */
  kvmStateNames(machine: KvmMachineHandle): { readonly vcpu: string[]; readonly machine: string[] };
  /** One kernel structure; `vcpu` is 0 for a state of the whole machine, `msrs` the indexes for the state `msrs`. */
  kvmGetState(machine: KvmMachineHandle, vcpu: number, name: string, msrs: Uint32Array): Uint8Array;
  /** Takes it back. RangeError for another size than the structure has, the kernel's errno for what it refuses. */
  kvmSetState(machine: KvmMachineHandle, vcpu: number, name: string, bytes: Uint8Array): void;
  /** KVM_SET_CPUID2 with entries as of {@link kvmSupportedCpuid}. */
  kvmSetCpuid(machine: KvmMachineHandle, vcpu: number, entries: Uint8Array): void;
  /** Puts a vCPU into 32-bit protected mode: flat segments, no paging, interrupts off, other registers 0. */
  kvmEnterFlat(machine: KvmMachineHandle, vcpu: number, registers: KvmEntry): void;
  kvmTscKhz(machine: KvmMachineHandle, vcpu: number): number;
  /** EINVAL where this host can't give a vCPU that frequency. */
  kvmSetTscKhz(machine: KvmMachineHandle, vcpu: number, khz: number): void;

  // --- kvm_dirty_log.cc ------------------------------------------------------------------------
  /** KVM_MEM_LOG_DIRTY_PAGES of all blocks. EBUSY where it is on already. */
  kvmLogWrites(machine: KvmMachineHandle, on: 0 | 1): void;
  /**
   * KVM_GET_DIRTY_LOG: sets the bit of every 4096-byte page of that block (by its place in the machine) that the
   * machine wrote since the last call. Returns how many.
   */
  kvmHarvestDirtyPages(machine: KvmMachineHandle, block: number, bitmap: Uint32Array): number;

  // --- kvm_guest_code.S --------------------------------------------------------------------------
  /** The image of a programme: bytes to copy into guest memory (docs/kvm-guest.md). */
  kvmProgram(name: 'writer' | 'latency' | 'random'): Uint8Array;

  // --- stress_guest.cc -------------------------------------------------------------------------
  /**
   * A guest whose vCPUs are native threads that rewrite 4096-byte pages of 1 to 64 blocks in a random
   * order, each page wholly derived from (seed, page, sequence number), checking what they find first.
   * Pages are numbered through the blocks in their order. Made stopped and empty. Threads are made at the
   * first start.
   */
  stressGuestCreate(blocks: readonly RamBlockHandle[], options: StressGuestOptions): StressGuestHandle;
  /** Writes the first content of the filled pages, in the thread pool. EINVAL while it runs, or once it has written. */
  stressGuestFill(guest: StressGuestHandle): Promise<void>;
  stressGuestStart(guest: StressGuestHandle): void;
  /** Asks every vCPU to stop and waits up to `waitMs`; true once none touches RAM any more. */
  stressGuestStop(guest: StressGuestHandle, waitMs: number): boolean;
  /**
   * Holds each vCPU back for `percent` of the time, 0 to 99, in slices of 10 ms: it runs one, then rests. At
   * once, and until told otherwise.
   */
  stressGuestThrottle(guest: StressGuestHandle, percent: number): void;
  /** Kernel thread ids of the vCPUs in their order; none before the first start. */
  stressGuestThreads(guest: StressGuestHandle): number[];
  /** The device state, versioned (docs/stress-guest.md). Only while stopped. */
  stressGuestSave(guest: StressGuestHandle): Uint8Array;
  /**
   * Loads a device state (options included) after checking it against the blocks. Only while stopped. What was
   * counted here (`writesHere`, `badPages`, `lostWrites`, times) begins anew; nothing else than that state remains.
   */
  stressGuestLoad(guest: StressGuestHandle, state: Uint8Array): void;
  /** Checks every page of the blocks against the device state, in the thread pool. Only while stopped. */
  stressGuestVerify(guest: StressGuestHandle): Promise<StressGuestVerdict>;
  stressGuestStats(guest: StressGuestHandle): StressGuestStats;
  /**
   * Ends the vCPU threads. Those blocked in a fault are left behind and keep the blocks alive; they end with
   * the process. Returns how many were left.
   */
  stressGuestClose(guest: StressGuestHandle): number;
}

/** Names of the numbers in {@link Native.constants}: one list, which a test holds against the addon. */
export const constantNames = [
  'HOST_PAGE_SIZE',
  'MEMORY_ANONYMOUS',
  'MEMORY_MEMFD',
  'MEMORY_HUGETLB',
  'MADV_DONTNEED',
  'MADV_REMOVE',
  'MADV_NOHUGEPAGE',
  'MADV_HUGEPAGE',
  'MADV_POPULATE_WRITE',
  'MADV_DONTFORK',
  'MADV_DOFORK',
  'UFFDIO_REGISTER_MODE_MISSING',
  'UFFDIO_REGISTER_MODE_WP',
  'UFFDIO_REGISTER_MODE_MINOR',
  'UFFDIO_COPY_MODE_DONTWAKE',
  'UFFDIO_COPY_MODE_WP',
  'UFFDIO_WRITEPROTECT_MODE_WP',
  'UFFDIO_WRITEPROTECT_MODE_DONTWAKE',
  'UFFD_EVENT_PAGEFAULT',
  'UFFD_EVENT_FORK',
  'UFFD_EVENT_REMAP',
  'UFFD_EVENT_REMOVE',
  'UFFD_EVENT_UNMAP',
  'UFFD_PAGEFAULT_FLAG_WRITE',
  'UFFD_PAGEFAULT_FLAG_WP',
  'UFFD_PAGEFAULT_FLAG_MINOR',
  'EVENT_WORDS',
  'EVENT_KIND',
  'EVENT_ADDRESS',
  'EVENT_FLAGS',
  'EVENT_THREAD',
  'EVENT_LENGTH',
  'EVENT_TO',
  'EVENT_HANDLE',
  'OUTCOME_PLACED',
  'OUTCOME_PRESENT',
  'OUTCOME_RETRY',
  'OUTCOME_GONE',
  'KICKED',
  'NO_PAGE',
] as const;

/** Names of the feature bits (`UFFD_FEATURE_…`) and page categories, as bigints. */
export const bitNames = [
  'UFFD_FEATURE_PAGEFAULT_FLAG_WP',
  'UFFD_FEATURE_EVENT_FORK',
  'UFFD_FEATURE_EVENT_REMAP',
  'UFFD_FEATURE_EVENT_REMOVE',
  'UFFD_FEATURE_MISSING_HUGETLBFS',
  'UFFD_FEATURE_MISSING_SHMEM',
  'UFFD_FEATURE_EVENT_UNMAP',
  'UFFD_FEATURE_SIGBUS',
  'UFFD_FEATURE_THREAD_ID',
  'UFFD_FEATURE_MINOR_HUGETLBFS',
  'UFFD_FEATURE_MINOR_SHMEM',
  'UFFD_FEATURE_EXACT_ADDRESS',
  'UFFD_FEATURE_WP_HUGETLBFS_SHMEM',
  'UFFD_FEATURE_WP_UNPOPULATED',
  'UFFD_FEATURE_POISON',
  'UFFD_FEATURE_WP_ASYNC',
  'UFFD_FEATURE_MOVE',
  'PAGE_IS_WRITTEN',
  'PAGE_IS_PRESENT',
  'PAGE_IS_SWAPPED',
  'PAGE_IS_PFNZERO',
  'PAGE_IS_HUGE',
] as const;

export type NativeConstants = Readonly<
  Record<(typeof constantNames)[number], number> & Record<(typeof bitNames)[number], bigint>
>;

/** Of this package, wherever the bundle lies that this module is part of. */
const moduleRoot = dirname(createRequire(import.meta.url).resolve('postcopy/package.json'));

/** Where the addon may be: a build of this checkout first, then the binary the package carries. */
const places: string[][] = [
  ...(process.env.POSTCOPY_ADDON_DIR ? [[process.env.POSTCOPY_ADDON_DIR, 'bindings']] : []),
  ['module_root', 'build', 'Release', 'bindings'],
  ['module_root', 'prebuilds', `${process.platform}-${process.arch}`, 'bindings'],
];

function load(): Native {
  try {
    return bindings({ bindings: 'postcopy', module_root: moduleRoot, try: places }) as Native;
  } catch (cause) {
    const reason =
      process.platform === 'linux'
        ? 'build it with "npm rebuild postcopy" (needs python3, make and g++)'
        : 'userfaultfd is a Linux facility; run this on a Linux host';
    throw Object.assign(
      new Error(`no usable native addon for ${process.platform}-${process.arch}: ${reason}`, { cause }),
      {
        code: 'ADDON_MISSING',
      },
    );
  }
}

let loaded: Native | undefined;

/** The addon, loaded at the first call so that the pure parts work without it. Throws `ADDON_MISSING`. */
export function native(): Native {
  loaded ??= load();
  return loaded;
}
