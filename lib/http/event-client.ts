/**
 * One client of server-sent events. Nothing is kept for one that reads slowly: it misses what comes before it has read
 * the last, and is closed when it does not read at all.
 */
import type { ServerResponse } from 'node:http';

/** Milliseconds for a client to read what it was sent last. */
const UNREAD_MS = 10_000;

export class EventClient {
  readonly #response: ServerResponse;
  readonly #unreadMs: number;
  #unread: NodeJS.Timeout | undefined;

  /** Resolved when it is gone. Never rejects. */
  readonly closed: Promise<void>;

  /** Takes over a response of which nothing has been sent. */
  constructor(response: ServerResponse, unreadMs = UNREAD_MS) {
    this.#response = response;
    this.#unreadMs = unreadMs;
    this.closed = new Promise((resolve) => {
      response.on('close', () => {
        clearTimeout(this.#unread);
        resolve();
      });
    });
    response.writeHead(200, { 'Content-Type': 'text/event-stream; charset=utf-8' });
    response.flushHeaders();
  }

  /** It has read all that it was sent: what is sent now goes out. */
  get isReady(): boolean {
    return this.#unread === undefined && !this.#response.destroyed && !this.#response.writableEnded;
  }

  /** Sends one event, of text without line feeds such as JSON; false, and nothing, where it is not ready. */
  send(event: string, text: string): boolean {
    if (!this.isReady) return false;
    this.#unread = setTimeout(() => this.#response.destroy(), this.#unreadMs);
    this.#response.write(`event: ${event}\ndata: ${text}\n\n`, () => {
      clearTimeout(this.#unread);
      this.#unread = undefined;
    });
    return true;
  }

  /** Ends it, behind what it was sent. */
  end(): void {
    this.#response.end();
  }
}
