/** The part of the contract that only a migration shows: real ones, within this process. */
import type { IncomingMigration } from '../destination/incoming.js';
import type { Guest } from '../memory/guest.js';
import { listen } from '../migration/listen.js';
import { type MigrateOptions, migrate } from '../migration/migrate.js';
import type { OutgoingMigration } from '../source/outgoing.js';
import { type ContractRule, failureOf, require } from './contract-run.js';
import { openSlowLink } from './slow-link.js';
import { thereAndBack } from './there-and-back.js';

const capabilities = { postcopyRam: true };
const URI = 'tcp:127.0.0.1:0';
/** Milliseconds that each byte takes each way where a page is to take long. */
const SLOW_MS = 20;

/** What a move waits for: two guests to be made, started, stopped, verified and closed, and what comes between. */
const THINGS_IN_A_MOVE = 10;

interface Migration {
  readonly incoming: IncomingMigration;
  readonly outgoing: OutgoingMigration;
}

/** A migration under way; ended with `use`, so that no guest is closed under it. */
async function during(
  from: Guest,
  to: Guest,
  options: MigrateOptions,
  use: (migration: Migration) => Promise<void>,
  delayMs?: number,
): Promise<void> {
  const incoming = await listen(URI, { guest: to, capabilities });
  const link = delayMs === undefined ? undefined : await openSlowLink(incoming.uri, delayMs);
  try {
    const outgoing = await migrate(from, link?.uri ?? incoming.uri, { capabilities, ...options });
    try {
      await use({ incoming, outgoing });
    } finally {
      if (!outgoing.cancel()) incoming.abort(); // nothing, where it has completed
      await failureOf(outgoing.finished);
    }
  } finally {
    incoming.abort();
    await failureOf(incoming.finished);
    incoming.abandon();
    await link?.close();
  }
}

/** The same guest, which refuses its device state. */
function refusing(guest: Guest): Guest {
  return {
    ramBlocks: guest.ramBlocks,
    get running() {
      return guest.running;
    },
    start: () => guest.start(),
    stop: () => guest.stop(),
    saveDeviceState: () => guest.saveDeviceState(),
    loadDeviceState: () => Promise.reject(new Error('refused by the test kit')),
  };
}

const runsOnWhenCancelled: ContractRule = {
  name: 'it runs on when a migration of it is cancelled',
  rule: 'A guest whose migration is cancelled has never stopped, and its memory is as it was.',
  mend: 'Do nothing on your own because a migration has begun; it asks for what it needs.',
  async check(run) {
    const guest = await run.createRunning();
    // No byte more than it must: it does not come to an end on its own.
    const parameters = { maxBandwidth: 1, downtimeLimit: 0 };
    await during(guest, await run.empty(), { parameters }, async ({ outgoing }) => {
      require(await run.comesTrue(() => outgoing.status === 'active'), `the migration is ${outgoing.status}`);
      require(outgoing.cancel(), 'it was over before it could be cancelled');
      await failureOf(run.within('a cancelled migration', outgoing.finished));
    });
    await run.requireRunsOn(guest);
  },
};

const runsOnWhenRefused: ContractRule = {
  name: 'it runs on when the destination fails in the end',
  rule: 'A guest that was stopped and saved can be started again, as the source does where the destination fails.',
  mend: 'Let saving be no farewell; only who made the guest ends it.',
  async check(run) {
    const guest = await run.createRunning();
    const parameters = { maxBandwidth: 0, downtimeLimit: 2_000_000 };
    await during(guest, refusing(await run.empty()), { parameters }, async ({ outgoing }) => {
      const failure = await failureOf(run.within('the migration', outgoing.finished));
      require(failure !== undefined, 'the migration completed');
      require(guest.running, `it was not started again: ${(failure as Error).message}`);
    });
    await run.requireRunsOn(guest);
  },
};

const stopsInAFault: ContractRule = {
  name: 'it stops where a vCPU waits for a page, once that has come',
  rule: 'stop() waits for a vCPU in a page fault as long as the page takes, and resolves then.',
  mend: 'Do not give up on a vCPU that does not answer: it does when its page is there.',
  async check(run) {
    const guest = await run.createRunning();
    const there = await run.empty();
    // What nobody asks for hardly comes, so that it is not over before the guest is stopped.
    const options = { postcopyAfterPasses: 0, parameters: { maxBandwidth: 0, maxPostcopyBandwidth: 2 ** 16 } };
    const stopInAFault = async ({ outgoing, incoming }: Migration) => {
      const waits = () => incoming.status === 'postcopy-active' && incoming.info().faults.count > 0;
      const isOver = () => incoming.status === 'completed' || incoming.status === 'failed';
      await run.comesTrue(() => waits() || isOver());
      require(there.running && waits(), 'it has come to no page that was missing');
      await run.stop(there);
      outgoing.setParameters({ maxPostcopyBandwidth: 0 });
      await run.within('the migration', Promise.all([outgoing.finished, incoming.finished]));
    };
    await during(guest, there, options, stopInAFault, SLOW_MS);
    await run.requireGoesOn(there);
  },
};

const movesThereAndBack: ContractRule = {
  name: 'it moves there and back by postcopy, with all that it has written',
  rule: 'A guest that is moved goes on at the destination with what it had at the source.',
  mend: 'Keep all that is not in RAM in the device state, and nothing else.',
  async check(run) {
    await run.within('moving there and back', thereAndBack(run.kit, { times: 1 }), 2 * THINGS_IN_A_MOVE);
  },
};

const faultsForReal: ContractRule = {
  name: 'it runs at the destination by page faults',
  rule: 'A guest touches its RAM through the mapping of its blocks, so that what has not come is a page fault.',
  mend: 'Let it work on block.bytes() or at block.address, not on a copy.',
  async check(run) {
    const guest = await run.createRunning();
    const there = await run.empty();
    const options = { postcopyAfterPasses: 0, parameters: { maxBandwidth: 0, maxPostcopyBandwidth: 2 ** 16 } };
    await during(guest, there, options, async ({ outgoing, incoming }) => {
      const faulted = () => incoming.info().faults.count > 0 || incoming.status === 'completed';
      await run.comesTrue(faulted);
      outgoing.setParameters({ maxPostcopyBandwidth: 0 });
      const [, { faults }] = await run.within('the migration', Promise.all([outgoing.finished, incoming.finished]));
      require(faults.count > 0, 'it ran without one page fault while its pages were still to come');
    });
    await run.requireRunsOn(there);
  },
};

export const moveRules: readonly ContractRule[] = [
  runsOnWhenCancelled,
  runsOnWhenRefused,
  stopsInAFault,
  movesThereAndBack,
  faultsForReal,
];
