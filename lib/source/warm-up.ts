/**
 * The way of a requested page through the thread that answers, gone through while nobody waits for one: V8 interprets a
 * thread's code until it has run some hundred times, and a migration has hardly more requests than that. Uncompiled,
 * each takes half as long again. Requests, dirty pages and the channel are made up; what is read of the guest is sent
 * nowhere. Return path thread, or a lane thread.
 */
import { TARGET_PAGE_SIZE } from '../memory/page.js';
import type { RAMBlockDescriptor } from '../memory/ram-block.js';
import { type EventfdHandle, native, type SocketHandle } from '../native.js';
import { FairLock } from '../threads/fair-lock.js';
import { encodeIdstr, encodeReqPages, MAX_REQ_PAGES_BYTES } from '../wire/encode.js';
import { MigrationStateCell } from './migration-state.js';
import { PageRequestQueue } from './page-request-queue.js';
import type { ReturnPathThreadData } from './return-path-thread.js';
import { SourceBitmaps } from './source-bitmaps.js';
import { createSourceCounters } from './source-counters.js';
import { createSourceSignals } from './source-signals.js';

/** Requests of a round: their pages fit into a socket. A round takes a few milliseconds. */
const REQUESTS = 32;
const ROUNDS = 60;

/** What a round goes through: acts on `bytes` as if they had come from the destination. */
export type HandleRequests = (bytes: Uint8Array) => void;

export class WarmUp {
  readonly #pair: readonly [SocketHandle, SocketHandle];
  readonly #kick: EventfdHandle;
  readonly #bitmaps: SourceBitmaps;
  readonly #requests: Uint8Array;
  readonly #handle: HandleRequests;
  readonly #drained = new Uint8Array(REQUESTS * 2 * TARGET_PAGE_SIZE);
  #roundsLeft = ROUNDS;

  /** Undefined where the guest has no block that it could be done with. */
  static create(
    data: Pick<ReturnPathThreadData, 'blocks'>,
    kick: EventfdHandle,
    handler: (data: ReturnPathThreadData, kick: EventfdHandle) => HandleRequests,
  ): WarmUp | undefined {
    const block = data.blocks.find(
      ({ pageSize, size }) => pageSize === TARGET_PAGE_SIZE && size >= REQUESTS * TARGET_PAGE_SIZE,
    );
    return block === undefined ? undefined : new WarmUp(block, kick, handler);
  }

  private constructor(
    block: RAMBlockDescriptor,
    kick: EventfdHandle,
    handler: (data: ReturnPathThreadData, kick: EventfdHandle) => HandleRequests,
  ) {
    this.#kick = kick;
    this.#pair = native().socketPair();
    this.#bitmaps = new SourceBitmaps([block.size]);
    this.#requests = requestsFor(block.idstr);
    const status = new MigrationStateCell();
    for (const to of ['setup', 'active', 'postcopy-active'] as const) status.move(status.status, to);
    const signals = createSourceSignals();
    signals.set('PREEMPT', this.#pair[0]);
    this.#handle = handler(
      {
        channel: { socket: this.#pair[0], peer: 'nobody' },
        isRecovery: false,
        blocks: [block],
        status: status.buffer,
        signals: signals.buffer,
        counters: createSourceCounters().buffer,
        queue: new PageRequestQueue().buffer,
        bitmaps: this.#bitmaps.descriptor,
        urgentLock: new FairLock().buffer,
        lanes: 0,
      },
      kick,
    );
  }

  /** There are rounds left to go. */
  get isDue(): boolean {
    return this.#roundsLeft > 0;
  }

  /** Goes one. One that fails, such as where the guest has let go of its memory, is the last. */
  round(): void {
    try {
      this.#go();
      this.#roundsLeft -= 1;
      if (this.#roundsLeft === 0) this.close();
    } catch {
      this.close();
    }
  }

  /** More than once is harmless. */
  close(): void {
    if (this.#roundsLeft < 0) return;
    this.#roundsLeft = -1;
    for (const socket of this.#pair) native().socketClose(socket);
  }

  #go(): void {
    this.#bitmaps.dirty[0].setRange(0, REQUESTS);
    this.#handle(this.#requests);
    const { constants, socketReadable, socketReceive } = native();
    const [, there] = this.#pair;
    while (socketReadable(there)) {
      const received = socketReceive(there, this.#kick, this.#drained, 0, this.#drained.length);
      if (received === constants.KICKED) return; // and whoever waits next finds that too
    }
  }
}

/** For one page after the other, the first with the block's name. */
function requestsFor(idstr: string): Uint8Array {
  const bytes = new Uint8Array(REQUESTS * MAX_REQ_PAGES_BYTES);
  const view = new DataView(bytes.buffer);
  let end = 0;
  for (let page = 0; page < REQUESTS; page += 1) {
    const name = page === 0 ? encodeIdstr(idstr) : undefined;
    end = encodeReqPages(view, end, page * TARGET_PAGE_SIZE, TARGET_PAGE_SIZE, name);
  }
  return bytes.subarray(0, end);
}
