/**
 * Return path thread of the source: reads what the destination says, checks it, and queues the pages
 * it asks for. Ends at SHUT. Runs from before the migration thread starts until the destination has
 * shut the path, or an error, or the kick.
 */
import { Channel, type ChannelDescriptor } from '../channel/channel.js';
import { asMigrationError, MigrationError } from '../errors.js';
import type { RAMBlockDescriptor } from '../memory/ram-block.js';
import { RAMList } from '../memory/ram-list.js';
import { runThread } from '../threads/thread.js';
import type { Trace } from '../trace/trace.js';
import type { ReturnPathMessageRecord } from '../wire/messages.js';
import { Ping } from '../wire/protocol.js';
import { ReturnPathDecoder } from '../wire/return-path.js';
import { MigrationStateCell } from './migration-state.js';
import { checkPageRequest, PageRequestQueue } from './page-request-queue.js';
import { createSourceCounters, type SourceCounters } from './source-counters.js';
import { createSourceSignals, ReturnPathPhase, type SourceSignals } from './source-signals.js';

export interface ReturnPathThreadData {
  readonly channel: ChannelDescriptor;
  readonly blocks: readonly RAMBlockDescriptor[];
  readonly status: SharedArrayBuffer;
  readonly signals: SharedArrayBuffer;
  readonly counters: SharedArrayBuffer;
  readonly queue: SharedArrayBuffer;
}

const BUFFER_BYTES = 16 * 1024;

class ReturnPath {
  readonly #ram: RAMList;
  readonly #state: MigrationStateCell;
  readonly #queue: PageRequestQueue;
  readonly #signals: SourceSignals;
  readonly #counters: SourceCounters;
  readonly #trace: Trace;
  /** The block that REQ_PAGES without a name refers to. */
  #lastBlock = -1;

  constructor(data: ReturnPathThreadData, trace: Trace) {
    this.#ram = new RAMList(data.blocks);
    this.#state = new MigrationStateCell(data.status);
    this.#queue = new PageRequestQueue(data.queue);
    this.#signals = createSourceSignals(data.signals);
    this.#counters = createSourceCounters(data.counters);
    this.#trace = trace;
  }

  /** Acts on one message; true at the end of the path. */
  handle(message: ReturnPathMessageRecord): boolean {
    switch (message.type) {
      case 'SHUT':
        this.#trace.at('source_return_path_thread_shut', message.value);
        if (message.value !== 0) {
          throw new MigrationError('PEER_FAILED', `the destination shut the return path with error ${message.value}`);
        }
        return true;
      case 'PONG':
        this.#trace.at('source_return_path_thread_pong', message.value);
        this.#signals.set(message.value < Ping.PLACED ? 'PONG' : 'PONG_PLACED', message.value);
        this.#signals.bump('ATTENTION');
        return false;
      case 'REQ_PAGES':
        this.#request(message.start, message.length, message.idstr);
        return false;
      default:
        throw new MigrationError('ILLEGAL_COMMAND', `the destination sent ${message.type} outside a recovery`, {
          record: message.type,
          hint: 'record the stream and report it',
        });
    }
  }

  #request(start: number, length: number, idstr: string | undefined): void {
    if (this.#state.status !== 'postcopy-active') {
      throw new MigrationError('ILLEGAL_COMMAND', 'the destination asked for pages before the switch to postcopy', {
        record: 'REQ_PAGES',
        hint: 'record the stream and report it',
      });
    }
    if (idstr !== undefined) this.#lastBlock = this.#ram.indexOf(idstr);
    if (this.#lastBlock < 0) {
      throw new MigrationError(
        'STREAM_CORRUPT',
        `the destination asked for pages of an unknown RAM block ${idstr ?? '(none named)'}`,
        { record: 'REQ_PAGES' },
      );
    }
    const { firstPage, pageCount } = checkPageRequest(this.#ram.blocks[this.#lastBlock], start, length);
    this.#trace.at('migrate_handle_rp_req_pages', this.#lastBlock, start, length);
    this.#counters.add('postcopyRequests', 1);
    this.#queue.push(this.#lastBlock, firstPage, pageCount);
    this.#signals.bump('ATTENTION');
  }
}

/** Reads messages until SHUT. */
function readReturnPath(channel: Channel, path: ReturnPath): void {
  const bytes = new Uint8Array(BUFFER_BYTES);
  const view = new DataView(bytes.buffer);
  // A received bitmap belongs to a recovery, and would not fit.
  const decoder = new ReturnPathDecoder({ limits: { maxBitmapBytes: 0 } });
  let start = 0;
  let end = 0;
  for (;;) {
    const message = asMigrationError(() => decoder.next(bytes, view, start, end));
    if (message !== undefined) {
      start += decoder.consumed;
      if (path.handle(message)) return;
      continue;
    }
    bytes.copyWithin(0, start, end);
    end -= start;
    start = 0;
    const received = channel.receive(bytes, end, bytes.length - end);
    if (received === 0) {
      const { offset } = decoder;
      throw new MigrationError(
        'PEER_GONE',
        `${channel.peer} closed the return path at offset ${offset} of it, unshut`,
        {
          offset,
        },
      );
    }
    end += received;
  }
}

runThread<ReturnPathThreadData, void>((data, thread) => {
  const signals = createSourceSignals(data.signals);
  const settle = (phase: number) => {
    signals.set('RETURN_PATH', phase);
    signals.bump('ATTENTION');
  };
  try {
    thread.trace.at('source_return_path_thread_entry');
    readReturnPath(new Channel(data.channel, thread.kick), new ReturnPath(data, thread.trace));
    thread.trace.at('source_return_path_thread_end');
    settle(ReturnPathPhase.CLOSED);
  } catch (error) {
    const refused = error instanceof MigrationError && error.code === 'PEER_FAILED';
    settle(refused ? ReturnPathPhase.REFUSED : ReturnPathPhase.BROKEN);
    thread.trace.at('source_return_path_thread_bad_end');
    throw error;
  }
});
