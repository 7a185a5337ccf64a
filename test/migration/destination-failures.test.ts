/**
 * How a destination ends that does not get all it needs: what it says, what it keeps, and what it lets go of.
 * Fed by hand, with real memory and real threads that wait for pages.
 */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type IncomingMigration, listen, migrate, StressGuest } from '#lib/index.js';
import { readMappingFlags } from '#lib/memory/mapping-flags.js';
import { native } from '#lib/native.js';
import { encodeVmDescription } from '#lib/wire/encode.js';
import { allPages, HandFedSource, piece } from '../../testing/hand-fed-source.ts';
import { handleLeaks } from '../../testing/lib-thread.ts';
import { isInFault, onThread, until } from '../../testing/native-thread.ts';
import { PatternGuest, patternPage } from '../../testing/pattern-guest.ts';

const SEED = 5;
const PAGES = 24;

let guest: PatternGuest;
let incoming: IncomingMigration;
let source: HandFedSource;
let leaks: ReturnType<typeof handleLeaks>;

beforeEach(async () => {
  leaks = handleLeaks();
  guest = new PatternGuest([{ idstr: 'ram', pages: PAGES }]);
  incoming = await listen('tcp:127.0.0.1:0', { guest, capabilities: { postcopyRam: true } });
  source = await HandFedSource.connect(incoming.uri);
});
afterEach(async () => {
  source.close();
  incoming.abort();
  await incoming.finished.catch(() => {});
  incoming.abandon();
  guest.close();
  expect(leaks()).toEqual({});
});

const pages = () => allPages(guest.ramBlocks, (block, page) => patternPage(block, page, SEED));
const advised = () => [piece.start(), piece.advise(guest.ramBlocks), piece.blocks(guest.ramBlocks)];
const block = () => guest.ramBlocks[0];

async function running(): Promise<void> {
  source.send(...advised(), piece.package());
  await source.settled();
  await until('the guest runs', () => incoming.status === 'postcopy-active');
}

function touch(name: string, page: number) {
  return onThread(name, { handle: block().handle, page }, (n, { handle, page }) => {
    const bytes = new Uint8Array(4096);
    n.ramBlockRead(handle, page * 4096, bytes);
    return bytes[0];
  });
}

describe('a guest that is lost', () => {
  test('it is ended here: it says how many pages are missing, and whoever needs one waits', async () => {
    await running();
    source.send(piece.part(...pages().slice(0, 10)));
    await source.settled();
    const waiter = touch('test/lost', 12);
    await until('it waits', () => isInFault('test/lost'));
    incoming.abort();
    await expect(incoming.finished).rejects.toMatchObject({ code: 'CANCELLED' });
    const { message: reason } = (await incoming.finished.catch((error) => error)) as Error;
    expect(incoming.info()).toMatchObject({ status: 'failed', lost: { missingPages: 14, hasRun: true, reason } });
    // What has come can be read, what has not can't, and no balloon gets at it.
    expect(await touch('test/there', 9).result).toBe(0); // every fifth page is zero
    const another = touch('test/lost-too', 20);
    await until('it waits too', () => isInFault('test/lost-too'));
    expect(isInFault('test/lost')).toBe(true);
    expect(block().discard(0, 4096)).toBe(false);
    incoming.abandon();
    expect([await waiter.result, await another.result]).toEqual([0, 0]);
    expect(block().discard(0, 4096)).toBe(true);
    expect(readMappingFlags(guest.ramBlocks)[0].isKeptFromChildren).toBe(false);
    incoming.abandon(); // again: nothing
  });

  test('before it ran', async () => {
    guest.failing = 'load';
    source.send(...advised(), piece.package());
    await expect(incoming.finished).rejects.toMatchObject({ code: 'GUEST_FAILED' });
    await expect(incoming.finished).rejects.toThrow(
      'the guest failed to take over its device state: the guest refuses to load',
    );
    expect(incoming.info().lost).toMatchObject({ missingPages: PAGES, hasRun: false });
  });

  test('whole, and refuses to start: nothing waits for anything', async () => {
    guest.failing = 'start';
    source.send(...advised(), piece.part(...pages()), piece.package());
    await expect(incoming.finished).rejects.toThrow('the guest failed to start: the guest refuses to start');
    expect(incoming.info().lost).toMatchObject({ missingPages: 0, hasRun: false });
    expect(native().openHandles().userfaultfds).toBe(0);
    expect(guest.wrongPages(SEED)).toEqual([]);
  });
});

