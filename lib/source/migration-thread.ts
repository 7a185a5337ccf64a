/**
 * Migration thread: the source's worker that sends the guest, from stream header to EOF.
 *
 * It alone writes the stream. What only the owner can do to the guest (stop, save, start) it calls
 * for and waits. S4 … S11 are the steps of docs/architecture.md.
 */
import { Channel, type ChannelDescriptor } from '../channel/channel.js';
import { MigrationError, type PlainError, toPlainError } from '../errors.js';
import { PageBitmap } from '../memory/bitmap.js';
import { concatenate } from '../memory/bytes.js';
import { DirtyLog } from '../memory/dirty-log.js';
import { pageCount, TARGET_PAGE_SIZE } from '../memory/page.js';
import type { RAMBlockDescriptor } from '../memory/ram-block.js';
import { RAMList } from '../memory/ram-list.js';
import { native } from '../native.js';
import type { Capabilities, Parameters } from '../options.js';
import { Kicked } from '../threads/kicked.js';
import { runThread, type ThreadContext } from '../threads/thread.js';
import * as encode from '../wire/encode.js';
import { MACHINE_NAME } from '../wire/machine.js';
import { Ping } from '../wire/protocol.js';
import { BandwidthMeter } from './bandwidth-meter.js';
import { type Convergence, needsSync, nextStep } from './convergence.js';
import { CreditWindow } from './credit-window.js';
import { deviceSections } from './device-state.js';
import { canonicalize, discardCommands, newlyDirty } from './discard-bitmap.js';
import { isFinal, MigrationStateCell, type MigrationStatus } from './migration-state.js';
import { OutgoingStream } from './outgoing-stream.js';
import { PageRequestQueue } from './page-request-queue.js';
import { createPageBatch, PageSearch } from './page-search.js';
import { RamSave } from './ram-save.js';
import { RateLimit } from './rate-limit.js';
import { createSourceCounters } from './source-counters.js';
import { createSourceSignals, ReturnPathPhase } from './source-signals.js';

export interface MigrationThreadData {
  readonly channel: ChannelDescriptor;
  readonly blocks: readonly RAMBlockDescriptor[];
  readonly status: SharedArrayBuffer;
  readonly signals: SharedArrayBuffer;
  readonly counters: SharedArrayBuffer;
  readonly queue: SharedArrayBuffer;
  readonly capabilities: Capabilities;
  readonly parameters: Parameters;
  readonly postcopyAfterPasses: number | undefined;
}

/** What the owner does for this thread. */
export type SourceOwnerCalls = {
  /** Stops the guest; whether it ran, told at once so that it can be started again if saving fails. */
  stopGuest: (nothing: undefined) => Promise<boolean>;
  saveGuest: (nothing: undefined) => Promise<Uint8Array>;
  startGuest: (nothing: undefined) => Promise<void>;
};

export type SourceEvent =
  | { readonly kind: 'status'; readonly status: MigrationStatus }
  | { readonly kind: 'pass'; readonly passes: number }
  /** The package has gone out. */
  | { readonly kind: 'switched' };

/** How it went; times in milliseconds. */
export interface MigrationThreadResult {
  readonly error: PlainError | undefined;
  readonly setupTimeMs: number;
  /** From the guest's stop to when the last byte it needs to start was sent. */
  readonly downtimeMs: number;
  /** The destination has all it needs to run the guest: it must never run here again. */
  readonly handedOver: boolean;
}

/** Pages a native call sends: many while nobody waits, few once somebody may. */
const PRECOPY_BATCH_PAGES = 128;
const POSTCOPY_BATCH_PAGES = 16;
/** Bytes that may wait in the kernel in postcopy, ahead of a requested page. */
const POSTCOPY_QUEUE_BYTES = 128 * 1024;
/** Rounds of discarding while the guest still runs, and the pages of the last that are few enough to leave. */
const EARLY_DISCARD_ROUNDS = 4;
const FEW_PAGES = 128;
/** Milliseconds after which a PART makes way for a look around. */
const ITERATION_MS = 50;
/** Milliseconds to wait for a pong, or for the return path's end, before a look whether the peer is still there. */
const PATIENCE_MS = 1000;
/** Milliseconds to wait for a pong before going on without. */
const PONG_PATIENCE_MS = 5000;

function nowMs(): number {
  return native().monotonicUs() / 1000;
}

