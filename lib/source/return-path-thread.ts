/**
 * Return path thread of the source: reads what the destination says, checks it, and queues the pages
 * it asks for, or sends them itself where there is a preempt channel. Ends at SHUT. There is one for each connection,
 * from before the migration thread works with that until the destination has shut the path, or an error, or the kick.
 */
import { Channel, type ChannelDescriptor } from '../channel/channel.js';
import { asMigrationError, MigrationError } from '../errors.js';
import { pageCount } from '../memory/page.js';
import { RAMList } from '../memory/ram-list.js';
import type { EventfdHandle, SocketHandle } from '../native.js';
import { runThread, type ThreadContext } from '../threads/thread.js';
import { createTraceWords, Trace } from '../trace/trace.js';
import type { ReturnPathMessageRecord } from '../wire/messages.js';
import { Ping, PONG_RUNS, RESUME_ACK_VALUE, receivedBitmapBytes } from '../wire/protocol.js';
import { ReturnPathDecoder } from '../wire/return-path.js';
import { MigrationStateCell, type MigrationStatus } from './migration-state.js';
import { checkPageRequest, PageRequestQueue } from './page-request-queue.js';
import { rehearse } from './return-path-rehearsal.js';
import { SourceBitmaps } from './source-bitmaps.js';
import { createSourceCounters, type SourceCounters } from './source-counters.js';
import { createSourceSignals, Resume, ReturnPathPhase, type SourceSignals } from './source-signals.js';
import { UrgentPages, type UrgentPagesData } from './urgent-pages.js';
import { type HandleRequests, WarmUp } from './warm-up.js';

export interface ReturnPathThreadData extends UrgentPagesData {
  readonly channel: ChannelDescriptor;
  /** The connection is one of a recovery: pages are asked for when the destination has resumed. */
  readonly isRecovery: boolean;
  readonly status: SharedArrayBuffer;
  readonly signals: SharedArrayBuffer;
  readonly counters: SharedArrayBuffer;
  readonly queue: SharedArrayBuffer;
}

const BUFFER_BYTES = 16 * 1024;
/** What a received bitmap has beside its bits: head, name, size, end mark. */
const BITMAP_FRAME_BYTES = 512;

/** In which the destination may ask for pages. */
const requestStatuses: ReadonlySet<MigrationStatus> = new Set([
  'postcopy-device',
  'postcopy-active',
  'postcopy-recover',
]);

class ReturnPath {
  readonly #ram: RAMList;
  readonly #state: MigrationStateCell;
  readonly #queue: PageRequestQueue;
  readonly #signals: SourceSignals;
  readonly #counters: SourceCounters;
  readonly #trace: Trace;
  readonly #data: ReturnPathThreadData;
  readonly #kick: EventfdHandle;
  readonly #bitmaps: SourceBitmaps;
  /** Once there is a preempt channel. */
  #urgent: UrgentPages | undefined;
  /** By block: whether its received bitmap has come. */
  readonly #hasBitmap: boolean[];
  #isResumed: boolean;
  /** The block that REQ_PAGES without a name refers to. */
  #lastBlock = -1;

