/**
 * What a guest does to its own memory at the destination while pages are missing: real madvise, munmap and
 * mremap of native threads, under a destination fed by hand.
 */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type IncomingMigration, listen, type MemoryKind } from '#lib/index.js';
import { type Native, native } from '#lib/native.js';
import { Breakpoint } from '../../testing/breakpoint.ts';
import { allPages, type FedPage, HandFedSource, piece } from '../../testing/hand-fed-source.ts';
import { blockedIn, isInFault, type NativeThread, onThread, systemCallOf, until } from '../../testing/native-thread.ts';
import { PatternGuest, patternPage } from '../../testing/pattern-guest.ts';

const PAGE = 4096;
const PAGES = 64;
const SEED = 3;
const n = native();

let guest: PatternGuest;
let incoming: IncomingMigration;
let source: HandFedSource;

/** A destination in postcopy, with no page there yet. */
async function postcopy(kind: MemoryKind, pages = PAGES): Promise<void> {
  guest = new PatternGuest([{ idstr: 'ram', pages, kind }]);
  incoming = await listen('tcp:127.0.0.1:0', { guest, capabilities: { postcopyRam: true } });
  source = await HandFedSource.connect(incoming.uri);
  source.send(piece.start(), piece.advise(guest.ramBlocks), piece.blocks(guest.ramBlocks), piece.package());
  await source.hears('PONG');
  await until('the guest runs', () => incoming.status === 'postcopy-active');
}

const pages = (): FedPage[] => allPages(guest.ramBlocks, (block, page) => patternPage(block, page, SEED));
const block = () => guest.ramBlocks[0].handle;

/** Reads a byte of the page; -1 says that nothing of it is missing, found without touching it. */
const readByte = (nn: Native, { handle, page }: { handle: ReturnType<typeof block>; page: number }): number => {
  const bytes = new Uint8Array(4096);
  nn.ramBlockRead(handle, page * 4096, bytes);
  return new Uint32Array(bytes.buffer)[0];
};

const reads = (name: string, page: number): NativeThread<number> => onThread(name, { handle: block(), page }, readByte);
const discards = (name: string, first: number, count: number): NativeThread<void> =>
  onThread(name, { handle: block(), first, count }, (nn, { handle, first, count }) =>
    nn.ramBlockDiscard(handle, Float64Array.of(first * 4096, count * 4096), 1),
  );

const word = (page: number): number => new Uint32Array(patternPage(0, page, SEED).buffer)[0];

afterEach(async () => {
  source.close();
  incoming.abort();
  await incoming.finished.catch(() => {});
  incoming.abandon();
  guest.close();
});

describe.each<MemoryKind>(['anonymous', 'memfd'])('%s memory', (kind) => {
  beforeEach(() => postcopy(kind));

  test('a page let go of before it came reads as zero, whatever comes later', async () => {
    await discards('test/discard', 8, 4).result;
    source.send(piece.part(...pages().slice(0, 20)));
    await source.settled();
    const found = await Promise.all([7, 8, 11, 12].map((page) => reads(`test/read-${page}`, page).result));
    expect(found).toEqual([word(7), 0, 0, word(12)]);
    source.send(piece.end(...pages().slice(20)), piece.eof());
    await incoming.finished;
    // What nobody touched meanwhile is zero as well, also where the source's page came.
    expect(guest.wrongPages(SEED)).toEqual([8, 10, 11].map((page) => `ram:${page}`)); // 9 is a page of zeroes
  });

  test('a page let go of after it came reads as zero, again and again', async () => {
    source.send(piece.part(...pages().slice(0, 20)));
    await source.settled();
    for (let round = 0; round < 3; round += 1) {
      await discards(`test/discard-${round}`, 6, 1).result;
      expect(await reads(`test/read-${round}`, 6).result).toBe(0);
    }
    expect(await reads('test/read', 7).result).toBe(word(7));
  });

  test('who waits for a page that another thread lets go of goes on with zeroes', async () => {
    const waiting = [20, 21, 21].map((page, i) => reads(`test/wait-${i}`, page));
    await until('all wait', () => [0, 1, 2].every((i) => isInFault(`test/wait-${i}`)));
    await source.hears('REQ_PAGES', 2);
    await discards('test/discard', 16, 32).result;
    expect(await Promise.all(waiting.map(({ result }) => result))).toEqual([0, 0, 0]);
    source.send(piece.end(...pages()), piece.eof());
    await incoming.finished;
    expect(await reads('test/read', 21).result).toBe(0);
    expect(await reads('test/read', 15).result).toBe(word(15));
  });

  test('pages that are unmapped need not come, and the rest does', async () => {
    const waiting = reads('test/wait', 33);
    await until('it waits', () => isInFault('test/wait'));
    const unmap = onThread('test/unmap', { handle: block() }, (nn, { handle }) =>
      nn.ramBlockUnmap(handle, 40 * 4096, 4 * 4096),
    );
    await unmap.result;
    source.send(piece.part(...pages().slice(0, 42)));
    expect(await waiting.result).toBe(word(33));
    source.send(piece.end(...pages().slice(44)), piece.eof()); // 42 and 43 never come
    expect(await incoming.finished).toMatchObject({ status: 'completed' });
    expect(await reads('test/read', 44).result).toBe(word(44));
  });

  test('memory that is moved away fails the migration, and who waits stays blocked', async () => {
    const waiting = reads('test/wait', 5);
    await until('it waits', () => isInFault('test/wait'));
    const mover = onThread('test/move', { handle: block() }, (nn, { handle }) =>
      nn.ramBlockMoveAway(handle, 10 * 4096, 4096),
    );
    await expect(incoming.finished).rejects.toMatchObject({ code: 'GUEST_FAILED' });
    await expect(incoming.finished).rejects.toThrow(/moved 4096 bytes at offset 40960 of RAM block ram .*mremap/);
    expect(isInFault('test/wait')).toBe(true);
    incoming.abandon();
    expect(await waiting.result).toBe(0);
    await mover.result;
  });
});

