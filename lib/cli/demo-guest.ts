/** The guests that the demo can move, and a host hold. */
import { KvmGuest } from '../guest/kvm/kvm-guest.js';
import { StressGuest } from '../guest/stress-guest.js';
import type { Guest } from '../memory/guest.js';
import type { StressGuestStats, StressGuestVerdict } from '../native.js';
import type { DemoSettings } from './demo-messages.js';

export const demoGuestNames = ['kvm', 'stress'] as const;
export type DemoGuestName = (typeof demoGuestNames)[number];

/** A guest that writes all the while, and whose memory tells whether a write is missing. */
export interface DemoGuest extends Guest {
  readonly stats: StressGuestStats;
  verify(): Promise<StressGuestVerdict>;
  close(): void;
}

/** What of the demo's settings is the guest's. */
export type DemoGuestSettings = Pick<
  DemoSettings,
  'memory' | 'kind' | 'blocks' | 'vcpus' | 'writesPerSecond' | 'workingSetShare'
>;

type Maker = (settings: DemoGuestSettings) => Promise<DemoGuest>;

/** `create` fills it; `empty` makes one to be filled by a migration. Both reject as the guest's own do. */
export const demoGuests: Readonly<Record<DemoGuestName, { readonly create: Maker; readonly empty: Maker }>> = {
  kvm: {
    create: ({ memory, kind, blocks, vcpus, writesPerSecond, workingSetShare }) =>
      KvmGuest.create({ memory, kind, blocks, vcpus, program: 'random', writesPerSecond, workingSetShare }),
    empty: async ({ memory, kind, blocks, vcpus }) => KvmGuest.empty({ memory, kind, blocks, vcpus }),
  },
  stress: {
    create: ({ memory, kind, blocks, vcpus, writesPerSecond, workingSetShare }) =>
      StressGuest.create({ memory, kind, blocks, vcpus, writesPerSecond, workingSetShare }),
    empty: async ({ memory, kind, blocks }) => StressGuest.empty({ memory, kind, blocks }),
  },
};