class MigrationThread {
  readonly #data: MigrationThreadData;
  readonly #thread: ThreadContext<SourceEvent, SourceOwnerCalls>;
  readonly #stream: OutgoingStream;
  readonly #state: MigrationStateCell;
  readonly #signals;
  readonly #counters;
  readonly #dirty: readonly PageBitmap[];
  readonly #hostPages: readonly number[];
  readonly #queue: PageRequestQueue;
  readonly #batch = createPageBatch(PRECOPY_BATCH_PAGES);
  readonly #search: PageSearch;
  readonly #save: RamSave;
  readonly #limit: RateLimit;
  readonly #credit = new CreditWindow(Ping.PLACED, native().monotonicUs());
  readonly #meter = new BandwidthMeter(nowMs());
  readonly #startMs = nowMs();
  #dirtyLog: DirtyLog | undefined;
  #passes = 0;
  #setupTimeMs = 0;
  #downtimeMs = 0;
  #stopMs = 0;
  #guestRan = false;
  #inPostcopy = false;
  #handedOver = false;

  constructor(data: MigrationThreadData, thread: ThreadContext<SourceEvent, SourceOwnerCalls>) {
    this.#data = data;
    this.#thread = thread;
    this.#state = new MigrationStateCell(data.status);
    this.#signals = createSourceSignals(data.signals);
    this.#counters = createSourceCounters(data.counters);
    this.#stream = new OutgoingStream(new Channel(data.channel, thread.kick), this.#counters);
    this.#dirty = data.blocks.map(({ size }) => new PageBitmap(pageCount(size)));
    this.#queue = new PageRequestQueue(data.queue);
    this.#hostPages = data.blocks.map(({ pageSize }) => pageCount(pageSize));
    this.#search = new PageSearch(this.#dirty, this.#queue, this.#hostPages, thread.trace);
    this.#save = new RamSave(this.#stream, data.blocks, this.#counters, PRECOPY_BATCH_PAGES);
    this.#limit = new RateLimit(data.parameters.maxBandwidth, nowMs());
  }

  run(): MigrationThreadResult {
    let error: unknown;
    try {
      this.#setup();
      this.#loop();
    } catch (thrown) {
      error = thrown;
    }
    this.#dirtyLog?.stop();
    try {
      if (error !== undefined) this.#giveUp();
    } catch (restarting) {
      error ??= restarting; // the guest would not start again; what came before it says why it was asked to
    }
    return {
      error: error === undefined || error instanceof Kicked ? undefined : toPlainError(error),
      setupTimeMs: this.#setupTimeMs,
      downtimeMs: this.#downtimeMs,
      handedOver: this.#handedOver,
    };
  }

