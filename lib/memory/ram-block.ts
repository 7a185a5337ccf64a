/**
 * RAMBlock: one named, mapped piece of guest memory. The mapping is native and process-wide; a
 * worker attaches to it by its descriptor. Whoever created it closes it; attached copies only forget.
 */
import { MigrationError } from '../errors.js';
import { type NativeError, native, type RamBlockHandle } from '../native.js';
import { isPlainMemory } from './mapping-flags.js';
import { HUGE_PAGE_SIZE } from './page.js';

export type MemoryKind = 'anonymous' | 'memfd' | 'hugetlb';

const kindConstant = {
  anonymous: 'MEMORY_ANONYMOUS',
  memfd: 'MEMORY_MEMFD',
  hugetlb: 'MEMORY_HUGETLB',
} as const satisfies Record<MemoryKind, string>;

export interface RAMBlockOptions {
  /** The block's name on the wire: 1 to 255 printable ASCII characters, unique in its guest, such as `pc.ram`. */
  readonly idstr: string;
  /** Bytes; rounded up to whole pages of `pageSize`. */
  readonly size: number;
  /** `anonymous` when absent. */
  readonly kind?: MemoryKind;
  /** Bytes of a host page of this block: the host's page size when absent, 2 MiB for `hugetlb`. */
  readonly pageSize?: number;
}

/** What the stream can carry. */
const IDSTR = /^[\x20-\x7e]{1,255}$/;

function checkOptions({ idstr, size, kind, pageSize }: Required<RAMBlockOptions>): void {
  const bad = (what: string, hint: string) =>
    new MigrationError('BAD_ARGUMENT', `RAM block "${idstr}" ${what}`, { hint });
  const { HOST_PAGE_SIZE } = native().constants;
  if (!IDSTR.test(idstr))
    throw bad('has a name that the stream cannot carry', 'use 1 to 255 printable ASCII characters');
  if (!Number.isSafeInteger(size) || size <= 0) throw bad(`has ${size} bytes`, 'give a whole number above 0');
  if (!Object.hasOwn(kindConstant, kind))
    throw bad(`is of kind "${kind}"`, `use one of ${Object.keys(kindConstant).join(', ')}`);
  const isPower = Number.isInteger(Math.log2(pageSize)) && pageSize >= HOST_PAGE_SIZE;
  if (!isPower || (kind !== 'hugetlb' && pageSize !== HOST_PAGE_SIZE)) {
    throw bad(`has pages of ${pageSize} bytes`, `use ${HOST_PAGE_SIZE}, or a size of huge pages with kind hugetlb`);
  }
}

/** What a worker needs to attach to a block; survives structured clone. */
export interface RAMBlockDescriptor {
  readonly idstr: string;
  readonly handle: RamBlockHandle;
  readonly size: number;
  readonly pageSize: number;
  readonly kind: MemoryKind;
  /** Where it is mapped in this process; exact (47 bits). */
  readonly address: number;
  /** What was said to the kernel of huge pages when it was mapped here. Absent: somebody else has mapped it. */
  readonly hugepages?: 'wanted' | 'unsaid' | undefined;
}

/** A wish, which a kernel without transparent huge pages refuses with EINVAL. */
function adviseHugepages(handle: RamBlockHandle, size: number): 'wanted' | 'unsaid' {
  try {
    native().ramBlockAdvise(handle, native().constants.MADV_HUGEPAGE, 0, size);
    return 'wanted';
  } catch (error) {
    if ((error as NativeError).code !== 'EINVAL') throw error;
    return 'unsaid';
  }
}

/** Such as a WebAssembly.Memory. */
export interface AdoptableMemory {
  readonly buffer: ArrayBuffer | SharedArrayBuffer;
}

function notAdoptable(idstr: string, cause?: unknown): MigrationError {
  const what = 'the memory to adopt is not whole pages of anonymous, private, writable memory';
  return new MigrationError('BAD_ARGUMENT', `RAM block "${idstr}": ${what}`, {
    hint: 'give a WebAssembly.Memory that is not shared between threads',
    cause,
  });
}

