/**
 * migrate() and listen() against each other in one process, with guests of known content: which way a
 * migration goes, what it leaves, and how it ends when something is wrong. Real userfaultfd, real sockets.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { listen, type MigrateOptions, migrate, type RAMBlock, StressGuest } from '#lib/index.js';
import { native } from '#lib/native.js';
import { resources } from '#lib/testing/resources.js';
import { type PatternBlock, PatternGuest } from '../../testing/pattern-guest.ts';

const SEED = 7;
const capabilities = { postcopyRam: true };
const parameters = { maxBandwidth: 0 };

const oneBlock: PatternBlock[] = [{ idstr: 'pc.ram', pages: 513 }];
const threeBlocks: PatternBlock[] = [
  { idstr: 'pc.ram', pages: 700 },
  { idstr: 'vga.vram', pages: 1 },
  { idstr: '/rom@etc/acpi/tables', pages: 33 },
];
const sharedBlock: PatternBlock[] = [{ idstr: 'shared', pages: 129, kind: 'memfd' }];

let folder: string;
const guests: { close(): void }[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'postcopy-test-'));
});
afterEach(() => {
  for (const guest of guests.splice(0)) guest.close();
  rmSync(folder, { recursive: true });
});

function keep<T extends { close(): void }>(guest: T): T {
  guests.push(guest);
  return guest;
}

/** Migrates a pattern guest of these blocks; the destination's guest and both infos. */
async function move(blocks: readonly PatternBlock[], uri: string, options: MigrateOptions) {
  const source = keep(new PatternGuest(blocks, Uint8Array.of(1, 2, 3))).fill(SEED);
  source.running = true;
  const target = keep(new PatternGuest(blocks));
  const incoming = await listen(uri, { guest: target, capabilities: options.capabilities ?? {} });
  const outgoing = await migrate(source, incoming.uri, options);
  const statuses: string[] = [];
  outgoing.on('status', (status) => statuses.push(status));
  const [sent, received] = await Promise.all([outgoing.finished, incoming.finished]);
  return { source, target, sent, received, statuses };
}