describe('a guest that is not lost', () => {
  test('the source goes before LISTEN: the memory is as it was', async () => {
    const before = readMappingFlags(guest.ramBlocks);
    source.send(...advised(), piece.part(...pages().slice(0, 3)));
    await source.settled();
    expect(readMappingFlags(guest.ramBlocks)[0].isKeptFromChildren).toBe(true);
    source.send(piece.part(...pages()).subarray(0, 1000));
    const { sent } = source;
    source.end();
    await expect(incoming.finished).rejects.toMatchObject({ code: 'PEER_GONE', offset: expect.any(Number) });
    const { offset } = (await incoming.finished.catch((error) => error)) as { offset: number };
    expect(offset).toBeLessThanOrEqual(sent);
    expect(offset).toBeGreaterThan(sent - 1000);
    expect(incoming.info().lost).toBeUndefined();
    expect({ ...readMappingFlags(guest.ramBlocks)[0], hugepages: '' }).toEqual({ ...before[0], hugepages: '' });
    expect(block().discard(0, 4096)).toBe(true);
  });

  test('all pages are there when it is ended here: who is told of success may rely on it', async () => {
    await running();
    source.send(piece.end(...pages()), piece.eof());
    expect(await source.hears('SHUT')).toEqual({ type: 'SHUT', value: 0 });
    incoming.abort();
    expect(await incoming.finished).toMatchObject({ status: 'completed', lost: undefined });
    expect(guest.wrongPages(SEED)).toEqual([]);
    expect(block().discard(0, 4096)).toBe(true);
  });

  test('ended here once more when it is over', async () => {
    await running();
    source.send(piece.end(...pages()), piece.eof());
    await incoming.finished;
    incoming.abort();
    expect(incoming.status).toBe('completed');
    incoming.abandon();
    expect(guest.wrongPages(SEED)).toEqual([]);
  });
});

describe('at the end of a precopy', () => {
  const handedOver = () => [piece.devices(), piece.eof()];
  const finish = (bytes: Uint8Array) => {
    source.send(bytes);
    source.end();
  };

  test.each<[string, () => void]>([
    ['no VM description', () => source.end()],
    ['a VM description that is cut', () => finish(encodeVmDescription('{"devices": []}').subarray(0, 9))],
    ['no VM description, but bytes that are none', () => finish(Uint8Array.of(6, 255, 255, 255, 255, 0))],
  ])('%s behind EOF: the source has let go of the guest, so it runs here', async (_what, goOn) => {
    source.send(...advised(), piece.end(...pages()), ...handedOver());
    goOn();
    await incoming.finished;
    expect(guest.asked).toEqual(['load', 'start']);
    expect(guest.wrongPages(SEED)).toEqual([]);
  });

  test('a page that never came fails it, and the source is told: the guest runs on there', async () => {
    source.send(...advised(), piece.end(...pages().slice(0, -1)), ...handedOver());
    expect(await source.hears('SHUT')).toEqual({ type: 'SHUT', value: 1 });
    source.end();
    await expect(incoming.finished).rejects.toMatchObject({ code: 'PAGES_MISSING' });
    await expect(incoming.finished).rejects.toThrow(`1 of RAM block ram: ${PAGES - 1}`);
    expect(guest.asked).toEqual([]);
  });
});

test('a guest that does not answer does not hold up the end', async () => {
  let asked = false;
  guest.loadDeviceState = () => {
    asked = true;
    return new Promise(() => {});
  };
  source.send(...advised(), piece.package());
  await until('it is asked', () => asked);
  incoming.abort();
  await expect(incoming.finished).rejects.toMatchObject({ code: 'CANCELLED' });
  expect(incoming.info().lost).toMatchObject({ missingPages: PAGES, hasRun: false });
});

test('discards of a balloon do nothing from LISTEN to the end', async () => {
  source.send(...advised());
  await source.settled();
  expect(block().discard(0, 4096)).toBe(true);
  source.send(piece.package());
  await until('the guest runs', () => incoming.status === 'postcopy-active');
  expect(block().discard(0, 4096)).toBe(false);
  source.send(piece.end(...pages()), piece.eof());
  await incoming.finished;
  expect(guest.wrongPages(SEED)).toEqual([]);
  expect(block().discard(0, 4096)).toBe(true);
});

test('blocktime is there for each vCPU where the capability is on', async () => {
  using from = await StressGuest.create({ memory: 16 * 2 ** 20, vcpus: 3 });
  using to = StressGuest.empty({ memory: 16 * 2 ** 20 });
  await from.start();
  const capabilities = { postcopyRam: true, postcopyBlocktime: true };
  const receiving = await listen('tcp:127.0.0.1:0', { guest: to, capabilities });
  const sending = await migrate(from, receiving.uri, {
    capabilities,
    parameters: { maxPostcopyBandwidth: 8 * 2 ** 20 },
    postcopyAfterPasses: 0,
  });
  const [, info] = await Promise.all([sending.finished, receiving.finished]);
  await to.stop();
  const { postcopyVcpuBlocktime: each = [], postcopyBlocktime: all = 0, faults } = info;
  expect(each).toHaveLength(3);
  for (const ms of each) expect(ms).toBeGreaterThan(0);
  expect(all).toBeLessThanOrEqual(Math.min(...each));
  expect(faults.stages.pageArrived.maxUs).toBeGreaterThan(0);
  expect(faults.stages.pageArrived.maxUs).toBeLessThanOrEqual(faults.maxUs);
});
