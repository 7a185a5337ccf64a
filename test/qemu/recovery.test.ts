/**
 * Pause and recovery, and the preempt channel, with a real QEMU at the other end: as the source and as the
 * destination, twice in one migration, each side breaking the connection once.
 */
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { listen } from '#lib/migration/listen.js';
import { type MigrateOptions, migrate } from '#lib/migration/migrate.js';
import type { OutgoingMigration } from '#lib/source/outgoing.js';
import { type KeptMachine, MachineKeeper } from '../../testing/machine-keeper.ts';
import { until } from '../../testing/native-thread.ts';
import { bootedGuest } from '../../testing/qemu/booted-guest.ts';
import { faultsOf, reportsIn } from '../../testing/qemu/guest-console.ts';
import { type GuestImage, guestImage } from '../../testing/qemu/guest-image.ts';
import { GUEST_RAM, linuxGuest } from '../../testing/qemu/linux-guest.ts';
import { listenForMigration, migrationCompleted, setUp, type Transport } from '../../testing/qemu/migrate.ts';
import { QemuProcess } from '../../testing/qemu/qemu-process.ts';
import { memfdContent } from '../../testing/qemu/ram.ts';

const MIB = 2 ** 20;

let image: GuestImage;
beforeAll(async () => {
  image = await guestImage();
}, 180_000);

interface Case {
  readonly transport: Transport;
  readonly preempt: boolean;
}

const cases: readonly Case[] = [
  { transport: 'unix', preempt: false },
  { transport: 'tcp', preempt: true },
];

/** Waits until the migration has had that status so many times. */
async function hadStatus(qemu: QemuProcess, status: string, times: number): Promise<void> {
  let seen = 0;
  await qemu.qmp.event('MIGRATION', (data) => {
    if (data.status === status) seen += 1;
    return seen === times;
  });
}

/** Has a QEMU that is paused listen again; where. */
async function listenAgain(qemu: QemuProcess, transport: Transport, times: number): Promise<string> {
  await hadStatus(qemu, 'postcopy-paused', times);
  const uri = transport === 'unix' ? `unix:${join(qemu.folder, `again${times}.socket`)}` : 'tcp:127.0.0.1:0';
  await qemu.qmp.execute('migrate-recover', { uri });
  if (transport === 'unix') return uri;
  const info = await qemu.qmp.execute<{ 'socket-address'?: readonly { port?: string }[] }>('query-migrate');
  return `tcp:127.0.0.1:${info['socket-address']?.at(-1)?.port}`;
}

/** QEMU names its threads then. */
const NAMED_THREADS = ['-name', 'debug-threads=on'];
const FUTEX = '202 ';

/**
 * A paused source is to be resumed once its return path thread has let go of the old connection, too. QEMU 7.2 tells of
 * the pause before, and crashed when it was resumed two milliseconds behind that.
 */
function returnPathSleeps({ pid }: QemuProcess): boolean {
  const tasks = `/proc/${pid}/task`;
  return readdirSync(tasks).some(
    (task) =>
      readFileSync(`${tasks}/${task}/comm`, 'utf8') === 'return path\n' &&
      readFileSync(`${tasks}/${task}/syscall`, 'utf8').startsWith(FUTEX),
  );
}

async function resume(source: QemuProcess, uri: string): Promise<void> {
  await until("the source's return path thread sleeps", () => returnPathSleeps(source));
  await source.qmp.execute('migrate', { uri, resume: true });
}

async function reaches(outgoing: OutgoingMigration, status: string): Promise<void> {
  while (outgoing.status !== status) await once(outgoing, 'status');
}

/** The guest of a QEMU, taken over by precopy into this process. */
async function park(source: QemuProcess): Promise<KeptMachine> {
  const keeper = new MachineKeeper();
  const incoming = await listen('tcp:127.0.0.1:0', { guest: keeper });
  await setUp(source, ['return-path'], { 'max-bandwidth': 0 });
  await source.qmp.execute('migrate', { uri: incoming.uri });
  await Promise.all([migrationCompleted(source), incoming.finished]);
  return keeper.kept;
}