describe('a migration that goes well', () => {
  const ways: [string, MigrateOptions, string[]][] = [
    ['precopy only', { parameters }, ['active', 'device', 'completed']],
    ['precopy with postcopy advised', { capabilities, parameters }, ['active', 'device', 'completed']],
    [
      'postcopy at once',
      { capabilities, parameters, postcopyAfterPasses: 0 },
      ['active', 'postcopy-device', 'postcopy-active', 'completed'],
    ],
  ];
  const layouts: [string, PatternBlock[]][] = [
    ['one block', oneBlock],
    ['three blocks', threeBlocks],
    ['shared memory', sharedBlock],
    ['a single page', [{ idstr: 'tiny', pages: 1 }]],
  ];
  const transports: [string, () => string][] = [
    ['unix', () => `unix:${join(folder, 'm.sock')}`],
    ['tcp', () => 'tcp:127.0.0.1:0'],
  ];

  for (const [transport, uri] of transports) {
    for (const [layout, blocks] of layouts) {
      test.each(ways)(`${layout} over ${transport}: %s`, async (_name, options, expected) => {
        const { source, target, sent, received, statuses } = await move(blocks, uri(), options);
        expect(statuses).toEqual(expected);
        expect(target.wrongPages(SEED)).toEqual([]);
        expect(source.wrongPages(SEED)).toEqual([]);
        expect(source.asked).toEqual(['stop', 'save']);
        expect(target.asked).toEqual(['load', 'start']);
        expect([...target.deviceState]).toEqual([1, 2, 3]);
        const pages = blocks.reduce((sum, block) => sum + block.pages, 0);
        expect(sent.ram.normal + sent.ram.duplicate).toBe(pages);
        expect(received.ram.normal).toBe(sent.ram.normal);
        expect(received.ram.duplicate).toBe(sent.ram.duplicate);
        expect(received.ram.transferred).toBe(sent.ram.transferred);
        expect(received.postcopy).toBe(expected.includes('postcopy-active'));
      });
    }
  }

  test('a guest that was stopped stays stopped at the destination', async () => {
    const source = keep(new PatternGuest(oneBlock)).fill(SEED);
    const target = keep(new PatternGuest(oneBlock));
    const incoming = await listen('tcp:127.0.0.1:0', { guest: target, capabilities });
    const outgoing = await migrate(source, incoming.uri, { capabilities, parameters, postcopyAfterPasses: 0 });
    await Promise.all([outgoing.finished, incoming.finished]);
    expect(target.asked).toEqual(['load']);
    expect(target.wrongPages(SEED)).toEqual([]);
  });

  test('a factory makes the guest from the block list', async () => {
    const source = keep(new PatternGuest(threeBlocks)).fill(SEED);
    const incoming = await listen('tcp:127.0.0.1:0', {
      capabilities,
      guest: (blocks) =>
        keep(new PatternGuest(blocks.map(({ idstr, usedLength }) => ({ idstr, pages: usedLength / 4096 })))),
    });
    const outgoing = await migrate(source, incoming.uri, { capabilities, parameters, postcopyAfterPasses: 0 });
    await Promise.all([outgoing.finished, incoming.finished]);
    expect((incoming.guest as PatternGuest).wrongPages(SEED)).toEqual([]);
  });

  test('pages written after they were sent are discarded and sent again', async () => {
    const source = keep(await StressGuest.create({ memory: 64 * 2 ** 20, vcpus: 2 }));
    const target = keep(StressGuest.empty({ memory: 64 * 2 ** 20 }));
    await source.start();
    const incoming = await listen(`unix:${join(folder, 'm.sock')}`, { guest: target, capabilities });
    const outgoing = await migrate(source, incoming.uri, {
      capabilities,
      // Slow enough after the switch that the guest comes to pages which are not there yet.
      parameters: { maxBandwidth: 0, maxPostcopyBandwidth: 8 * 2 ** 20 },
      postcopyAfterPasses: 2,
    });
    const passes: number[] = [];
    outgoing.on('pass', (done) => passes.push(done));
    const [sent, received] = await Promise.all([outgoing.finished, incoming.finished]);
    await target.stop();
    expect(await target.verify()).toMatchObject({ lostWrites: 0, lostPages: 0, tornPages: 0, stalePages: 0 });
    expect(target.stats.badPages).toBe(0);
    expect(passes).toEqual([1, 2]);
    expect(sent.ram.normal + sent.ram.duplicate).toBeGreaterThan(16384);
    expect(received.faults.count).toBeGreaterThan(0);
    // The very last wait may be over before it was asked about: the thread that would ask is ended with the migration.
    const unasked = received.ram.postcopyRequestsServed - received.ram.postcopyRequests;
    expect([0, 1]).toContain(unasked);
  });

  test('startPostcopy switches in the middle of a slow precopy, and requested pages overtake', async () => {
    const source = keep(await StressGuest.create({ memory: 32 * 2 ** 20 }));
    const target = keep(StressGuest.empty({ memory: 32 * 2 ** 20 }));
    await source.start();
    const incoming = await listen('tcp:127.0.0.1:0', { guest: target, capabilities });
    const outgoing = await migrate(source, incoming.uri, {
      capabilities,
      parameters: { maxBandwidth: 2 ** 20, maxPostcopyBandwidth: 16 * 2 ** 20 },
    });
    await outgoing.startPostcopy();
    expect(outgoing.status).toBe('postcopy-active');
    expect(outgoing.cancel()).toBe(false);
    const [sent, received] = await Promise.all([outgoing.finished, incoming.finished]);
    await target.stop();
    expect(await target.verify()).toMatchObject({ lostWrites: 0 });
    // The background alone would need two seconds; a guest that waited for it would have written next to nothing.
    expect(received.faults.count).toBeGreaterThan(100);
    expect(sent.ram.postcopyRequests).toBe(received.ram.postcopyRequests);
  });

  test('leaves no thread, fd or native object behind', async () => {
    await move(oneBlock, 'tcp:127.0.0.1:0', { capabilities, parameters, postcopyAfterPasses: 0 });
    for (const guest of guests.splice(0)) guest.close();
    const before = resources();
    for (let i = 0; i < 5; i += 1) {
      await move(oneBlock, 'tcp:127.0.0.1:0', { capabilities, parameters, postcopyAfterPasses: i % 2 });
      for (const guest of guests.splice(0)) guest.close();
    }
    expect(resources()).toEqual(before);
  });
});

