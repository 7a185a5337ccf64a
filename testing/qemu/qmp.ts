/**
 * A client of QEMU's monitor protocol (QMP): commands matched with their replies by id, events kept and awaited.
 */
import type { Duplex } from 'node:stream';
import { Heard, type WaitOptions } from './heard.ts';

export interface QmpEvent {
  readonly event: string;
  readonly data: Readonly<Record<string, unknown>>;
}

/** A command that QEMU refused. */
export class QmpError extends Error {
  /** QEMU's class of errors: `GenericError`, `CommandNotFound`, … */
  readonly errorClass: string;

  constructor(who: string, command: string, errorClass: string, description: string) {
    super(`${who}: ${command}: ${description} (${errorClass})`);
    this.name = 'QmpError';
    this.errorClass = errorClass;
  }
}

/** All that QEMU may send, told apart by which members are there. */
interface Message {
  readonly QMP?: object;
  readonly event?: string;
  readonly data?: Record<string, unknown>;
  readonly timestamp?: { readonly seconds: number; readonly microseconds: number };
  readonly id?: number;
  readonly return?: unknown;
  readonly error?: { readonly class: string; readonly desc: string };
}

const isReply = (message: Message): boolean => message.return !== undefined || message.error !== undefined;

/** What a failure shows of a message. */
const SHOWN_CHARACTERS = 200;

export class QmpClient {
  readonly #stream: Duplex;
  readonly #who: string;
  readonly #messages: Heard<Message>;
  #lastId = 0;
  #partialLine = '';

  /** `context`: what a failure to hear something should show besides. */
  private constructor(stream: Duplex, who: string, context: () => string) {
    this.#stream = stream;
    this.#who = who;
    this.#messages = new Heard({ who, show: (message) => JSON.stringify(message).slice(0, SHOWN_CHARACTERS), context });
    stream.setEncoding('utf8');
    stream.on('data', (text: string) => this.#take(text));
    stream.on('error', (error) => this.#messages.end(`the monitor's connection failed: ${error.message}`));
    stream.on('close', () => this.#messages.end("the monitor's connection was closed"));
  }

  /** Hears the greeting and leaves capability negotiation. */
  static async open(stream: Duplex, who: string, context: () => string = () => ''): Promise<QmpClient> {
    const client = new QmpClient(stream, who, context);
    await client.#messages.first('the greeting of QMP', (message) => message.QMP !== undefined);
    await client.execute('qmp_capabilities');
    return client;
  }

  /** Whether the connection has been lost, as it is when QEMU ends. */
  get isGone(): boolean {
    return this.#messages.ended !== undefined;
  }

  /** Every event so far, in order. */
  get events(): readonly QmpEvent[] {
    return this.#messages.all.flatMap(({ event, data }) => (event === undefined ? [] : [{ event, data: data ?? {} }]));
  }

  /** Rejects with a {@link QmpError} where QEMU refuses. */
  async execute<Reply = unknown>(
    command: string,
    args: Readonly<Record<string, unknown>> = {},
    options: WaitOptions = {},
  ): Promise<Reply> {
    this.#lastId += 1;
    const id = this.#lastId;
    this.#stream.write(`${JSON.stringify({ execute: command, arguments: args, id })}\n`);
    const reply = await this.#messages.first(
      `the reply to ${command}`,
      (message) => isReply(message) && message.id === id,
      options,
    );
    if (reply.error !== undefined) throw new QmpError(this.#who, command, reply.error.class, reply.error.desc);
    return reply.return as Reply;
  }

  /** The first event of that name whose data `holds`, heard already or to come. */
  async event(
    name: string,
    holds: (data: Readonly<Record<string, unknown>>) => boolean = () => true,
    options: WaitOptions = {},
  ): Promise<QmpEvent> {
    const { data = {} } = await this.#firstEvent(name, holds, options);
    return { event: name, data };
  }

  /** When QEMU says that the first event of that name was, heard already or to come: milliseconds since 1970. */
  async eventMs(name: string, options: WaitOptions = {}): Promise<number> {
    const { timestamp } = await this.#firstEvent(name, () => true, options);
    if (timestamp === undefined) throw new Error(`${this.#who}: the event ${name} has no time`);
    return timestamp.seconds * 1000 + timestamp.microseconds / 1000;
  }

  #firstEvent(
    name: string,
    holds: (data: Readonly<Record<string, unknown>>) => boolean,
    options: WaitOptions,
  ): Promise<Message> {
    const matches = (message: Message) => message.event === name && holds(message.data ?? {});
    return this.#messages.first(`the event ${name}`, matches, options);
  }

  #take(text: string): void {
    const lines = (this.#partialLine + text).split('\n');
    this.#partialLine = lines.pop() ?? '';
    for (const line of lines) {
      if (line.trim() !== '') this.#messages.add(JSON.parse(line) as Message);
    }
  }
}
