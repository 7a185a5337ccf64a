/**
 * A source that keeps the guest until it has the destination's pledge (PING 0x42), and says when it has let go of it
 * (PING 4): wherever the connection is lost, the guest runs at one side at most. Fed by hand.
 */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type IncomingMigration, listen } from '#lib/index.js';
import { native } from '#lib/native.js';
import { Ping } from '#lib/wire/protocol.js';
import { allPages, HandFedSource, piece } from '../../testing/hand-fed-source.ts';
import { handleLeaks } from '../../testing/lib-thread.ts';
import { isInFault, onThread, until } from '../../testing/native-thread.ts';
import { PatternGuest, patternPage } from '../../testing/pattern-guest.ts';
import { stops } from '../../testing/stops.ts';

const SEED = 3;
const PAGES = 12;

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

const advised = () => [piece.start(), piece.advise(guest.ramBlocks), piece.blocks(guest.ramBlocks)];
const pages = () => allPages(guest.ramBlocks, (block, page) => patternPage(block, page, SEED));

const hasPledged = () => source.heard.some((message) => message.type === 'PONG' && message.value === Ping.SWITCHOVER);

/** Resolved once the destination has answered that ping. */
async function pong(value: number): Promise<void> {
  for (let count = 1; ; count += 1) {
    const message = await source.hears('PONG', count);
    if (message.type === 'PONG' && message.value === value) return;
  }
}

/** Has the guest's loading wait until it is let go on, or fail. */
function holdLoading(): { readonly asked: () => boolean; goOn: () => void; fail: (reason: Error) => void } {
  let asked = false;
  const hold = { asked: () => asked, goOn: () => {}, fail: (_: Error) => {} };
  guest.loadDeviceState = () => {
    guest.asked.push('load');
    asked = true;
    return new Promise((resolve, reject) => {
      hold.goOn = resolve;
      hold.fail = reject;
    });
  };
  return hold;
}

async function completes(): Promise<void> {
  source.send(piece.end(...pages()), piece.eof());
  expect(await source.hears('SHUT')).toEqual({ type: 'SHUT', value: 0 });
  source.close();
  await incoming.finished;
  expect(guest.wrongPages(SEED)).toEqual([]);
}

async function reconnect(): Promise<void> {
  source = await HandFedSource.connect(await incoming.recover());
}

describe('the pledge', () => {
  test('comes when the guest is loaded, which does not start before the source has let go of it', async () => {
    const loading = holdLoading();
    source.send(...advised(), piece.askingPackage());
    await until('it is asked to load', loading.asked);
    await source.settled();
    expect(hasPledged()).toBe(false);
    loading.goOn();
    await pong(Ping.SWITCHOVER);
    await source.settled();
    expect([guest.running, incoming.status]).toEqual([false, 'active']);
    // The source holds back pages till then.
    expect(source.heard).not.toContainEqual({ type: 'PONG', value: Ping.PACKAGE });
    source.send(piece.ping(Ping.AFTER_PACKAGE));
    await pong(Ping.PACKAGE);
    expect(guest.running).toBe(true);
    await until('it runs', () => incoming.status === 'postcopy-active');
    expect(guest.asked).toEqual(['load', 'start']);
    await completes();
    expect(source.heard.filter((message) => message.type === 'PONG' && message.value === Ping.SWITCHOVER)).toHaveLength(
      1,
    );
  });

  test('is given also where the source has let go already, and the guest starts then', async () => {
    source.send(...advised(), piece.askingPackage(), piece.ping(Ping.AFTER_PACKAGE));
    await until('it runs', () => incoming.status === 'postcopy-active');
    await pong(Ping.SWITCHOVER);
    await completes();
    expect(guest.asked).toEqual(['load', 'start']);
  });

  test('of a guest that stood still there: it stands still here', async () => {
    source.send(...advised(), piece.askingPackage('paused'));
    await pong(Ping.SWITCHOVER);
    source.send(piece.ping(Ping.AFTER_PACKAGE));
    await until('it is taken over', () => incoming.status === 'postcopy-active');
    await completes();
    expect(guest.asked).toEqual(['load']);
  });

  test('a source that has sent all of the guest has let go of it', async () => {
    source.send(...advised(), piece.askingPackage());
    await pong(Ping.SWITCHOVER);
    await completes();
    expect(guest.asked).toEqual(['load', 'start']);
  });

  test('is waited for with pages that the loading needs', async () => {
    guest.loadDeviceState = async () => {
      const { handle } = guest.ramBlocks[0];
      await onThread('test/load', { handle }, (n, { handle }) => n.ramBlockRead(handle, 4096, new Uint8Array(1)))
        .result;
    };
    source.send(...advised(), piece.askingPackage());
    await source.hears('REQ_PAGES');
    expect(hasPledged()).toBe(false);
    source.send(piece.part(pages()[1]));
    await pong(Ping.SWITCHOVER);
  });
});