describe('our source, QEMU destination', { timeout: 180_000 }, () => {
  test.each(cases)('by $transport, preempt $preempt: pauses and recovers twice', async ({ transport, preempt }) => {
    const guest = linuxGuest(image);
    await using parked = await QemuProcess.start('source', await bootedGuest(image));
    await parked.console.report('the guest at work', ({ writes }) => writes > 300);
    using machine = await park(parked);
    await parked.stop();
    await using destination = await QemuProcess.start('destination', [...guest, '-incoming', 'defer']);
    await setUp(destination, ['postcopy-ram', ...(preempt ? ['postcopy-preempt'] : [])]);
    const options: MigrateOptions = {
      capabilities: { postcopyRam: true, postcopyPreempt: preempt },
      parameters: { maxBandwidth: 0, maxPostcopyBandwidth: 4 * MIB },
      postcopyAfterPasses: 0,
      lanes: 2, // of which a QEMU takes none
    };
    const outgoing = await migrate(machine, await listenForMigration(destination, transport), options);
    const statuses: string[] = [];
    outgoing.on('status', (status) => statuses.push(status));
    await reaches(outgoing, 'postcopy-active');
    const arrived = await destination.console.report('the guest on the destination');

    expect(outgoing.pause()).toBe(true);
    await reaches(outgoing, 'postcopy-paused');
    await outgoing.recover(await listenAgain(destination, transport, 1));
    await destination.console.report('the guest goes on', ({ writes }) => writes > arrived.writes);

    await destination.qmp.execute('migrate-pause');
    await reaches(outgoing, 'postcopy-paused');
    await outgoing.recover(await listenAgain(destination, transport, 2));
    outgoing.setParameters({ maxPostcopyBandwidth: 0 });
    await Promise.all([outgoing.finished, migrationCompletedAfterPauses(destination)]);

    const recovery = ['postcopy-paused', 'postcopy-recover-setup', 'postcopy-recover', 'postcopy-active'];
    expect(statuses.filter((status) => status !== 'active')).toEqual([
      ...['postcopy-active', ...recovery, ...recovery, 'completed'],
    ]);
    const before = reportsIn(parked.console.text).at(-1);
    await destination.console.report('two more sweeps', ({ sweeps }) => sweeps >= (before?.sweeps ?? 0) + 2);
    await destination.stop();
    expect(faultsOf(parked.console.text + destination.console.text)).toEqual([]);
    expect(outgoing.info().ram.postcopyRequests).toBeGreaterThan(0);
  });
});

/** A pause is no end here. */
async function migrationCompletedAfterPauses(qemu: QemuProcess): Promise<void> {
  const { data } = await qemu.qmp.event('MIGRATION', ({ status }) => ['completed', 'failed'].includes(String(status)));
  expect(data.status).toBe('completed');
}

describe('QEMU source, our destination', { timeout: 180_000 }, () => {
  test.each(cases)('by $transport, preempt $preempt: pauses and recovers twice', async ({ transport, preempt }) => {
    await using source = await QemuProcess.start('source', [...(await bootedGuest(image)), ...NAMED_THREADS]);
    await source.console.report('the guest at work', ({ writes }) => writes > 300);
    using keeper = new MachineKeeper();
    const uri = transport === 'unix' ? `unix:${join(source.folder, 'in.socket')}` : 'tcp:127.0.0.1:0';
    const incoming = await listen(uri, {
      guest: keeper,
      capabilities: { postcopyRam: true, postcopyPreempt: preempt },
    });
    const paused = async (): Promise<void> => {
      while (incoming.status !== 'postcopy-paused') await once(incoming, 'status');
    };
    await setUp(source, ['postcopy-ram', ...(preempt ? ['postcopy-preempt'] : [])], {
      'max-bandwidth': 4 * MIB,
      'max-postcopy-bandwidth': 4 * MIB,
    });
    await source.qmp.execute('migrate', { uri: incoming.uri });
    await hadStatus(source, 'active', 1);
    await source.qmp.execute('migrate-start-postcopy');
    await hadStatus(source, 'postcopy-active', 1);
    while (incoming.status !== 'postcopy-active') await once(incoming, 'status');

    await source.qmp.execute('migrate-pause');
    await Promise.all([paused(), hadStatus(source, 'postcopy-paused', 1)]);
    await resume(source, await incoming.recover());
    await hadStatus(source, 'postcopy-active', 2);
    while (incoming.status !== 'postcopy-active') await once(incoming, 'status');

    expect(incoming.pause()).toBe(true);
    await Promise.all([paused(), hadStatus(source, 'postcopy-paused', 2)]);
    await resume(source, await incoming.recover());
    await hadStatus(source, 'postcopy-active', 3);
    await source.qmp.execute('migrate-set-parameters', { 'max-postcopy-bandwidth': 0 });
    await Promise.all([incoming.finished, migrationCompletedAfterPauses(source)]);
    expect(Buffer.from(keeper.kept.bytesOf(GUEST_RAM)).equals(await memfdContent(source))).toBe(true);
  });
});
