/** Two real QEMUs with a relay between them: recorded to the last byte, on a bad network, cut and recovered. */
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createRelay, type Relay, type RelayOptions } from '#lib/index.js';
import { MessageLog } from '#lib/relay/message-log.js';
import { bootedGuest } from '../../testing/qemu/booted-guest.ts';
import { faultsOf } from '../../testing/qemu/guest-console.ts';
import { guestImage } from '../../testing/qemu/guest-image.ts';
import { linuxGuest } from '../../testing/qemu/linux-guest.ts';
import {
  listenForMigration,
  type MigrationSettings,
  migrate,
  migrationStatus,
  setUp,
  type Transport,
} from '../../testing/qemu/migrate.ts';
import { QemuProcess } from '../../testing/qemu/qemu-process.ts';
import { corruptMemfd, memfdContent } from '../../testing/qemu/ram.ts';
import { readRecording, recorded } from '../../testing/recordings.ts';
import { pattern } from '../../testing/relay-peers.ts';

const MIB = 2 ** 20;
const transports: Transport[] = ['unix', 'tcp'];
const content = pattern(16 * MIB, 3);

let folder: string;
let relays: Relay[];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'postcopy-test-'));
  relays = [];
});
afterEach(async () => {
  await Promise.all(relays.map((relay) => relay.close()));
  rmSync(folder, { recursive: true });
});

async function relayTo(uri: string, transport: Transport, options: RelayOptions = {}): Promise<Relay> {
  const from = transport === 'unix' ? `unix:${folder}/${relays.length}.sock` : 'tcp:127.0.0.1:0';
  const relay = await createRelay(from, uri, options);
  relays.push(relay);
  return relay;
}

/** A machine of RAM and nothing else, which does not run. */
async function machine(name: string, more: readonly string[] = []): Promise<QemuProcess> {
  return QemuProcess.start(name, [
    ...['-M', 'none,memory-backend=m0', '-m', '16', '-object', 'memory-backend-memfd,id=m0,size=16M,share=on'],
    ...more,
  ]);
}

async function filled(name: string): Promise<QemuProcess> {
  const qemu = await machine(name);
  await corruptMemfd(qemu, 0, content);
  return qemu;
}

