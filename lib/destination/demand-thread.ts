/**
 * Demand thread of the destination: parked until LISTEN, then takes in the pages that come over a demand channel
 * (demand-channel.ts), where those that were asked for never wait behind others. Page records alone, ended by an EOS;
 * on a lane behind the source's greeting.
 *
 * The listen thread says when there is a channel to read, and has this one stop when the migration pauses
 * (demand-control.ts). A channel that breaks breaks the main connection, too: one of them alone is of no use.
 */
import type { MessagePort } from 'node:worker_threads';
import { Channel } from '../channel/channel.js';
import { accept } from '../channel/connect.js';
import { toPlainError } from '../errors.js';
import { native, type SocketHandle } from '../native.js';
import { Kicked } from '../threads/kicked.js';
import { runThread, type ThreadContext } from '../threads/thread.js';
import type { StreamContext } from '../wire/decode.js';
import { LANE_MAGIC } from '../wire/protocol.js';
import { createDemandChannelWords, type DemandChannelWords, DemandKind, DemandPhase } from './demand-channel.js';
import type { DemandErrors } from './demand-control.js';
import { createDestinationCounters, type DestinationCounters } from './destination-counters.js';
import { createDestinationSignals, type DestinationSignals } from './destination-signals.js';
import type { DestinationEvent } from './main-thread.js';
import { type IntakeAccounts, type IntakeMemory, PageIntake } from './page-intake.js';
import { awaitWork } from './parked-work.js';
import { isOfConnection } from './recovery.js';
import { SourceLink } from './source-link.js';
import { ARENA_BYTES, StreamReader } from './stream-reader.js';

export interface DemandThreadData extends IntakeAccounts, DemandErrors {
  /** Which of them it is, from 0. */
  readonly index: number;
  /** Of {@link DemandChannelWords}. */
  readonly words: SharedArrayBuffer;
  /** Milliseconds for which the source's host may give no sign of life; 0 is no limit. */
  readonly peerTimeoutMs: number;
  /** From the main thread: one {@link DemandThreadWork}. */
  readonly work: MessagePort;
}

/** What the main thread hands over at LISTEN. */
export interface DemandThreadWork extends IntakeMemory {
  readonly context: StreamContext;
}

const peers = ['the source, on the preempt channel', 'the source, on a lane'] as const;
const GREETING_BYTES = 4;
const NONE = 0 as SocketHandle;

type Context = ThreadContext<DestinationEvent, Record<string, never>>;

class DemandThread {
  readonly #data: DemandThreadData;
  readonly #thread: Context;
  readonly #signals: DestinationSignals;
  readonly #words: DemandChannelWords;
  readonly #counters: DestinationCounters;
  readonly #context: StreamContext;
  readonly #arena = new SharedArrayBuffer(ARENA_BYTES);
  readonly #intake: PageIntake;
  readonly #link: SourceLink;
  /** The last socket that the owner has been told of. */
  #announced = NONE;

  constructor(data: DemandThreadData, work: DemandThreadWork, thread: Context) {
    this.#data = data;
    this.#thread = thread;
    this.#signals = createDestinationSignals(data.signals);
    this.#words = createDemandChannelWords(data.words);
    this.#counters = createDestinationCounters(data.counters);
    this.#context = work.context;
    this.#intake = new PageIntake(data, work, new Uint8Array(this.#arena), thread.trace);
    this.#link = new SourceLink(this.#signals, this.#peer, thread.kick);
  }

  get #peer(): string {
    return peers[this.#words.get('KIND')];
  }

