/**
 * Preempt thread of the destination, with the capability postcopy-preempt: parked until LISTEN, then takes in the pages
 * that come over the preempt channel, where those that were asked for never wait behind others. Page records alone,
 * ended by an EOS.
 *
 * The listen thread says when there is a channel to read, and has this one stop when the migration pauses
 * (preempt-control.ts). A channel that breaks breaks the main connection, too: one of them alone is of no use.
 */
import type { MessagePort } from 'node:worker_threads';
import { Channel } from '../channel/channel.js';
import { accept } from '../channel/connect.js';
import { toPlainError } from '../errors.js';
import { native, type SocketHandle } from '../native.js';
import { Kicked } from '../threads/kicked.js';
import { runThread, type ThreadContext } from '../threads/thread.js';
import type { StreamContext } from '../wire/decode.js';
import { createDestinationCounters, type DestinationCounters } from './destination-counters.js';
import { createDestinationSignals, type DestinationSignals, Preempt } from './destination-signals.js';
import type { DestinationEvent } from './main-thread.js';
import { type IntakeAccounts, type IntakeMemory, PageIntake } from './page-intake.js';
import { awaitWork } from './parked-work.js';
import { isOfConnection } from './recovery.js';
import { SourceLink } from './source-link.js';
import { ARENA_BYTES, StreamReader } from './stream-reader.js';

export interface PreemptThreadData extends IntakeAccounts {
  /** Milliseconds for which the source's host may give no sign of life; 0 is no limit. */
  readonly peerTimeoutMs: number;
  /** From the main thread: one {@link PreemptThreadWork}. */
  readonly work: MessagePort;
  /** To the listen thread: why the channel broke, as a PlainError, before the main connection is broken for it. */
  readonly errors: MessagePort;
}

/** What the main thread hands over at LISTEN. */
export interface PreemptThreadWork extends IntakeMemory {
  readonly context: StreamContext;
}

const PEER = 'the source, on the preempt channel';

type Context = ThreadContext<DestinationEvent, Record<string, never>>;

class PreemptThread {
  readonly #data: PreemptThreadData;
  readonly #thread: Context;
  readonly #signals: DestinationSignals;
  readonly #counters: DestinationCounters;
  readonly #context: StreamContext;
  readonly #arena = new SharedArrayBuffer(ARENA_BYTES);
  readonly #intake: PageIntake;
  readonly #link: SourceLink;

  constructor(data: PreemptThreadData, work: PreemptThreadWork, thread: Context) {
    this.#data = data;
    this.#thread = thread;
    this.#signals = createDestinationSignals(data.signals);
    this.#counters = createDestinationCounters(data.counters);
    this.#context = work.context;
    this.#intake = new PageIntake(data, work, new Uint8Array(this.#arena), thread.trace);
    this.#link = new SourceLink(this.#signals, PEER, thread.kick);
  }

  /** Channel after channel, until no more is needed. */
  run(): void {
    const signals = this.#signals;
    while (signals.get('PREEMPT') !== Preempt.ENDED) {
      signals.waitWhile('PREEMPT', Preempt.IDLE);
      native().eventfdDrain(this.#thread.kick); // of the last stop
      if (signals.get('RELEASED') === 1) throw new Kicked();
      if (signals.get('PREEMPT') === Preempt.READING) this.#readChannel();
      signals.exchange('PREEMPT', Preempt.READING, Preempt.IDLE);
      signals.exchange('PREEMPT', Preempt.STOPPING, Preempt.IDLE);
    }
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

  /** The one that the main thread had found already, or the next that comes. */
  #connection(): SocketHandle {
    const found = this.#signals.get('PREEMPT_SOCKET');
    if (found !== 0) return found as SocketHandle;
    const listener = this.#signals.get('PREEMPT_AT') as SocketHandle;
    const socket = accept(listener, this.#thread.kick);
    this.#signals.set('PREEMPT_SOCKET', socket);
    const recoveries = this.#signals.get('RECOVERIES');
    this.#thread.emit({ kind: 'preempt-channel', socket, listener, recoveries });
    const { peerTimeoutMs } = this.#data;
    if (peerTimeoutMs > 0) native().socketSetPeerTimeout(socket, peerTimeoutMs);
    return socket;
  }

  #read(socket: SocketHandle): void {
    const channel = new Channel({ socket, peer: PEER }, this.#thread.kick);
    const reader = StreamReader.ofPreemptChannel(channel, this.#arena, this.#counters, this.#context);
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

runThread<PreemptThreadData, void, DestinationEvent>((data, thread) => {
  const signals = createDestinationSignals(data.signals);
  const work = awaitWork<PreemptThreadWork>(signals, 'LISTEN', data.work);
  if (work === undefined) return;
  try {
    new PreemptThread(data, work, thread).run();
  } finally {
    signals.set('PREEMPT', Preempt.ENDED);
  }
});
