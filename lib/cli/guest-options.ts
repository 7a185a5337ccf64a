/** Options of `demo` and `host` that say which guest there is, and what they come to on this host. */
import { type Command, Option } from 'commander';
import { probeKvm } from '../host/kvm.js';
import { probeHost } from '../host/probe.js';
import type { MemoryKind } from '../memory/ram-block.js';
import { chooseGuest } from './choose-guest.js';
import { number, sized } from './command-line.js';
import { type DemoGuestName, type DemoGuestSettings, demoGuestNames } from './demo-guest.js';
import { parseSize } from './size.js';

const PAGE = 4096;

export interface GuestOptions {
  readonly guest: 'auto' | DemoGuestName;
  readonly memory: number;
  readonly memoryKind: MemoryKind;
  readonly blocks: number;
  readonly vcpus: number;
  readonly writesPerSecond: number;
  readonly workingSet: number;
}

/** `shape` is said of the options that have to be the same at both sides, where these are two commands. */
export function addGuestOptions(command: Command, shape = ''): Command {
  return command
    .addOption(sized('--memory <size>', `the guest's RAM, such as 256M or 1G${shape}`, parseSize, '256M'))
    .addOption(
      new Option('--memory-kind <kind>', 'what its RAM is; hugetlb is pages of 2 MiB, which must be reserved')
        .choices(['anonymous', 'memfd', 'hugetlb'])
        .default('anonymous'),
    )
    .option('--blocks <n>', `RAM blocks that it is split over${shape}`, number(1, 64), 1)
    .addOption(
      new Option('--guest <guest>', 'what runs in it; auto: a virtual machine where KVM allows, else the stress guest')
        .choices(['auto', ...demoGuestNames])
        .default('auto'),
    )
    .option('--vcpus <n>', 'vCPUs of the KVM guest, native threads of the stress guest', number(1, 64), 1)
    .option(
      '--writes-per-second <n>',
      'page writes a second, over all vCPUs; 0 is as fast as they go',
      number(0, 1e9),
      20_000,
    )
    .option('--working-set <share>', 'share of RAM that is rewritten', number(0.0001, 0.875, false), 0.25);
}

/** The guest that is asked for, or that there can be here; why another than might be expected is told. */
export function chosenGuest(options: GuestOptions, tell: (text: string) => void): DemoGuestName {
  const { guest, because } = chooseGuest(options, {
    kvmProblem: probeKvm().problem,
    userfaultfdVia: probeHost().userfaultfd.via,
  });
  if (because !== undefined) {
    tell(`the stress guest, as no KVM guest can run here: ${because.what} (${because.fix})`);
  }
  return guest;
}

/** Its memory in whole pages. */
export function guestSettings(options: GuestOptions): DemoGuestSettings {
  const { memory, memoryKind: kind, blocks, vcpus, writesPerSecond, workingSet: workingSetShare } = options;
  return { memory: Math.ceil(memory / PAGE) * PAGE, kind, blocks, vcpus, writesPerSecond, workingSetShare };
}
