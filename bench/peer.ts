/** A process of ours at one end, as a user would run it: forked by peer-process.ts, told what to do by IPC. */
import { createHash } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type { IncomingMigration } from '#lib/destination/incoming.js';
import { StressGuest } from '#lib/guest/stress-guest.js';
import type { RAMBlock } from '#lib/memory/ram-block.js';
import { listen } from '#lib/migration/listen.js';
import { migrate } from '#lib/migration/migrate.js';
import { type PreparedMigration, prepareMigration } from '#lib/migration/prepare-migration.js';
import { native } from '#lib/native.js';
import type { OutgoingMigration } from '#lib/source/outgoing.js';
import type { KeptMachine } from '../testing/machine-keeper.ts';
import { epochMs, epochMsOf } from './epoch.ts';
import { findDifference } from './memory-image.ts';
import type {
  GuestSettings,
  ListenSettings,
  PeerCommand,
  PeerReplies,
  PeerReply,
  SendSettings,
} from './peer-messages.ts';
import { residentMemory } from './resident-memory.ts';
import { TimedMachineReceiver } from './timed-machine.ts';

let incoming: IncomingMigration | undefined;
let keeper = new TimedMachineReceiver();
/** In place of a machine of a QEMU's. */
let stress: StressGuest | undefined;
let handedOver: Promise<KeptMachine> | undefined;
let prepared: PreparedMigration | undefined;

async function startListening(
  uri: string,
  { mode, preempt = false, kind, memory, lanes = 0, prefetch = 'none' }: ListenSettings,
): Promise<PeerReplies['listen']> {
  handedOver = new Promise((resolve) => {
    keeper = new TimedMachineReceiver(resolve, kind);
  });
  stress = memory === undefined ? undefined : StressGuest.empty({ memory });
  incoming = await listen(uri, {
    guest: stress ?? keeper,
    capabilities: { postcopyRam: mode === 'postcopy', postcopyPreempt: preempt },
    lanes,
    prefetch,
  });
  endWhereItPauses(incoming);
  return { uri: incoming.uri };
}

async function awaitHandedOver(idstr: string): Promise<PeerReplies['await-handed-over']> {
  if (incoming === undefined || handedOver === undefined) throw new Error('not listening');
  // Finished, it has been handed over, or has failed.
  await Promise.race([handedOver, incoming.finished]);
  return { address: blockOf(idstr).address };
}

async function awaitReceived(): Promise<PeerReplies['await-received']> {
  if (incoming === undefined) throw new Error('not listening');
  const { faults } = await incoming.finished;
  return {
    faults,
    ...(stress === undefined ? { startedMs: keeper.kept.startedMs } : await startOf(stress)),
  };
}

/** Of one that runs once it has written, which it does in a moment. */
async function startOf(guest: StressGuest): Promise<Pick<PeerReplies['await-received'], 'startedMs' | 'firstWriteMs'>> {
  const startedMs = epochMsOf(guest.stats.startedUs);
  if (!guest.running) return { startedMs };
  while (guest.stats.firstWriteUs === 0) await delay(1);
  return { startedMs, firstWriteMs: epochMsOf(guest.stats.firstWriteUs) };
}

/** Nobody recovers it: it fails with the reason. */
function endWhereItPauses(migration: IncomingMigration | OutgoingMigration): void {
  migration.on('status', (status: string) => {
    if (status === 'postcopy-paused') migration.giveUp('freeze');
  });
}

