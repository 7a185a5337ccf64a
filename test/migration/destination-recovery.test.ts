/**
 * A destination whose connection is lost once it has the guest: it pauses, keeps what it has, and goes on with a source
 * that recovers the migration, as often as it takes. Fed by hand, with real memory and threads that wait for pages.
 */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type IncomingMigration, type ListenOptions, listen } from '#lib/index.js';
import { native } from '#lib/native.js';
import { allPages, type FedPage, HandFedSource, piece } from '../../testing/hand-fed-source.ts';
import { HUGEPAGE, withHugepages } from '../../testing/hugepages.ts';
import { handleLeaks } from '../../testing/lib-thread.ts';
import { countThreads, isInFault, onThread, until } from '../../testing/native-thread.ts';
import { type PatternBlock, PatternGuest, patternPage } from '../../testing/pattern-guest.ts';

const SEED = 7;
const PAGE = 4096;
/** One a whole number of bitmap words, one not even of bytes, one a single page. */
const BLOCKS: readonly PatternBlock[] = [
  { idstr: 'ram', pages: 64 },
  { idstr: 'odd', pages: 75 },
  { idstr: 'one', pages: 1 },
];

let guest: PatternGuest;
let incoming: IncomingMigration;
let source: HandFedSource;
let leaks: ReturnType<typeof handleLeaks>;
let statuses: string[];

async function begin(blocks = BLOCKS, options: Partial<ListenOptions> = {}): Promise<void> {
  guest = new PatternGuest(blocks);
  incoming = await listen('tcp:127.0.0.1:0', { guest, capabilities: { postcopyRam: true }, ...options });
  statuses = [];
  incoming.on('status', (status) => statuses.push(status));
  source = await HandFedSource.connect(incoming.uri);
}

/** However the test went, it ends, and nothing is left. */
async function end(): Promise<void> {
  source.close();
  incoming.abort();
  await incoming.finished.catch(() => {});
  incoming.abandon();
  guest.close();
  await until('its threads are gone', () => countThreads('mig/') === 0);
}

beforeEach(() => {
  leaks = handleLeaks();
});
afterEach(() => expect(leaks()).toEqual({}));

const pages = (): FedPage[] => allPages(guest.ramBlocks, (block, page) => patternPage(block, page, SEED));
const pagesOf = (name: string): FedPage[] => pages().filter(({ block }) => block === name);

async function running(): Promise<void> {
  source.send(piece.start(), piece.advise(guest.ramBlocks), piece.blocks(guest.ramBlocks), piece.package());
  await source.settled();
  await until('the guest runs', () => incoming.status === 'postcopy-active');
}

const paused = () => until('it is paused', () => incoming.status === 'postcopy-paused');

async function lose(): Promise<void> {
  source.close();
  await paused();
}

/** A new connection, on which nothing was said yet. */
async function reconnect(): Promise<void> {
  source = await HandFedSource.connect(await incoming.recover());
}

/** The pages of each block that the destination says it has. */
async function bitmaps(): Promise<number[][]> {
  source.send(...guest.ramBlocks.map(({ idstr }) => piece.recvBitmap(idstr)));
  return Promise.all(
    guest.ramBlocks.map(async ({ idstr, size }, index) => {
      const answer = await source.hears('RECV_BITMAP', index + 1);
      if (answer.type !== 'RECV_BITMAP') throw new Error(answer.type);
      expect(answer.idstr).toBe(idstr);
      expect(answer.bitmap.length).toBe(Math.ceil(size / PAGE / 64) * 8);
      return Array.from({ length: answer.bitmap.length * 8 }, (_, page) => page).filter(
        (page) => ((answer.bitmap[page >> 3] >> (page & 7)) & 1) === 1,
      );
    }),
  );
}

async function resume(): Promise<void> {
  source.send(piece.resume());
  expect(await source.hears('RESUME_ACK')).toEqual({ type: 'RESUME_ACK', value: 1 });
  await until('it goes on', () => incoming.status === 'postcopy-active');
}

async function recovered(): Promise<void> {
  await reconnect();
  await bitmaps();
  await resume();
}

