/**
 * Asks the source for pages, for the fault thread: the faults of one read together, neighbours as one request, in one
 * send. What a fault waits for goes before what is asked for ahead.
 */
import { PageBitmap } from '../memory/bitmap.js';
import { pageCount, pageOffset } from '../memory/page.js';
import type { RAMBlockDescriptor } from '../memory/ram-block.js';
import type { PrefetchPolicy } from '../options.js';
import { encodeIdstr, encodeReqPages, MAX_REQ_PAGES_BYTES } from '../wire/encode.js';
import { type DemandLinks, MAIN } from './demand-links.js';
import type { DestinationSignals } from './destination-signals.js';
import { Prefetch } from './prefetch.js';
import { type RequestRange, RequestRanges } from './request-ranges.js';

export class PageRequester {
  readonly #signals: DestinationSignals;
  readonly #links: Pick<DemandLinks, 'choose' | 'send'>;
  readonly #blocks: readonly RAMBlockDescriptor[];
  readonly #received: readonly PageBitmap[];
  readonly #prefetch: Prefetch;
  /** Pages that were asked for over this connection, whether or not they have come. */
  readonly #asked: readonly PageBitmap[];
  #askedIn = 0;
  readonly #waitedFor = new RequestRanges();
  readonly #ahead = new RequestRanges();
  readonly #names: readonly Uint8Array[];
  #message = new DataView(new ArrayBuffer(0));
  /** The block named in the last request over the main connection. */
  #lastBlock = -1;

  constructor(
    signals: DestinationSignals,
    links: Pick<DemandLinks, 'choose' | 'send'>,
    blocks: readonly RAMBlockDescriptor[],
    received: readonly PageBitmap[],
    policy: PrefetchPolicy,
  ) {
    this.#signals = signals;
    this.#links = links;
    this.#blocks = blocks;
    this.#received = received;
    this.#prefetch = new Prefetch(policy);
    this.#asked = blocks.map(({ size }) => new PageBitmap(pageCount(size)));
    this.#names = blocks.map(({ idstr }) => encodeIdstr(idstr));
  }

  /**
   * A fault is for the host page that begins with `page`, and nobody has waited for it before. Returns how many target
   * pages are asked for besides. Only after the page counts as requested: what was asked for over a connection that is
   * lost is not asked for any more, and who brings up the next one looks only there.
   */
  fault(blockIndex: number, page: number): number {
    if (this.#signals.get('RECOVERIES') !== this.#askedIn) this.#forgetAsked();
    const asked = this.#asked[blockIndex];
    const hostPages = pageCount(this.#blocks[blockIndex].pageSize);
    if (!asked.test(page)) this.#waitedFor.add(blockIndex, page, page + hostPages);
    asked.setRange(page, hostPages);
    const { first, end } = this.#prefetch.range(blockIndex, page, hostPages, asked.pageCount);
    return this.#askAhead(blockIndex, first, end);
  }

  /** Of these pages those that have neither come nor were asked for. How many that are. */
  #askAhead(blockIndex: number, begin: number, end: number): number {
    const asked = this.#asked[blockIndex];
    const received = this.#received[blockIndex];
    let pages = 0;
    let first = begin;
    while (first < end) {
      if (asked.test(first)) first = asked.findNextClear(first, end);
      else if (received.test(first)) first = received.findNextClear(first, end);
      else {
        // From the next one on: this one may have come since it was looked for, and a request is for a page at least.
        const last = Math.min(asked.findNext(first + 1, end), received.findNext(first + 1, end));
        this.#ahead.add(blockIndex, first, last);
        asked.setRange(first, last - first);
        pages += last - first;
        first = last;
      }
    }
    return pages;
  }

  /** Sends what has gathered, if anything has; false where there is no connection. */
  flush(): boolean {
    const byLink = new Map<number, RequestRange[]>();
    for (const range of [...this.#waitedFor.take(), ...this.#ahead.take()]) {
      const link = this.#links.choose(range.first);
      const ranges = byLink.get(link);
      if (ranges === undefined) byLink.set(link, [range]);
      else ranges.push(range);
    }
    let isSent = true;
    for (const [link, ranges] of byLink) isSent = this.#send(link, ranges) && isSent;
    return isSent;
  }

  #send(link: number, ranges: readonly RequestRange[]): boolean {
    if (this.#message.byteLength < ranges.length * MAX_REQ_PAGES_BYTES) {
      this.#message = new DataView(new ArrayBuffer(ranges.length * MAX_REQ_PAGES_BYTES));
    }
    let lastBlock = this.#namedBefore(link);
    let length = 0;
    for (const { blockIndex, first, end } of ranges) {
      const bytes = pageOffset(end - first);
      const name = blockIndex === lastBlock ? undefined : this.#names[blockIndex];
      length = encodeReqPages(this.#message, length, pageOffset(first), bytes, name);
      lastBlock = blockIndex;
    }
    if (link === MAIN) this.#lastBlock = lastBlock;
    return this.#links.send(link, new Uint8Array(this.#message.buffer), length);
  }

  /**
   * The block that the next request need not name; -1 is none. From the second connection on the listen thread asks
   * beside this one, and lanes come and go, so each send names its blocks.
   */
  #namedBefore(link: number): number {
    return link === MAIN && this.#signals.get('RECOVERIES') === 0 ? this.#lastBlock : -1;
  }

  /** Another connection. */
  #forgetAsked(): void {
    this.#askedIn = this.#signals.get('RECOVERIES');
    for (const asked of this.#asked) asked.clearRange(0, asked.pageCount);
  }
}
