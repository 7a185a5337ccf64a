/**
 * A source with the preempt channel, fed by hand: whenever that comes, whatever comes over which of the two, and when
 * one of them breaks. Real memory, real threads that wait for pages.
 */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type IncomingMigration, listen } from '#lib/index.js';
import { Ping } from '#lib/wire/protocol.js';
import { allPages, type FedPage, HandFedSource, piece } from '../../testing/hand-fed-source.ts';
import { HUGEPAGE, withHugepages } from '../../testing/hugepages.ts';
import { handleLeaks } from '../../testing/lib-thread.ts';
import { blockedIn, countThreads, isInFault, onThread, systemCallOf, until } from '../../testing/native-thread.ts';
import { type PatternBlock, PatternGuest, patternPage } from '../../testing/pattern-guest.ts';
import { stops } from '../../testing/stops.ts';

const SEED = 13;
const PAGE = 4096;
const BLOCKS: readonly PatternBlock[] = [
  { idstr: 'ram', pages: 40 },
  { idstr: 'rom', pages: 8 },
];

let guest: PatternGuest;
let incoming: IncomingMigration;
let source: HandFedSource;
let urgent: HandFedSource;
let leaks: ReturnType<typeof handleLeaks>;

async function begin(blocks = BLOCKS): Promise<void> {
  guest = new PatternGuest(blocks);
  const capabilities = { postcopyRam: true, postcopyPreempt: true };
  incoming = await listen('tcp:127.0.0.1:0', { guest, capabilities });
  source = await HandFedSource.connect(incoming.uri);
}

