/**
 * A source that sends what a test tells it to, and hears what the destination answers. No engine: records come
 * from lib/wire's encoders, answers go through its decoder.
 */
import type { Socket } from 'node:net';
import { ReturnPathDecoder } from '#lib/wire/index.js';
import type { ReturnPathMessageRecord } from '#lib/wire/messages.js';
import { joined } from '../feed.ts';
import { connectTo, write } from './connection.ts';
import { Heard, type WaitOptions } from './heard.ts';

export class ScriptedSource {
  /** What the destination has answered; ends when it closes the connection, or its bytes make no sense. */
  readonly answers: Heard<ReturnPathMessageRecord>;
  /** What went wrong with sending, if something did: the destination has gone. */
  sendError: Error | undefined;
  readonly #socket: Socket;
  readonly #decoder = new ReturnPathDecoder();
  #pending: Uint8Array = new Uint8Array();

  private constructor(socket: Socket, who: string) {
    this.#socket = socket;
    this.answers = new Heard({ who, show: (message) => JSON.stringify(message) });
    socket.on('data', (bytes: Buffer) => this.#take(bytes));
    socket.on('end', () => this.answers.end('the destination closed its side'));
    socket.on('error', (error) => {
      this.sendError ??= error;
      this.answers.end(error.message);
    });
    socket.on('close', () => this.answers.end('the connection is closed'));
  }

  /** `who`: the name of the destination in failures. */
  static async connect(uri: string, who = 'destination'): Promise<ScriptedSource> {
    return new ScriptedSource(await connectTo(uri), who);
  }

  /** Sends; what cannot be sent because the destination has gone is dropped and told by `sendError`. */
  async send(...parts: readonly Uint8Array[]): Promise<void> {
    if (this.sendError !== undefined) return;
    await write(this.#socket, joined(parts)).catch((error: Error) => {
      this.sendError ??= error;
    });
  }

  /** The answer to a ping of that value, come or to come. */
  async pong(value: number, options: WaitOptions = {}): Promise<void> {
    await this.answers.first(
      `PONG ${value}`,
      ({ type, ...rest }) => type === 'PONG' && 'value' in rest && rest.value === value,
      options,
    );
  }

  /** Nothing more will be sent; answers may still come. */
  end(): void {
    this.#socket.end();
  }

  /** The connection ends here, in both directions. */
  close(): void {
    this.#socket.destroy();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #take(bytes: Uint8Array): void {
    const all = joined([this.#pending, bytes]);
    const view = new DataView(all.buffer);
    let at = 0;
    try {
      for (;;) {
        const message = this.#decoder.next(all, view, at, all.length);
        if (message === undefined) break;
        at += this.#decoder.consumed;
        this.answers.add(message);
      }
    } catch (error) {
      this.answers.end(`its answer makes no sense: ${error}`);
    }
    this.#pending = all.subarray(at);
  }
}