describe('a machine that does not run', () => {
  test.each(transports)('precopy by %s, through two relays: recorded alike, to the last byte', async (transport) => {
    await using destination = await machine('destination', ['-incoming', 'defer']);
    await using source = await filled('source');
    const idles: Promise<unknown>[] = [];
    const via = async (uri: string): Promise<string> => {
      const far = await relayTo(uri, transport, { record: `${folder}/far/` });
      const near = await relayTo(far.uri, transport, { record: `${folder}/near/`, delayMs: 1 });
      idles.push(once(near, 'idle'), once(far, 'idle'));
      return near.uri;
    };
    const info = await migrate(source, destination, { transport, via, mode: 'precopy', capabilities: ['return-path'] });
    await Promise.all(idles);
    const [far, near] = relays;
    await Promise.all([far.close(), near.close()]);

    expect((await memfdContent(destination)).equals(content)).toBe(true);
    for (const direction of ['s2d', 'd2s'] as const) {
      const [a, b] = ['near', 'far'].map((name) => readFileSync(`${folder}/${name}/conn0.${direction}.bin`));
      expect(a.equals(b)).toBe(true);
      expect(a.length).toBe(near.stats[direction]);
      expect(await recorded(`${folder}/near/`, direction)).toMatchObject({ verdict: 'complete', offset: a.length });
    }
    expect(near.stats.s2d).toBeGreaterThan(info.source.ram?.transferred ?? Number.POSITIVE_INFINITY);
    const { index, pieces } = readRecording(`${folder}/near/`);
    expect(pieces(0, 's2d').reduce((sum, piece) => sum + piece.length, 0)).toBe(near.stats.s2d);
    expect(index.filter(({ ev }) => ev === 'eof')).toHaveLength(2);
  });

  test('postcopy, cut in the middle, and recovered over a new connection', async () => {
    await using destination = await machine('destination', ['-incoming', 'defer']);
    await using source = await filled('source');
    const record = `${folder}/recording/`;
    await setUp(destination, ['postcopy-ram']);
    await setUp(source, ['postcopy-ram'], { 'max-bandwidth': MIB, 'max-postcopy-bandwidth': 8 * MIB });
    const uri = await listenForMigration(destination, 'unix');
    const relay = await relayTo(uri, 'unix', { record, faults: [{ kind: 'cut', after: 6_000_000 }] });
    const gone = once(relay, 'idle');
    await source.qmp.execute('migrate', { uri: relay.uri });
    await migrationStatus(source, 'active');
    await source.qmp.execute('migrate-start-postcopy');
    await Promise.all([
      gone,
      migrationStatus(source, 'postcopy-paused'),
      migrationStatus(destination, 'postcopy-paused'),
    ]);

    const recovered = once(relay, 'idle');
    await destination.qmp.execute('migrate-recover', { uri });
    await source.qmp.execute('migrate', { uri: relay.uri, resume: true });
    await Promise.all([recovered, migrationStatus(source, 'completed'), migrationStatus(destination, 'completed')]);
    await relay.close();
    expect((await memfdContent(destination)).equals(content)).toBe(true);
    expect(relay.stats.connections).toMatchObject([{ state: 'cut', s2d: 6_000_000 }, { state: 'closed' }]);
    expect(await recorded(record, 's2d')).toMatchObject({ verdict: 'cut', offset: 6_000_000 });
    expect(await recorded(record, 's2d', 1)).toMatchObject({ kind: 'main-resumed', verdict: 'complete' });
    expect(await recorded(record, 'd2s', 1)).toMatchObject({ kind: 'return-path', verdict: 'complete' });
  });

  test('postcopy-preempt: two connections, both understood', async () => {
    await using destination = await machine('destination', ['-incoming', 'defer']);
    await using source = await filled('source');
    const lines: string[] = [];
    const idles: Promise<unknown>[] = [];
    const via = async (uri: string): Promise<string> => {
      const relay = await relayTo(uri, 'tcp', { delayMs: 1, jitterMs: 1 });
      relay.observe(new MessageLog((line) => lines.push(line)));
      idles.push(once(relay, 'idle'));
      return relay.uri;
    };
    await migrate(source, destination, {
      ...{ transport: 'tcp', via, mode: 'postcopy', capabilities: ['postcopy-preempt'] },
      sourceParameters: { 'max-bandwidth': MIB, 'max-postcopy-bandwidth': 16 * MIB },
    });
    await Promise.all(idles);
    expect((await memfdContent(destination)).equals(content)).toBe(true);
    expect(relays[0].stats.connections).toHaveLength(2);
    expect(lines.filter((line) => line.includes('not understood'))).toEqual([]);
    expect(lines.filter((line) => line.includes('POSTCOPY_RUN'))).toHaveLength(1);
  });
});

describe('a guest that writes all the while', { timeout: 180_000 }, () => {
  const cases: readonly [string, MigrationSettings, RelayOptions][] = [
    ['precopy by tcp', { transport: 'tcp', mode: 'precopy' }, { rate: 80 * MIB, delayMs: 5, jitterMs: 5 }],
    ['postcopy by unix', { transport: 'unix', mode: 'postcopy' }, { rate: 40 * MIB, delayMs: 5 }],
  ];

  test.each(cases)(
    '%s on a long, narrow way: it runs on and finds all its pages right',
    async (_name, mode, network) => {
      const image = await guestImage();
      const record = `${folder}/recording/`;
      await using source = await QemuProcess.start('source', await bootedGuest(image));
      await using destination = await QemuProcess.start('destination', [...linuxGuest(image), '-incoming', 'defer']);
      await source.console.report('the guest at work', ({ writes }) => writes > 300);
      const idles: Promise<unknown>[] = [];
      await migrate(source, destination, {
        ...mode,
        sourceParameters: { 'max-bandwidth': 64 * MIB, 'max-postcopy-bandwidth': 32 * MIB },
        via: async (uri) => {
          const relay = await relayTo(uri, mode.transport, { ...network, record });
          idles.push(once(relay, 'idle'));
          return relay.uri;
        },
      });
      const arrived = await destination.console.report('the guest on the destination');
      await destination.console.report('two more sweeps', ({ sweeps }) => sweeps >= arrived.sweeps + 2);
      await Promise.all([source.stop(), destination.stop(), ...idles]);
      expect(faultsOf(source.console.text + destination.console.text)).toEqual([]);
      expect(await recorded(record, 's2d')).toMatchObject({ kind: 'main', verdict: 'complete' });
    },
  );
});
