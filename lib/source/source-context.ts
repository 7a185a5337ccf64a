/**
 * What the steps of the migration thread work on, and what they all need to do: change the state, look
 * whether the migration is still wanted, wait, ping, have the guest stopped and saved, hand it over.
 */
import { Channel, type ChannelDescriptor } from '../channel/channel.js';
import { MigrationError, type PlainError } from '../errors.js';
import type { Machine } from '../memory/guest.js';
import type { RAMBlockDescriptor } from '../memory/ram-block.js';
import type { WriteLogDescriptor } from '../memory/write-log.js';
import { native, type SocketHandle } from '../native.js';
import { type Capabilities, signOfLifeMs } from '../options.js';
import { FairLock } from '../threads/fair-lock.js';
import { Kicked } from '../threads/kicked.js';
import type { ThreadContext } from '../threads/thread.js';
import { encodePing, encodeRamEos } from '../wire/encode.js';
import { Ping } from '../wire/protocol.js';
import { nowMs } from './clock.js';
import { type DirtyPeriod, DirtyRate } from './dirty-rate.js';
import { createLaneWords, type LaneDescriptor } from './lane.js';
import { LiveParameters } from './live-parameters.js';
import { isSetupOrActive, MigrationStateCell, type MigrationStatus, migrationStatuses } from './migration-state.js';
import { type OutgoingMachine, outgoingMachine } from './outgoing-machine.js';
import { OutgoingStream } from './outgoing-stream.js';
import { Pacing } from './pacing.js';
import { PageRequestQueue } from './page-request-queue.js';
import { RamState } from './ram-state.js';
import type { SourceBitmapsDescriptor } from './source-bitmaps.js';
import { createSourceCounters } from './source-counters.js';
import { createSourceSignals, ReturnPathPhase } from './source-signals.js';

export interface MigrationThreadData {
  readonly channel: ChannelDescriptor;
  readonly blocks: readonly RAMBlockDescriptor[];
  /** Of a guest that is none of ours. */
  readonly machine: Machine | undefined;
  /** Of a guest whose writes are found otherwise than by write protection. */
  readonly writeLog: WriteLogDescriptor | undefined;
  readonly status: SharedArrayBuffer;
  readonly signals: SharedArrayBuffer;
  readonly counters: SharedArrayBuffer;
  readonly queue: SharedArrayBuffer;
  readonly bitmaps: SourceBitmapsDescriptor;
  /** See `UrgentPagesData`. */
  readonly urgentLock: SharedArrayBuffer;
  /** As many as the destination is asked to take. */
  readonly lanes: readonly LaneDescriptor[];
  readonly capabilities: Capabilities;
  /** Of {@link LiveParameters}. */
  readonly parameters: SharedArrayBuffer;
  readonly postcopyAfterPasses: number | undefined;
  /** Milliseconds of silence after which the destination is taken to be gone; 0 is never. */
  readonly peerTimeoutMs: number;
  /** When the preempt channel is opened, with the capability. */
  readonly preemptChannel: 'setup' | 'switch';
  /** Whether the guest runs as the migration begins. */
  readonly guestRuns: boolean;
}

/** What the owner does for this thread. */
export type SourceOwnerCalls = {
  /** Stops the guest; whether it ran. */
  stopGuest: (nothing: undefined) => Promise<boolean>;
  saveGuest: (nothing: undefined) => Promise<Uint8Array>;
  /** Makes the second connection, for requested pages. */
  openPreemptChannel: (nothing: undefined) => Promise<void>;
  /** The migration pauses for that reason. Answered with the connection to go on with; never, or by an error, else. */
  awaitRecovery: (reason: PlainError) => Promise<ChannelDescriptor>;
};

/** How what the guest writes is found; `none`: not at all, so no page is sent while it runs here. */
export type DirtyTracking = 'wp-async' | WriteLogDescriptor['kind'] | 'none';

export type SourceEvent =
  | { readonly kind: 'status'; readonly status: MigrationStatus }
  | { readonly kind: 'tracking'; readonly tracking: DirtyTracking }
  | { readonly kind: 'pass'; readonly passes: number }
  /** The guest should be held back for that percentage of the time. */
  | { readonly kind: 'throttle'; readonly percent: number }
  /** Something is not as it was asked for, and the migration goes on without. */
  | { readonly kind: 'warning'; readonly warning: PlainError }
  /** The package has gone out. */
  | { readonly kind: 'switched' }
  /** A ping of a step has gone; `atUs`: CLOCK_MONOTONIC. */
  | { readonly kind: 'ping'; readonly value: number; readonly atUs: number };

