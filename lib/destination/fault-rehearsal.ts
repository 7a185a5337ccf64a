/**
 * Page faults, seen to by the fault thread while it is parked: its code is compiled then when the guest comes to its
 * first missing page. The memory is made up, and so is the source, who gets no request; the faults are real, those of
 * a thread that writes to that memory. Fault thread only.
 */
import { MessageChannel } from 'node:worker_threads';
import { PageBitmap } from '../memory/bitmap.js';
import { TARGET_PAGE_SIZE } from '../memory/page.js';
import { RAMBlock } from '../memory/ram-block.js';
import { type EventfdHandle, native, type SocketHandle, type UserfaultfdHandle } from '../native.js';
import { inRounds, rehearsedContext } from '../threads/rehearsal.js';
import type { ThreadContext } from '../threads/thread.js';
import { createDestinationCounters } from './destination-counters.js';
import { createDestinationSignals } from './destination-signals.js';
import type { FaultThreadData, FaultThreadWork } from './fault-thread.js';
import { openForPostcopy } from './host-check.js';
import { PageRequested } from './page-requested.js';
import { RemovedPages } from './removed-pages.js';

/** Faults of a round. */
const PAGES = 16;
/** Each takes a millisecond. */
const ROUNDS = 4;
/** Milliseconds for a fault to come. */
const PATIENCE_MS = 1000;

type Context = ThreadContext<never, Record<string, never>>;

/** Makes of its work what the thread would serve with; the function that this returns sees to events once. */
export type Serve = (
  data: FaultThreadData,
  work: FaultThreadWork,
  thread: Context,
) => { turn(patienceMs: number): void };

/** Rounds until `hasWork`. Throws where it can't be gone through, such as where there is no userfaultfd to be had. */
export function rehearse(hasWork: () => boolean, serve: Serve): void {
  inRounds(ROUNDS, hasWork, ([socket], kick) => goThrough(socket, kick, serve));
}

function goThrough(socket: SocketHandle, kick: EventfdHandle, serve: Serve): void {
  const { constants: c, userfaultfdRegister } = native();
  using block = RAMBlock.create({ idstr: 'rehearsal', size: PAGES * TARGET_PAGE_SIZE });
  const { handle: uffd } = openForPostcopy([block.descriptor]);
  whileSomebodyWrites(block, uffd, () => {
    userfaultfdRegister(uffd, block.handle, 0, block.size, c.UFFDIO_REGISTER_MODE_MISSING);
    const signals = createDestinationSignals();
    signals.set('USERFAULTFD', uffd);
    signals.set('SOCKET', socket);
    const counters = createDestinationCounters();
    const { port1: work } = new MessageChannel();
    work.close();
    const requested = new PageRequested([block.size]);
    const faults = serve(
      {
        ...{ signals: signals.buffer, counters: counters.buffer, blocktime: undefined },
        ...{ prefetch: 'none', lanes: [], mayServe: true, work },
      },
      {
        channel: { socket, peer: 'nobody' },
        blocks: [block.descriptor],
        received: [new PageBitmap(PAGES).buffer],
        requested: requested.descriptor,
        removed: new RemovedPages([block.size]).descriptor,
        faulted: [new PageBitmap(PAGES).buffer],
      },
      rehearsedContext(kick),
    );
    return (fault) => {
      faults.turn(PATIENCE_MS);
      if (counters.get('faults') < fault) throw new Error(`fault ${fault} of the rehearsal was not seen to`);
      placeWhatWasAsked(block, uffd, requested);
    };
  });
}

/**
 * A thread goes through all pages of the block, once `prepare` has returned what sees to its faults, one at each call.
 * Closes the userfaultfd, by which whoever waits goes on.
 */
function whileSomebodyWrites(block: RAMBlock, uffd: UserfaultfdHandle, prepare: () => (fault: number) => void): void {
  const { stressGuestClose, stressGuestCreate, stressGuestStart, stressGuestStop, userfaultfdClose } = native();
  const settings = { vcpus: 1, seed: 1, filledPages: PAGES, workingSetPages: PAGES, writesPerSecond: 0 };
  const writer = stressGuestCreate([block.handle], settings);
  try {
    const see = prepare();
    stressGuestStart(writer);
    for (let fault = 1; fault <= PAGES; fault += 1) see(fault);
  } finally {
    userfaultfdClose(uffd);
    while (!stressGuestStop(writer, PATIENCE_MS));
    stressGuestClose(writer);
  }
}

function placeWhatWasAsked(block: RAMBlock, uffd: UserfaultfdHandle, requested: PageRequested): void {
  const page = requested.findNext(0, 0);
  if (page === PAGES) return;
  requested.settle(0, page);
  native().placeZeroPages(uffd, block.handle, block.pageSize, Uint32Array.of(page), 1, new Uint8Array(1));
}
