/**
 * A whole stream of pages, gone through by the listen thread while it is parked: its code is compiled then when the
 * guest waits for a page. The source and the memory are made up, and a real userfaultfd places the pages. Listen thread
 * only.
 */
import { MessageChannel } from 'node:worker_threads';
import { PageBitmap } from '../memory/bitmap.js';
import { concatenate } from '../memory/bytes.js';
import { TARGET_PAGE_SIZE } from '../memory/page.js';
import { RAMBlock } from '../memory/ram-block.js';
import { type EventfdHandle, native } from '../native.js';
import { inRounds, type Pair, rehearsedContext, withKick } from '../threads/rehearsal.js';
import type { ThreadContext } from '../threads/thread.js';
import * as encode from '../wire/encode.js';
import { RAM_SECTION } from '../wire/machine.js';
import { Ping, RamFlag } from '../wire/protocol.js';
import { createDestinationCounters } from './destination-counters.js';
import { createDestinationSignals, FaultThreadPhase, Handover, Package } from './destination-signals.js';
import { FaultLatency } from './fault-latency.js';
import { openForPostcopy } from './host-check.js';
import type { ListenThreadData, ListenThreadWork } from './listen-thread.js';
import type { DestinationEvent } from './main-thread.js';
import { PageRequested } from './page-requested.js';
import { RemovedPages } from './removed-pages.js';

/** Few enough that all of them fit into a socket. */
const PAGES = 8;
const BLOCK = { idstr: 'rehearsal', usedLength: PAGES * TARGET_PAGE_SIZE };
/** Each takes some milliseconds. */
const ROUNDS = 4;
const ARENA_BYTES = 64 * 1024;

type Context = ThreadContext<DestinationEvent, Record<string, never>>;

/** What the thread does with its work; to its end. */
export type Listen = (data: ListenThreadData, work: ListenThreadWork, thread: Context) => unknown;

/** Rounds until `hasWork`. Throws where it can't be gone through, such as where there is no userfaultfd to be had. */
export function rehearse(hasWork: () => boolean, listen: Listen): void {
  withKick((faultKick) => {
    inRounds(ROUNDS, hasWork, (pair, kick) => goThrough(pair, [kick, faultKick], listen));
  });
}

function goThrough(
  [here, there]: Pair,
  [kick, faultKick]: readonly [EventfdHandle, EventfdHandle],
  listen: Listen,
): void {
  const { constants: c, monotonicUs, socketSend, userfaultfdClose, userfaultfdRegister } = native();
  using block = RAMBlock.create({ idstr: BLOCK.idstr, size: BLOCK.usedLength });
  const { handle: uffd } = openForPostcopy([block.descriptor]);
  try {
    userfaultfdRegister(uffd, block.handle, 0, block.size, c.UFFDIO_REGISTER_MODE_MISSING);
    const signals = createDestinationSignals();
    signals.set('USERFAULTFD', uffd);
    signals.set('FAULT_THREAD', FaultThreadPhase.ENDED);
    signals.set('HANDOVER', Handover.GIVEN);
    signals.set('PACKAGE', Package.DONE);
    const requested = new PageRequested([block.size]);
    for (let page = 0; page < PAGES; page += 1) requested.add(0, page, monotonicUs());
    const stream = streamOf();
    socketSend(there, kick, stream, 0, stream.length);
    const { port1: work } = new MessageChannel();
    work.close();
    listen(
      {
        signals: signals.buffer,
        counters: createDestinationCounters().buffer,
        latency: new FaultLatency().buffer,
        blocktime: undefined,
        ...{ faultKick, demand: [], peerTimeoutMs: 0, isOwnSource: true, mayListen: true, work },
      },
      {
        channel: { socket: here, peer: 'nobody' },
        arena: new SharedArrayBuffer(ARENA_BYTES),
        position: { start: 0, end: 0, offset: 0, context: contextOf(), lastBlock: undefined },
        before: [{ hugepages: 'unsaid', isLocked: false, isKeptFromChildren: false }],
        blocks: [block.descriptor],
        received: [new PageBitmap(PAGES).buffer],
        arrived: [new PageBitmap(PAGES).buffer],
        requested: requested.descriptor,
        removed: new RemovedPages([block.size]).descriptor,
      },
      rehearsedContext(kick),
    );
  } finally {
    userfaultfdClose(uffd);
  }
}

/** As the main thread leaves it. */
function contextOf(): ListenThreadWork['position']['context'] {
  return {
    targetPageSize: TARGET_PAGE_SIZE,
    pageSizeSummary: TARGET_PAGE_SIZE,
    ignoreShared: false,
    mayHaveRuns: true,
    sections: [RAM_SECTION],
    blocks: [{ ...BLOCK, index: 0 }],
  };
}

/** Every page, the last one a zero, and the end. */
function streamOf(): Uint8Array {
  const { id } = RAM_SECTION;
  return concatenate([
    encode.encodePing(Ping.AFTER_PACKAGE),
    encode.encodeSectionPart('PART', id),
    ...Array.from({ length: PAGES - 1 }, (_, page) => pageOf(page, RamFlag.PAGE, TARGET_PAGE_SIZE)),
    pageOf(PAGES - 1, RamFlag.ZERO, 1),
    encode.encodeRamEos(),
    encode.encodeFooter(id),
    encode.encodePing(Ping.PLACED),
    encode.encodeEof(),
  ]);
}

function pageOf(page: number, flags: number, contentBytes: number): Uint8Array {
  const bytes = new Uint8Array(encode.MAX_PAGE_HEADER_BYTES + contentBytes);
  const name = page === 0 ? encode.encodeIdstr(BLOCK.idstr) : undefined;
  const at = page * TARGET_PAGE_SIZE;
  const flag = page === 0 ? flags : flags | RamFlag.CONTINUE;
  const end = encode.encodePageHeader(new DataView(bytes.buffer), 0, at, flag, name);
  return bytes.subarray(0, end + contentBytes);
}
