/**
 * A destination that is nobody's: it asks a source in postcopy for one page after the other and times each answer,
 * while everything else is read as fast as it comes. Two threads, so that neither waits for the other: one reads
 * the main connection, one asks and reads the preempt connection, or waits for what the first one finds.
 */
import { once } from 'node:events';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { accept, bind } from '#lib/channel/connect.js';
import { PageBitmap } from '#lib/memory/bitmap.js';
import { type EventfdHandle, native, type SocketHandle } from '#lib/native.js';
import { type StreamContext, StreamDecoder } from '#lib/wire/decode.js';
import { encodeIdstr, encodePong, encodeReqPages, MAX_REQ_PAGES_BYTES } from '#lib/wire/encode.js';

const PAGE = 4096;
const ARENA_BYTES = 1024 * 1024;
/** Milliseconds between a page and the next request: a guest works with what it has got, and the background goes on. */
const THINK_MS = 0.5;
/** Read at once: while the kernel copies, nobody else has that processor. */
const READ_BYTES = 128 * 1024;

export interface RequesterOptions {
  readonly uri: string;
  /** The block whose pages are asked for. */
  readonly idstr: string;
  readonly preempt: boolean;
  /** The source is native/bare_source.cc: what comes over the main connection is no stream, and it runs at once. */
  readonly bare?: true;
  /** Bytes a second that are read of the main connection in postcopy: what a link carries. Absent: no limit. */
  readonly linkBytesPerSecond: number | undefined;
  /** Requests to time. */
  readonly requests: number;
}

export interface Requested {
  /** Microseconds from a request to its page, in the order of the requests. */
  readonly latenciesUs: readonly number[];
  /** Bytes that came over the main connection meanwhile. */
  readonly backgroundBytes: number;
  readonly elapsedUs: number;
}

/** Words that the threads share: the sockets once they are there, pages of the block, pages of the main connection. */
const Word = { MAIN: 0, PREEMPT: 1, RUNS: 2, ARRIVALS: 3, KIB: 4 } as const;
const WORDS = 5;

interface ThreadData {
  readonly role: 'reader' | 'asker';
  readonly listener: SocketHandle;
  readonly kick: EventfdHandle;
  readonly words: SharedArrayBuffer;
  readonly bitmap: SharedArrayBuffer;
  readonly pages: number;
  readonly options: RequesterOptions;
}

export interface Requester {
  readonly uri: string;
  /** Resolved when all were asked for; the connections are closed then, and the source pauses. */
  readonly requested: Promise<Requested>;
}

/** Listens; `bytes` is the size of the block. */
export async function startRequester(options: RequesterOptions, bytes: number): Promise<Requester> {
  const listener = await bind(options.uri);
  const pages = bytes / PAGE;
  const words = new SharedArrayBuffer(WORDS * 4);
  const kick = native().eventfdCreate();
  const bitmap = new PageBitmap(pages).buffer;
  const start = (role: ThreadData['role']) => {
    const data: ThreadData = { role, listener: listener.socket, kick, words, bitmap, pages, options };
    return new Worker(new URL(import.meta.url), { workerData: data });
  };
  const reader = start('reader');
  const asker = start('asker');
  const failed = once(reader, 'error').then(([error]) => Promise.reject(error));
  const run = async (): Promise<Requested> => {
    const [requested] = (await Promise.race([once(asker, 'message'), failed])) as [Requested];
    native().eventfdSignal(kick);
    await once(reader, 'exit');
    const sockets = new Int32Array(words);
    for (const word of [Word.MAIN, Word.PREEMPT]) {
      if (sockets[word] !== 0) native().socketClose(sockets[word] as SocketHandle);
    }
    listener.close();
    native().eventfdClose(kick);
    return requested;
  };
  return { uri: listener.uri, requested: run() };
}

/** Holds its thread back so that no more bytes come through than the link carries. */
class Link {
  readonly #bytesPerMs: number;
  readonly #never = new Int32Array(new SharedArrayBuffer(4));
  #freeMs = performance.now();

  constructor(bytesPerSecond = Number.POSITIVE_INFINITY) {
    this.#bytesPerMs = bytesPerSecond / 1000;
  }