async function send(uri: string, settings: SendSettings): Promise<PeerReplies['send']> {
  const { mode, preempt = false, running = false, backgroundBytesPerSecond = 0, lanes = 0 } = settings;
  const postcopy = mode === 'postcopy';
  const guest = stress ?? keeper.kept;
  if (running) await guest.start();
  const outgoing = await migrate(guest, uri, {
    capabilities: { postcopyRam: postcopy, postcopyPreempt: preempt },
    lanes,
    parameters: { maxBandwidth: 0, maxPostcopyBandwidth: backgroundBytesPerSecond },
    ...(postcopy && !running ? { postcopyAfterPasses: 0 } : {}),
    ...(prepared === undefined ? {} : { prepared }),
  });
  prepared = undefined;
  endWhereItPauses(outgoing);
  const postcopyAskedMs = epochMs();
  if (postcopy && running) await outgoing.startPostcopy();
  const { totalTime, downtime, ram } = await outgoing.finished;
  return {
    totalMs: totalTime,
    downtimeMs: downtime,
    requests: ram.postcopyRequests,
    postcopyAskedMs,
    stoppedMs: stress === undefined ? keeper.kept.stoppedMs : epochMsOf(stress.stats.stoppedUs),
  };
}

async function prepare(): Promise<PeerReplies['prepare']> {
  prepared = await prepareMigration();
  return {};
}

async function sendUntilLost(uri: string, preempt: boolean): Promise<PeerReplies['send-until-lost']> {
  const outgoing = await migrate(keeper.kept, uri, {
    capabilities: { postcopyRam: true, postcopyPreempt: preempt },
    parameters: { maxBandwidth: 0 },
    postcopyAfterPasses: 0,
  });
  outgoing.on('status', (status) => status === 'postcopy-paused' && outgoing.giveUp());
  await outgoing.finished.catch((error) => {
    if (error.code !== 'RECOVERY_GIVEN_UP') throw error;
  });
  return {};
}

function blockOf(idstr: string): RAMBlock {
  const block = keeper.kept.ramBlocks.find((each) => each.idstr === idstr);
  if (block === undefined) throw new Error(`no RAM block ${idstr} has come`);
  return block;
}

async function compare(idstr: string, path: string): Promise<PeerReplies['compare']> {
  const block = blockOf(idstr);
  const difference = await findDifference(path, 0, block.size, (target, at) =>
    native().ramBlockRead(block.handle, at, target),
  );
  return { difference };
}

async function makeGuest(guest: GuestSettings): Promise<PeerReplies['make-guest']> {
  stress = await StressGuest.create(guest);
  return {};
}

async function verify(): Promise<PeerReplies['verify']> {
  if (stress === undefined) throw new Error('no guest of ours is here');
  await stress.stop();
  const { lostPages, tornPages, stalePages } = await stress.verify();
  return { badPages: lostPages + tornPages + stalePages };
}

async function hash(idstr: string): Promise<PeerReplies['hash']> {
  return { sha256: createHash('sha256').update(keeper.kept.bytesOf(idstr)).digest('hex') };
}

function fileOf(idstr: string): PeerReplies['file'] {
  const { fd } = native().ramBlockInfo(blockOf(idstr).handle);
  return { path: `/proc/${process.pid}/fd/${fd}` };
}

async function execute(command: PeerCommand): Promise<PeerReplies[keyof PeerReplies]> {
  switch (command.do) {
    case 'listen':
      return startListening(command.uri, command.settings);
    case 'await-handed-over':
      return awaitHandedOver(command.idstr);
    case 'await-received':
      return awaitReceived();
    case 'prepare':
      return prepare();
    case 'send':
      return send(command.uri, command.settings);
    case 'send-until-lost':
      return sendUntilLost(command.uri, command.preempt);
    case 'make-guest':
      return makeGuest(command.guest);
    case 'verify':
      return verify();
    case 'memory':
      return residentMemory(stress?.ramBlocks ?? []);
    case 'hash':
      return hash(command.idstr);
    case 'file':
      return fileOf(command.idstr);
    case 'compare':
      return compare(command.idstr, command.path);
  }
}

process.on('message', async (command: PeerCommand) => {
  try {
    process.send?.({ reply: await execute(command) } satisfies PeerReply);
  } catch (error) {
    process.send?.({ error: (error as Error).stack ?? String(error) } satisfies PeerReply);
  }
});
process.on('disconnect', () => process.exit());
