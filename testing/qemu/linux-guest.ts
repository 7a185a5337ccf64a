/** How a QEMU is started with the Linux guest of guest-image.ts, as source and as destination alike. */
import type { GuestImage } from './guest-image.ts';

export interface LinuxGuestOptions {
  /** A machine type with a serial port; pc by default. */
  readonly machine?: 'pc' | 'q35' | 'microvm';
  /** What the guest keeps writing to, 16 by default. */
  readonly workingSetMib?: number;
  /** Pages the guest writes in a tenth of a second, 100 by default. */
  readonly pagesPerTick?: number;
}

/**
 * RAM in KiB, of which the kernel and its initrd need some 50 MiB. On purpose 8 KiB more than whole MiB: under
 * TCG, QEMU 7.2 loses writes to a block whose size is a multiple of 64 pages. Between two passes of precopy it
 * clears the dirty bits of such a block word by word, and does not tell the translated code to set them again.
 */
export const LINUX_GUEST_MEMORY_KIB = 96 * 1024 + 8;

/** The block of guest RAM, which is a memfd that can be read from outside: see {@link memfdContent}. */
export const GUEST_RAM = 'guest.ram';

export function linuxGuest(image: GuestImage, options: LinuxGuestOptions = {}): string[] {
  const { machine = 'pc', workingSetMib = 16, pagesPerTick = 100 } = options;
  const writer = `WRITER_MIB=${workingSetMib} WRITER_PAGES=${pagesPerTick}`;
  return [
    ...['-M', `${machine},memory-backend=${GUEST_RAM}`, '-m', `${LINUX_GUEST_MEMORY_KIB}k`],
    ...['-object', `memory-backend-memfd,id=${GUEST_RAM},size=${LINUX_GUEST_MEMORY_KIB}k,share=on`],
    ...['-kernel', image.kernel, '-initrd', image.initrd, '-serial', 'stdio'],
    // On a busy host the timer may seem dead while the kernel tries it, which is nothing to panic about.
    ...['-append', `console=ttyS0 loglevel=0 quiet panic=-1 no_timer_check ${writer}`],
  ];
}
