/**
 * A destination of migration that a test plays: it decodes what the source sends, keeps what it was, builds
 * the memory that the stream describes, and answers as the test says. Runs in the test's own event loop.
 */
import { createServer, type Server, type Socket } from 'node:net';
import { StreamDecoder } from '#lib/wire/decode.js';
import { encodeIdstr, encodePong, encodeReqPages, encodeShut } from '#lib/wire/encode.js';
import { GUEST_STATE_SECTION } from '#lib/wire/machine.js';
import type { StreamRecord } from '#lib/wire/messages.js';
import { joined } from './feed.ts';

const PAGE = 4096;

/** A page as it came; `at` counts the sections of RAM before it. */
export interface ReceivedPage {
  readonly block: string;
  readonly page: number;
  readonly kind: string;
  readonly section: number;
}

/** All but pages, device data and section ends, which have a place of their own or say nothing here. */
export type ReceivedRecord = Exclude<StreamRecord, { type: 'page' | 'device-data' | 'section-end' | 'ram-eos' }>;

export interface Script {
  /** Whether a ping is answered; all are when absent. */
  readonly answers?: (ping: number) => boolean;
  /** Called for each record in the order of the stream, before it is answered. */
  readonly onRecord?: (record: ReceivedRecord, destination: ScriptedDestination) => void;
  /** SHUT's value at the end of the stream; 0 when absent. */
  readonly shut?: number;
}

export class ScriptedDestination {
  readonly #server: Server;
  readonly #script: Script;
  readonly #waiting = new Set<() => void>();
  readonly #decoder = new StreamDecoder({ selfSizedDevices: [GUEST_STATE_SECTION.idstr] });
  #socket: Socket | undefined;
  #pending: Uint8Array = new Uint8Array();
  /** The package that comes next. */
  #package: { readonly decoder: StreamDecoder; readonly length: number } | undefined;
  #section = 0;
  #closed = false;
  /** Bytes received. */
  received = 0;
  readonly records: ReceivedRecord[] = [];
  readonly pages: ReceivedPage[] = [];
  /** What the blocks hold by now; pages that were discarded hold 0xdd. */
  readonly memory = new Map<string, Uint8Array>();

  private constructor(server: Server, script: Script) {
    this.#server = server;
    this.#script = script;
    server.on('connection', (socket) => this.#connected(socket));
  }

  /** Listens at a path for a unix socket. */
  static listen(path: string, script: Script = {}): Promise<ScriptedDestination> {
    const server = createServer();
    const destination = new ScriptedDestination(server, script);
    return new Promise((resolve, reject) => {
      server.once('error', reject);
      server.listen(path, () => resolve(destination));
    });
  }

  pong(value: number): void {
    this.#socket?.write(encodePong(value));
  }

  /** Asks for target pages, naming the block. */
  request(block: string, firstPage: number, count: number): void {
    const bytes = new Uint8Array(300);
    const end = encodeReqPages(new DataView(bytes.buffer), 0, firstPage * PAGE, count * PAGE, encodeIdstr(block));
    this.#socket?.write(bytes.subarray(0, end));
  }

  shut(value: number): void {
    this.#socket?.write(encodeShut(value));
  }

  /** Reads no more, so that the source's sends block in the end. */
  pause(): void {
    this.#socket?.pause();
  }

  /** Says that it will say no more; the other direction stays open. */
  end(): void {
    this.#socket?.end();
  }

  /** Resolved once a record is there for which that holds; rejects when the source closes without. */
  async hears(is: (record: ReceivedRecord) => boolean): Promise<ReceivedRecord> {
    for (;;) {
      const found = this.records.find(is);
      if (found !== undefined) return found;
      if (this.#closed) throw new Error(`the source closed; it had sent ${JSON.stringify(this.records)}`);
      await new Promise<void>((resolve) => this.#waiting.add(resolve));
    }
  }

  /** Resolved once the source has closed. */
  async closed(): Promise<void> {
    while (!this.#closed) await new Promise<void>((resolve) => this.#waiting.add(resolve));
  }

  /** Breaks the connection, if there is one, and listens no more. */
  close(): void {
    this.#socket?.destroy();
    this.#server.close();
  }

  #connected(socket: Socket): void {
    this.#socket = socket;
    socket.on('data', (bytes) => this.#take(bytes as Buffer));
    socket.on('error', () => {});
    socket.on('close', () => {
      this.#closed = true;
      this.#wake();
    });
  }

  #take(bytes: Uint8Array): void {
    this.received += bytes.length;
    this.#pending = joined([this.#pending, bytes]);
    let at = 0;
    for (let next = this.#step(at); next !== undefined; next = this.#step(at)) at = next;
    this.#pending = this.#pending.slice(at);
    this.#wake();
  }

  /** Takes the next record, or the package that is due once it is there whole; where it ends. */
  #step(at: number): number | undefined {
    const bytes = this.#pending;
    if (this.#package === undefined) return this.#decodeOne(this.#decoder, at, bytes.length);
    const { decoder, length } = this.#package;
    const end = at + length;
    if (end > bytes.length) return undefined;
    this.#package = undefined;
    for (let next = this.#decodeOne(decoder, at, end); next !== undefined; ) next = this.#decodeOne(decoder, next, end);
    return end;
  }

  #decodeOne(decoder: StreamDecoder, at: number, end: number): number | undefined {
    const { buffer, byteOffset, byteLength } = this.#pending;
    const record = decoder.next(this.#pending, new DataView(buffer, byteOffset, byteLength), at, end);
    if (record === undefined) return undefined;
    this.#handle(record);
    if (record.type === 'command' && record.command === 'PACKAGED') {
      const { length } = record;
      const inner = decoder.package();
      inner.endOfInput();
      this.#package = { decoder: inner, length };
    }
    return at + decoder.consumed;
  }

  #handle(record: StreamRecord): void {
    switch (record.type) {
      case 'page':
        return this.#page(record);
      case 'section-start':
      case 'section-part':
        this.#section += 1;
        break;
      case 'device-data':
      case 'section-end':
      case 'ram-eos':
        return;
      case 'ram-blocks':
        for (const { idstr, usedLength } of record.blocks) this.memory.set(idstr, new Uint8Array(usedLength));
    }
    this.records.push(record);
    this.#script.onRecord?.(record, this);
    if (record.type === 'eof') this.shut(this.#script.shut ?? 0);
    if (record.type !== 'command') return;
    if (record.command === 'POSTCOPY_RAM_DISCARD') {
      for (const { start, length } of record.ranges) this.memory.get(record.idstr)?.fill(0xdd, start, start + length);
    }
    if (record.command === 'PING' && (this.#script.answers?.(record.value) ?? true)) this.pong(record.value);
  }

  #page(record: Extract<StreamRecord, { type: 'page' }>): void {
    const { block, offset, kind, fill, dataStart, dataLength } = record;
    this.pages.push({ block: block.idstr, page: offset / PAGE, kind, section: this.#section });
    const memory = this.memory.get(block.idstr) as Uint8Array;
    if (kind === 'zero') memory.fill(fill, offset, offset + PAGE);
    else memory.set(this.#pending.subarray(dataStart, dataStart + dataLength), offset);
  }

  #wake(): void {
    for (const resolve of this.#waiting) resolve();
    this.#waiting.clear();
  }
}