  carry(bytes: number): void {
    const now = performance.now();
    this.#freeMs = Math.max(this.#freeMs, now) + bytes / this.#bytesPerMs;
    if (this.#freeMs > now) Atomics.wait(this.#never, 0, 0, this.#freeMs - now);
  }
}

/** Reads the main connection until the kick. */
function read({ listener, kick, words, bitmap, pages, options }: ThreadData): void {
  const shared = new Int32Array(words);
  const arrived = new PageBitmap(pages, bitmap);
  const main = accept(listener, kick);
  if (options.preempt) shared[Word.PREEMPT] = accept(listener, kick);
  shared[Word.MAIN] = main;
  const link = new Link(options.linkBytesPerSecond);
  if (options.bare) return readAnything(main, kick, shared, link);
  const bytes = new Uint8Array(ARENA_BYTES);
  const view = new DataView(bytes.buffer);
  let decoder = new StreamDecoder();
  const outer = decoder;
  let packageBytes = 0;
  let start = 0;
  let end = 0;
  for (;;) {
    const record = decoder.next(bytes, view, start, packageBytes > 0 ? Math.min(end, start + packageBytes) : end);
    if (record === undefined) {
      bytes.copyWithin(0, start, end);
      end -= start;
      start = 0;
      const room = Math.min(bytes.length - end, READ_BYTES);
      const received = native().socketReceive(main, kick, bytes, end, room);
      if (received <= 0) return;
      if (shared[Word.RUNS] === 1) link.carry(received);
      Atomics.add(shared, Word.KIB, received >> 10);
      end += received;
      continue;
    }
    start += decoder.consumed;
    if (packageBytes > 0) {
      packageBytes -= decoder.consumed;
      if (record.type === 'command' && record.command === 'POSTCOPY_RUN') {
        decoder = outer;
        packageBytes = 0;
        startRequests(shared);
      }
    } else if (record.type === 'command' && record.command === 'PACKAGED') {
      decoder = outer.package();
      packageBytes = record.length;
    } else if (record.type === 'command' && record.command === 'PING') {
      const pong = encodePong(record.value);
      native().socketSend(main, kick, pong, 0, pong.length);
    } else if (record.type === 'command' && record.command === 'POSTCOPY_RAM_DISCARD') {
      if (record.idstr === options.idstr) {
        for (const range of record.ranges) arrived.clearRange(range.start / PAGE, range.length / PAGE);
      }
    } else if (record.type === 'page' && record.block.idstr === options.idstr) {
      arrived.set(record.offset / PAGE);
      if (options.preempt) continue;
      Atomics.add(shared, Word.ARRIVALS, 1);
      Atomics.notify(shared, Word.ARRIVALS);
    }
  }
}

function startRequests(shared: Int32Array): void {
  Atomics.store(shared, Word.RUNS, 1);
  Atomics.notify(shared, Word.RUNS);
}

function readAnything(main: SocketHandle, kick: EventfdHandle, shared: Int32Array, link: Link): void {
  const bytes = new Uint8Array(READ_BYTES);
  startRequests(shared);
  for (;;) {
    const received = native().socketReceive(main, kick, bytes, 0, bytes.length);
    if (received <= 0) return;
    link.carry(received);
    Atomics.add(shared, Word.KIB, received >> 10);
  }
}

/** What is known of the stream where only pages of one block come, each with its name. */
function contextOf(idstr: string, usedLength: number): StreamContext {
  const blocks = [{ idstr, usedLength, index: 0 }];
  return { targetPageSize: PAGE, pageSizeSummary: 0, ignoreShared: false, mayHaveRuns: false, sections: [], blocks };
}

/** Asks for pages, from the end of the block down, that have not come. */
function ask({ kick, words, bitmap, pages, options }: ThreadData): Requested {
  const { monotonicUs, raiseThread, socketSend } = native();
  raiseThread(19); // what is timed should not be its own turn
  const shared = new Int32Array(words);
  const arrived = new PageBitmap(pages, bitmap);
  Atomics.wait(shared, Word.RUNS, 0);
  const main = shared[Word.MAIN] as SocketHandle;
  const name = encodeIdstr(options.idstr);
  const message = new Uint8Array(MAX_REQ_PAGES_BYTES);
  const view = new DataView(message.buffer);
  const receivePage = options.preempt
    ? overPreempt(shared[Word.PREEMPT] as SocketHandle, kick, contextOf(options.idstr, pages * PAGE), arrived)
    : (page: number) => overMain(page, arrived, shared);
  const idle = new Int32Array(new SharedArrayBuffer(4));
  let named = false;
  const latenciesUs: number[] = [];
  const startUs = monotonicUs();
  const before = Atomics.load(shared, Word.KIB);
  // Every third page, so that no two can go together.
  for (let page = pages - 2; page > 0 && latenciesUs.length < options.requests; page -= 3) {
    if (arrived.test(page)) continue;
    const sentUs = monotonicUs();
    socketSend(main, kick, message, 0, encodeReqPages(view, 0, page * PAGE, PAGE, named ? undefined : name));
    named = true;
    if (receivePage(page)) latenciesUs.push(monotonicUs() - sentUs);
    Atomics.wait(idle, 0, 0, THINK_MS);
  }
  const backgroundBytes = (Atomics.load(shared, Word.KIB) - before) * 1024;
  return { latenciesUs, backgroundBytes, elapsedUs: monotonicUs() - startUs };
}

/** Waits for the page; false where it came in the background, by chance. */
type Receive = (page: number) => boolean;

function overMain(page: number, arrived: PageBitmap, shared: Int32Array): boolean {
  for (;;) {
    const arrivals = Atomics.load(shared, Word.ARRIVALS);
    if (arrived.test(page)) return true;
    Atomics.wait(shared, Word.ARRIVALS, arrivals);
  }
}

/** Milliseconds for a page that the main connection may have brought meanwhile. */
const LOOK_MS = 20;

function overPreempt(socket: SocketHandle, kick: EventfdHandle, context: StreamContext, arrived: PageBitmap): Receive {
  const { socketAwait, socketReceive } = native();
  const bytes = new Uint8Array(ARENA_BYTES);
  const view = new DataView(bytes.buffer);
  const decoder = new StreamDecoder({ channel: 'preempt', context });
  let start = 0;
  let end = 0;
  return (page) => {
    for (;;) {
      const record = decoder.next(bytes, view, start, end);
      if (record !== undefined) {
        start += decoder.consumed;
        if (record.type === 'page' && record.offset === page * PAGE) return true;
        continue;
      }
      bytes.copyWithin(0, start, end);
      end -= start;
      start = 0;
      if (socketAwait(socket, kick, LOOK_MS) !== 1) {
        if (arrived.test(page)) return false;
        continue;
      }
      const received = socketReceive(socket, kick, bytes, end, bytes.length - end);
      if (received <= 0) throw new Error('the source closed the preempt connection');
      end += received;
    }
  };
}

if (!isMainThread) {
  const data = workerData as ThreadData;
  if (data.role === 'reader') read(data);
  else parentPort?.postMessage(ask(data));
}
