/**
 * One connection of an outgoing migration: the main channel with the return path thread that reads the other direction
 * of it, and beside it the preempt channel, or lanes with a thread each. After a loss there is another. Owner only.
 */
import type { ChannelDescriptor } from '../channel/channel.js';
import { native, type SocketHandle } from '../native.js';
import type { Thread } from '../threads/thread.js';
import type { LaneWords } from './lane.js';
import { Resume, ReturnPathPhase, type SourceSignals } from './source-signals.js';

/** Milliseconds for the destination's last word to come when the stream has broken. */
const LAST_WORD_MS = 1000;

/** A lane at this side. */
export interface LaneEnd {
  readonly socket: SocketHandle;
  readonly thread: Thread<void>;
  readonly words: LaneWords;
}

export class SourceConnection {
  readonly channel: ChannelDescriptor;
  readonly #signals: SourceSignals;
  #preempt: SocketHandle | undefined;
  readonly #lanes: LaneEnd[] = [];
  /** What the first lane that failed has failed with. */
  #laneError: Error | undefined;
  #thread: Thread<void> | undefined;
  #closed: Promise<Error | undefined> | undefined;

  /** Takes over `socket`. `peerTimeoutMs` as the option; `peer` names the other end in messages. */
  constructor(socket: SocketHandle, peer: string, peerTimeoutMs: number, signals: SourceSignals) {
    this.channel = { socket, peer };
    this.#signals = signals;
    setPeerTimeout(socket, peerTimeoutMs);
  }

  /** The second connection, for requested pages. */
  addPreemptChannel(socket: SocketHandle, peerTimeoutMs: number): void {
    this.#preempt = socket;
    setPeerTimeout(socket, peerTimeoutMs);
    this.#signals.set('PREEMPT', socket);
  }

  /** A lane, with its thread; `words` tell the migration thread of it. Of no use where the connection is closed. */
  addLane(lane: LaneEnd, peerTimeoutMs: number): void {
    this.#lanes.push(lane);
    setPeerTimeout(lane.socket, peerTimeoutMs);
    lane.words.set('SOCKET', lane.socket);
    void lane.thread.ended.then((outcome) => {
      if (outcome.kind !== 'failed') return;
      this.#laneError ??= outcome.error;
      this.break(); // a page may have been taken that was not sent
    });
    if (this.#closed !== undefined) void this.#closeLanes();
  }

  /** Starts the thread; throws where it does not start. `onFailure` is told how it failed, whenever that is. */
  async openReturnPath(start: () => Thread<void>, onFailure: (error: Error) => void): Promise<void> {
    this.#signals.set('RETURN_PATH', ReturnPathPhase.OPEN);
    const thread = start();
    this.#thread = thread;
    void thread.ended.then((outcome) => {
      // It says itself how it ended, unless it never began or was torn down.
      if (this.#signals.exchange('RETURN_PATH', ReturnPathPhase.OPEN, ReturnPathPhase.BROKEN)) {
        this.#signals.bump('ATTENTION');
      }
      if (outcome.kind !== 'failed') return;
      onFailure(outcome.error);
      // Who sends to a peer that has closed with its window shut would wait until tcp gives up.
      if (this.#signals.get('RETURN_PATH') === ReturnPathPhase.BROKEN) this.break();
    });
    await thread.ready;
    if (this.#signals.get('RETURN_PATH') !== ReturnPathPhase.BROKEN) return;
    const outcome = await thread.ended;
    if (outcome.kind === 'failed') throw outcome.error;
  }

  /** Breaks it: whoever blocks on it, here or at the other end, learns of it. Harmless when it is closed. */
  break(): void {
    if (this.#closed !== undefined) return;
    const { socketShutdown } = native();
    socketShutdown(this.channel.socket);
    if (this.#preempt !== undefined) socketShutdown(this.#preempt);
    for (const { socket } of this.#lanes) socketShutdown(socket);
  }

  /**
   * Waits for the return path thread and closes the sockets; what that thread failed with, if it did. `how`: its end is
   * near anyway, or it has a moment for what the destination said last, or none. More than once gives the same.
   */
  close(how: 'ending' | 'patient' | 'now'): Promise<Error | undefined> {
    this.#closed ??= this.#close(how);
    return this.#closed;
  }

  async #close(how: 'ending' | 'patient' | 'now'): Promise<Error | undefined> {
    const error = await this.#joinThread(how);
    this.#signals.set('PREEMPT', 0);
    this.#signals.set('LANES_OPEN', 0);
    await this.#closeLanes();
    native().socketClose(this.channel.socket);
    if (this.#preempt !== undefined) native().socketClose(this.#preempt);
    return this.#laneError ?? error;
  }

  async #closeLanes(): Promise<void> {
    const lanes = this.#lanes.splice(0);
    this.#signals.exchange('RESUME', Resume.SENT, Resume.NOT_YET); // it will not be acknowledged any more
    for (const { thread, words } of lanes) {
      words.set('SOCKET', 0);
      thread.kick();
    }
    for (const { thread, socket } of lanes) {
      await thread.ended;
      native().socketClose(socket);
    }
  }

  async #joinThread(how: 'ending' | 'patient' | 'now'): Promise<Error | undefined> {
    const thread = this.#thread;
    if (thread === undefined) return undefined;
    const patienceMs = how === 'patient' ? LAST_WORD_MS : 0;
    const patience = how === 'ending' ? undefined : setTimeout(() => thread.kick(), patienceMs);
    const outcome = await thread.ended;
    clearTimeout(patience);
    return outcome.kind === 'failed' ? outcome.error : undefined;
  }
}

function setPeerTimeout(socket: SocketHandle, peerTimeoutMs: number): void {
  if (peerTimeoutMs > 0) native().socketSetPeerTimeout(socket, peerTimeoutMs);
}
