/**
 * For how long nobody runs the guest, and how soon it runs at the destination after postcopy was asked for. QEMU's
 * guest runs and writes at QEMU; what we have of it is started and stopped, and runs nothing. So there is one of ours
 * too, which runs at both ends, and writes as much. Our sources are prepared, as a host is that expects migrations.
 */
import { GUEST_RAM } from '../testing/qemu/linux-guest.ts';
import type { Transport } from '../testing/qemu/migrate.ts';
import type { QemuProcess } from '../testing/qemu/qemu-process.ts';
import type { Benchmark, BenchOptions, Comparison, Contender, Mode, OpenBenchmark, Sample } from './benchmark.ts';
import { epochMs } from './epoch.ts';
import type { Received, Sent } from './peer-messages.ts';
import { PeerProcess } from './peer-process.ts';
import { completed, sendFromQemu } from './qemu-peer.ts';
import { GUEST_OF_OURS, hashOf, RunningGuest, requireSoundGuest } from './running-guest.ts';
import { startWithGuestOf } from './source-with-guest.ts';

interface SourceEnd extends AsyncDisposable {
  send(uri: string): Promise<Sent>;
}

interface HashedSourceEnd extends SourceEnd {
  /** SHA-256 of the RAM that it has sent. */
  hash(): Promise<string>;
}

type Started = Pick<Received, 'startedMs' | 'firstWriteMs'>;

interface DestinationEnd<Source extends SourceEnd> extends AsyncDisposable {
  readonly uri: string;
  /** When it has completed: when the guest was started there. */
  started(): Promise<Started>;
  /** Throws unless the guest there is whole. */
  requireSound(source: Source): Promise<void>;
}

async function send(qemu: QemuProcess, uri: string, mode: Mode): Promise<Sent> {
  const postcopyAskedMs = epochMs();
  const times = await sendFromQemu(qemu, uri, mode);
  return { ...times, postcopyAskedMs, stoppedMs: await qemu.qmp.eventMs('STOP') };
}

async function qemuSource(guest: RunningGuest, mode: Mode): Promise<HashedSourceEnd> {
  const qemu = await guest.startSource(mode);
  return {
    send: (uri) => send(qemu, uri, mode),
    hash: () => hashOf(qemu),
    [Symbol.asyncDispose]: () => qemu.stop(),
  };
}

async function ourSource(us: PeerProcess, mode: Mode): Promise<HashedSourceEnd> {
  await us.prepare();
  return {
    send: (uri) => us.send(uri, { mode, running: true }),
    hash: () => us.hash(GUEST_RAM),
    [Symbol.asyncDispose]: async () => {},
  };
}

async function sourceWithOurs(mode: Mode): Promise<SourceEnd> {
  const us = PeerProcess.start();
  await us.makeGuest(GUEST_OF_OURS);
  await us.prepare();
  return {
    send: (uri) => us.send(uri, { mode, running: true }),
    [Symbol.asyncDispose]: () => us[Symbol.asyncDispose](),
  };
}

async function qemuDestination(
  guest: RunningGuest,
  mode: Mode,
  transport: Transport,
): Promise<DestinationEnd<SourceEnd>> {
  const { qemu, uri } = await guest.startDestination(mode, transport);
  return {
    uri,
    started: async () => {
      await completed(qemu);
      return { startedMs: await qemu.qmp.eventMs('RESUME') };
    },
    requireSound: () => requireSoundGuest(qemu),
    [Symbol.asyncDispose]: () => qemu.stop(),
  };
}

async function ourDestination(mode: Mode, transport: Transport): Promise<DestinationEnd<HashedSourceEnd>> {
  const us = PeerProcess.start();
  return {
    uri: await us.listen(transport, { mode }),
    started: () => us.received(),
    requireSound: async (source) => {
      const [sent, come] = await Promise.all([source.hash(), us.hash(GUEST_RAM)]);
      if (sent !== come) throw new Error("the RAM that we have received is not the source's");
    },
    [Symbol.asyncDispose]: () => us[Symbol.asyncDispose](),
  };
}

async function destinationForOurs(mode: Mode, transport: Transport): Promise<DestinationEnd<SourceEnd>> {
  const us = PeerProcess.start();
  return {
    uri: await us.listen(transport, { mode, memory: GUEST_OF_OURS.memory }),
    started: () => us.received(),
    requireSound: () => us.verify(),
    [Symbol.asyncDispose]: () => us[Symbol.asyncDispose](),
  };
}

async function move<Source extends SourceEnd>(
  opening: Promise<Source>,
  accepting: Promise<DestinationEnd<Source>>,
  mode: Mode,
): Promise<Sample> {
  await using destination = await accepting;
  await using source = await opening;
  const [sent, { startedMs, firstWriteMs }] = await Promise.all([source.send(destination.uri), destination.started()]);
  await destination.requireSound(source);
  return {
    figures: {
      'downtime ms': sent.downtimeMs,
      'stop to start ms': startedMs - sent.stoppedMs,
      ...(firstWriteMs === undefined ? {} : { 'stop to first write ms': firstWriteMs - sent.stoppedMs }),
      ...(mode === 'postcopy' ? { 'asked to start ms': startedMs - sent.postcopyAskedMs } : {}),
    },
  };
}

function comparisonOf(guest: RunningGuest, us: PeerProcess, mode: Mode, transport: Transport): Comparison {
  const sources = { QEMU: () => qemuSource(guest, mode), us: () => ourSource(us, mode) };
  const destinations = {
    QEMU: () => qemuDestination(guest, mode, transport),
    us: () => ourDestination(mode, transport),
  };
  const pair = (from: keyof typeof sources, to: keyof typeof destinations): Contender => ({
    name: `${from} → ${to}`,
    run: () => move(sources[from](), destinations[to](), mode),
  });
  return {
    name: `downtime, ${mode}, ${transport}`,
    baseline: 'QEMU → QEMU',
    compared: ['downtime ms', 'stop to start ms', 'asked to start ms'],
    contenders: [
      pair('QEMU', 'QEMU'),
      pair('us', 'us'),
      {
        name: 'us → us, a guest of ours',
        run: () => move(sourceWithOurs(mode), destinationForOurs(mode, transport), mode),
      },
      pair('us', 'QEMU'),
      pair('QEMU', 'us'),
    ],
  };
}

async function openDowntime({ modes, transports }: BenchOptions): Promise<OpenBenchmark> {
  const guest = await RunningGuest.boot();
  const us = await startWithGuestOf(() => guest.startSource('precopy')); // it is sent again and again
  return {
    comparisons: modes.flatMap((mode) => transports.map((transport) => comparisonOf(guest, us, mode, transport))),
    [Symbol.asyncDispose]: () => us[Symbol.asyncDispose](),
  };
}

export const downtime: Benchmark = {
  name: 'downtime',
  title: 'How long nobody runs the guest, and how soon it runs at the destination once postcopy is asked for',
  open: openDowntime,
};
