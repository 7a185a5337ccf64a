/**
 * A source of migration that a test plays by hand: the pieces of a stream by name, and a connection that
 * sends them one by one and hears what the destination answers. Runs in the test's own event loop.
 */
import { createConnection, type Socket } from 'node:net';
import type { RAMBlock } from '#lib/index.js';
import {
  encodeConfiguration,
  encodeEof,
  encodeFooter,
  encodeHeader,
  encodeIdstr,
  encodeOpenReturnPath,
  encodePackaged,
  encodePageHeader,
  encodePing,
  encodePostcopyAdvise,
  encodePostcopyListen,
  encodePostcopyResume,
  encodePostcopyRun,
  encodeRamBlockList,
  encodeRamDiscard,
  encodeRamEos,
  encodeRecvBitmap,
  encodeSectionPart,
  encodeSectionStart,
  encodeSelfSizedBody,
} from '#lib/wire/encode.js';
import {
  encodeGlobalStateBody,
  GLOBAL_STATE_SECTION,
  GUEST_STATE_SECTION,
  MACHINE_NAME,
  RAM_SECTION,
  type RunState,
} from '#lib/wire/machine.js';
import type { ReturnPathMessageRecord } from '#lib/wire/messages.js';
import { Ping, RamFlag } from '#lib/wire/protocol.js';
import { ReturnPathDecoder } from '#lib/wire/return-path.js';
import { joined } from './feed.ts';

const PAGE = 4096;
/** The first ping of `settled`, which no source sends. */
const SETTLES = 0x1000;

type BlockLike = Pick<RAMBlock, 'idstr' | 'size' | 'pageSize'>;

/** One target page: content of `PAGE` bytes, or a fill byte. */
export interface FedPage {
  readonly block: string;
  readonly page: number;
  readonly content: Uint8Array | number;
}

function pageRecord({ block, page, content }: FedPage): Uint8Array {
  const head = new Uint8Array(300);
  const flag = typeof content === 'number' ? RamFlag.ZERO : RamFlag.PAGE;
  const end = encodePageHeader(new DataView(head.buffer), 0, page * PAGE, flag, encodeIdstr(block));
  return joined([head.subarray(0, end), typeof content === 'number' ? Uint8Array.of(content) : content]);
}

function ramSection(type: 'PART' | 'END', pages: readonly FedPage[]): Uint8Array {
  const { id } = RAM_SECTION;
  return joined([encodeSectionPart(type, id), ...pages.map(pageRecord), encodeRamEos(), encodeFooter(id)]);
}

function deviceSections(state: Uint8Array, runState: RunState): Uint8Array[] {
  const section = (identity: typeof RAM_SECTION, body: Uint8Array): Uint8Array =>
    joined([encodeSectionStart({ type: 'FULL', ...identity }), body, encodeFooter(identity.id)]);
  return [
    section(GLOBAL_STATE_SECTION, encodeGlobalStateBody(runState)),
    section(GUEST_STATE_SECTION, encodeSelfSizedBody(state)),
  ];
}

/** The pieces of a stream; in a postcopy: start, advise, blocks, discard, package, part, end, eof. */
export const piece = {
  start: (): Uint8Array =>
    joined([encodeHeader(), encodeConfiguration({ machine: MACHINE_NAME }), encodeOpenReturnPath()]),
  ping: encodePing,
  advise: (blocks: readonly BlockLike[], targetPageSize = PAGE): Uint8Array =>
    encodePostcopyAdvise({ pageSizeSummary: blocks.reduce((sum, { pageSize }) => sum | pageSize, 0), targetPageSize }),
  /** `saysPageSizes`: as after an advise. */
  blocks: (blocks: readonly BlockLike[], saysPageSizes = true): Uint8Array => {
    const list = blocks.map(({ idstr, size, pageSize }) => ({
      idstr,
      usedLength: size,
      ...(saysPageSizes && pageSize !== PAGE ? { pageSize } : {}),
    }));
    const head = encodeSectionStart({ type: 'START', ...RAM_SECTION });
    return joined([head, encodeRamBlockList(list), encodeRamEos(), encodeFooter(RAM_SECTION.id)]);
  },
  discard: (block: string, first: number, count: number): Uint8Array =>
    encodeRamDiscard(block, [{ start: first * PAGE, length: count * PAGE }]),
  listen: encodePostcopyListen,
  run: encodePostcopyRun,
  devices: (runState: RunState = 'running', state = Uint8Array.of(1, 2, 3)): Uint8Array =>
    joined(deviceSections(state, runState)),
  packaged: (...inner: Uint8Array[]): Uint8Array => encodePackaged(joined(inner)),
  /** The usual package. */
  package: (runState: RunState = 'running'): Uint8Array =>
    piece.packaged(piece.listen(), piece.devices(runState), piece.ping(3), piece.run()),
  /** Of a recovery: the question of which pages of a block are there, and the end of all questions. */
  recvBitmap: encodeRecvBitmap,
  resume: encodePostcopyResume,
  /** Of a source that keeps the guest until it has the destination's pledge. */
  askingPackage: (runState: RunState = 'running'): Uint8Array =>
    piece.packaged(
      piece.listen(),
      piece.devices(runState),
      piece.ping(Ping.PACKAGE),
      piece.ping(Ping.SWITCHOVER),
      piece.run(),
    ),
  part: (...pages: FedPage[]): Uint8Array => ramSection('PART', pages),
  end: (...pages: FedPage[]): Uint8Array => ramSection('END', pages),
  eof: encodeEof,
  /** On the preempt channel: page records alone, and their end. */
  urgent: (...pages: FedPage[]): Uint8Array => joined(pages.map(pageRecord)),
  urgentEnd: encodeRamEos,
};

