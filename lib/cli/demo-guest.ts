/** The guests that the demo can move. */
import { StressGuest } from '../guest/stress-guest.js';
import type { Guest } from '../memory/guest.js';
import type { StressGuestStats, StressGuestVerdict } from '../native.js';
import type { DemoSettings } from './demo-messages.js';

export const demoGuestNames = ['stress'] as const;
export type DemoGuestName = (typeof demoGuestNames)[number];

/** A guest that writes all the while, and whose memory tells whether a write is missing. */
export interface DemoGuest extends Guest {
  readonly stats: StressGuestStats;
  verify(): Promise<StressGuestVerdict>;
  close(): void;
}

type Maker = (settings: DemoSettings) => Promise<DemoGuest>;

/** `create` fills it; `empty` makes one to be filled by a migration. Both reject as the guest's own do. */
export const demoGuests: Readonly<Record<DemoGuestName, { readonly create: Maker; readonly empty: Maker }>> = {
  stress: {
    create: ({ memory, kind, blocks, vcpus, writesPerSecond, workingSetShare }) =>
      StressGuest.create({ memory, kind, blocks, vcpus, writesPerSecond, workingSetShare }),
    empty: async ({ memory, kind, blocks }) => StressGuest.empty({ memory, kind, blocks }),
  },
};
