/** Whole migrations through a relay: ours and those of two real QEMUs, in good and in bad networks. */
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createRelay, listen, migrate, type Relay, type RelayOptions } from '#lib/index.js';
import { type ByteSource, openSource } from '#lib/inspect/byte-source.js';
import { inspect, readContext } from '#lib/inspect/inspect.js';
import { MessageLog } from '#lib/relay/message-log.js';
import { PatternGuest } from '../../testing/pattern-guest.ts';
import { Qemu } from '../../testing/qemu.ts';
import { readRecording } from '../../testing/recordings.ts';
import { pattern } from '../../testing/relay-peers.ts';

const SEED = 5;

let folder: string;
let closers: (() => unknown)[];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'postcopy-test-'));
  closers = [];
});
afterEach(async () => {
  for (const close of closers.reverse()) await close();
  rmSync(folder, { recursive: true });
});

type Transport = 'unix' | 'tcp';
const transports: Transport[] = ['unix', 'tcp'];

const uriAt = (transport: Transport, name: string) =>
  transport === 'unix' ? `unix:${folder}/${name}.sock` : 'tcp:127.0.0.1:0';

async function relayTo(to: string, transport: Transport, options: RelayOptions = {}, name = 'relay'): Promise<Relay> {
  const relay = await createRelay(uriAt(transport, name), to, options);
  closers.push(() => relay.close());
  return relay;
}

/** What the recording at this prefix is found to be; a connection of a recovery builds on the first. */
async function verdict(prefix: string, direction: 's2d' | 'd2s', connection = 0) {
  const opened = async <T>(name: string, use: (source: ByteSource) => Promise<T>): Promise<T> => {
    const source = await openSource(`${prefix}${name}.bin`);
    return use(source).finally(() => source.close());
  };
  const context = connection === 0 ? {} : { context: await opened('conn0.s2d', (main) => readContext(main)) };
  const { kind, end } = await opened(`conn${connection}.${direction}`, (source) => inspect(source, context));
  return { kind, verdict: end.verdict, offset: end.offset };
}

function keep<T extends { close(): void }>(guest: T): T {
  closers.push(() => guest.close());
  return guest;
}

describe('ours to ours', () => {
  const pages = 600;

  /** Starts a migration of a pattern guest through a relay. */
  async function start(transport: Transport, options: RelayOptions, postcopy: boolean) {
    const capabilities = { postcopyRam: postcopy };
    const source = keep(new PatternGuest([{ idstr: 'pc.ram', pages }], Uint8Array.of(1, 2, 3))).fill(SEED);
    source.running = true;
    const target = keep(new PatternGuest([{ idstr: 'pc.ram', pages }]));
    const incoming = await listen(uriAt(transport, 'destination'), { guest: target, capabilities });
    const relay = await relayTo(incoming.uri, transport, options);
    const idle = once(relay, 'idle');
    const outgoing = await migrate(source, relay.uri, {
      capabilities,
      parameters: { maxBandwidth: 0 },
      ...(postcopy ? { postcopyAfterPasses: 0 } : {}),
    });
    return { source, target, incoming, outgoing, relay, idle };
  }

  const networks: [string, RelayOptions][] = [
    ['nothing in the way', {}],
    ['a delay with jitter', { delayMs: 5, jitterMs: 5 }],
    ['a slow link', { rate: 8e6 }],
    ['both', { rate: 16e6, delayMs: 3 }],
  ];

  describe.each(transports)('over %s', (transport) => {
    test.each(networks)('%s: arrives whole, precopy and postcopy', async (_name, options) => {
      for (const postcopy of [false, true]) {
        const record = `${folder}/recording-${postcopy}/`;
        const { target, incoming, outgoing, relay, idle } = await start(transport, { ...options, record }, postcopy);
        const [sent, received] = await Promise.all([outgoing.finished, incoming.finished]);
        await idle;
        expect(target.wrongPages(SEED)).toEqual([]);
        expect(received.postcopy).toBe(postcopy);
        expect(relay.stats.s2d).toBeGreaterThanOrEqual(sent.ram.transferred);
        await relay.close();
        expect(await verdict(record, 's2d')).toEqual({ kind: 'main', verdict: 'complete', offset: relay.stats.s2d });
        if (postcopy) expect(await verdict(record, 'd2s')).toMatchObject({ kind: 'return-path', verdict: 'complete' });
      }
    });

    test('cut in precopy: both sides fail, and the guest runs on at the source', async () => {
      const { source, incoming, outgoing, relay } = await start(
        transport,
        { faults: [{ kind: 'cut', after: 300_000 }] },
        false,
      );
      const [sent, received] = await Promise.allSettled([outgoing.finished, incoming.finished]);
      expect(sent).toMatchObject({ status: 'rejected', reason: { code: 'PEER_GONE' } });
      expect(received).toMatchObject({ status: 'rejected' });
      expect(relay.stats).toMatchObject({ s2d: 300_000, faultsLeft: [] });
      expect(source.running).toBe(true);
    });

    test('a corrupt byte: the destination says at which offset', async () => {
      const { incoming, outgoing } = await start(transport, { faults: [{ kind: 'corrupt', after: 0 }] }, false);
      const [, received] = await Promise.allSettled([outgoing.finished, incoming.finished]);
      expect(received).toMatchObject({ status: 'rejected', reason: { code: 'STREAM_CORRUPT', offset: 0 } });
    });

    test('silent for a while: then it goes on, and arrives whole', async () => {
      const { target, incoming, outgoing, relay } = await start(
        transport,
        { faults: [{ kind: 'stall', after: 400_000 }] },
        true,
      );
      if (relay.stats.faultsLeft.length > 0) await once(relay, 'fault');
      expect(relay.stats).toMatchObject({ s2d: 400_000, connections: [{ state: 'stalled' }] });
      relay.resume();
      await Promise.all([outgoing.finished, incoming.finished]);
      expect(target.wrongPages(SEED)).toEqual([]);
    });
  });
});