  /** S4 to S7. */
  #setup(): void {
    this.#stream.send(encode.encodeHeader());
    this.#stream.send(encode.encodeConfiguration({ machine: MACHINE_NAME }));
    if (this.#data.capabilities.postcopyRam) {
      const { pageSizeSummary } = new RAMList(this.#data.blocks);
      this.#stream.send(encode.encodeOpenReturnPath());
      this.#stream.send(encode.encodePing(Ping.SETUP));
      this.#stream.send(encode.encodePostcopyAdvise({ pageSizeSummary, targetPageSize: TARGET_PAGE_SIZE }));
    }
    // A switch at once sends nothing before the stop, so there is nothing to track.
    if (this.#data.postcopyAfterPasses !== 0) this.#dirtyLog = DirtyLog.start(this.#data.blocks);
    for (const bitmap of this.#dirty) bitmap.setAll();
    this.#counters.add('dirtySyncCount', 1);
    this.#save.sendBlockList(native().constants.HOST_PAGE_SIZE);
    this.#setupTimeMs = nowMs() - this.#startMs;
    this.#move('setup', 'active');
  }

  /** S8. */
  #loop(): void {
    for (;;) {
      this.#checkStillWanted();
      if (needsSync(this.#convergence())) this.#endPass();
      const step = nextStep(this.#convergence());
      if (step === 'complete') return this.#complete();
      if (step === 'start-postcopy') this.#startPostcopy();
      if (this.#maySend()) this.#iterate('PART');
      this.#rest();
    }
  }

  /** S9: when it returns the guest runs at the destination. */
  #startPostcopy(): void {
    this.#move('active', 'postcopy-active');
    const discarded = this.#dirty.map(({ pageCount }) => new PageBitmap(pageCount));
    this.#discardWhileRunning(discarded);
    this.#stopGuest();
    this.#sync();
    this.#sendDiscards(discarded);
    this.#limit.reset(this.#data.parameters.maxPostcopyBandwidth, nowMs());
    this.#stream.limitQueue(POSTCOPY_QUEUE_BYTES);
    this.#stream.send(encode.encodePing(Ping.STOPPED));
    this.#stream.send(encode.encodePackaged(this.#package()));
    this.#handedOver = true;
    this.#inPostcopy = true;
    this.#search.sendWholeHostPages();
    this.#save.forgetLastBlock();
    this.#downtimeMs = nowMs() - this.#stopMs;
    this.#thread.emit({ kind: 'switched' });
    this.#stream.send(encode.encodePing(Ping.AFTER_PACKAGE));
  }

  /**
   * Most of the discarding is done before the guest stops, to keep it out of the downtime: what is
   * dirty now will be dirty then, so nothing more of it is sent before the switch. Each round leaves
   * what the guest wrote while the one before was carried out, until that is little. The pong says
   * that the destination has done it, and has no pages of the precopy left to load.
   */
  #discardWhileRunning(discarded: readonly PageBitmap[]): void {
    if (this.#dirtyLog === undefined) return;
    for (let round = 1; round <= EARLY_DISCARD_ROUNDS; round += 1) {
      this.#sync();
      const pages = this.#sendDiscards(discarded);
      this.#stream.send(encode.encodePing(Ping.DISCARDED + round));
      this.#awaitPong(Ping.DISCARDED + round);
      if (pages <= FEW_PAGES) return;
    }
  }

  /** S10: what is left, then the end of the stream; the destination has the last word. */
  #complete(): void {
    if (!this.#inPostcopy) this.#startCompletion();
    this.#iterate('END');
    if (this.#inPostcopy) this.#stream.send(encode.encodeEof());
    else this.#handOver();
    this.#awaitReturnPathClose();
    this.#move(this.#inPostcopy ? 'postcopy-active' : 'device', 'completed');
  }

  /** From here on there is no cancelling: the end of the stream lets the destination run the guest. */
  #startCompletion(): void {
    this.#move('active', 'device');
    this.#stopGuest();
    this.#limit.reset(0, nowMs());
    this.#sync();
  }

  #handOver(): void {
    for (const piece of this.#deviceSections()) this.#stream.send(piece);
    this.#handedOver = true;
    this.#stream.send(encode.encodeEof());
    this.#stream.send(encode.encodeVmDescription(JSON.stringify({ page_size: TARGET_PAGE_SIZE, devices: [] })));
    this.#downtimeMs = nowMs() - this.#stopMs;
  }

  /** One section of page records: a PART until clock or rate limit say stop, the END until nothing is dirty. */
  #iterate(kind: 'PART' | 'END'): void {
    const endMs = nowMs() + ITERATION_MS;
    const batchPages = this.#inPostcopy ? POSTCOPY_BATCH_PAGES : PRECOPY_BATCH_PAGES;
    const before = this.#stream.offset;
    this.#save.beginSection(kind);
    // A host page stays in one section, as QEMU sends it.
    const goesOn = () => kind === 'END' || this.#search.isUnderWay || (this.#maySend() && nowMs() < endMs);
    while (goesOn() && this.#search.next(this.#batch, batchPages)) {
      const batchStart = this.#stream.offset;
      this.#save.savePages(this.#batch);
      // What somebody waits for is never held back, so it does not count.
      if (this.#batch.urgent) continue;
      this.#limit.count(this.#stream.offset - batchStart);
      if (this.#inPostcopy) this.#credit.count(this.#stream.offset - batchStart);
    }
    this.#save.endSection();
    if (this.#credit.pingIsDue) this.#stream.send(encode.encodePing(this.#credit.ping(native().monotonicUs())));
    this.#counters.add(this.#inPostcopy ? 'postcopyBytes' : 'precopyBytes', this.#stream.offset - before);
  }

  /** Somebody waits for pages, or neither rate limit nor credit says that it is enough for now. */
  #maySend(): boolean {
    if (this.#queue.length > 0) return true;
    return this.#limit.restMs(nowMs()) === 0 && this.#credit.isOpen && !this.#credit.pingIsDue;
  }

  /** Over the rate limit, or with enough on its way: sleeps until there is something to see to. */
  #rest(): void {
    const now = nowMs();
    this.#meter.measure(now, this.#stream.offset);
    this.#counters.set('bandwidth', this.#meter.bytesPerSecond);
    const attention = this.#signals.get('ATTENTION');
    this.#credit.pong(this.#signals.get('PONG_PLACED'), native().monotonicUs());
    const restMs = this.#credit.isOpen ? this.#limit.restMs(now) : PATIENCE_MS;
    if (restMs > 0 && this.#queue.length === 0) this.#signals.waitWhile('ATTENTION', attention, restMs);
  }

  #sync(): void {
    this.#dirtyLog?.sync(this.#dirty);
    this.#counters.add('dirtySyncCount', 1);
  }

  #endPass(): void {
    this.#sync();
    this.#passes += 1;
    this.#thread.emit({ kind: 'pass', passes: this.#passes });
  }

  #convergence(): Convergence {
    const pages = this.#dirty.reduce((sum, bitmap) => sum + bitmap.count(), 0);
    this.#counters.set('remainingPages', pages);
    return {
      pendingBytes: pages * TARGET_PAGE_SIZE,
      thresholdBytes: (this.#meter.bytesPerSecond * this.#data.parameters.downtimeLimit) / 1000,
      inPostcopy: this.#inPostcopy,
      postcopyAsked: this.#data.capabilities.postcopyRam && this.#signals.get('START_POSTCOPY') === 1,
      passes: this.#passes,
      postcopyAfterPasses: this.#data.postcopyAfterPasses,
    };
  }

  /** Discards what is dirty and not in `discarded` yet, and adds it there. Returns how many pages that were. */
  #sendDiscards(discarded: readonly PageBitmap[]): number {
    let pages = 0;
    for (const [index, { idstr }] of this.#data.blocks.entries()) {
      canonicalize(this.#dirty[index], this.#hostPages[index]);
      const fresh = newlyDirty(this.#dirty[index], discarded[index]);
      const commands = concatenate([...discardCommands(idstr, fresh)]);
      if (commands.length > 0) this.#stream.send(commands);
      pages += fresh.count();
    }
    return pages;
  }

  /** A destination that is slow to answer only costs downtime, so it is not waited for without end. */
  #awaitPong(value: number): void {
    const endMs = nowMs() + PONG_PATIENCE_MS;
    for (let pong = this.#signals.get('PONG'); pong !== value && nowMs() < endMs; pong = this.#signals.get('PONG')) {
      this.#signals.waitWhile('PONG', pong, PATIENCE_MS);
      this.#checkStillWanted();
    }
  }

  #stopGuest(): void {
    this.#guestRan = this.#thread.owner.call('stopGuest', undefined);
    this.#stopMs = nowMs();
  }

  #deviceSections(): Uint8Array[] {
    return deviceSections(this.#thread.owner.call('saveGuest', undefined), this.#guestRan);
  }

  #package(): Uint8Array {
    return concatenate([
      encode.encodePostcopyListen(),
      ...this.#deviceSections(),
      encode.encodePing(Ping.PACKAGE),
      encode.encodePostcopyRun(),
    ]);
  }

  #awaitReturnPathClose(): void {
    if (this.#signals.get('RETURN_PATH') === ReturnPathPhase.NONE) return;
    while (this.#signals.get('RETURN_PATH') === ReturnPathPhase.OPEN) {
      this.#signals.waitWhile('RETURN_PATH', ReturnPathPhase.OPEN, PATIENCE_MS);
      this.#checkStillWanted();
    }
    this.#checkStillWanted();
  }

  /** Throws where there is no use in going on: cancelled, or the return path broken. */
  #checkStillWanted(): void {
    if (this.#state.status === 'cancelling') throw new Kicked();
    const phase = this.#signals.get('RETURN_PATH');
    if (phase === ReturnPathPhase.BROKEN) {
      throw new MigrationError('PEER_GONE', `the return path from ${this.#stream.peer} broke`);
    }
    if (phase === ReturnPathPhase.REFUSED) {
      // At the end of a precopy it says so before it runs the guest; in postcopy it may have run.
      if (!this.#inPostcopy) this.#handedOver = false;
      throw new MigrationError('PEER_FAILED', `${this.#stream.peer} failed`);
    }
  }

  /** After an error or a cancel: the final status, and the guest runs on here if it still may. */
  #giveUp(): void {
    for (let { status } = this.#state; !isFinal(status); { status } = this.#state) {
      const final = status === 'cancelling' ? 'cancelled' : 'failed';
      if (this.#state.move(status, final)) this.#thread.emit({ kind: 'status', status: final });
    }
    if (this.#guestRan && !this.#handedOver) this.#thread.owner.call('startGuest', undefined);
  }

  #move(from: MigrationStatus, to: MigrationStatus): void {
    if (this.#state.move(from, to)) this.#thread.emit({ kind: 'status', status: to });
    else this.#checkStillWanted();
  }
}

runThread<MigrationThreadData, MigrationThreadResult, SourceEvent, SourceOwnerCalls>((data, thread) =>
  new MigrationThread(data, thread).run(),
);
