/** A process of ours at one end, as a user would run it: forked by peer-process.ts, told what to do by IPC. */
import { createHash } from 'node:crypto';
import type { IncomingMigration } from '#lib/destination/incoming.js';
import { listen } from '#lib/migration/listen.js';
import { migrate } from '#lib/migration/migrate.js';
import { native } from '#lib/native.js';
import type { Mode } from './benchmark.ts';
import { epochMs } from './epoch.ts';
import { findDifference } from './memory-image.ts';
import type { PeerCommand, PeerReplies, PeerReply } from './peer-messages.ts';
import { type ReadTimes, readAllPages } from './reader.ts';
import { TimedMachineReceiver } from './timed-machine.ts';

const NOT_READ: ReadTimes = { firstReadMs: 0, allReadMs: 0 };

let incoming: IncomingMigration | undefined;
let keeper = new TimedMachineReceiver();
let reading: Promise<ReadTimes> = Promise.resolve(NOT_READ);

async function startListening(uri: string, mode: Mode, reads: boolean): Promise<PeerReplies['listen']> {
  keeper = new TimedMachineReceiver((guest) => {
    if (reads) reading = readAllPages(guest.ramBlocks);
  });
  incoming = await listen(uri, { guest: keeper, capabilities: { postcopyRam: mode === 'postcopy' } });
  return { uri: incoming.uri };
}

async function awaitReceived(): Promise<PeerReplies['await-received']> {
  if (incoming === undefined) throw new Error('not listening');
  const { ram } = await incoming.finished;
  return { ...(await reading), requests: ram.postcopyRequests, startedMs: keeper.kept.startedMs };
}

async function send(uri: string, mode: Mode, running: boolean): Promise<PeerReplies['send']> {
  const { kept } = keeper;
  const postcopy = mode === 'postcopy';
  if (running) await kept.start();
  const outgoing = await migrate(kept, uri, {
    capabilities: { postcopyRam: postcopy },
    parameters: { maxBandwidth: 0 },
    ...(postcopy && !running ? { postcopyAfterPasses: 0 } : {}),
  });
  const postcopyAskedMs = epochMs();
  if (postcopy && running) await outgoing.startPostcopy();
  const { totalTime, downtime } = await outgoing.finished;
  return { totalMs: totalTime, downtimeMs: downtime, postcopyAskedMs, stoppedMs: kept.stoppedMs };
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

async function compare(idstr: string, path: string): Promise<PeerReplies['compare']> {
  const block = keeper.kept.ramBlocks.find((each) => each.idstr === idstr);
  if (block === undefined) throw new Error(`no RAM block ${idstr} has come`);
  const difference = await findDifference(path, 0, block.size, (target, at) =>
    native().ramBlockRead(block.handle, at, target),
  );
  return { difference };
}

async function hash(idstr: string): Promise<PeerReplies['hash']> {
  return { sha256: createHash('sha256').update(keeper.kept.bytesOf(idstr)).digest('hex') };
}

async function execute(command: PeerCommand): Promise<PeerReplies[keyof PeerReplies]> {
  switch (command.do) {
    case 'listen':
      return startListening(command.uri, command.mode, command.reads);
    case 'await-received':
      return awaitReceived();
    case 'send':
      return send(command.uri, command.mode, command.running);
    case 'send-until-lost':
      return sendUntilLost(command.uri, command.preempt);
    case 'hash':
      return hash(command.idstr);
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