describe('QEMU to QEMU', () => {
  const bytes = pattern(16 * 2 ** 20, 3);

  type Ram = 'pattern' | 'file' | 'anonymous';

  /** One whose RAM holds the pattern; or is a file, which shows what it holds; or is what postcopy can fill. */
  async function qemu(name: string, ram: Ram, more: readonly string[] = []): Promise<Qemu> {
    mkdirSync(`${folder}/${name}`);
    const file = `${folder}/${name}/ram`;
    if (ram !== 'anonymous') writeFileSync(file, ram === 'pattern' ? bytes : new Uint8Array(bytes.length));
    const backends: Record<Ram, string> = {
      pattern: `memory-backend-file,mem-path=${file},share=off`,
      file: `memory-backend-file,mem-path=${file},share=on`,
      anonymous: 'memory-backend-ram',
    };
    const started = await Qemu.start(`${folder}/${name}`, [
      ...['-object', `${backends[ram]},id=m0,size=16M`],
      ...['-machine', 'none,memory-backend=m0', ...more],
    ]);
    closers.push(() => started.quit());
    return started;
  }

  async function enable(sides: readonly Qemu[], capability: string): Promise<void> {
    for (const side of sides) {
      await side.ask('migrate-set-capabilities', { capabilities: [{ capability, state: true }] });
    }
  }

  /** Where a destination listens, in QEMU's own words. */
  async function listensAt(destination: Qemu, transport: Transport): Promise<string> {
    await destination.ask('migrate-incoming', { uri: uriAt(transport, 'qemu') });
    if (transport === 'unix') return uriAt('unix', 'qemu');
    const { 'socket-address': addresses } = await destination.ask('query-migrate');
    return `tcp:127.0.0.1:${(addresses as { port: string }[])[0].port}`;
  }

  test.each(transports)(
    'precopy over %s, through two relays: recorded alike, and to the last byte',
    async (transport) => {
      const destination = await qemu('destination', 'file', ['-incoming', 'defer']);
      const source = await qemu('source', 'pattern');
      await enable([source, destination], 'return-path');
      const far = await relayTo(
        await listensAt(destination, transport),
        transport,
        { record: `${folder}/far/` },
        'far',
      );
      const near = await relayTo(far.uri, transport, { record: `${folder}/near/`, delayMs: 1 }, 'near');
      const idle = once(near, 'idle');
      await source.ask('migrate', { uri: near.uri });
      const [sent] = await Promise.all([source.queryMigrate('completed'), destination.queryMigrate('completed'), idle]);
      await Promise.all([near.close(), far.close()]);

      expect(readFileSync(`${folder}/destination/ram`).equals(bytes)).toBe(true);
      for (const direction of ['s2d', 'd2s'] as const) {
        const [a, b] = ['near', 'far'].map((name) => readFileSync(`${folder}/${name}/conn0.${direction}.bin`));
        expect(a.equals(b)).toBe(true);
        expect(a.length).toBe(near.stats[direction]);
        expect(await verdict(`${folder}/near/`, direction)).toMatchObject({ verdict: 'complete', offset: a.length });
      }
      expect(near.stats.s2d).toBeGreaterThanOrEqual((sent.ram as { transferred: number }).transferred - 65_536);
      const { index, pieces } = readRecording(`${folder}/near/`);
      expect(pieces(0, 's2d').reduce((sum, piece) => sum + piece.length, 0)).toBe(near.stats.s2d);
      expect(index.filter(({ ev }) => ev === 'eof')).toHaveLength(2);
    },
  );

  test.each(transports)('postcopy over %s on a slow link', async (transport) => {
    const destination = await qemu('destination', 'anonymous', ['-incoming', 'defer']);
    const source = await qemu('source', 'pattern');
    await enable([source, destination], 'postcopy-ram');
    await source.ask('migrate-set-parameters', { 'max-bandwidth': 2 ** 20 });
    const record = `${folder}/recording/`;
    const relay = await relayTo(await listensAt(destination, transport), transport, { record, rate: 16e6, delayMs: 2 });
    const lines: string[] = [];
    relay.observe(new MessageLog((line) => lines.push(line)));
    const idle = once(relay, 'idle');
    await source.ask('migrate', { uri: relay.uri });
    await source.queryMigrate('active');
    await source.ask('migrate-start-postcopy');
    await Promise.all([source.queryMigrate('completed'), destination.queryMigrate('completed'), idle]);
    await relay.close();
    expect(await verdict(record, 's2d')).toMatchObject({ kind: 'main', verdict: 'complete' });
    expect(await verdict(record, 'd2s')).toMatchObject({ kind: 'return-path', verdict: 'complete' });
    expect(lines.filter((line) => line.includes('POSTCOPY_RUN'))).toHaveLength(1);
    expect(lines.filter((line) => line.includes('not understood'))).toEqual([]);
  });

  test('postcopy cut in the middle, and recovered over a new connection', async () => {
    const destination = await qemu('destination', 'anonymous', ['-incoming', 'defer']);
    const source = await qemu('source', 'pattern');
    await enable([source, destination], 'postcopy-ram');
    await source.ask('migrate-set-parameters', { 'max-bandwidth': 2 ** 20, 'max-postcopy-bandwidth': 8 * 2 ** 20 });
    const uri = await listensAt(destination, 'unix');
    const record = `${folder}/recording/`;
    const relay = await relayTo(uri, 'unix', { record, faults: [{ kind: 'cut', after: 6_000_000 }] });
    const cut = once(relay, 'fault');
    const gone = once(relay, 'closed');
    await source.ask('migrate', { uri: relay.uri });
    await source.queryMigrate('active');
    await source.ask('migrate-start-postcopy');
    await Promise.all([cut, gone]);
    await Promise.all([source.queryMigrate('postcopy-paused'), destination.queryMigrate('postcopy-paused')]);

    const idle = once(relay, 'idle');
    await destination.ask('migrate-recover', { uri });
    await source.ask('migrate', { uri: relay.uri, resume: true });
    await Promise.all([source.queryMigrate('completed'), destination.queryMigrate('completed'), idle]);
    await relay.close();
    expect(relay.stats.connections).toMatchObject([{ state: 'cut', s2d: 6_000_000 }, { state: 'closed' }]);
    expect(await verdict(record, 's2d')).toMatchObject({ verdict: 'cut', offset: 6_000_000 });
    expect(await verdict(record, 's2d', 1)).toMatchObject({ kind: 'main-resumed', verdict: 'complete' });
    expect(await verdict(record, 'd2s', 1)).toMatchObject({ kind: 'return-path', verdict: 'complete' });
  });
});
