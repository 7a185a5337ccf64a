/**
 * A return path from its begin to its end, gone through by its thread while it is parked: its code is compiled then
 * when the destination answers, and when the guest there waits for its first pages. The destination is made up, and
 * nobody takes the pages that it asks for. Return path thread only.
 */
import { concatenate } from '../memory/bytes.js';
import { TARGET_PAGE_SIZE } from '../memory/page.js';
import { RAMBlock } from '../memory/ram-block.js';
import { type EventfdHandle, native } from '../native.js';
import { FairLock } from '../threads/fair-lock.js';
import { inRounds, type Pair, rehearsedContext } from '../threads/rehearsal.js';
import type { ThreadContext } from '../threads/thread.js';
import { encodeIdstr, encodePong, encodeReqPages, encodeShut, MAX_REQ_PAGES_BYTES } from '../wire/encode.js';
import { Ping, PONG_RUNS, SHUT_SUCCESS } from '../wire/protocol.js';
import { MigrationStateCell } from './migration-state.js';
import { PageRequestQueue } from './page-request-queue.js';
import type { ReturnPathEvent, ReturnPathThreadData } from './return-path-thread.js';
import { SourceBitmaps } from './source-bitmaps.js';
import { createSourceCounters } from './source-counters.js';
import { createSourceSignals } from './source-signals.js';

/** Requests of a round. */
const REQUESTS = 16;
const BLOCK = { idstr: 'rehearsal', size: REQUESTS * TARGET_PAGE_SIZE };
/** Each takes a millisecond. */
const ROUNDS = 4;

type Context = ThreadContext<ReturnPathEvent, Record<string, never>>;

/** `run` does what the thread does with its work. Throws where it can't be gone through to the end. */
export function rehearse(hasWork: () => boolean, run: (data: ReturnPathThreadData, thread: Context) => unknown): void {
  using block = RAMBlock.create(BLOCK);
  inRounds(ROUNDS, hasWork, (pair, kick) => goThrough(pair, block, kick, run));
}

function goThrough(
  [here, there]: Pair,
  block: RAMBlock,
  kick: EventfdHandle,
  run: (data: ReturnPathThreadData, thread: Context) => unknown,
): void {
  const status = new MigrationStateCell();
  for (const to of ['setup', 'active', 'postcopy-active'] as const) status.move(status.status, to);
  const messages = messagesOf();
  native().socketSend(there, kick, messages, 0, messages.length);
  run(
    {
      channel: { socket: here, peer: 'nobody' },
      isRecovery: false,
      blocks: [block.descriptor],
      status: status.buffer,
      signals: createSourceSignals().buffer,
      counters: createSourceCounters().buffer,
      queue: new PageRequestQueue().buffer,
      bitmaps: new SourceBitmaps([block.size]).descriptor,
      urgentLock: new FairLock().buffer,
      lanes: 0,
    },
    rehearsedContext(kick),
  );
}

/** The pongs of a set-up and of a switch, requests for one page after the other, and the end. */
function messagesOf(): Uint8Array {
  const requests = new Uint8Array(REQUESTS * MAX_REQ_PAGES_BYTES);
  let end = 0;
  for (let page = 0; page < REQUESTS; page += 1) {
    const name = page === 0 ? encodeIdstr(BLOCK.idstr) : undefined;
    end = encodeReqPages(new DataView(requests.buffer), end, page * TARGET_PAGE_SIZE, TARGET_PAGE_SIZE, name);
  }
  const pongs = [Ping.SETUP, Ping.RUNS, PONG_RUNS, Ping.STOPPED, Ping.SWITCHOVER, Ping.PACKAGE, Ping.PLACED];
  return concatenate([...pongs.map(encodePong), requests.subarray(0, end), encodeShut(SHUT_SUCCESS)]);
}
