/**
 * What is where in a KVM guest's memory, and its bytes by guest address. RAM is the blocks one behind the other from
 * address 0 on; below the first MiB is what a programme needs to run, above it what it works on.
 */
import { MigrationError } from '../../errors.js';
import { TARGET_PAGE_SIZE } from '../../memory/page.js';
import type { RAMBlockDescriptor } from '../../memory/ram-block.js';
import { native } from '../../native.js';

/** vCPUs of one machine, as the addon has it. */
export const MAX_VCPUS = 16;
/** The page of vCPU k is at `OWN_PAGES + k * 4096`. */
const OWN_PAGES = 0x1000;
/** Where an image is loaded, and entered at its first byte. */
export const IMAGE_ADDRESS = 0x2_0000;
/** The memory that programmes work on: from here to the end. */
export const WORK_ADDRESS = 0x10_0000;
/** RAM has to end here: above are the interrupt chips. */
export const MEMORY_MAX = 0xc000_0000;

export const ownPageAddress = (vcpu: number): number => OWN_PAGES + vcpu * TARGET_PAGE_SIZE;

export class GuestMemory {
  readonly size: number;
  readonly #blocks: readonly { readonly block: RAMBlockDescriptor; readonly begin: number }[];

  constructor(blocks: readonly RAMBlockDescriptor[]) {
    let end = 0;
    this.#blocks = blocks.map((block) => {
      const begin = end;
      end += block.size;
      return { block, begin };
    });
    this.size = end;
  }

  /** A copy. May wait for a page that is still to come, as any access does. */
  read(address: number, length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    this.#eachPart(address, length, ({ handle }, offset, from, to) => {
      native().ramBlockRead(handle, offset, bytes.subarray(from, to));
    });
    return bytes;
  }

  write(address: number, bytes: Uint8Array): void {
    this.#eachPart(address, bytes.length, ({ handle }, offset, from, to) => {
      native().ramBlockWrite(handle, offset, bytes.subarray(from, to));
    });
  }

  /** Whether the page at that address is in memory: reading it does not wait. False where this can't be told. */
  isPresent(address: number): boolean {
    const { countPages, hasPagemapScan, constants } = native();
    if (!hasPagemapScan()) return false;
    let present = false;
    this.#eachPart(address, TARGET_PAGE_SIZE, ({ handle, pageSize }, offset) => {
      const page = offset - (offset % pageSize);
      present = countPages(handle, page, pageSize, constants.PAGE_IS_PRESENT) === 1;
    });
    return present;
  }

  #eachPart(
    address: number,
    length: number,
    visit: (block: RAMBlockDescriptor, offset: number, from: number, to: number) => void,
  ): void {
    if (address < 0 || address + length > this.size) {
      throw new MigrationError('BAD_ARGUMENT', `the guest has no memory at ${address} to ${address + length}`, {
        hint: `give it more than ${this.size} bytes of memory`,
      });
    }
    for (const { block, begin } of this.#blocks) {
      const from = Math.max(address, begin);
      const to = Math.min(address + length, begin + block.size);
      if (from < to) visit(block, from - begin, from - address, to - address);
    }
  }
}
