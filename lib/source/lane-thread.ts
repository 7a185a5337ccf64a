/**
 * Lane thread of the source: reads the page requests that come over a lane, and sends over it what they ask for. Nobody
 * else does either, so no page waits for a thread that has other things to do. Ends when the destination closes the
 * lane, or by the kick; the migration thread ends what is sent over it.
 */
import { Channel, type ChannelDescriptor } from '../channel/channel.js';
import { MigrationError } from '../errors.js';
import { RAMList } from '../memory/ram-list.js';
import type { EventfdHandle } from '../native.js';
import { Kicked } from '../threads/kicked.js';
import { runThread } from '../threads/thread.js';
import { Trace, untraced } from '../trace/trace.js';
import { encodeLaneGreeting } from '../wire/encode.js';
import type { ReturnPathMessageRecord } from '../wire/messages.js';
import { ReturnPathDecoder } from '../wire/return-path.js';
import { handleMessages, readMessages } from './message-reader.js';
import { MigrationStateCell } from './migration-state.js';
import { RequestedPages } from './requested-pages.js';
import { SourceBitmaps } from './source-bitmaps.js';
import { createSourceCounters, type SourceCounters } from './source-counters.js';
import { createSourceSignals, Resume, type SourceSignals } from './source-signals.js';
import { UrgentPages, type UrgentPagesData } from './urgent-pages.js';
import { type HandleRequests, WarmUp } from './warm-up.js';

export interface LaneThreadData extends UrgentPagesData {
  readonly channel: ChannelDescriptor;
  /** The lane is one of a recovery: pages are asked for when the destination has resumed. */
  readonly isRecovery: boolean;
  readonly status: SharedArrayBuffer;
  readonly signals: SharedArrayBuffer;
  /** This lane's own. */
  readonly counters: SharedArrayBuffer;
}

const BUFFER_BYTES = 16 * 1024;

class Lane {
  readonly #requested: RequestedPages;
  readonly #signals: SourceSignals;
  readonly #counters: SourceCounters;
  readonly #urgent: UrgentPages;
  readonly #trace: Trace;
  readonly #isRecovery: boolean;
  /** A page was taken, and may not have gone whole. */
  hasLost = false;

  constructor(data: LaneThreadData, trace: Trace, kick: EventfdHandle) {
    const bitmaps = new SourceBitmaps(
      data.blocks.map(({ size }) => size),
      data.bitmaps,
    );
    const state = new MigrationStateCell(data.status);
    this.#requested = new RequestedPages(new RAMList(data.blocks), state, bitmaps.asked);
    this.#signals = createSourceSignals(data.signals);
    this.#counters = createSourceCounters(data.counters);
    this.#urgent = new UrgentPages(data, data.channel, kick, this.#counters, trace);
    this.#trace = trace;
    this.#isRecovery = data.isRecovery;
  }

  /** Acts on one message; none is the last. */
  handle(message: ReturnPathMessageRecord): boolean {
    this.#signals.count('HEARD');
    if (message.type !== 'REQ_PAGES') {
      throw new MigrationError('ILLEGAL_COMMAND', `the destination sent ${message.type} on a lane`, {
        record: message.type,
        hint: 'record the stream and report it',
      });
    }
    const { blockIndex, firstPage, pageCount } = this.#requested.take(message, this.#isWelcome());
    this.#trace.at('migrate_handle_rp_req_pages', blockIndex, message.start, message.length);
    this.#counters.add('postcopyRequests', 1);
    this.hasLost = true;
    this.#urgent.send(blockIndex, firstPage, pageCount);
    this.hasLost = false;
    this.#signals.count('ASKED');
    return false;
  }

  /**
   * The destination's word that it has resumed comes over another connection, and may be about to be read. Throws
   * Kicked where that breaks before.
   */
  #isWelcome(): boolean {
    if (!this.#isRecovery) return true;
    const isSent = this.#signals.get('RESUME') === Resume.SENT;
    this.#signals.waitWhile('RESUME', Resume.SENT);
    const isResumed = this.#signals.get('RESUME') === Resume.ACKNOWLEDGED;
    if (isSent && !isResumed) throw new Kicked();
    return isResumed;
  }
}

const newDecoder = () => new ReturnPathDecoder({ limits: { maxBitmapBytes: 0 } });

/** What a warm-up goes through: nobody traces it. */
function rehearsed(data: LaneThreadData, kick: EventfdHandle): HandleRequests {
  const lane = new Lane(data, new Trace(untraced()), kick);
  const decoder = newDecoder();
  const handle = lane.handle.bind(lane);
  return (bytes) => void handleMessages(decoder, handle, bytes, new DataView(bytes.buffer), 0, bytes.length);
}

/** Until the destination closes the lane, however: what it wants it asks for over other connections then. */
function answer(channel: Channel, lane: Lane, idle: () => void): void {
  try {
    channel.send(encodeLaneGreeting());
    readMessages(channel, newDecoder(), BUFFER_BYTES, lane.handle.bind(lane), idle);
  } catch (error) {
    const isClosed = error instanceof MigrationError && error.code === 'PEER_GONE';
    if (!isClosed || lane.hasLost) throw error;
  }
}

runThread<LaneThreadData, void>((data, thread) => {
  const warmUp = data.isRecovery ? undefined : WarmUp.create(data, thread.kick, rehearsed);
  try {
    const channel = new Channel(data.channel, thread.kick);
    answer(channel, new Lane(data, thread.trace, thread.kick), () => {
      while (warmUp?.isDue && !channel.awaitBytes(0)) warmUp.round();
      warmUp?.close(); // what comes now is a request
    });
  } finally {
    warmUp?.close();
  }
});