describe('lost before the pledge', () => {
  test.each<[string, () => void, string]>([
    ['the source goes', () => source.close(), 'PEER_GONE'],
    [
      'it goes when it has let go',
      () => {
        source.send(piece.ping(Ping.AFTER_PACKAGE));
        source.close();
      },
      'PEER_GONE',
    ],
    ['it sends nonsense', () => source.send(new Uint8Array(16).fill(0xee)), 'STREAM_CORRUPT'],
    ['it is ended here', () => incoming.abort(), 'CANCELLED'],
  ])('%s: it fails, nothing is lost here, and the guest never starts', async (_what, disturb, code) => {
    const loading = holdLoading();
    source.send(...advised(), piece.askingPackage());
    await until('it is asked to load', loading.asked);
    await source.settled();
    disturb();
    expect(await stops(incoming)).toMatchObject({ status: 'failed', error: { code } });
    loading.goOn();
    expect(incoming.info().lost).toBeUndefined();
    expect(guest.asked).toEqual(['load']);
    expect(hasPledged()).toBe(false);
    expect(native().openHandles().userfaultfds).toBe(0);
    if (code !== 'PEER_GONE') expect(source.heard).toContainEqual({ type: 'SHUT', value: 1 });
  });

  test('while the loading waits for a page: nobody waits for it any more', async () => {
    let loading: Promise<unknown> | undefined;
    guest.loadDeviceState = async () => {
      const { handle } = guest.ramBlocks[0];
      loading = onThread('test/load', { handle }, (n, { handle }) =>
        n.ramBlockRead(handle, 0, new Uint8Array(1)),
      ).result;
      await loading;
    };
    source.send(...advised(), piece.askingPackage());
    await until('it waits', () => isInFault('test/load'));
    source.close();
    await expect(incoming.finished).rejects.toMatchObject({ code: 'PEER_GONE' });
    await loading;
    expect(guest.running).toBe(false);
  });

  test('the guest refuses: the source is told, and runs it on', async () => {
    guest.failing = 'load';
    source.send(...advised(), piece.askingPackage());
    expect(await source.hears('SHUT')).toEqual({ type: 'SHUT', value: 1 });
    await expect(incoming.finished).rejects.toMatchObject({ code: 'GUEST_FAILED' });
    expect(hasPledged()).toBe(false);
    expect(incoming.info().lost).toBeUndefined();
  });
});

describe('lost between the pledge and the word that the source has let go', () => {
  async function pledged(): Promise<void> {
    source.send(...advised(), piece.askingPackage());
    await pong(Ping.SWITCHOVER);
    await source.settled();
  }

  test('it pauses, the guest stands still, and starts once when a source recovers', async () => {
    await pledged();
    source.close();
    expect(await stops(incoming)).toMatchObject({ status: 'postcopy-paused', error: { code: 'PEER_GONE' } });
    // A recovery that breaks says nothing yet.
    await reconnect();
    source.send(piece.recvBitmap('ram'));
    await source.hears('RECV_BITMAP');
    source.close();
    await until('it is paused again', () => incoming.status === 'postcopy-paused');
    expect(guest.asked).toEqual(['load']);
    await reconnect();
    source.send(piece.recvBitmap('ram'), piece.resume());
    await source.hears('RESUME_ACK');
    await until('it runs', () => guest.running);
    source.send(piece.ping(Ping.AFTER_PACKAGE));
    await completes();
    expect(guest.asked).toEqual(['load', 'start']);
  });

  test.each<[string, () => void, string]>([
    ['given up', () => incoming.giveUp('freeze'), 'RECOVERY_GIVEN_UP'],
    ['ended here', () => incoming.abort(), 'CANCELLED'],
  ])('%s: the guest is lost, and has not run', async (_what, end, code) => {
    await pledged();
    source.close();
    await stops(incoming);
    end();
    await expect(incoming.finished).rejects.toMatchObject({ code });
    expect(incoming.info().lost).toMatchObject({ missingPages: PAGES, hasRun: false });
    expect(guest.asked).toEqual(['load']);
  });

  test('ended here while the connection is there: the source is told', async () => {
    await pledged();
    incoming.abort();
    expect(await source.hears('SHUT')).toEqual({ type: 'SHUT', value: 1 });
    await expect(incoming.finished).rejects.toMatchObject({ code: 'CANCELLED' });
    expect(guest.asked).toEqual(['load']);
  });
});

test('a guest that dies while the source has it yet: the source is told', async () => {
  let die: (reason: Error) => void = () => {};
  guest.died = new Promise((resolve) => {
    die = resolve;
  });
  source.send(...advised(), piece.askingPackage());
  await pong(Ping.SWITCHOVER);
  die(new Error('triple fault'));
  expect(await source.hears('SHUT')).toEqual({ type: 'SHUT', value: 1 });
  await expect(incoming.finished).rejects.toMatchObject({ code: 'GUEST_FAILED' });
  expect(guest.asked).toEqual(['load']);
});