/** All pages but those that the destination has. */
async function completes(): Promise<void> {
  const rest = pages().filter(
    ({ block, page }) => !incoming.received[guest.ramBlocks.findIndex(({ idstr }) => idstr === block)].test(page),
  );
  source.send(piece.end(...rest), piece.eof());
  expect(await source.hears('SHUT')).toEqual({ type: 'SHUT', value: 0 });
  source.close();
  expect(await incoming.finished).toMatchObject({ status: 'completed', lost: undefined });
  expect(guest.wrongPages(SEED)).toEqual([]);
  expect(guest.asked).toEqual(['load', 'start']);
}

function touch(name: string, block: string, page: number) {
  const { handle } = guest.ramBlocks.find(({ idstr }) => idstr === block) ?? guest.ramBlocks[0];
  return onThread(name, { handle, offset: page * PAGE }, (n, { handle, offset }) => {
    const bytes = new Uint8Array(4096);
    n.ramBlockRead(handle, offset, bytes);
    return bytes;
  });
}

const request = (idstr: string, page: number) => ({ type: 'REQ_PAGES', start: page * PAGE, length: PAGE, idstr });

describe('pauses', () => {
  beforeEach(() => begin());
  afterEach(end);

  test.each<[string, () => void, string, RegExp]>([
    ['the source goes', () => source.close(), 'PEER_GONE', /offset \d+|lost the source/],
    ['the source sends nonsense', () => source.send(new Uint8Array(64).fill(0xaa)), 'STREAM_CORRUPT', /offset \d+/],
    ['the source sends what has no place there', () => source.send(piece.run()), 'ILLEGAL_COMMAND', /after LISTEN/],
    ['the source ends before its time', () => source.send(piece.eof()), 'PAGES_MISSING', /of RAM block odd: 0-74/],
  ])('%s: whoever waits for a page goes on waiting, and nothing has ended', async (_what, disturb, code, message) => {
    await running();
    source.send(piece.part(...pagesOf('ram').slice(0, 10)));
    await source.settled();
    const waiter = touch('test/waits', 'ram', 12);
    await until('it waits', () => isInFault('test/waits'));
    disturb();
    await paused();
    expect(incoming.pauseReason).toMatchObject({ code, message: expect.stringMatching(message) });
    await source.closed();
    expect(isInFault('test/waits')).toBe(true);
    expect(incoming.received.map((received) => received.count())).toEqual([10, 0, 0]);
    expect(incoming.info()).toMatchObject({ status: 'postcopy-paused', lost: undefined });
    await recovered();
    expect(incoming.pauseReason).toBeUndefined();
    await completes();
    expect(Buffer.compare(await waiter.result, patternPage(0, 12, SEED))).toBe(0);
    expect(statuses.slice(1)).toEqual([
      'postcopy-active',
      'postcopy-paused',
      'postcopy-recover',
      'postcopy-active',
      'completed',
    ]);
  });

  test('asked to, and only in postcopy', async () => {
    source.send(piece.start());
    await source.settled();
    expect(incoming.pause()).toBe(false);
    source.send(piece.advise(guest.ramBlocks), piece.blocks(guest.ramBlocks), piece.package());
    await until('the guest runs', () => incoming.status === 'postcopy-active');
    expect(incoming.pause()).toBe(true);
    await paused();
    await source.closed();
    expect(incoming.pauseReason).toMatchObject({ code: 'CANCELLED', message: 'the migration was paused here' });
    expect(incoming.pause()).toBe(false);
    await recovered();
    await lose();
    expect(incoming.pauseReason?.code).toBe('PEER_GONE');
  });

  test('while its guest is still loading, which waits for a page, and starts once', async () => {
    let loading: Promise<Uint8Array> | undefined;
    guest.loadDeviceState = async () => {
      guest.asked.push('load');
      loading = touch('test/load', 'odd', 70).result;
      await loading;
    };
    source.send(piece.start(), piece.advise(guest.ramBlocks), piece.blocks(guest.ramBlocks), piece.package());
    await until('it waits', () => isInFault('test/load'));
    await lose();
    expect(guest.asked).toEqual(['load']);
    await recovered();
    expect(await source.hears('REQ_PAGES')).toEqual(request('odd', 70));
    source.send(piece.part(pagesOf('odd')[70]));
    await until('it is started', () => guest.running);
    await completes();
  });
});