/** All pages of the blocks, each with what `content` gives. */
export function allPages(
  blocks: readonly BlockLike[],
  content: (blockIndex: number, page: number) => Uint8Array | number,
): FedPage[] {
  return blocks.flatMap(({ idstr, size }, index) =>
    Array.from({ length: size / PAGE }, (_, page) => ({ block: idstr, page, content: content(index, page) })),
  );
}

export class HandFedSource {
  readonly #socket: Socket;
  readonly #decoder = new ReturnPathDecoder();
  readonly #waiting = new Set<() => void>();
  #pending: Uint8Array = new Uint8Array();
  #closed = false;
  /** Bytes sent: the stream offset of what is sent next. */
  sent = 0;
  #settles = 0;
  /** What the destination has said. */
  readonly heard: ReturnPathMessageRecord[] = [];

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('data', (bytes) => this.#hear(bytes as Buffer));
    socket.on('error', () => {});
    socket.on('close', () => {
      this.#closed = true;
      this.#wake();
    });
  }

  static connect(uri: string): Promise<HandFedSource> {
    const [scheme, ...rest] = uri.split(':');
    const where = scheme === 'unix' ? { path: rest.join(':') } : { host: rest[0], port: Number(rest[1]) };
    return new Promise((resolve, reject) => {
      const socket = createConnection(where);
      socket.once('connect', () => resolve(new HandFedSource(socket)));
      socket.once('error', reject);
    });
  }

  send(...pieces: readonly Uint8Array[]): void {
    for (const bytes of pieces) {
      this.sent += bytes.length;
      this.#socket.write(bytes);
    }
  }

  /** Resolved once the destination has said such a message; rejects when it closes without. */
  async hears(type: ReturnPathMessageRecord['type'], count = 1): Promise<ReturnPathMessageRecord> {
    for (;;) {
      const found = this.heard.filter((message) => message.type === type)[count - 1];
      if (found !== undefined) return found;
      if (this.#closed) throw new Error(`the destination closed; it had said ${JSON.stringify(this.heard)}`);
      await new Promise<void>((resolve) => this.#waiting.add(resolve));
    }
  }

  /** Resolved once the destination has dealt with all that was sent so far. Only before RUN, or behind it. */
  async settled(): Promise<void> {
    const value = SETTLES + this.#settles;
    this.#settles += 1;
    this.send(piece.ping(value));
    while (!this.heard.some((message) => message.type === 'PONG' && message.value === value)) {
      if (this.#closed) throw new Error(`the destination closed; it had said ${JSON.stringify(this.heard)}`);
      await new Promise<void>((resolve) => this.#waiting.add(resolve));
    }
  }

  /** No more comes; what is answered is still heard. */
  end(): void {
    this.#socket.end();
  }

  /** The end of the connection, as when the source process ends. */
  close(): void {
    this.#socket.destroy();
  }

  /** Resolved once the connection is closed, whoever did. */
  async closed(): Promise<void> {
    while (!this.#closed) await new Promise<void>((resolve) => this.#waiting.add(resolve));
  }

  #hear(bytes: Uint8Array): void {
    this.#pending = joined([this.#pending, bytes]);
    const view = new DataView(this.#pending.buffer);
    let at = 0;
    for (;;) {
      const message = this.#decoder.next(this.#pending, view, at, this.#pending.length);
      if (message === undefined) break;
      at += this.#decoder.consumed;
      this.heard.push({ ...message });
      // As a source does: a destination that has failed waits for it to close.
      if (message.type === 'SHUT' && message.value !== 0) this.close();
    }
    this.#pending = this.#pending.slice(at);
    this.#wake();
  }

  #wake(): void {
    for (const resolve of this.#waiting) resolve();
    this.#waiting.clear();
  }
}
