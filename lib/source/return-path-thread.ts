/**
 * Return path thread of the source: reads what the destination says, checks it, and queues the pages
 * it asks for, or sends them itself where there is a preempt channel. Ends at SHUT. There is one for each connection,
 * from before the migration thread works with that until the destination has shut the path, or an error, or the kick.
 */
import { Channel, type ChannelDescriptor } from '../channel/channel.js';
import { MigrationError } from '../errors.js';
import { pageCount } from '../memory/page.js';
import { RAMList } from '../memory/ram-list.js';
import { type EventfdHandle, native, type SocketHandle } from '../native.js';
import { runThread, type ThreadContext } from '../threads/thread.js';
import { Trace, untraced } from '../trace/trace.js';
import type { ReturnPathMessageRecord } from '../wire/messages.js';
import { MAX_LANES, Ping, PONG_LANES, PONG_RUNS, RESUME_ACK_VALUE, receivedBitmapBytes } from '../wire/protocol.js';
import { ReturnPathDecoder } from '../wire/return-path.js';
import { type StepPong, StepPongs } from '../wire/step-pongs.js';
import { handleMessages, readMessages } from './message-reader.js';
import { MigrationStateCell } from './migration-state.js';
import { PageRequestQueue } from './page-request-queue.js';
import { RequestedPages } from './requested-pages.js';
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
  /** How many the destination was asked to take. */
  readonly lanes: number;
}

export type ReturnPathEvent =
  /** The destination takes so many lanes. */
  | { readonly kind: 'lanes'; readonly lanes: number }
  /** It has answered a ping of a step. */
  | StepPong;

const BUFFER_BYTES = 16 * 1024;
/** What a received bitmap has beside its bits: head, name, size, end mark. */
const BITMAP_FRAME_BYTES = 512;

class ReturnPath {
  readonly #ram: RAMList;
  readonly #requested: RequestedPages;
  readonly #queue: PageRequestQueue;
  readonly #signals: SourceSignals;
  readonly #counters: SourceCounters;
  readonly #trace: Trace;
  readonly #data: ReturnPathThreadData;
  readonly #kick: EventfdHandle;
  readonly #emit: (event: ReturnPathEvent) => void;
  readonly #pongs = new StepPongs((pong) => this.#emit(pong));
  readonly #bitmaps: SourceBitmaps;
  /** Once there is a preempt channel. */
  #urgent: UrgentPages | undefined;
  /** By block: whether its received bitmap has come. */
  readonly #hasBitmap: boolean[];
  #isResumed: boolean;

  constructor(data: ReturnPathThreadData, trace: Trace, kick: EventfdHandle, emit: (event: ReturnPathEvent) => void) {
    this.#emit = emit;
    this.#data = data;
    this.#kick = kick;
    this.#isResumed = !data.isRecovery;
    this.#ram = new RAMList(data.blocks);
    this.#bitmaps = new SourceBitmaps(
      data.blocks.map(({ size }) => size),
      data.bitmaps,
    );
    this.#hasBitmap = data.blocks.map(() => false);
    this.#requested = new RequestedPages(this.#ram, new MigrationStateCell(data.status), this.#bitmaps.asked);
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
        this.#request(message);
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
    if (countOver(Ping.LANES, value) > 0) return; // likewise
    const lanes = countOver(PONG_LANES, value);
    if (lanes > 0) return this.#takeLanes(lanes);
    if (value === PONG_RUNS) this.#signals.set('RUNS', 1);
    else this.#signals.set(value < Ping.PLACED ? 'PONG' : 'PONG_PLACED', value);
    if (value === Ping.PACKAGE) this.#signals.set('LOADED', 1);
    this.#signals.bump('ATTENTION');
    this.#pongs.tell(value, native().monotonicUs());
  }

  /** So many lanes the destination takes. */
  #takeLanes(lanes: number): void {
    if (lanes > this.#data.lanes) throw this.#unexpected(`a pong for ${lanes} lanes`);
    this.#signals.set('LANES', lanes);
    this.#emit({ kind: 'lanes', lanes });
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

  #request(message: Extract<ReturnPathMessageRecord, { readonly type: 'REQ_PAGES' }>): void {
    const { blockIndex, firstPage, pageCount } = this.#requested.take(message, this.#isResumed);
    this.#trace.at('migrate_handle_rp_req_pages', blockIndex, message.start, message.length);
    this.#counters.add('postcopyRequests', 1);
    const urgent = this.#urgentPages();
    if (urgent === undefined) {
      this.#queue.push(blockIndex, firstPage, pageCount);
      this.#signals.bump('ATTENTION');
    } else {
      urgent.send(blockIndex, firstPage, pageCount);
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

/** How many lanes a ping or pong speaks of; 0 where it is of something else. */
function countOver(base: number, value: number): number {
  return value > base && value <= base + MAX_LANES ? value - base : 0;
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
function rehearsed(data: ReturnPathThreadData, kick: EventfdHandle): HandleRequests {
  const path = new ReturnPath(data, new Trace(untraced()), kick, () => {});
  const { decoder } = decoderFor(data);
  const handle = path.handle.bind(path);
  return (bytes) => void handleMessages(decoder, handle, bytes, new DataView(bytes.buffer), 0, bytes.length);
}

/** Reads messages until SHUT. Before the first page is asked for, whenever there is nothing to read, it warms up. */
function readReturnPath(
  channel: Channel,
  path: ReturnPath,
  data: ReturnPathThreadData,
  warmUp: WarmUp | undefined,
): void {
  const { decoder, bufferBytes } = decoderFor(data);
  const isShut = readMessages(channel, decoder, bufferBytes, path.handle.bind(path), () => {
    while (warmUp?.isDue && !channel.awaitBytes(0)) warmUp.round();
  });
  if (isShut) return;
  const { offset } = decoder;
  const text = `${channel.peer} closed the return path at offset ${offset} of it, unshut`;
  throw new MigrationError('PEER_GONE', text, { offset });
}

function run(data: ReturnPathThreadData, thread: ThreadContext<ReturnPathEvent, Record<string, never>>): void {
  const signals = createSourceSignals(data.signals);
  const settle = (phase: number) => {
    signals.set('RETURN_PATH', phase);
    signals.bump('ATTENTION');
  };
  const sendsPages = signals.get('PREEMPT') !== 0 && !data.isRecovery;
  const warmUp = sendsPages ? WarmUp.create(data, thread.kick, rehearsed) : undefined;
  try {
    thread.trace.at('source_return_path_thread_entry');
    const channel = new Channel(data.channel, thread.kick);
    readReturnPath(channel, new ReturnPath(data, thread.trace, thread.kick, thread.emit), data, warmUp);
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

runThread<ReturnPathThreadData, void, ReturnPathEvent>(run, (_owner, hasWork) => rehearse(hasWork, run));
