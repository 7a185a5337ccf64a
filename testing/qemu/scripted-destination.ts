/**
 * A destination that hears what a source sends and answers what a test tells it to. No engine: the stream goes
 * through lib/wire's decoder, and pages are only noted.
 */
import type { Server, Socket } from 'node:net';
import { type StreamContext, StreamDecoder } from '#lib/wire/decode.js';
import { encodeIdstr, encodeReqPages, MAX_REQ_PAGES_BYTES } from '#lib/wire/encode.js';
import type { CommandRecord, RamBlockEntry, StreamRecord } from '#lib/wire/messages.js';
import { joined } from '../feed.ts';
import { PAGE_BYTES } from './captured-machine.ts';
import { listenOn, write } from './connection.ts';
import { Heard, type WaitOptions } from './heard.ts';

/** A record as it is kept: pages by their address alone, devices without their data. */
export type Received =
  | { readonly type: 'page'; readonly idstr: string; readonly page: number }
  | Exclude<StreamRecord, { readonly type: 'page' | 'device-data' }>;

export type ReceivedPage = Extract<Received, { readonly type: 'page' }>;

export const isPage = (record: Received): record is ReceivedPage => record.type === 'page';

const isRun = (record: Received): boolean => record.type === 'command' && record.command === 'POSTCOPY_RUN';

export class ScriptedDestination {
  readonly uri: string;
  readonly #server: Server;
  readonly #connections = new Heard<IncomingConnection>({
    who: 'scripted destination',
    show: () => 'a connection',
  });

  private constructor(uri: string, server: Server) {
    this.uri = uri;
    this.#server = server;
  }

  /** `uri`: a unix socket's. */
  static async listen(uri: string): Promise<ScriptedDestination> {
    let accept: (socket: Socket) => void = () => {};
    const destination = new ScriptedDestination(uri, await listenOn(uri, (socket) => accept(socket)));
    accept = (socket) => destination.#connections.add(new IncomingConnection(socket, destination.#last?.context()));
    return destination;
  }

  get #last(): IncomingConnection | undefined {
    return this.#connections.all.at(-1);
  }

  /** The connection that comes next, or the first of those that came since `previous`. */
  async connection(previous?: IncomingConnection): Promise<IncomingConnection> {
    const from = previous === undefined ? 0 : this.#connections.all.indexOf(previous) + 1;
    return this.#connections.first('a connection', () => true, { from });
  }

  [Symbol.dispose](): void {
    for (const connection of this.#connections.all) connection.close();
    this.#server.close();
  }
}

/** A main connection: the first of a migration, or with a `context` the one that resumes it. */
export class IncomingConnection {
  readonly records = new Heard<Received>({ who: 'source', show: (record) => JSON.stringify(record).slice(0, 200) });
  readonly #socket: Socket;
  readonly #main: StreamDecoder;
  /** The decoders of what is being received, the innermost last, and the offset at which each of them ends. */
  readonly #decoders: { readonly decoder: StreamDecoder; readonly end: number }[];
  #pending: Uint8Array = new Uint8Array();

  constructor(socket: Socket, context: StreamContext | undefined) {
    this.#socket = socket;
    this.#main = new StreamDecoder(context === undefined ? {} : { resumed: true, context });
    this.#decoders = [{ decoder: this.#main, end: Number.POSITIVE_INFINITY }];
    socket.on('data', (bytes: Buffer) => this.#take(bytes));
    socket.on('end', () => this.records.end('the source closed its side'));
    socket.on('error', (error) => this.records.end(error.message));
    socket.on('close', () => this.records.end('the connection is closed'));
  }

  /** What a connection that resumes this one's migration needs to know. */
  context(): StreamContext {
    return this.#main.context();
  }

  get blocks(): readonly RamBlockEntry[] {
    return this.#main.context().blocks;
  }

  get pages(): readonly ReceivedPage[] {
    return this.records.all.filter(isPage);
  }

  /** Those behind POSTCOPY_RUN. */
  get postcopyPages(): readonly ReceivedPage[] {
    const { all } = this.records;
    return all.slice(all.findIndex(isRun) + 1).filter(isPage);
  }

  /** The first command of that name, inside the package or not. */
  async command(name: CommandRecord['command'], options: WaitOptions = {}): Promise<CommandRecord> {
    const isIt = (record: Received): record is CommandRecord => record.type === 'command' && record.command === name;
    return this.records.first(name, isIt, options);
  }

  async eof(options: WaitOptions = {}): Promise<void> {
    await this.records.first('EOF', ({ type }) => type === 'eof', options);
  }

  /** Resolves when the source has closed the connection. */
  async closedBySource(): Promise<void> {
    await this.records.silence();
  }

  /** Sends on the return path. */
  async answer(...parts: readonly Uint8Array[]): Promise<void> {
    await write(this.#socket, joined(parts));
  }

  close(): void {
    this.#socket.destroy();
  }

  #take(bytes: Uint8Array): void {
    const all = joined([this.#pending, bytes]);
    try {
      this.#pending = all.subarray(this.#decode(all));
    } catch (error) {
      this.records.end(`the stream makes no sense: ${error}`);
      this.close();
    }
  }

  /** Decodes what is there whole; the number of bytes that was. */
  #decode(bytes: Uint8Array): number {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const offset = this.#decoders.at(-1)!.decoder.offset;
    let at = 0;
    for (;;) {
      const { decoder, end } = this.#decoders.at(-1)!;
      const record = decoder.next(bytes, view, at, Math.min(bytes.length, end - offset));
      if (record === undefined) {
        if (offset + at < end) return at;
        this.#decoders.pop();
        continue;
      }
      at += decoder.consumed;
      this.#keep(record);
      if (record.type === 'command' && record.command === 'PACKAGED') {
        this.#decoders.push({ decoder: decoder.package(), end: offset + at + record.length });
      }
    }
  }

  #keep(record: StreamRecord): void {
    if (record.type === 'page') {
      this.records.add({ type: 'page', idstr: record.block.idstr, page: record.offset / PAGE_BYTES });
    } else if (record.type !== 'device-data') {
      this.records.add(record);
    }
  }
}

/** A page request; without `idstr` for the block that was named last. */
export function requestOf(start: number, length: number, idstr?: string): Uint8Array {
  const bytes = new Uint8Array(MAX_REQ_PAGES_BYTES);
  const name = idstr === undefined ? undefined : encodeIdstr(idstr);
  return bytes.subarray(0, encodeReqPages(new DataView(bytes.buffer), 0, start, length, name));
}
