/**
 * Recordings of one or several processes (trace-recording.ts) into one file for Perfetto: merged in order
 * of time, drawn (perfetto.ts), written. A stream from end to end, whatever the length of the trace.
 */
import { type FileHandle, open } from 'node:fs/promises';
import { PerfettoTrace, type TraceEvent } from './perfetto.js';
import { RECORDING_END } from './trace-recording.js';
import { TRACE_DROPPED, type TraceMessage } from './trace-session.js';

const CHUNK_BYTES = 256 * 1024;

export interface TraceFileSummary {
  /** Trace points in the file. */
  readonly points: number;
  /** Points that are missing, as they came faster than they could be taken. */
  readonly dropped: number;
  /** Recordings that break off, or are not there: their process was killed, or its disk was full. */
  readonly incomplete: readonly string[];
}

/** The points of one recording, looked at before they are taken. */
class RecordingReader {
  readonly path: string;
  readonly #file: FileHandle | undefined;
  readonly #decoder = new TextDecoder();
  readonly #bytes = new Uint8Array(CHUNK_BYTES);
  /** Lines of the last chunk, and what follows their last newline. */
  #lines: readonly string[] = [];
  #at = 0;
  #rest = '';
  /** The next point; undefined at the end. */
  head: TraceMessage | undefined;
  isComplete = false;

  private constructor(path: string, file: FileHandle | undefined) {
    this.path = path;
    this.#file = file;
  }

  /** A recording that is not there is one that breaks off at its beginning. */
  static async open(path: string): Promise<RecordingReader> {
    try {
      return new RecordingReader(path, await open(path, 'r'));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return new RecordingReader(path, undefined);
      throw error;
    }
  }

  /** Takes `head`, where the next point is at hand; else false, and {@link read} is to be called. */
  take(): boolean {
    if (this.#at === this.#lines.length) return false;
    const line = this.#lines[this.#at];
    this.#at += 1;
    if (line === RECORDING_END) this.isComplete = true;
    this.head = line === RECORDING_END ? undefined : (JSON.parse(line) as TraceMessage);
    return true;
  }

  /** Reads on until there is a point, or none is to come. */
  async read(): Promise<void> {
    this.head = undefined;
    while (!this.isComplete && !this.take()) {
      const chunk = await this.#nextChunk();
      if (chunk === undefined) return;
      const lines = (this.#rest + chunk).split('\n');
      this.#rest = lines.pop() as string;
      this.#lines = lines;
      this.#at = 0;
    }
  }

  async #nextChunk(): Promise<string | undefined> {
    const { bytesRead } = (await this.#file?.read(this.#bytes)) ?? { bytesRead: 0 };
    return bytesRead === 0 ? undefined : this.#decoder.decode(this.#bytes.subarray(0, bytesRead), { stream: true });
  }

  async close(): Promise<void> {
    await this.#file?.close();
  }
}

/** Writes events as the lines of a JSON array, a chunk at a time. */
class EventWriter {
  readonly #file: FileHandle;
  #text = '{"displayTimeUnit":"ms","traceEvents":[';
  #separator = '\n';

  constructor(file: FileHandle) {
    this.#file = file;
  }

  /** True: there is a chunk to {@link flush}. */
  add(events: readonly TraceEvent[]): boolean {
    for (const event of events) {
      this.#text += this.#separator + JSON.stringify(event);
      this.#separator = ',\n';
    }
    return this.#text.length >= CHUNK_BYTES;
  }

  async flush(): Promise<void> {
    await this.#file.appendFile(this.#text);
    this.#text = '';
  }

  async end(otherData: object): Promise<void> {
    this.#text += `\n],"otherData":${JSON.stringify(otherData)}}\n`;
    await this.flush();
  }
}

function earliest(readers: readonly RecordingReader[]): RecordingReader | undefined {
  let first: RecordingReader | undefined;
  for (const reader of readers) {
    if (reader.head === undefined) continue;
    if (first?.head === undefined || reader.head.timestampUs < first.head.timestampUs) first = reader;
  }
  return first;
}

async function draw(readers: readonly RecordingReader[], writer: EventWriter): Promise<TraceFileSummary> {
  const trace = new PerfettoTrace();
  let points = 0;
  let dropped = 0;
  for (const reader of readers) await reader.read();
  for (let reader = earliest(readers); reader !== undefined; reader = earliest(readers)) {
    const message = reader.head as TraceMessage;
    if (message.name === TRACE_DROPPED) dropped += Number(message.values.records);
    else points += 1;
    if (writer.add(trace.add(message))) await writer.flush();
    if (!reader.take()) await reader.read();
  }
  writer.add(trace.end());
  const incomplete = readers.filter(({ isComplete }) => !isComplete).map(({ path }) => path);
  await writer.end({ clock: 'CLOCK_MONOTONIC', points, dropped, incomplete: incomplete.length });
  return { points, dropped, incomplete };
}

/**
 * Makes one trace of recordings of one host: JSON that ui.perfetto.dev and chrome://tracing open. A recording that
 * breaks off is taken as far as it goes. Rejects with the error of the file that can't be read or written.
 */
export async function writeTraceFile(path: string, recordings: readonly string[]): Promise<TraceFileSummary> {
  const file = await open(path, 'w');
  const readers: RecordingReader[] = [];
  try {
    for (const recording of recordings) readers.push(await RecordingReader.open(recording));
    return await draw(readers, new EventWriter(file));
  } finally {
    for (const opened of [file, ...readers]) await opened.close();
  }
}