describe('recovers', () => {
  beforeEach(() => begin());
  afterEach(end);

  test('with what is here to the page, three times over', async () => {
    await running();
    const ofOdd = pagesOf('odd');
    source.send(piece.part(...[0, 1, 31, 32, 63, 64, 74].map((page) => ofOdd[page]), ...pagesOf('one')));
    await source.settled();
    await lose();
    await reconnect();
    expect(await bitmaps()).toEqual([[], [0, 1, 31, 32, 63, 64, 74], [0]]);
    await resume();
    source.send(piece.part(...pagesOf('ram')));
    await source.settled();
    await lose();
    await reconnect();
    const all = (count: number) => Array.from({ length: count }, (_, page) => page);
    expect(await bitmaps()).toEqual([all(64), [0, 1, 31, 32, 63, 64, 74], [0]]);
    await resume();
    await lose();
    await recovered();
    await completes();
  });

  test('with nothing to come any more', async () => {
    await running();
    source.send(piece.part(...pages()));
    await source.settled();
    await lose();
    await recovered();
    await completes();
  });

  test('a page that was cut in the middle, and one that was whole, count as they should', async () => {
    await running();
    const [whole, cut] = pagesOf('ram');
    const bytes = piece.part(whole, cut);
    source.send(bytes.subarray(0, bytes.length - 2000));
    await until('the first one is here', () => incoming.received[0].test(0));
    await lose();
    await reconnect();
    expect((await bitmaps())[0]).toEqual([0]);
    await resume();
    await completes();
  });

  test('pages that are waited for are asked for again, by name, also those first touched in the pause', async () => {
    await running();
    const waiters = [touch('test/before', 'odd', 7)];
    await source.hears('REQ_PAGES');
    await lose();
    waiters.push(touch('test/in-pause', 'odd', 9), touch('test/in-pause-2', 'ram', 3));
    for (const name of ['test/in-pause', 'test/in-pause-2']) await until('it waits', () => isInFault(name));
    await reconnect();
    await bitmaps();
    expect(source.heard.filter(({ type }) => type === 'REQ_PAGES')).toEqual([]);
    await resume();
    await source.hears('REQ_PAGES', 3);
    const asked = () => source.heard.filter(({ type }) => type === 'REQ_PAGES');
    expect(asked()).toEqual(expect.arrayContaining([request('ram', 3), request('odd', 7), request('odd', 9)]));
    // The next ones of the fault thread name their block, too.
    waiters.push(touch('test/after', 'odd', 11));
    await source.hears('REQ_PAGES', asked().length + 1);
    waiters.push(touch('test/after-2', 'odd', 13));
    await source.hears('REQ_PAGES', asked().length + 1);
    expect(asked()).toEqual(expect.arrayContaining([request('odd', 11), request('odd', 13)]));
    await completes();
    const [before, inPause] = await Promise.all(waiters.map(({ result }) => result));
    expect(Buffer.compare(before, patternPage(1, 7, SEED))).toBe(0);
    expect(Buffer.compare(inPause, patternPage(1, 9, SEED))).toBe(0);
  });

  test.each<[string, () => void, string]>([
    ['it says nothing and goes', () => source.end(), 'PEER_GONE'],
    ['it says what is no stream', () => source.send(Buffer.from('GET / HTTP/1.1\r\n\r\n')), 'STREAM_CORRUPT'],
    ['it begins a migration', () => source.send(piece.start()), 'STREAM_CORRUPT'],
    [
      'it goes in the middle of a question',
      () => {
        source.send(piece.recvBitmap('ram').subarray(0, 6));
        source.end();
      },
      'PEER_GONE',
    ],
    [
      'it goes after a question',
      () => {
        source.send(piece.recvBitmap('ram'));
        source.end();
      },
      'PEER_GONE',
    ],
    ['it asks for a block that there is not', () => source.send(piece.recvBitmap('rom')), 'STREAM_CORRUPT'],
    ['it sends pages at once', () => source.send(piece.part()), 'ILLEGAL_COMMAND'],
    ['it wants to listen again', () => source.send(piece.listen()), 'ILLEGAL_COMMAND'],
  ])('after a connection that was of no use: %s', async (_what, disturb, code) => {
    await running();
    await lose();
    await reconnect();
    disturb();
    await source.closed();
    await until(
      'that is the reason',
      () => incoming.pauseReason?.code === code && incoming.status === 'postcopy-paused',
    );
    expect(statuses.slice(-2)).toEqual(['postcopy-recover', 'postcopy-paused']);
    // It listens still.
    source = await HandFedSource.connect(incoming.uri);
    await bitmaps();
    await resume();
    await expect(HandFedSource.connect(incoming.uri)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    await completes();
  });

  test('elsewhere than before, and elsewhere again', async () => {
    await running();
    await expect(incoming.recover()).rejects.toMatchObject({ code: 'BAD_ARGUMENT' });
    await lose();
    const first = await incoming.recover();
    expect(await incoming.recover()).toBe(first);
    expect(await incoming.recover(first)).toBe(first);
    const second = await incoming.recover('tcp:127.0.0.1:0');
    expect(second).not.toBe(first);
    expect(incoming.uri).toBe(second);
    await expect(HandFedSource.connect(first)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    await expect(incoming.recover('nowhere')).rejects.toMatchObject({ code: 'BAD_URI' });
    await reconnect();
    await bitmaps();
    await resume();
    await expect(incoming.recover()).rejects.toMatchObject({ code: 'BAD_ARGUMENT' });
    await completes();
    await expect(incoming.recover()).rejects.toMatchObject({ code: 'BAD_ARGUMENT' });
  });

  test('the memory that the guest let go of meanwhile needs not come', async () => {
    await running();
    await lose();
    const gone = onThread('test/discards', { handle: guest.ramBlocks[0].handle }, (n, { handle }) => {
      n.ramBlockAdvise(handle, n.constants.MADV_DONTNEED, 5 * 4096, 2 * 4096);
      return true;
    });
    expect(await gone.result).toBe(true);
    await reconnect();
    expect(await bitmaps()).toEqual([[5, 6], [], []]);
    await resume();
    const found = await touch('test/zero', 'ram', 5).result;
    expect(found.every((byte) => byte === 0)).toBe(true);
    source.send(piece.end(...pages().filter(({ block, page }) => block !== 'ram' || (page !== 5 && page !== 6))));
    source.send(piece.eof());
    await incoming.finished;
    expect(guest.wrongPages(SEED)).toEqual(['ram:5', 'ram:6']);
  });
});

describe('ends', () => {
  beforeEach(() => begin());
  afterEach(end);

  test('given up when every page has come: it has completed, as only the last word is missing', async () => {
    await running();
    const rest = pages().filter(
      ({ block, page }) => !incoming.received[guest.ramBlocks.findIndex(({ idstr }) => idstr === block)].test(page),
    );
    source.send(piece.part(...rest));
    await source.settled();
    await lose();
    expect(incoming.giveUp('freeze')).toBe(true);
    expect(await incoming.finished).toMatchObject({ status: 'completed', lost: undefined });
    expect(guest.wrongPages(SEED)).toEqual([]);
  });

  test.each<[string, () => Promise<void>]>([
    ['paused', async () => {}],
    [
      'while it listens',
      async () => {
        await incoming.recover();
      },
    ],
    [
      'in a recovery',
      async () => {
        await reconnect();
        await bitmaps();
      },
    ],
  ])('given up %s: who waits goes on waiting, and what is lost is said', async (_what, come) => {
    await running();
    source.send(piece.part(...pagesOf('odd')));
    await source.settled();
    const waiter = touch('test/frozen', 'ram', 2);
    await until('it waits', () => isInFault('test/frozen'));
    expect(incoming.giveUp('freeze')).toBe(false);
    await lose();
    await come();
    expect(incoming.giveUp('freeze')).toBe(true);
    expect(incoming.giveUp('freeze')).toBe(false);
    await expect(incoming.recover()).rejects.toMatchObject({ code: 'BAD_ARGUMENT' });
    await expect(incoming.finished).rejects.toMatchObject({ code: 'RECOVERY_GIVEN_UP' });
    await expect(incoming.finished).rejects.toThrow(/the recovery was given up: .*source/);
    expect(incoming.info()).toMatchObject({ status: 'failed', lost: { missingPages: 65, hasRun: true } });
    expect(isInFault('test/frozen')).toBe(true);
    incoming.abandon();
    expect((await waiter.result).every((byte) => byte === 0)).toBe(true);
  });

  test.each<[string, () => Promise<void>]>([
    ['paused', async () => {}],
    [
      'while it listens',
      async () => {
        await incoming.recover();
      },
    ],
    [
      'in a recovery',
      async () => {
        await reconnect();
        await bitmaps();
      },
    ],
    ['recovered', () => recovered()],
  ])('aborted %s', async (_what, come) => {
    await running();
    await lose();
    await come();
    incoming.abort();
    await expect(incoming.finished).rejects.toMatchObject({ code: 'CANCELLED' });
    expect(incoming.info().lost).toMatchObject({ missingPages: 140 });
  });

  test.each<[string, () => Promise<void>]>([
    ['in postcopy', async () => {}],
    [
      'in a recovery',
      async () => {
        await lose();
        await reconnect();
        await bitmaps();
      },
    ],
    [
      'after one',
      async () => {
        await lose();
        await recovered();
      },
    ],
  ])('aborted %s, the source is told', async (_what, come) => {
    await running();
    await come();
    incoming.abort();
    expect(await source.hears('SHUT')).toEqual({ type: 'SHUT', value: 1 });
    await expect(incoming.finished).rejects.toMatchObject({ code: 'CANCELLED' });
  });

  test('a guest that refuses in a pause fails it', async () => {
    let refuse: (reason: Error) => void = () => {};
    guest.loadDeviceState = () =>
      new Promise((_, reject) => {
        refuse = reject;
      });
    source.send(piece.start(), piece.advise(guest.ramBlocks), piece.blocks(guest.ramBlocks), piece.package());
    await source.settled();
    await lose();
    refuse(new Error('the guest refuses'));
    await expect(incoming.finished).rejects.toMatchObject({ code: 'GUEST_FAILED' });
    expect(incoming.info().lost).toMatchObject({ missingPages: 140, hasRun: false });
  });
});

describe('a source that says nothing', () => {
  afterEach(end);

  test('pauses the migration; in a recovery it is left for the next one', async () => {
    await begin(BLOCKS, { peerTimeoutMs: 500 });
    source.send(piece.start(), piece.advise(guest.ramBlocks), piece.blocks(guest.ramBlocks), piece.package());
    await paused();
    expect(incoming.pauseReason).toMatchObject({ code: 'PEER_GONE', message: expect.stringMatching(/for 0.5 s/) });
    await reconnect();
    await source.closed();
    source = await HandFedSource.connect(incoming.uri);
    source.send(...guest.ramBlocks.map(({ idstr }) => piece.recvBitmap(idstr)), piece.resume());
    source.send(piece.end(...pages()), piece.eof());
    await incoming.finished;
    expect(guest.wrongPages(SEED)).toEqual([]);
  });
});

test('a hugepage that was half here comes again whole', () =>
  withHugepages(2, async () => {
    const perHuge = HUGEPAGE / PAGE;
    await begin([
      { idstr: 'huge', pages: 2 * perHuge, kind: 'hugetlb' },
      { idstr: 'small', pages: 5 },
    ]);
    try {
      await running();
      const huge = pagesOf('huge');
      const waiter = touch('test/huge', 'huge', perHuge + 3);
      await until('it waits', () => isInFault('test/huge'));
      source.send(piece.part(...huge.slice(0, perHuge), ...huge.slice(perHuge, perHuge + 100), ...pagesOf('small')));
      await source.settled();
      await lose();
      await reconnect();
      const [ofHuge, ofSmall] = await bitmaps();
      expect([ofHuge.length, ofHuge.at(-1), ofSmall.length]).toEqual([perHuge, perHuge - 1, 5]);
      await resume();
      expect(await source.hears('REQ_PAGES')).toEqual({
        type: 'REQ_PAGES',
        start: HUGEPAGE,
        length: HUGEPAGE,
        idstr: 'huge',
      });
      await completes();
      expect(Buffer.compare(await waiter.result, patternPage(0, perHuge + 3, SEED))).toBe(0);
    } finally {
      await end();
      expect(native().openHandles().userfaultfds).toBe(0);
    }
  }));