function adoptMemory(idstr: string, memory: AdoptableMemory): RamBlockHandle {
  try {
    return native().ramBlockAdopt(memory);
  } catch (cause) {
    if ((cause as NativeError).code !== 'ENOTSUP') throw notAdoptable(idstr, cause);
    throw new MigrationError('UNSUPPORTED', `RAM block "${idstr}": this runtime gives no share in its memory`, {
      hint: 'use a Node of nodejs.org or of a Linux distribution, 20.17 or newer',
      cause,
    });
  }
}

export class RAMBlock implements RAMBlockDescriptor {
  readonly idstr: string;
  readonly handle: RamBlockHandle;
  readonly size: number;
  readonly pageSize: number;
  readonly kind: MemoryKind;
  readonly address: number;
  readonly hugepages: RAMBlockDescriptor['hugepages'];

  private constructor(descriptor: RAMBlockDescriptor) {
    this.idstr = descriptor.idstr;
    this.handle = descriptor.handle;
    this.size = descriptor.size;
    this.pageSize = descriptor.pageSize;
    this.kind = descriptor.kind;
    this.address = descriptor.address;
    this.hugepages = descriptor.hugepages;
  }

  /**
   * Maps a new block of missing pages; anonymous memory of huge pages where the kernel has some to spare, as QEMU
   * maps its guests' (a precopy then faults once for 512 pages). What others say of it to the kernel (madvise; not a
   * lock) a postcopy that fills it may undo. Throws BAD_ARGUMENT, or the NativeError of mmap:
   * ENOMEM where it is too big, or too few hugepages are reserved.
   */
  static create(options: RAMBlockOptions): RAMBlock {
    const { idstr, size, kind = 'anonymous' } = options;
    const { constants, ramBlockCreate, ramBlockInfo } = native();
    const pageSize = options.pageSize ?? (kind === 'hugetlb' ? HUGE_PAGE_SIZE : constants.HOST_PAGE_SIZE);
    checkOptions({ idstr, size, kind, pageSize });
    const rounded = Math.ceil(size / pageSize) * pageSize;
    const handle = ramBlockCreate(constants[kindConstant[kind]], rounded, pageSize);
    const hugepages = kind === 'anonymous' ? adviseHugepages(handle, rounded) : 'unsaid';
    const { address } = ramBlockInfo(handle);
    return new RAMBlock({ idstr, handle, size: rounded, pageSize, kind, address, hugepages });
  }

  /**
   * Takes memory that a runtime has mapped, such as V8 that of a WebAssembly.Memory, for a block of as many bytes
   * as it has now. It stays mapped until the block is closed, also where `memory`, or its thread, is gone by then; the
   * runtime unmaps it. What it grows by later belongs to no block. Throws BAD_ARGUMENT where it is
   * not whole pages of anonymous, private, writable memory, and UNSUPPORTED where the runtime gives no share in it.
   */
  static adopt(idstr: string, memory: AdoptableMemory): RAMBlock {
    const { constants, ramBlockInfo } = native();
    const size = memory.buffer.byteLength;
    checkOptions({ idstr, size, kind: 'anonymous', pageSize: constants.HOST_PAGE_SIZE });
    const handle = adoptMemory(idstr, memory);
    const { pageSize, address } = ramBlockInfo(handle);
    if (!isPlainMemory(address, size)) {
      native().ramBlockClose(handle);
      throw notAdoptable(idstr);
    }
    return new RAMBlock({ idstr, handle, size, pageSize, kind: 'anonymous', address });
  }

  /** The same block in another thread of this process. */
  static attach(descriptor: RAMBlockDescriptor): RAMBlock {
    return new RAMBlock(descriptor);
  }

  get descriptor(): RAMBlockDescriptor {
    const { idstr, handle, size, pageSize, kind, address, hugepages } = this;
    return { idstr, handle, size, pageSize, kind, address, hugepages };
  }

  /**
   * The block as bytes, without a copy. Reading a page that is still to come blocks this thread until
   * it has arrived: never do that in a thread that has a part in bringing it.
   */
  bytes(): Uint8Array {
    return new Uint8Array(native().ramBlockBuffer(this.handle));
  }

  /**
   * For a balloon of the guest: lets go of a range of whole pages, which then reads as zeroes. False, and nothing
   * done, while pages of the block are still to come in postcopy. Throws a RangeError for any other range.
   */
  discard(offset: number, length: number): boolean {
    return native().ramBlockTryDiscard(this.handle, offset, length);
  }

  close(): void {
    native().ramBlockClose(this.handle);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