  constructor(data: ReturnPathThreadData, trace: Trace, kick: EventfdHandle) {
    this.#data = data;
    this.#kick = kick;
    this.#isResumed = !data.isRecovery;
    this.#ram = new RAMList(data.blocks);
    this.#bitmaps = new SourceBitmaps(
      data.blocks.map(({ size }) => size),
      data.bitmaps,
    );
    this.#hasBitmap = data.blocks.map(() => false);
    this.#state = new MigrationStateCell(data.status);
    this.#queue = new PageRequestQueue(data.queue);
    this.#signals = createSourceSignals(data.signals);
    this.#counters = createSourceCounters(data.counters);
    this.#trace = trace;
  }

  /** Acts on one message; true at the end of the path. */
  handle(message: ReturnPathMessageRecord): boolean {
    this.#signals.count('HEARD');
    switch (message.type) {
      case 'SHUT':
        this.#trace.at('source_return_path_thread_shut', message.value);
        if (message.value !== 0) {
          throw new MigrationError('PEER_FAILED', `the destination shut the return path with error ${message.value}`);
        }
        return true;
      case 'PONG':
        this.#trace.at('source_return_path_thread_pong', message.value);
        this.#pong(message.value);
        return false;
      case 'REQ_PAGES':
        this.#request(message.start, message.length, message.idstr);
        return false;
      case 'RECV_BITMAP':
        this.#receivedBitmap(message.idstr, message.bitmap);
        return false;
      case 'RESUME_ACK':
        this.#resumed(message.value);
        return false;
      default:
        throw this.#unexpected(message.type);
    }
  }

  #pong(value: number): void {
    if (value === Ping.RUNS) return; // which any destination says
    if (value === PONG_RUNS) this.#signals.set('RUNS', 1);
    else this.#signals.set(value < Ping.PLACED ? 'PONG' : 'PONG_PLACED', value);
    if (value === Ping.PACKAGE) this.#signals.set('LOADED', 1);
    this.#signals.bump('ATTENTION');
  }

  /** In whichever order; those of all blocks. Which blocks there are, and their sizes, the decoder has checked. */
  #receivedBitmap(idstr: string, bitmap: Uint8Array): void {
    const index = this.#ram.indexOf(idstr);
    if (this.#isResumed || this.#hasBitmap[index] || this.#signals.get('RESUME') !== Resume.NOT_YET) {
      throw this.#unexpected(`RECV_BITMAP of ${idstr}`);
    }
    const { words } = this.#bitmaps.received[index];
    new Uint8Array(words.buffer).set(bitmap.subarray(0, words.byteLength));
    this.#hasBitmap[index] = true;
    this.#trace.at('source_return_path_thread_recv_bitmap', index, this.#bitmaps.received[index].count());
    this.#signals.bump('BITMAPS');
    this.#signals.bump('ATTENTION');
  }

  #resumed(value: number): void {
    this.#trace.at('source_return_path_thread_resume_ack', value);
    if (value !== RESUME_ACK_VALUE) {
      throw new MigrationError('STREAM_CORRUPT', `the destination acknowledged the resumption with ${value}`, {
        record: 'RESUME_ACK',
      });
    }
    if (!this.#signals.exchange('RESUME', Resume.SENT, Resume.ACKNOWLEDGED)) throw this.#unexpected('RESUME_ACK');
    this.#isResumed = true;
    this.#signals.bump('ATTENTION');
  }

  #unexpected(what: string): MigrationError {
    return new MigrationError('ILLEGAL_COMMAND', `the destination sent ${what}, which nobody had asked for`, {
      record: what,
      hint: 'record the stream and report it',
    });
  }

  #request(start: number, length: number, idstr: string | undefined): void {
    if (!this.#isResumed || !requestStatuses.has(this.#state.status)) {
      throw new MigrationError('ILLEGAL_COMMAND', 'the destination asked for pages while none are sent', {
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
    const urgent = this.#urgentPages();
    if (urgent === undefined) {
      this.#queue.push(this.#lastBlock, firstPage, pageCount);
      this.#signals.bump('ATTENTION');
    } else {
      urgent.send(this.#lastBlock, firstPage, pageCount);
      this.#signals.count('ASKED');
    }
  }

  #urgentPages(): UrgentPages | undefined {
    const socket = this.#signals.get('PREEMPT') as SocketHandle;
    if (socket === 0) return undefined;
    const { peer } = this.#data.channel;
    this.#urgent ??= new UrgentPages(this.#data, { socket, peer }, this.#kick, this.#counters, this.#trace);
    return this.#urgent;
  }
}

/** The destination has said all it will. */
const SHUT = -1;

/** Acts on the whole messages in bytes[start, end); where the rest begins, or SHUT. */
function handleMessages(
  decoder: ReturnPathDecoder,
  path: ReturnPath,
  bytes: Uint8Array,
  view: DataView,
  start: number,
  end: number,
): number {
  let at = start;
  while (at < end) {
    const from = at;
    const message = asMigrationError(() => decoder.next(bytes, view, from, end));
    if (message === undefined) return at;
    at += decoder.consumed;
    if (path.handle(message)) return SHUT;
  }
  return at;
}

function decoderFor({ blocks, isRecovery }: ReturnPathThreadData) {
  const bitmapBytes = new Map(blocks.map(({ idstr, size }) => [idstr, receivedBitmapBytes(pageCount(size))]));
  // A received bitmap belongs to a recovery, and would not fit otherwise.
  const maxBitmapBytes = isRecovery ? Math.max(...bitmapBytes.values()) : 0;
  const decoder = new ReturnPathDecoder({
    limits: { maxBitmapBytes },
    ...(isRecovery ? { bitmapBytes: (idstr: string) => bitmapBytes.get(idstr) } : {}),
  });
  return { decoder, bufferBytes: BUFFER_BYTES + (isRecovery ? maxBitmapBytes + BITMAP_FRAME_BYTES : 0) };
}

/** What a warm-up goes through: nobody traces it. */
function untraced(data: ReturnPathThreadData, kick: EventfdHandle): HandleRequests {
  const path = new ReturnPath(data, new Trace({ words: createTraceWords(), ring: undefined }), kick);
  const { decoder } = decoderFor(data);
  return (bytes) => void handleMessages(decoder, path, bytes, new DataView(bytes.buffer), 0, bytes.length);
}

/** Reads messages until SHUT. Before the first page is asked for, whenever there is nothing to read, it warms up. */
function readReturnPath(
  channel: Channel,
  path: ReturnPath,
  data: ReturnPathThreadData,
  warmUp: WarmUp | undefined,
): void {
  const { decoder, bufferBytes } = decoderFor(data);
  const bytes = new Uint8Array(bufferBytes);
  const view = new DataView(bytes.buffer);
  let end = 0;
  for (;;) {
    const start = handleMessages(decoder, path, bytes, view, 0, end);
    if (start === SHUT) return;
    if (start > 0) bytes.copyWithin(0, start, end);
    end -= start;
    while (warmUp?.isDue && !channel.awaitBytes(0)) warmUp.round();
    const received = channel.receive(bytes, end, bytes.length - end);
    if (received === 0) {
      const { offset } = decoder;
      const text = `${channel.peer} closed the return path at offset ${offset} of it, unshut`;
      throw new MigrationError('PEER_GONE', text, { offset });
    }
    end += received;
  }
}

function run(data: ReturnPathThreadData, thread: ThreadContext<never, Record<string, never>>): void {
  const signals = createSourceSignals(data.signals);
  const settle = (phase: number) => {
    signals.set('RETURN_PATH', phase);
    signals.bump('ATTENTION');
  };
  const sendsPages = signals.get('PREEMPT') !== 0 && !data.isRecovery;
  const warmUp = sendsPages ? WarmUp.create(data, thread.kick, untraced) : undefined;
  try {
    thread.trace.at('source_return_path_thread_entry');
    const channel = new Channel(data.channel, thread.kick);
    readReturnPath(channel, new ReturnPath(data, thread.trace, thread.kick), data, warmUp);
    thread.trace.at('source_return_path_thread_end');
    settle(ReturnPathPhase.CLOSED);
  } catch (error) {
    const refused = error instanceof MigrationError && error.code === 'PEER_FAILED';
    settle(refused ? ReturnPathPhase.REFUSED : ReturnPathPhase.BROKEN);
    thread.trace.at('source_return_path_thread_bad_end');
    throw error;
  } finally {
    warmUp?.close();
  }
}

runThread<ReturnPathThreadData, void>(run, (_owner, hasWork) => rehearse(hasWork, run));
