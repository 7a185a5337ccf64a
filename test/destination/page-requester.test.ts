/** What the source is asked for: faults before what is ahead, each page once, and anew over another connection. */
import { beforeEach, expect, test } from 'vitest';
import { MAIN } from '#lib/destination/demand-links.js';
import { createDestinationSignals, type DestinationSignals } from '#lib/destination/destination-signals.js';
import { PageRequester } from '#lib/destination/page-requester.js';
import { PageBitmap } from '#lib/memory/bitmap.js';
import type { RAMBlockDescriptor } from '#lib/memory/ram-block.js';
import type { PrefetchPolicy } from '#lib/options.js';
import { ReturnPathDecoder } from '#lib/wire/return-path.js';

const PAGE = 4096;
const PAGES = 1000;
const block = (idstr: string, pageSize = PAGE) =>
  ({ idstr, pageSize, size: PAGES * PAGE }) as unknown as RAMBlockDescriptor;

let signals: DestinationSignals;
let received: readonly PageBitmap[];
let isUp: boolean;
/** As block, first page and pages; a request that names no block as it stands on the wire. */
let sends: string[][];
/** What went over which link. */
let links: number[];
let choose: (page: number) => number;

beforeEach(() => {
  signals = createDestinationSignals();
  received = [new PageBitmap(PAGES), new PageBitmap(PAGES)];
  isUp = true;
  sends = [];
  links = [];
  choose = () => MAIN;
});

function decoded(bytes: Uint8Array): string[] {
  const decoder = new ReturnPathDecoder();
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const requests: string[] = [];
  for (let at = 0; at < bytes.length; at += decoder.consumed) {
    const message = decoder.next(bytes, view, at, bytes.length);
    if (message?.type !== 'REQ_PAGES') throw new Error('no request');
    requests.push(`${message.idstr ?? '"'} ${message.start / PAGE} ${message.length / PAGE}`);
  }
  return requests;
}

const requester = (policy: PrefetchPolicy, blocks = [block('a'), block('b')]) =>
  new PageRequester(
    signals,
    {
      choose: (page) => choose(page),
      send: (link, bytes, length) => {
        links.push(link);
        if (isUp) sends.push(decoded(bytes.slice(0, length)));
        return isUp;
      },
    },
    blocks,
    received,
    policy,
  );

test('faults of one read go in one send, neighbours as one request, each block named once', () => {
  const asks = requester('none');
  for (const [index, page] of [
    [1, 5],
    [0, 9],
    [0, 8],
    [1, 700],
  ])
    expect(asks.fault(index, page)).toBe(0);
  expect(asks.flush()).toBe(true);
  expect(asks.flush()).toBe(true);
  asks.fault(1, 1);
  asks.flush();
  expect(sends).toEqual([['a 8 2', 'b 5 1', '" 700 1'], ['" 1 1']]);
});

test('what a fault waits for goes before what is around it, which has not come and is not asked for yet', () => {
  const asks = requester('around');
  for (const page of [0, 3]) received[0].set(page);
  expect(asks.fault(0, 5)).toBe(13);
  expect(asks.fault(0, 18)).toBe(15);
  asks.flush();
  expect(asks.fault(0, 6)).toBe(0); // on its way
  asks.flush();
  expect(sends).toEqual([['a 5 1', '" 18 1', '" 1 2', '" 4 1', '" 6 12', '" 19 13']]);
});

/** Pages that come between one look and the next. */
class Coming extends PageBitmap {
  override test(page: number): boolean {
    const was = super.test(page);
    this.set(page);
    return was;
  }
}

test('a page that comes while it is looked for is asked for in vain, and never none', () => {
  received = [new Coming(PAGES), new PageBitmap(PAGES)];
  const asks = requester('around');
  asks.fault(0, 5);
  asks.flush();
  expect(sends[0][0]).toBe('a 5 1');
  for (const request of sends[0]) expect(request).not.toMatch(/ 0$/);
});

test('over another connection what was asked for is asked for again, with its name', () => {
  const asks = requester('around');
  asks.fault(0, 5);
  isUp = false;
  expect(asks.flush()).toBe(false);
  isUp = true;
  signals.bump('RECOVERIES');
  asks.fault(0, 6);
  asks.fault(0, 7);
  asks.flush();
  asks.fault(0, 99);
  asks.flush();
  expect(sends[0]).toEqual(['a 6 1', '" 0 6', '" 7 9']);
  expect(sends[1][0]).toBe('a 99 1');
});

test('of a block of huge pages one, whole', () => {
  const asks = requester('adaptive', [block('huge', 500 * PAGE), block('b')]);
  expect(asks.fault(0, 500)).toBe(0);
  asks.flush();
  expect(sends).toEqual([['huge 500 500']]);
});

test('over each lane what is its own, with the block named in each send', () => {
  choose = (page) => (page < 500 ? 0 : 1);
  const asks = requester('none');
  for (const page of [1, 600, 2]) asks.fault(0, page);
  expect(asks.flush()).toBe(true);
  asks.fault(0, 700);
  asks.flush();
  expect(sends).toEqual([['a 1 2'], ['a 600 1'], ['a 700 1']]);
  expect(links).toEqual([0, 1, 1]);
});

test('what can not be sent over one link does not keep the others from theirs', () => {
  choose = (page) => (page < 500 ? 0 : 1);
  const asks = requester('none');
  for (const page of [1, 600]) asks.fault(0, page);
  isUp = false;
  expect(asks.flush()).toBe(false);
  expect(links).toEqual([0, 1]);
});
