/** Whole migrations of ours through a relay, in good and in bad networks; QEMU's are in test/qemu. */
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createRelay, listen, migrate, type Relay, type RelayOptions } from '#lib/index.js';
import { PatternGuest } from '../../testing/pattern-guest.ts';
import { recorded } from '../../testing/recordings.ts';

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
        expect(await recorded(record, 's2d')).toEqual({ kind: 'main', verdict: 'complete', offset: relay.stats.s2d });
        if (postcopy) expect(await recorded(record, 'd2s')).toMatchObject({ kind: 'return-path', verdict: 'complete' });
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