test('a discard waits until its event is read, and no page is placed meanwhile that it would miss', async () => {
  await postcopy('anonymous');
  await Promise.all(
    Array.from({ length: 8 }, (_, i) => discards(`test/discard-${i}`, i * 8, 8).result.then(() => undefined)),
  );
  expect(systemCallOf('test/discard-0')).not.toBe(blockedIn.madvise);
  source.send(piece.end(...pages()), piece.eof());
  await incoming.finished;
  expect(n.countPages(block(), 0, PAGES * PAGE, n.constants.PAGE_IS_PRESENT)).toBe(0);
});

describe('the fault thread fails', () => {
  test('at a removal: the guest is lost, and who waits stays blocked', async () => {
    await postcopy('anonymous');
    const waiting = reads('test/wait', 5);
    await until('it waits', () => isInFault('test/wait'));
    new Breakpoint(incoming.traceWords).failAt('postcopy_ram_removed');
    const discarder = discards('test/discard', 4, 4);
    await expect(incoming.finished).rejects.toThrow('made to fail at postcopy_ram_removed');
    await discarder.result; // the event was read
    expect(isInFault('test/wait')).toBe(true);
    expect(incoming.info().lost?.missingPages).toBe(PAGES);
    incoming.abandon();
    expect(await waiting.result).toBe(0);
  });

  test('at a fault on a page that was received: the same', async () => {
    await postcopy('anonymous');
    source.send(piece.part(...pages().slice(0, 8)));
    await source.settled();
    await discards('test/discard', 3, 1).result;
    new Breakpoint(incoming.traceWords).failAt('postcopy_request_shared_page_present');
    const waiting = reads('test/wait', 3);
    await expect(incoming.finished).rejects.toThrow('made to fail at postcopy_request_shared_page_present');
    expect(isInFault('test/wait')).toBe(true);
    expect(incoming.info().lost?.missingPages).toBe(PAGES - 8);
    incoming.abandon();
    expect(await waiting.result).toBe(0);
  });
});

/** Pages that are sent, and let go of, at one time. */
const WINDOW = 64;
const WINDOWS = 12;

describe.each<MemoryKind>(['anonymous', 'memfd'])('%s memory, sent in windows', (kind) => {
  test('a thread that lets go and touches in turn never sees what the source sends meanwhile', async () => {
    await postcopy(kind, WINDOW * WINDOWS);
    /** The window that is being sent; -1 at the end. */
    const at = new Int32Array(new SharedArrayBuffer(4));
    const churn = onThread('test/churn', { handle: block(), at, size: WINDOW }, (nn, { handle, at, size }) => {
      const bytes = new Uint8Array(4096);
      let stale = 0;
      for (let round = 0, window = 0; window >= 0; round += 1, window = Atomics.load(at, 0)) {
        const page = window * size + ((round * 7) % size);
        nn.ramBlockDiscard(handle, Float64Array.of(page * 4096, 4096), 1);
        nn.ramBlockRead(handle, page * 4096, bytes);
        if (bytes.some((byte) => byte !== 0)) stale += 1;
        nn.ramBlockWrite(handle, page * 4096, Uint8Array.of(1));
        nn.ramBlockRead(handle, page * 4096, bytes);
        if (bytes[0] !== 1) stale += 1;
      }
      return stale;
    });
    const all = pages();
    for (let window = 0; window < WINDOWS; window += 1) {
      Atomics.store(at, 0, window);
      for (let page = 0; page < WINDOW; page += 8) {
        source.send(piece.part(...all.slice(window * WINDOW + page, window * WINDOW + page + 8)));
        await source.settled();
      }
    }
    Atomics.store(at, 0, -1);
    expect(await churn.result).toBe(0);
    source.send(piece.end(), piece.eof());
    await incoming.finished;
  });
});