export class SourceContext {
  readonly data: MigrationThreadData;
  readonly thread: ThreadContext<SourceEvent, SourceOwnerCalls>;
  readonly machine: OutgoingMachine;
  readonly stream: OutgoingStream;
  readonly parameters: LiveParameters;
  readonly pacing: Pacing;
  readonly ram: RamState;
  readonly signals;
  readonly counters;
  readonly #state: MigrationStateCell;
  readonly #dirtyRate: DirtyRate;
  #guestRan = false;
  #stopMs = 0;
  #inPostcopy = false;
  #hasSentAll = false;

  constructor(data: MigrationThreadData, thread: ThreadContext<SourceEvent, SourceOwnerCalls>) {
    this.data = data;
    this.thread = thread;
    this.signals = createSourceSignals(data.signals);
    this.counters = createSourceCounters(data.counters);
    this.stream = new OutgoingStream(new Channel(data.channel, thread.kick), this.counters);
    const queue = new PageRequestQueue(data.queue);
    this.parameters = new LiveParameters(data.parameters);
    this.pacing = new Pacing(queue, this.signals, thread.trace, this.parameters, signOfLifeMs(data.peerTimeoutMs));
    this.machine = outgoingMachine(data.machine);
    const { ramSection } = this.machine;
    this.ram = new RamState(data, ramSection, this.stream, queue, this.counters, thread.trace);
    this.#state = new MigrationStateCell(data.status);
    this.#dirtyRate = new DirtyRate(nowMs(), 0);
  }

  get status(): MigrationStatus {
    return this.#state.status;
  }

  get trace() {
    return this.thread.trace;
  }

  /** The package has gone: the destination has the guest, or is about to, and asks for its pages. */
  get inPostcopy(): boolean {
    return this.#inPostcopy;
  }

  /** The destination loads the device state, and has not been told to run the guest: it may still run on here. */
  get isHandingOver(): boolean {
    return this.status === 'postcopy-device';
  }

  /** Whether it ran when {@link stopGuest} stopped it. */
  get guestRan(): boolean {
    return this.#guestRan;
  }