async function end(): Promise<void> {
  source.close();
  urgent?.close();
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
const advised = () => [piece.start(), piece.advise(guest.ramBlocks), piece.blocks(guest.ramBlocks)];
const runs = () => until('the guest runs', () => incoming.status === 'postcopy-active');

async function connectUrgent(): Promise<void> {
  urgent = await HandFedSource.connect(incoming.uri);
}

/** As newer sources do: at the switch. */
async function running(): Promise<void> {
  source.send(...advised());
  await source.settled();
  await connectUrgent();
  source.send(piece.package());
  await runs();
}

function touch(name: string, block: string, page: number) {
  const { handle } = guest.ramBlocks.find(({ idstr }) => idstr === block) ?? guest.ramBlocks[0];
  return onThread(name, { handle, offset: page * PAGE }, (n, { handle, offset }) => {
    const bytes = new Uint8Array(4096);
    n.ramBlockRead(handle, offset, bytes);
    return bytes;
  });
}

/** Resolved when nobody listens any more. */
async function nobodyIsLetIn(): Promise<void> {
  for (;;) {
    try {
      (await HandFedSource.connect(incoming.uri)).close();
    } catch (error) {
      expect(error).toMatchObject({ code: 'ECONNREFUSED' });
      return;
    }
  }
}

const isHere = ({ block, page }: FedPage): boolean =>
  incoming.received[guest.ramBlocks.findIndex(({ idstr }) => idstr === block)].test(page);

async function completes(...rest: FedPage[]): Promise<void> {
  urgent.send(piece.urgentEnd());
  source.send(piece.end(...rest), piece.eof());
  expect(await source.hears('SHUT')).toEqual({ type: 'SHUT', value: 0 });
  source.close();
  expect(await incoming.finished).toMatchObject({ status: 'completed', lost: undefined });
  expect(guest.wrongPages(SEED)).toEqual([]);
}

const rest = (): FedPage[] => pages().filter((page) => !isHere(page));

describe('the channel comes', () => {
  beforeEach(() => begin());
  afterEach(end);

  const ways: [string, () => Promise<void>][] = [
    [
      'right behind the main one',
      async () => {
        source.send(piece.start());
        await connectUrgent();
        source.send(...advised().slice(1));
        source.send(piece.part());
        await source.settled();
        source.send(piece.package());
      },
    ],
    [
      'before the discards',
      async () => {
        source.send(...advised());
        await source.settled();
        await connectUrgent();
        source.send(piece.discard('ram', 0, 1), piece.package());
      },
    ],
    [
      'behind the package',
      async () => {
        source.send(...advised(), piece.package());
        await runs();
        await connectUrgent();
      },
    ],
  ];

  test.each(ways)('%s: what is asked for comes over it, while the other one brings nothing', async (_what, come) => {
    await come();
    await runs();
    const waiter = touch('test/waits', 'ram', 31);
    await source.hears('REQ_PAGES');
    urgent.send(piece.urgent(pagesOf('ram')[31]));
    expect(Buffer.compare(await waiter.result, patternPage(0, 31, SEED))).toBe(0);
    await until('it is counted', () => incoming.info().ram.normal === 1);
    const { ram, faults } = incoming.info();
    expect(ram).toMatchObject({ normal: 1, postcopyRequests: 1, postcopyRequestsServed: 1 });
    expect(faults.maxUs).toBeGreaterThan(0);
    await nobodyIsLetIn();
    await completes(...pages().filter((page) => !isHere(page)));
    expect(incoming.info().ram).toMatchObject({ normal: 48 - incoming.info().ram.duplicate, postcopyRequests: 1 });
  });

  test('never, as the source has not the capability: it goes well without', async () => {
    source.send(...advised(), piece.package());
    await runs();
    source.send(piece.end(...pages()), piece.eof());
    expect(await source.hears('SHUT')).toEqual({ type: 'SHUT', value: 0 });
    source.close();
    await incoming.finished;
    expect(guest.wrongPages(SEED)).toEqual([]);
  });

  test('never, as the precopy goes to its end', async () => {
    source.send(
      piece.start(),
      piece.blocks(guest.ramBlocks, false),
      piece.end(...pages()),
      piece.devices(),
      piece.eof(),
    );
    source.end();
    expect(await source.hears('SHUT')).toEqual({ type: 'SHUT', value: 0 });
    source.close();
    await incoming.finished;
  });
});

describe('over both', () => {
  beforeEach(() => begin());
  afterEach(end);

  test('pages in any mixture arrive', async () => {
    await running();
    for (const [index, page] of pages().entries()) {
      if (index % 3 === 0) urgent.send(piece.urgent(page));
      else source.send(piece.part(page));
    }
    await completes();
  });

  test.each<[string, number]>([
    ['before', 0],
    ['behind', 1],
  ])('a page that is in flight on it at the end is waited for, its end %s that of the stream', async (_what, order) => {
    await running();
    const [late, ...others] = pages();
    source.send(piece.end(...others));
    await source.settled();
    if (order === 1) source.send(piece.eof());
    urgent.send(piece.urgent(late).subarray(0, 3000));
    if (order === 0) source.send(piece.eof());
    urgent.send(piece.urgent(late).subarray(3000), piece.urgentEnd());
    expect(await source.hears('SHUT')).toEqual({ type: 'SHUT', value: 0 });
    source.close();
    await incoming.finished;
    expect(guest.wrongPages(SEED)).toEqual([]);
  });

  test('a ping behind the last section is answered when this channel has come to its end, too', async () => {
    await running();
    const [late, ...others] = pages();
    source.send(piece.end(...others), piece.ping(Ping.PLACED));
    const isAnswered = () =>
      source.heard.some(({ type, ...said }) => type === 'PONG' && 'value' in said && said.value === Ping.PLACED);
    await until('it waits for the channel', () => {
      return others.every(isHere) && systemCallOf('mig/dst/listen') === blockedIn.futex;
    });
    expect(isAnswered()).toBe(false);
    urgent.send(piece.urgent(late), piece.urgentEnd());
    await until('it is answered', isAnswered);
    source.send(piece.eof());
    await source.hears('SHUT');
    source.close();
    await incoming.finished;
    expect(guest.wrongPages(SEED)).toEqual([]);
  });

  test('a page that comes over both breaks them', async () => {
    await running();
    const [page] = pages();
    source.send(piece.part(page));
    await source.settled();
    urgent.send(piece.urgent(page));
    expect(await stops(incoming)).toMatchObject({
      status: 'postcopy-paused',
      error: { code: 'STREAM_CORRUPT', message: expect.stringMatching(/page 0 of RAM block ram comes a second time/) },
    });
    await Promise.all([source.closed(), urgent.closed()]);
  });

  test('the memory that the guest lets go of is not filled over either', async () => {
    await running();
    const gone = onThread('test/discards', { handle: guest.ramBlocks[0].handle }, (n, { handle }) => {
      n.ramBlockDiscard(handle, Float64Array.of(3 * 4096, 2 * 4096), 1);
      return true;
    });
    await gone.result;
    urgent.send(piece.urgent(pagesOf('ram')[3]));
    source.send(piece.part(pagesOf('ram')[4]));
    urgent.send(piece.urgentEnd());
    source.send(piece.end(...rest()), piece.eof());
    await source.hears('SHUT');
    source.close();
    await incoming.finished;
    expect(guest.wrongPages(SEED)).toEqual(['ram:3']); // the other one is a page of zeroes
  });
});

describe('breaks', () => {
  beforeEach(() => begin());
  afterEach(end);

  async function reconnect(): Promise<void> {
    source = await HandFedSource.connect(await incoming.recover());
    await connectUrgent();
    source.send(...guest.ramBlocks.map(({ idstr }) => piece.recvBitmap(idstr)), piece.resume());
    await source.hears('RESUME_ACK');
    await runs();
  }

  test.each<[string, () => void, string]>([
    ['the main one', () => source.close(), 'PEER_GONE'],
    ['the preempt channel', () => urgent.close(), 'PEER_GONE'],
    ['the preempt channel, by nonsense', () => urgent.send(new Uint8Array(2 * PAGE).fill(0xff)), 'STREAM_CORRUPT'],
    ['both, as this side pauses', () => incoming.pause(), 'CANCELLED'],
  ])('%s: both pause, and a source with two new ones recovers, twice', async (_what, disturb, code) => {
    await running();
    for (const round of [0, 1]) {
      const waiter = touch(`test/waits-${round}`, 'rom', 6 + round);
      await until('it waits', () => isInFault(`test/waits-${round}`));
      urgent.send(piece.urgent(pagesOf('ram')[20 + round]), piece.urgent(pagesOf('ram')[30 + round]).subarray(0, 100));
      await until('the whole one is here', () => isHere(pagesOf('ram')[20 + round]));
      disturb();
      expect(await stops(incoming)).toMatchObject({ status: 'postcopy-paused', error: { code } });
      await Promise.all([source.closed(), urgent.closed()]);
      expect(isInFault(`test/waits-${round}`)).toBe(true);
      await reconnect();
      expect(await source.hears('REQ_PAGES')).toMatchObject({ idstr: 'rom', start: (6 + round) * PAGE });
      urgent.send(piece.urgent(pagesOf('rom')[6 + round]));
      expect(Buffer.compare(await waiter.result, patternPage(1, 6 + round, SEED))).toBe(0);
    }
    await completes(...rest());
  });

  test('the main one at its last byte, when the other has ended: the other is made anew, too', async () => {
    await running();
    urgent.send(piece.urgent(...pages()), piece.urgentEnd());
    await until('all is here', () => rest().length === 0);
    source.close();
    await stops(incoming);
    await reconnect();
    await completes();
  });

  test('in a recovery, before the preempt channel has come: the next one brings another', async () => {
    await running();
    source.close();
    await stops(incoming);
    source = await HandFedSource.connect(await incoming.recover());
    source.send(piece.recvBitmap('ram'), piece.resume());
    await source.hears('RESUME_ACK');
    await runs();
    source.close();
    await stops(incoming);
    await reconnect();
    await completes(...rest());
  });

  test.each<[string, () => Promise<void>]>([
    ['while both are there', async () => {}],
    [
      'paused',
      async () => {
        source.close();
        await stops(incoming);
      },
    ],
    [
      'before the preempt channel has come again',
      async () => {
        source.close();
        await stops(incoming);
        source = await HandFedSource.connect(await incoming.recover());
        source.send(piece.resume());
        await source.hears('RESUME_ACK');
      },
    ],
  ])('aborted %s', async (_what, come) => {
    await running();
    await come();
    incoming.abort();
    await expect(incoming.finished).rejects.toMatchObject({ code: 'CANCELLED' });
    expect(incoming.info().lost).toMatchObject({ missingPages: 48 });
  });

  test('aborted before postcopy', async () => {
    source.send(...advised());
    await source.settled();
    await connectUrgent();
    incoming.abort();
    await expect(incoming.finished).rejects.toMatchObject({ code: 'CANCELLED' });
  });
});

test('hugepages come over each of them, one half done on either', () =>
  withHugepages(3, async () => {
    const perHuge = HUGEPAGE / PAGE;
    await begin([{ idstr: 'huge', pages: 3 * perHuge, kind: 'hugetlb' }]);
    try {
      await running();
      const all = pages();
      const of = (huge: number) => all.slice(huge * perHuge, (huge + 1) * perHuge);
      source.send(piece.part(...of(0).slice(0, 200)));
      await source.settled();
      const waiter = touch('test/huge', 'huge', perHuge + 9);
      expect(await source.hears('REQ_PAGES')).toMatchObject({ start: HUGEPAGE, length: HUGEPAGE });
      urgent.send(piece.urgent(...of(1)));
      expect(Buffer.compare(await waiter.result, patternPage(0, perHuge + 9, SEED))).toBe(0);
      urgent.send(piece.urgent(...of(2).slice(0, 100)));
      source.send(piece.part(...of(0).slice(200)));
      urgent.send(piece.urgent(...of(2).slice(100)));
      await completes();
    } finally {
      await end();
    }
  }));
