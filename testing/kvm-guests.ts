/**
 * KVM guests for tests: closed after each, images of a few instructions, and a page that a vCPU really waits for.
 * Where there is no KVM the tests that need it are skipped, which the last line of `npm test` counts.
 */
import { afterEach } from 'vitest';
import { KvmGuest, type KvmGuestSettings, type KvmMachineSettings } from '#lib/guest/kvm/kvm-guest.js';
import { probeKvm } from '#lib/host/kvm.js';
import { openUserfaultfd } from '#lib/memory/userfaultfd.js';
import { native } from '#lib/native.js';
import type { GuestKit } from '#lib/testing/index.js';
import { isInFault, systemCallOf, until } from './native-thread.ts';

export const hasKvm = probeKvm().available;
export const MIB = 2 ** 20;

/** Several blocks of different kinds, and more than one vCPU. */
export const shape: KvmMachineSettings = { memory: 4 * MIB, blocks: 3, kinds: ['anonymous', 'memfd'], vcpus: 2 };

/** Flat 32-bit code. Addresses: 0x20000 is the first byte. */
export const images = {
  /** Puts out 0, 1, 2 … at the debug port, for ever. */
  count: Uint8Array.of(0xb0, 0, 0xe6, 0xe9, 0xfe, 0xc0, 0xeb, 0xfa),
  /** Puts out its vCPU's number at the serial port, then loops: `mov dx, 0x3f8; out dx, al; jmp .`. */
  serial: Uint8Array.of(0x66, 0xba, 0xf8, 0x03, 0xee, 0xeb, 0xfe),
  /** An invalid instruction, with no handlers: a triple fault. */
  tripleFault: Uint8Array.of(0x90, 0x90, 0x0f, 0x0b),
  /** Reads memory that there is not, at 0x40000000. */
  noMemory: Uint8Array.of(0xa1, 0, 0, 0, 0x40),
  /** Puts out "a", halts, and puts out "b" for ever should it go on. */
  halt: Uint8Array.of(0xb0, 0x61, 0xe6, 0xe9, 0xf4, 0xb0, 0x62, 0xe6, 0xe9, 0xeb, 0xfc),
  /** Adds 1 to the word at 1 MiB for ever: `inc dword [0x100000]; jmp`. */
  touch: Uint8Array.of(0xff, 0x05, 0, 0, 0x10, 0, 0xeb, 0xf8),
  /** `jmp .` */
  spin: Uint8Array.of(0xeb, 0xfe),
} as const;

const guests: KvmGuest[] = [];

afterEach(() => {
  for (const guest of guests.splice(0)) guest.close();
});

export async function createGuest(settings: Partial<KvmGuestSettings> = {}): Promise<KvmGuest> {
  const guest = await KvmGuest.create({ ...shape, ...settings });
  guests.push(guest);
  return guest;
}

export function emptyGuest(settings: Partial<KvmMachineSettings> = {}): KvmGuest {
  const guest = KvmGuest.empty({ ...shape, ...settings });
  guests.push(guest);
  return guest;
}

/** All that a guest puts out from now on. */
export function outputOf(guest: KvmGuest): number[] {
  const bytes: number[] = [];
  guest.on('output', (output) => bytes.push(...output.bytes));
  return bytes;
}

export function copyMemory(from: KvmGuest, to: KvmGuest): void {
  for (const [index, block] of to.ramBlocks.entries()) block.bytes().set(from.ramBlocks[index].bytes());
}

/** Of one that runs a programme which checks itself. */
export function kvmKit(settings: KvmGuestSettings): GuestKit<KvmGuest> {
  return {
    create: () => KvmGuest.create(settings),
    empty: async () => KvmGuest.empty(settings),
    verify: async (guest) => {
      const { lostWrites, badPages } = await guest.verify();
      const { stats } = guest;
      if (lostWrites + badPages.length + stats.lostWrites + stats.badPages === 0) return;
      throw new Error(
        `${lostWrites} writes lost, bad pages ${badPages.join()}, and by itself ${JSON.stringify(stats)}`,
      );
    },
    progress: async (guest) => {
      const { writesHere } = guest.stats;
      await until('it writes', () => guest.stats.writesHere >= writesHere + 300);
    },
    close: (guest) => guest.close(),
    work: (guest) => guest.stats.writesHere,
  };
}

/**
 * Has vCPU 0 of a guest of one block that runs `images.touch` wait for its page at 1 MiB, as for one that is still to
 * come. `place` brings it, with zeroes; `end` takes the userfaultfd away.
 */
export async function waitForPage(guest: KvmGuest): Promise<{ place: () => void; end: () => void }> {
  const { constants: c, ...n } = native();
  const [{ handle: block, size }] = guest.ramBlocks;
  n.ramBlockDiscard(block, Float64Array.of(MIB, c.HOST_PAGE_SIZE), 1);
  const { handle } = openUserfaultfd(0n);
  n.userfaultfdRegister(handle, block, MIB, size - MIB, c.UFFDIO_REGISTER_MODE_MISSING);
  await guest.start();
  await until('vCPU 0 waits for a page', () => isWaiting(0));
  return {
    place: () => {
      n.placeZeroPages(handle, block, c.HOST_PAGE_SIZE, Uint32Array.of(MIB / c.HOST_PAGE_SIZE), 1, new Uint8Array(1));
    },
    end: () => n.userfaultfdClose(handle),
  };
}

/** System call number of ioctl, which a vCPU in KVM_RUN is in while it waits. */
const IOCTL = 16;

function isWaiting(vcpu: number): boolean {
  const name = `kvm-vcpu/${vcpu}`;
  return isInFault(name) || systemCallOf(name) === IOCTL;
}