  /** Channel after channel, until no more is needed. */
  run(): void {
    const words = this.#words;
    while (words.get('PHASE') !== DemandPhase.ENDED) {
      words.waitWhile('PHASE', DemandPhase.IDLE);
      native().eventfdDrain(this.#thread.kick); // of the last stop
      if (this.#signals.get('RELEASED') === 1) throw new Kicked();
      if (words.get('PHASE') === DemandPhase.READING) this.#readChannel();
      words.exchange('PHASE', DemandPhase.READING, DemandPhase.IDLE);
      words.exchange('PHASE', DemandPhase.STOPPING, DemandPhase.IDLE);
    }
  }

  /** Once it has ended. */
  close(): void {
    const socket = this.#words.get('SOCKET') as SocketHandle;
    if (socket !== NONE && socket !== this.#announced) native().socketClose(socket);
  }

  /** Returns where the channel has come to its end, has broken, or is to be read no more. */
  #readChannel(): void {
    try {
      this.#read(this.#connection());
    } catch (error) {
      if (error instanceof Kicked) {
        if (this.#signals.get('RELEASED') === 1) throw error;
      } else if (isOfConnection(error)) {
        if (this.#link.channel !== undefined) this.#data.errors.postMessage(toPlainError(error));
        this.#link.break();
      } else {
        throw error;
      }
    } finally {
      this.#intake.dropUnfinished();
    }
  }

  /** The one that the main thread had found already, or the next that comes; the owner's from here on. */
  #connection(): SocketHandle {
    const words = this.#words;
    const listener = words.get('AT') as SocketHandle;
    let socket = words.get('SOCKET') as SocketHandle;
    while (socket === NONE || !this.#isWanted(socket)) socket = accept(listener, this.#thread.kick);
    words.set('SOCKET', socket);
    words.set('GREETED', 1);
    const { index, peerTimeoutMs } = this.#data;
    const recoveries = this.#signals.get('RECOVERIES');
    this.#announced = socket;
    this.#thread.emit({ kind: 'demand-channel', index, socket, listener, recoveries });
    if (peerTimeoutMs > 0) native().socketSetPeerTimeout(socket, peerTimeoutMs);
    return socket;
  }

  /** Whoever comes as a lane and does not greet is turned away. */
  #isWanted(socket: SocketHandle): boolean {
    const words = this.#words;
    if (words.get('KIND') !== DemandKind.LANE || words.get('GREETED') === 1) return true;
    let isLane = false;
    try {
      isLane = this.#greets(socket);
    } catch (error) {
      if (!isOfConnection(error)) throw error;
    } finally {
      if (!isLane) {
        words.set('SOCKET', NONE);
        native().socketClose(socket);
      }
    }
    return isLane;
  }

  #greets(socket: SocketHandle): boolean {
    const channel = new Channel({ socket, peer: this.#peer }, this.#thread.kick);
    const greeting = new Uint8Array(GREETING_BYTES);
    for (let received = 0; received < GREETING_BYTES; ) {
      const bytes = channel.receive(greeting, received, GREETING_BYTES - received);
      if (bytes === 0) return false;
      received += bytes;
    }
    return new DataView(greeting.buffer).getUint32(0) === LANE_MAGIC;
  }

  #read(socket: SocketHandle): void {
    const channel = new Channel({ socket, peer: this.#peer }, this.#thread.kick);
    const reader = StreamReader.ofDemandChannel(channel, this.#arena, this.#counters, this.#context);
    this.#intake.bytesArrived();
    for (;;) {
      const record = reader.tryNext();
      if (record?.type === 'page') {
        this.#intake.add(record, reader.recordOffset);
        continue;
      }
      this.#intake.flush();
      this.#counters.set('postcopyBytes', this.#counters.get('transferred'));
      if (record?.type === 'ram-eos') return;
      if (record !== undefined) continue;
      if (!reader.fill()) reader.next(); // throws: the peer has gone
      this.#intake.bytesArrived();
    }
  }
}

runThread<DemandThreadData, void, DestinationEvent>((data, thread) => {
  const work = awaitWork<DemandThreadWork>(createDestinationSignals(data.signals), 'LISTEN', data.work);
  if (work === undefined) return;
  const demand = new DemandThread(data, work, thread);
  try {
    demand.run();
  } finally {
    createDemandChannelWords(data.words).set('PHASE', DemandPhase.ENDED);
    demand.close();
  }
});
