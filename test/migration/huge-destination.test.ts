/** A destination with blocks of hugepages, fed by hand: real hugetlb memory, real faults. */
import { describe, expect, test } from 'vitest';
import { type IncomingMigration, listen } from '#lib/index.js';
import { native } from '#lib/native.js';
import { allPages, HandFedSource, piece } from '../../testing/hand-fed-source.ts';
import { HUGEPAGE, withHugepages } from '../../testing/hugepages.ts';
import { handleLeaks } from '../../testing/lib-thread.ts';
import { isInFault, onThread, until } from '../../testing/native-thread.ts';
import { PatternGuest, patternPage } from '../../testing/pattern-guest.ts';
import { stops } from '../../testing/stops.ts';

const SEED = 11;
const PER_HUGE = HUGEPAGE / 4096;
const capabilities = { postcopyRam: true };

let guest: PatternGuest;
let incoming: IncomingMigration;
let source: HandFedSource;

/** Two hugepages, and a small block. */
const makeGuest = () =>
  new PatternGuest([
    { idstr: 'huge', pages: 2 * PER_HUGE, kind: 'hugetlb' },
    { idstr: 'small', pages: 5 },
  ]);

const content = (blockIndex: number, page: number): Uint8Array | number =>
  page % 5 === 4 ? 0 : patternPage(blockIndex, page, SEED);

async function connect(): Promise<void> {
  incoming = await listen('tcp:127.0.0.1:0', { guest, capabilities });
  source = await HandFedSource.connect(incoming.uri);
}

function touch(name: string, page: number) {
  const { handle } = guest.ramBlocks[0];
  return onThread(name, { handle, offset: page * 4096 }, (n, { handle, offset }) => {
    const bytes = new Uint8Array(4096);
    n.ramBlockRead(handle, offset, bytes);
    return bytes;
  });
}

const withGuest = (use: () => Promise<void>): Promise<void> =>
  withHugepages(2, async () => {
    const leaks = handleLeaks();
    guest = makeGuest();
    try {
      await connect();
      await use();
    } finally {
      source.close();
      incoming.abort();
      await incoming.finished.catch(() => {});
      incoming.abandon();
      guest.close();
    }
    expect(leaks()).toEqual({});
  });

test('precopy fills hugepages a target page at a time', () =>
  withGuest(async () => {
    source.send(piece.start(), piece.blocks(guest.ramBlocks, false));
    source.send(piece.end(...allPages(guest.ramBlocks, content)), piece.devices(), piece.eof());
    source.end();
    await incoming.finished;
    expect(guest.wrongPages(SEED)).toEqual([]);
  }));

test('in postcopy a fault asks for the whole hugepage once, and it comes in whole', () =>
  withGuest(async () => {
    const [first, second, small] = [0, PER_HUGE, 2 * PER_HUGE].map((at, i) =>
      allPages(guest.ramBlocks, content).slice(at, i < 2 ? at + PER_HUGE : undefined),
    );
    source.send(piece.start(), piece.advise(guest.ramBlocks), piece.blocks(guest.ramBlocks), piece.package());
    await source.hears('PONG');
    const vcpus = [touch('test/huge-a', PER_HUGE + 7), touch('test/huge-b', 2 * PER_HUGE - 1)];
    expect(await source.hears('REQ_PAGES')).toMatchObject({ idstr: 'huge', start: HUGEPAGE, length: HUGEPAGE });
    await until('both wait', () => isInFault('test/huge-a') && isInFault('test/huge-b'));
    source.send(piece.part(...second.slice(0, -1)));
    source.send(piece.part(...small));
    await source.settled();
    expect(isInFault('test/huge-a')).toBe(true); // one target page is missing
    source.send(piece.part(...second.slice(-1)));
    const [a, b] = await Promise.all(vcpus.map(({ result }) => result));
    expect(Buffer.from(a).equals(patternPage(0, PER_HUGE + 7, SEED))).toBe(true);
    expect(Buffer.from(b).equals(patternPage(0, 2 * PER_HUGE - 1, SEED))).toBe(true);
    source.send(piece.end(...first), piece.eof());
    const info = await incoming.finished;
    expect(info.ram).toMatchObject({ postcopyRequests: 1, postcopyRequestsServed: 1 });
    expect(source.heard.filter(({ type }) => type === 'REQ_PAGES')).toHaveLength(1);
    expect(await source.hears('SHUT')).toEqual({ type: 'SHUT', value: 0 });
    expect(guest.wrongPages(SEED)).toEqual([]);
  }));

test('a hugepage of zeroes alone is placed too', () =>
  withGuest(async () => {
    source.send(piece.start(), piece.advise(guest.ramBlocks), piece.blocks(guest.ramBlocks), piece.package());
    source.send(piece.end(...allPages(guest.ramBlocks, () => 0)), piece.eof());
    await incoming.finished;
    const bytes = new Uint8Array(HUGEPAGE);
    native().ramBlockRead(guest.ramBlocks[0].handle, HUGEPAGE, bytes);
    expect(bytes.every((byte) => byte === 0)).toBe(true);
  }));

describe('refused', () => {
  const advised = () => [piece.start(), piece.advise(guest.ramBlocks), piece.blocks(guest.ramBlocks)];

  test('target pages out of order, naming the offset', () =>
    withGuest(async () => {
      source.send(...advised(), piece.package());
      const [first, , third] = allPages(guest.ramBlocks, content);
      const offset = source.sent;
      source.send(piece.part(first, third));
      const { status, error } = await stops(incoming);
      expect({ status, ...error }).toMatchObject({ status: 'postcopy-paused', code: 'STREAM_CORRUPT', record: 'page' });
      expect(error?.message).toContain('page 2 of RAM block huge');
      expect(error?.offset).toBeGreaterThan(offset);
    }));

  test('a hugepage that came in part before LISTEN', () =>
    withGuest(async () => {
      source.send(
        ...advised(),
        piece.part(...allPages(guest.ramBlocks, content).slice(0, PER_HUGE + 3)),
        piece.package(),
      );
      await expect(incoming.finished).rejects.toThrow(/only a part of host page 1 of RAM block huge/);
      await expect(incoming.finished).rejects.toMatchObject({ code: 'STREAM_CORRUPT', record: 'POSTCOPY_LISTEN' });
    }));

  test('a discard of a part of a hugepage', () =>
    withGuest(async () => {
      source.send(...advised());
      const offset = source.sent;
      source.send(piece.discard('huge', 0, 1));
      await expect(incoming.finished).rejects.toMatchObject({ code: 'STREAM_CORRUPT', offset });
      await expect(incoming.finished).rejects.toThrow(/4096 bytes from 0 of RAM block huge.*2097152/);
    }));

  test('a source whose block has small pages: both sizes are named', () =>
    withGuest(async () => {
      const there = guest.ramBlocks.map(({ idstr, size }) => ({ idstr, size, pageSize: 4096 }));
      source.send(piece.start(), piece.advise(there), piece.blocks(there));
      await expect(incoming.finished).rejects.toMatchObject({ code: 'GUEST_MISMATCH' });
      await expect(incoming.finished).rejects.toThrow(/huge has pages of 4096 bytes at the source; .* 2097152/);
    }));

  test('a source whose block has hugepages, where it has small ones here', () =>
    withGuest(async () => {
      const there = guest.ramBlocks.map(({ idstr, size }) => ({ idstr, size, pageSize: HUGEPAGE }));
      source.send(piece.start(), piece.advise(there), piece.blocks(there));
      await expect(incoming.finished).rejects.toThrow(/small has pages of 2097152 bytes at the source; .* 4096/);
    }));
});