describe('a migration that can not go on', () => {
  test('cancelled in precopy: the guest runs on at the source, and may be migrated again', async () => {
    const source = keep(await StressGuest.create({ memory: 16 * 2 ** 20 }));
    await source.start();
    const target = keep(StressGuest.empty({ memory: 16 * 2 ** 20 }));
    const incoming = await listen('tcp:127.0.0.1:0', { guest: target, capabilities });
    const abort = new AbortController();
    const outgoing = await migrate(source, incoming.uri, {
      capabilities,
      parameters: { maxBandwidth: 2 ** 20 },
      signal: abort.signal,
    });
    await new Promise<void>((resolve) => outgoing.on('status', (status) => status === 'active' && resolve()));
    abort.abort();
    await expect(outgoing.finished).rejects.toMatchObject({ code: 'CANCELLED' });
    await expect(incoming.finished).rejects.toMatchObject({ code: 'PEER_GONE' });
    expect(outgoing.status).toBe('cancelled');
    expect(outgoing.handedOver).toBe(false);
    expect(source.running).toBe(true);

    const again = await listen('tcp:127.0.0.1:0', { guest: target, capabilities });
    const second = await migrate(source, again.uri, { capabilities, parameters, postcopyAfterPasses: 1 });
    await Promise.all([second.finished, again.finished]);
    await target.stop();
    expect(await target.verify()).toMatchObject({ lostWrites: 0 });
  });

  test('a destination without postcopy-ram refuses at once and says why', async () => {
    const source = keep(new PatternGuest(oneBlock)).fill(SEED);
    const incoming = await listen('tcp:127.0.0.1:0', { guest: keep(new PatternGuest(oneBlock)) });
    const outgoing = await migrate(source, incoming.uri, { capabilities, parameters });
    await expect(incoming.finished).rejects.toMatchObject({ code: 'UNSUPPORTED' });
    await expect(outgoing.finished).rejects.toMatchObject({ code: 'PEER_FAILED' });
    expect(outgoing.status).toBe('failed');
  });

  test('blocks that do not match are refused, and both sides name them', async () => {
    const source = keep(new PatternGuest(oneBlock)).fill(SEED);
    source.running = true;
    const target = keep(new PatternGuest([{ idstr: 'pc.ram', pages: 512 }]));
    const incoming = await listen('tcp:127.0.0.1:0', { guest: target, capabilities });
    const outgoing = await migrate(source, incoming.uri, { capabilities, parameters });
    await expect(incoming.finished).rejects.toThrow(/pc\.ram 2101248; here they are pc\.ram 2097152/);
    await expect(outgoing.finished).rejects.toMatchObject({ code: 'PEER_FAILED' });
    // It may have sent all there was by the time it heard: then it takes the guest up again.
    expect(source.running).toBe(true);
    expect(outgoing.handedOver).toBe(false);
  });

  test.each([
    ['stop', 'failed', ['stop']],
    ['save', 'failed', ['stop', 'save', 'start']],
  ] as const)(
    'a guest that fails to %s before the package has left runs on at the source',
    async (failing, status, asked) => {
      const source = keep(new PatternGuest(oneBlock)).fill(SEED);
      source.running = true;
      source.failing = failing;
      const incoming = await listen('tcp:127.0.0.1:0', { guest: keep(new PatternGuest(oneBlock)), capabilities });
      const outgoing = await migrate(source, incoming.uri, { capabilities, parameters, postcopyAfterPasses: 0 });
      await expect(outgoing.finished).rejects.toThrow(`the guest refuses to ${failing}`);
      await expect(incoming.finished).rejects.toMatchObject({ code: 'PEER_GONE' });
      expect(outgoing.status).toBe(status);
      expect(outgoing.handedOver).toBe(false);
      expect(source.asked).toEqual(asked);
      expect(source.running).toBe(true);
    },
  );

  test('a destination guest that cannot load fails both sides, and the guest runs on at the source', async () => {
    const source = keep(new PatternGuest(oneBlock)).fill(SEED);
    source.running = true;
    const target = keep(new PatternGuest(oneBlock));
    target.failing = 'load';
    const incoming = await listen('tcp:127.0.0.1:0', { guest: target, capabilities });
    const outgoing = await migrate(source, incoming.uri, { capabilities, parameters, postcopyAfterPasses: 0 });
    await expect(incoming.finished).rejects.toThrow('the guest refuses to load');
    await expect(outgoing.finished).rejects.toMatchObject({ code: 'PEER_FAILED' });
    expect(outgoing.handedOver).toBe(false);
    expect(source.running).toBe(true);
  });

  test('ended at the destination while it waits for a source', async () => {
    const before = native().openHandles();
    const target = new PatternGuest(oneBlock);
    const incoming = await listen(`unix:${join(folder, 'm.sock')}`, { guest: target, capabilities });
    incoming.abort();
    await expect(incoming.finished).rejects.toMatchObject({ code: 'CANCELLED' });
    target.close();
    expect(native().openHandles()).toEqual(before);
  });

  test.each([
    ['a bad URI', 'vsock:3:4', 'BAD_URI'],
    ['nobody there', 'tcp:127.0.0.1:1', 'CONNECT_REFUSED'],
    ['no such socket', 'unix:/nonexistent/m.sock', 'CONNECT_REFUSED'],
  ])('%s leaves the guest untouched', async (_name, uri, code) => {
    const source = keep(new PatternGuest(oneBlock));
    source.running = true;
    await expect(migrate(source, uri, { capabilities })).rejects.toMatchObject({ code });
    expect(source.asked).toEqual([]);
  });

  test.each([
    ['an unknown capability', { capabilities: { postcopyRan: true } as object }],
    ['an unknown parameter', { parameters: { bandwidth: 1 } as object }],
    ['a parameter out of range', { parameters: { downtimeLimit: -1 } }],
    ['passes without postcopy-ram', { postcopyAfterPasses: 1 }],
    ['half a pass', { capabilities, postcopyAfterPasses: 0.5 }],
    ['a time before now', { guestTimeoutMs: -1 }],
  ])('%s is a BAD_ARGUMENT', async (_name, options) => {
    const source = keep(new PatternGuest(oneBlock));
    await expect(migrate(source, 'tcp:127.0.0.1:1', options)).rejects.toMatchObject({ code: 'BAD_ARGUMENT' });
  });

  test('a guest that has died is refused at either side, and the other side is none the worse', async () => {
    const dead = keep(new PatternGuest(oneBlock));
    dead.died = Promise.resolve(new Error('vCPU 0 shut down'));
    const refusal = { code: 'GUEST_FAILED', message: 'the guest died: vCPU 0 shut down' };
    await expect(listen('tcp:127.0.0.1:0', { guest: dead, capabilities })).rejects.toMatchObject(refusal);
    const source = keep(new PatternGuest(oneBlock)).fill(SEED);
    source.running = true;
    const incoming = await listen('tcp:127.0.0.1:0', { guest: () => dead, capabilities });
    await expect(migrate(dead, incoming.uri, { capabilities })).rejects.toMatchObject(refusal);
    const outgoing = await migrate(source, incoming.uri, { capabilities, parameters });
    await expect(incoming.finished).rejects.toMatchObject(refusal);
    await expect(outgoing.finished).rejects.toMatchObject({ code: 'PEER_FAILED' });
    expect(source.running).toBe(true);
  });

  test('a factory that never makes its guest fails in time, and the guest runs on at the source', async () => {
    const source = keep(new PatternGuest(oneBlock)).fill(SEED);
    source.running = true;
    const never = () => new Promise<PatternGuest>(() => {});
    const incoming = await listen('tcp:127.0.0.1:0', { guest: never, capabilities, guestTimeoutMs: 50 });
    const outgoing = await migrate(source, incoming.uri, { capabilities, parameters });
    await expect(incoming.finished).rejects.toThrow('the guest did not come into being within 0.05 s');
    await expect(outgoing.finished).rejects.toMatchObject({ code: 'PEER_FAILED' });
    expect(source.running).toBe(true);
  });

  test('postcopy of gigantic pages is refused before anybody is connected to; precopy of them is not', async () => {
    const source = keep(new PatternGuest(oneBlock));
    const [block] = source.ramBlocks;
    const gigantic = { ...block, descriptor: block.descriptor, pageSize: 2 ** 30 } as unknown as RAMBlock;
    const guest = Object.assign(Object.create(source) as PatternGuest, { ramBlocks: [gigantic] });
    const nobody = 'tcp:127.0.0.1:1';
    await expect(migrate(guest, nobody, { capabilities })).rejects.toMatchObject({ code: 'UNSUPPORTED' });
    await expect(migrate(guest, nobody)).rejects.toMatchObject({ code: 'CONNECT_REFUSED' });
  });

  test('startPostcopy without the capability', async () => {
    const source = keep(new PatternGuest(oneBlock)).fill(SEED);
    const incoming = await listen('tcp:127.0.0.1:0', { guest: keep(new PatternGuest(oneBlock)) });
    const outgoing = await migrate(source, incoming.uri);
    await expect(outgoing.startPostcopy()).rejects.toMatchObject({ code: 'BAD_ARGUMENT' });
    await Promise.all([outgoing.finished, incoming.finished]);
  });
});
