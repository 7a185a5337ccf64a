/**
 * How the listen thread has the demand threads read their channels, stop, and come to their end. Without such threads
 * there is nothing to do.
 */
import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import { fromPlainError } from '../errors.js';
import { type EventfdHandle, native, type SocketHandle } from '../native.js';
import { createDemandChannelWords, type DemandChannelWords, DemandKind, DemandPhase } from './demand-channel.js';

/** A demand thread, for who controls it. */
export interface DemandThreadHandles {
  readonly kick: EventfdHandle;
  /** Of {@link DemandChannelWords}. */
  readonly words: SharedArrayBuffer;
}

/** Where the thread says why its channel broke, as a PlainError, before the main connection is broken for it. */
export interface DemandErrors {
  readonly errors: MessagePort;
}

/** A connection that the main thread has accepted. */
export interface FoundChannel {
  readonly socket: SocketHandle;
  /** With the first word of a lane, which was read. */
  readonly hasGreeted: boolean;
}

/** Milliseconds for the end of a channel that brings no page any more, as all are here. */
const END_MS = 1000;

interface Controlled {
  readonly words: DemandChannelWords;
  readonly kick: EventfdHandle;
  readonly errors: MessagePort | undefined;
}

export class DemandControl {
  readonly #channels: readonly Controlled[];

  constructor(threads: readonly (DemandThreadHandles & Partial<DemandErrors>)[]) {
    this.#channels = threads.map(({ kick, words, errors }) => ({
      words: createDemandChannelWords(words),
      kick,
      errors,
    }));
  }

  /** Each that has not ended is to read a channel that comes to `listener`. */
  beginAll(listener: SocketHandle): void {
    for (const [index] of this.#channels.entries()) this.begin(index, listener, undefined);
  }

  /** One is to read the channel that comes to `listener`, or `come` if that has come already. */
  begin(index: number, listener: SocketHandle, come: FoundChannel | undefined): void {
    const { words } = this.#channels[index];
    words.set('AT', listener);
    words.set('SOCKET', come?.socket ?? 0);
    words.set('GREETED', come?.hasGreeted ? 1 : 0);
    words.exchange('PHASE', DemandPhase.IDLE, DemandPhase.READING);
  }

  /** Returns when none reads any more: they take in no page until they are told to begin again. */
  stop(): void {
    for (const { words, kick } of this.#channels) {
      if (words.exchange('PHASE', DemandPhase.READING, DemandPhase.STOPPING)) native().eventfdSignal(kick);
    }
    for (const { words } of this.#channels) words.waitWhile('PHASE', DemandPhase.STOPPING);
  }

  /**
   * The source has sent its last page: waits for the channels' ends, as there may be pages on them yet; for no longer
   * than a moment if `isAllHere`. A source without the capability never makes any.
   */
  awaitEnd(isAllHere: () => boolean): void {
    for (const { words } of this.#channels) {
      while (words.get('PHASE') === DemandPhase.READING && !isAllHere()) {
        if (!hasCome(words)) break;
        words.waitWhile('PHASE', DemandPhase.READING, END_MS);
      }
      if (hasCome(words)) words.waitWhile('PHASE', DemandPhase.READING, END_MS);
    }
  }

  /** They are not needed any more. */
  end(): void {
    this.stop();
    for (const [index] of this.#channels.entries()) this.endUnused(index);
  }

  /** One that does not read is not needed. */
  endUnused(index: number): void {
    this.#channels[index].words.exchange('PHASE', DemandPhase.IDLE, DemandPhase.ENDED);
  }

  /** Why one of them broke, if one did. */
  takeError(): Error | undefined {
    for (const { errors } of this.#channels) {
      const received = errors && receiveMessageOnPort(errors);
      if (received) return fromPlainError(received.message);
    }
    return undefined;
  }
}

/** Also where the thread is about to find it. Lanes are there before the guest is handed over, or not at all. */
function hasCome(words: DemandChannelWords): boolean {
  if (words.get('KIND') === DemandKind.LANE) return words.get('GREETED') === 1;
  if (words.get('SOCKET') !== 0) return true;
  try {
    return native().socketReadable(words.get('AT') as SocketHandle);
  } catch {
    return true; // the owner closes the listener when it has come
  }
}