  /** Throws where somebody else has changed the state meanwhile: it was cancelled, or its guest has died. */
  move(from: MigrationStatus, to: MigrationStatus): void {
    if (!this.#state.move(from, to)) throw new Kicked();
    this.thread.emit({ kind: 'status', status: to });
    this.trace.at('migrate_set_state', migrationStatuses.indexOf(to));
  }

  /** Throws where there is no use in going on: cancelled, the guest dead, or the return path broken. */
  checkStillWanted(): void {
    if (!isSetupOrActive(this.#state.status)) throw new Kicked();
    const phase = this.signals.get('RETURN_PATH');
    const { peer, offset } = this.stream;
    if (phase === ReturnPathPhase.BROKEN) {
      throw new MigrationError('PEER_GONE', `the return path from ${peer} broke at offset ${offset} of the stream`, {
        offset,
      });
    }
    if (phase === ReturnPathPhase.CLOSED && !this.#hasSentAll) {
      throw new MigrationError('PEER_FAILED', `${peer} said that it is done, at offset ${offset} of the stream`, {
        offset,
        hint: 'it has not had all of RAM; look at the destination for why it ended',
      });
    }
    if (phase === ReturnPathPhase.REFUSED) {
      // At the end of a precopy it says so before it runs the guest; in postcopy it may have run.
      if (!this.#inPostcopy) this.signals.set('HANDED_OVER', 0);
      throw new MigrationError('PEER_FAILED', `${peer} failed at offset ${offset} of the stream`, { offset });
    }
  }

  /** Sleeps until `isSo`, which is looked at when something changes, or the time is over. Throws as the above. */
  waitUntil(isSo: () => boolean, patienceMs = Number.POSITIVE_INFINITY): void {
    const endMs = nowMs() + patienceMs;
    for (;;) {
      const attention = this.signals.get('ATTENTION');
      this.checkStillWanted();
      const leftMs = endMs - nowMs();
      if (isSo() || leftMs <= 0) return;
      this.signals.waitWhile('ATTENTION', attention, leftMs);
    }
  }

  ping(value: number): void {
    this.trace.at('savevm_send_ping', value);
    this.stream.send(encodePing(value));
    if (value < Ping.PLACED) this.thread.emit({ kind: 'ping', value, atUs: native().monotonicUs() });
  }

  /** A dirty sync; the period of the dirty rate that ended with it, if one did. */
  sync(): DirtyPeriod | undefined {
    const pages = this.ram.sync();
    const period = this.#dirtyRate.count(nowMs(), pages, this.counters.get('transferred'));
    if (period !== undefined) this.counters.set('dirtyPagesRate', period.pagesPerSecond);
    return period;
  }

  stopGuest(): void {
    this.#guestRan = this.thread.owner.call('stopGuest', undefined);
    this.#stopMs = nowMs();
    this.trace.at('migration_guest_stopped', this.#guestRan ? 1 : 0);
    if (this.#guestRan && !this.ram.isLogged && this.counters.get('precopyBytes') > 0) {
      throw new MigrationError('PRECOPY_UNAVAILABLE', 'the guest was started while its memory was sent untracked', {
        hint: 'leave the guest stopped until the migration has ended, or switch on postcopyRam',
      });
    }
  }

  /** The sections of the guest's devices, saved now. */
  saveDevices(): readonly Uint8Array[] {
    return this.machine.deviceSections(this.thread.owner.call('saveGuest', undefined), this.#guestRan);
  }

  /**
   * Sends the bytes with which the destination has all it needs to run the guest. Only where they have not
   * all gone is the guest still this side's.
   */
  handOver(bytes: Uint8Array): void {
    this.signals.set('HANDED_OVER', 1);
    try {
      this.stream.send(bytes);
    } catch (error) {
      this.signals.set('HANDED_OVER', 0);
      throw error;
    }
  }

  /** The destination was told to run the guest, or may be: it never runs here again. */
  confirmHandOver(): void {
    this.move('postcopy-device', 'postcopy-active');
    this.signals.set('HANDED_OVER', 1);
  }

  /** The end of the stream goes: the destination may say that it is done, and in postcopy has to in time. */
  sentAll(): void {
    this.#hasSentAll = true;
  }

  enterPostcopy(): void {
    this.#inPostcopy = true;
    this.ram.enterPostcopy();
    this.signals.set('SIGNS_DUE', 1);
  }

  /** Ends the preempt channel and the lanes, where there are any. Every page that was taken has gone by then. */
  endDemandChannels(): void {
    const { urgentLock, lanes } = this.data;
    this.#endDemandChannel(this.signals.get('PREEMPT'), urgentLock);
    for (const lane of lanes) this.#endLane(createLaneWords(lane.words).get('SOCKET'), lane.urgentLock);
  }

  /** One that the destination has closed, as it may while nothing is on it, has ended. */
  #endLane(socket: number, urgentLock: SharedArrayBuffer): void {
    try {
      this.#endDemandChannel(socket, urgentLock);
    } catch (error) {
      if (!(error instanceof MigrationError && error.code === 'PEER_GONE')) throw error;
    }
  }

  #endDemandChannel(socket: number, urgentLock: SharedArrayBuffer): void {
    if (socket === 0) return;
    const lock = new FairLock(urgentLock);
    lock.acquire();
    try {
      const channel = { socket: socket as SocketHandle, peer: this.stream.peer };
      new Channel(channel, this.thread.kick).send(encodeRamEos());
    } finally {
      lock.release();
    }
  }

  /** Pauses, until there is another connection, which the stream goes on with. Throws Kicked where it is given up. */
  awaitRecovery(reason: PlainError): void {
    this.signals.set('SIGNS_DUE', 0);
    this.stream.shutDown();
    const channel = this.#nextChannel(reason);
    this.#hasSentAll = false;
    this.stream.reconnect(new Channel(channel, this.thread.kick));
    // That there is a connection is a sign of life: a silence on it is another one than that of the last.
    this.signals.bump('HEARD');
    this.signals.set('SIGNS_DUE', 1);
  }

  #nextChannel(reason: PlainError): ChannelDescriptor {
    try {
      return this.thread.owner.call('awaitRecovery', reason);
    } catch {
      throw new Kicked(); // the owner knows why
    }
  }

  /** All that the guest needs to start has gone. */
  endDowntime(): void {
    const downtimeMs = nowMs() - this.#stopMs;
    this.counters.set('downtime', downtimeMs);
    this.trace.at('migration_downtime_end', downtimeMs * 1000);
  }
}
