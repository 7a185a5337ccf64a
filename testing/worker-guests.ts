/** Worker guests of the programs in testing/worker-programs/. */
import { deserialize } from 'node:v8';
import { decodeDeviceState } from '#lib/guest/worker/device-state.js';
import { WorkerGuest, type WorkerGuestSettings } from '#lib/index.js';
import type { GuestKit } from '#lib/testing/index.js';
import { until } from './native-thread.ts';

export const workerProgram = (name: string): URL => new URL(`./worker-programs/${name}.mjs`, import.meta.url);

const MIB = 2 ** 20;
const PAGE_WORDS = 1024;

/** What `by-data.mjs` is to do; it has the one block `ram`. */
export const byData = (life: string, more: Partial<WorkerGuestSettings> = {}): WorkerGuestSettings => ({
  program: workerProgram('by-data'),
  blocks: [{ idstr: 'ram', size: MIB }],
  data: { life },
  ...more,
});

export const stripes: WorkerGuestSettings = {
  program: workerProgram('stripes'),
  blocks: [
    { idstr: 'stripes.a', size: 8 * MIB },
    { idstr: 'stripes.b', size: 4 * MIB, kind: 'memfd' },
  ],
  data: { blocks: ['stripes.a', 'stripes.b'] },
  vcpus: 2,
};

export const ledger: WorkerGuestSettings = {
  program: workerProgram('ledger'),
  blocks: [
    { idstr: 'ledger.0', size: 16 * MIB },
    { idstr: 'ledger.1', size: 16 * MIB },
  ],
  vcpus: 2,
};

/** The numbers that a vCPU of a ledger keeps, as they stand in its RAM; the guest is stopped or waits. */
export function numbersOfLedger(guest: WorkerGuest, vcpu: number, count: number): number[] {
  const words = new Uint32Array(guest.ramBlocks[vcpu].bytes().buffer);
  const pages = words.length / 1024;
  return Array.from({ length: count }, (_, kept) => words[(kept % pages) * 1024 + Math.floor(kept / pages)]);
}

export const wordsOf = (guest: WorkerGuest, block: number) => new Uint32Array(guest.ramBlocks[block].bytes().buffer);

/** The states that its vCPUs gave; the guest is stopped. */
export async function statesOf(guest: WorkerGuest): Promise<unknown[]> {
  const { vcpus } = decodeDeviceState(await guest.saveDeviceState());
  return vcpus.map((vcpu) => (vcpu.kind === 'stopped' ? deserialize(vcpu.state) : vcpu.kind));
}

/** Each page must hold what the vCPU that writes it has counted. */
async function verifyStripes(guest: WorkerGuest): Promise<void> {
  const written = ((await statesOf(guest)) as { written: Uint32Array[] }[]).map((state) => state.written);
  for (const [block] of guest.ramBlocks.entries()) {
    const ram = wordsOf(guest, block);
    written[0][block].forEach((_, page) => {
      const due = written[page % written.length][block][page];
      if (ram[page * PAGE_WORDS] !== due) throw new Error(`page ${page} holds ${ram[page * PAGE_WORDS]}, not ${due}`);
    });
  }
}

/** Of {@link stripes}. */
export const stripesKit: GuestKit<WorkerGuest> = {
  create: () => WorkerGuest.create(stripes),
  empty: () => WorkerGuest.create(stripes),
  verify: verifyStripes,
  progress: async (guest) => {
    const sum = () => wordsOf(guest, 0).reduce((total, word) => total + word, 0);
    const before = sum();
    await until('it has written', () => sum() > before);
  },
  close: (guest) => guest.close(),
};
