/** A QMP connection on which anything may be sent, well formed or not, to hear what a server makes of it. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { Heard } from './heard.ts';

/** No byte of JSON: whatever was begun before it is over, for QEMU and for ours. */
const BREAK = Buffer.from([0xff, 0x0a]);

type Message = Readonly<Record<string, unknown>>;

export class RawQmp {
  readonly #socket: Socket;
  readonly #messages: Heard<Message>;
  #markers = 0;

  private constructor(socket: Socket, who: string) {
    this.#socket = socket;
    this.#messages = new Heard<Message>({ who, show: (message) => JSON.stringify(message) });
    createInterface({ input: socket }).on('line', (line) => this.#messages.add(JSON.parse(line) as Message));
    socket.on('error', () => {}).on('close', () => this.#messages.end('it closed the connection'));
  }

  /** Connects to the unix socket, and hears the greeting. */
  static async open(path: string, who: string): Promise<RawQmp> {
    const socket = connect(path);
    await once(socket, 'connect');
    const raw = new RawQmp(socket, who);
    await raw.#messages.first('the greeting', ({ QMP }) => QMP !== undefined);
    return raw;
  }

  /** All that it is told in answer to these bytes, but for events; also where they are no whole value. */
  async answers(bytes: Uint8Array | string): Promise<Message[]> {
    this.#markers += 1;
    const id = `marker ${this.#markers}`;
    const from = this.#messages.all.length;
    this.#socket.write(bytes);
    this.#socket.write(BREAK);
    this.#socket.write(JSON.stringify({ execute: 'query-status', id }));
    await this.#messages.first('the answer to the marker', (message) => message.id === id, { from });
    const all = this.#messages.all.slice(from, -1).filter(({ event }) => event === undefined);
    return all.slice(0, -1); // without the answer to the break
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
  }
}
