/**
 * One client's connection: what it sends is answered in order, and it is told events. What is kept for a client is
 * bounded: one that does not read is not read from, and is closed when it goes on like that.
 */
import type { Socket } from 'node:net';
import { JsonStream } from './json-stream.js';
import type { QmpSession } from './session.js';
import type { TurnAccount, Turns } from './turns.js';

/** Bytes that are kept for a client to read. */
const UNREAD_BYTES_MAX = 1024 * 1024;
/** Milliseconds for a client to read answers, when no more of them are kept. */
const UNREAD_MS = 30_000;
/** Milliseconds for a client to read the last it is told. */
const LAST_WORDS_MS = 1000;

/** How a request of a browser begins, which any page may have it send to this host: `POST /x HTTP/1.1`. */
const httpRequest = /^[A-Z]{3,7} /;

export interface ConnectionLimits {
  readonly unreadBytes: number;
  readonly unreadMs: number;
}

export const connectionLimits: ConnectionLimits = { unreadBytes: UNREAD_BYTES_MAX, unreadMs: UNREAD_MS };

export class QmpConnection {
  readonly #socket: Socket;
  readonly #session: QmpSession;
  readonly #turns: Turns;
  readonly #limits: ConnectionLimits;
  readonly #stream = new JsonStream();
  readonly #account: TurnAccount = { spentMs: 0 };
  /** Settled when what was asked last has been answered. */
  #answered: Promise<unknown> = Promise.resolve();
  #reason: string | undefined;

  /** Resolved once it is closed, with the reason where that was none of the client's own. Never rejects. */
  readonly closed: Promise<string | undefined>;

  /** Takes over `socket`, which is half open at an end, and greets. */
  constructor(socket: Socket, session: QmpSession, turns: Turns, greeting: string, limits = connectionLimits) {
    this.#socket = socket;
    this.#session = session;
    this.#turns = turns;
    this.#limits = limits;
    socket.on('error', () => {}); // closes it
    this.closed = new Promise((resolve) => {
      socket.on('close', () => resolve(this.#reason));
    });
    socket.write(greeting);
    void this.#serve().catch(() => socket.destroy());
  }

  get isNegotiated(): boolean {
    return this.#session.isNegotiated;
  }

  /** An event, told to a client that has negotiated. */
  tell(text: string): void {
    if (!this.isNegotiated || this.#socket.writableEnded) return;
    this.#socket.write(text);
    if (this.#socket.writableLength > this.#limits.unreadBytes) this.close('it does not read what it is told');
  }

  /** At once. */
  close(reason: string): void {
    this.#reason ??= reason;
    this.#socket.destroy();
  }

  /** When it has been told what it asked last, for which it has a moment. */
  async end(): Promise<void> {
    const timer = setTimeout(() => this.close('it has not read the last it was told'), LAST_WORDS_MS);
    await Promise.race([this.#answered, this.closed]);
    this.#socket.end();
    this.#socket.resume(); // its end is seen behind what it has sent
    await this.closed;
    clearTimeout(timer);
  }

  async #serve(): Promise<void> {
    let isFirst = true;
    // Without a return that destroys: who has sent its last request reads the answers yet.
    for await (const chunk of this.#socket.iterator({ destroyOnReturn: false })) {
      if (isFirst && httpRequest.test(chunk.toString('latin1', 0, 8))) return this.close('it speaks HTTP');
      isFirst = false;
      await this.#turns.next(this.#account);
      for (const item of this.#stream.items(chunk)) {
        this.#answered = this.#session.answer(item).then((answer) => this.#socket.write(answer));
        await this.#answered;
        if (this.#socket.writableNeedDrain) await this.#drained();
        if (!this.#socket.writable) return;
        if (this.#turns.isOver) await this.#turns.next(this.#account);
      }
    }
    this.#socket.end();
  }

  #drained(): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.close('it does not read its answers'), this.#limits.unreadMs);
      const settle = () => {
        clearTimeout(timer);
        this.#socket.off('drain', settle).off('close', settle);
        resolve();
      };
      this.#socket.on('drain', settle).on('close', settle);
      if (this.#socket.destroyed) settle();
    });
  }
}
