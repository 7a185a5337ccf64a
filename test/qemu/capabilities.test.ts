/**
 * Each capability that QEMU 7.2 can have on as a source, switched on for a migration of a running guest to our
 * destination: handled, so that all of its memory arrives, or refused by name while the guest runs on at the source.
 */
import { beforeAll, describe, expect, test } from 'vitest';
import { capabilityHandling, isHandled } from '#lib/destination/capability-check.js';
import { type IncomingMigration, listen } from '#lib/index.js';
import { handleLeaks } from '../../testing/lib-thread.ts';
import { MachineKeeper } from '../../testing/machine-keeper.ts';
import { bootedGuest } from '../../testing/qemu/booted-guest.ts';
import { type GuestImage, guestImage } from '../../testing/qemu/guest-image.ts';
import { GUEST_RAM } from '../../testing/qemu/linux-guest.ts';
import { migrationCompleted, migrationStatus, setUp } from '../../testing/qemu/migrate.ts';
import { QemuProcess } from '../../testing/qemu/qemu-process.ts';
import { memfdContent } from '../../testing/qemu/ram.ts';

let image: GuestImage;
beforeAll(async () => {
  image = await guestImage();
}, 180_000);

const MIB = 2 ** 20;

interface Row {
  readonly capability: string;
  /** Which others it needs. */
  readonly with?: readonly string[];
  /** Started as soon as the migration is active. */
  readonly postcopy?: true;
  /** The guest is stopped before, and its memory read then: the source does not keep it, or keeps it changing. */
  readonly stopped?: true;
  readonly arguments?: readonly string[];
  readonly parameters?: Readonly<Record<string, number>>;
  /** Bytes a second are then raised, so that it ends. */
  readonly passes?: number;
  /** What must be so at the end, as query-migrate tells it. */
  readonly shows?: object;
  readonly refusedFor?: string;
}

const postcopy = { with: ['postcopy-ram'], postcopy: true } as const;

const rows: readonly Row[] = [
  {
    capability: 'xbzrle',
    parameters: { 'xbzrle-cache-size': 64 * MIB, 'max-bandwidth': 16 * MIB, 'downtime-limit': 1 },
    passes: 4,
    shows: { 'xbzrle-cache': { pages: expect.toSatisfy((pages) => pages > 0) } },
  },
  { capability: 'postcopy-ram', postcopy: true },
  { capability: 'release-ram', ...postcopy, stopped: true },
  { capability: 'return-path' },
  { capability: 'validate-uuid', arguments: ['-uuid', '12345678-1234-1234-1234-123456789abc'] },
  { capability: 'background-snapshot', stopped: true },
  { capability: 'auto-converge' },
  { capability: 'events' },
  { capability: 'postcopy-blocktime', ...postcopy },
  // It sends next to nothing: without a return path it is done before it could find that nobody takes it.
  { capability: 'x-ignore-shared', with: ['return-path'], refusedFor: 'x-ignore-shared' },
  { capability: 'multifd', parameters: { 'multifd-channels': 8 }, refusedFor: 'multifd' },
  { capability: 'zero-copy-send', with: ['multifd'], refusedFor: 'multifd' },
  { capability: 'postcopy-preempt', with: ['postcopy-ram'], refusedFor: 'postcopy-preempt' },
  { capability: 'compress', refusedFor: 'compress' },
];

/** A destination, a source with its guest at work, and what the row switches on. */
async function begin(row: Row, receiver: MachineKeeper): Promise<{ source: QemuProcess; incoming: IncomingMigration }> {
  const capabilities = {
    postcopyRam: row.capability === 'postcopy-ram' || row.with?.includes('postcopy-ram') === true,
  };
  const incoming = await listen('tcp:127.0.0.1:0', { guest: receiver, capabilities });
  const source = await QemuProcess.start('source', [...(await bootedGuest(image)), ...(row.arguments ?? [])]);
  await source.console.report('the guest at work', ({ writes }) => writes > 300);
  await setUp(source, [...(row.with ?? []), row.capability], row.parameters ?? { 'max-bandwidth': 64 * MIB });
  return { source, incoming };
}

describe('QEMU with a capability on, to us', { timeout: 180_000 }, () => {
  test('every capability of the table is in a row, or needs hardware or disks', () => {
    const without = ['block', 'dirty-bitmaps', 'late-block-activate', 'pause-before-switchover', 'x-colo'];
    const expected = [...capabilityHandling.keys()].filter((capability) => !without.includes(capability));
    expect(rows.map(({ capability }) => capability).sort()).toEqual(expected.sort());
    for (const { capability, refusedFor } of rows) expect(isHandled(capability)).toBe(refusedFor === undefined);
  });

  test.each(rows.filter(({ refusedFor }) => refusedFor === undefined))('$capability is handled', async (row) => {
    using receiver = new MachineKeeper();
    const { source, incoming } = await begin(row, receiver);
    await using _ = source;
    if (row.stopped) await source.qmp.execute('stop');
    const before = row.stopped ? await memfdContent(source) : undefined;
    await source.qmp.execute('migrate', { uri: incoming.uri });
    if (row.postcopy) {
      await migrationStatus(source, 'active');
      await source.qmp.execute('migrate-start-postcopy');
    }
    if (row.passes !== undefined) {
      const { passes } = row;
      await source.qmp.event('MIGRATION_PASS', ({ pass }) => Number(pass) >= passes);
      await source.qmp.execute('migrate-set-parameters', { 'max-bandwidth': 1024 * MIB, 'downtime-limit': 2000 });
    }
    const info = await incoming.finished;
    expect(await migrationCompleted(source)).toMatchObject(row.shows ?? {});
    expect(info).toMatchObject({ status: 'completed', postcopy: row.postcopy ?? false });
    expect((before ?? (await memfdContent(source))).equals(receiver.kept.bytesOf(GUEST_RAM))).toBe(true);
    expect(receiver.kept.deviceState.length).toBeGreaterThan(0);
  });

  test.each(rows.filter(({ refusedFor }) => refusedFor !== undefined))(
    '$capability is refused by name, and the guest runs on at the source',
    async (row) => {
      const leaks = handleLeaks();
      {
        using receiver = new MachineKeeper();
        const { source, incoming } = await begin(row, receiver);
        await using _ = source;
        await source.qmp.execute('migrate', { uri: incoming.uri });
        await expect(incoming.finished).rejects.toMatchObject({
          code: 'UNSUPPORTED',
          message: expect.stringContaining(`capability ${row.refusedFor} on, as`),
          hint: expect.stringContaining(`migrate_set_capability ${row.refusedFor} off`),
          offset: expect.any(Number),
        });
        await migrationStatus(source, 'failed');
        const { counter } = await source.console.report('the guest goes on');
        await source.console.report('the guest goes on for longer', (report) => report.counter > counter + 3);
        expect(await source.qmp.execute('query-status')).toMatchObject({ running: true });
      }
      expect(leaks()).toEqual({});
    },
  );
});
