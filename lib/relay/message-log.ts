/**
 * Tells what the bytes that pass mean: a line for each record and message, as `postcopy inspect --records`
 * writes them, with the time, the connection and the direction before it.
 *
 * Only looks. Where bytes are not understood it says so once and leaves that direction alone from there on.
 */
import { HEAD_BYTES, recognize } from '../inspect/channel-kind.js';
import { RecordLog } from '../inspect/record-log.js';
import { StreamRecords } from '../inspect/stream-records.js';
import type { RecordDecoder } from '../inspect/walk.js';
import type { StreamContext, StreamDecoderOptions } from '../wire/decode.js';
import type { MultifdRecord, ReturnPathMessageRecord, StreamRecord } from '../wire/messages.js';
import { MultifdDecoder } from '../wire/multifd.js';
import { DEFAULT_TARGET_PAGE_SIZE } from '../wire/protocol.js';
import { ReturnPathDecoder } from '../wire/return-path.js';
import type { Direction } from './faults.js';
import type { RelayObserver } from './observer.js';

type AnyRecord = StreamRecord | MultifdRecord | ReturnPathMessageRecord;

type Decoder = RecordDecoder<AnyRecord> & { readonly packaged?: boolean };

/** The decoder for a direction that begins like this; undefined where more of it must be seen, or none fits. */
type Choice = (head: Uint8Array) => Decoder | undefined;

const noBytes = new Uint8Array(0);

/** One direction of a connection: bytes in, lines out. */
class Reading {
  readonly #choose: Choice;
  readonly #log: RecordLog;
  readonly #say: (text: string) => void;
  #decoder: Decoder | undefined;
  /** Bytes that are no whole record yet: copies, in pieces, and how many in all. */
  #held: Uint8Array[] = [];
  #heldBytes = 0;
  #wanted = 0;
  /** The device state whose pieces come: its bytes so far, and where the first began. */
  #device: { readonly offset: number; bytes: number } | undefined;
  #ended = false;
  #lost = false;

  constructor(choose: Choice, pageSize: number, say: (text: string) => void) {
    this.#choose = choose;
    this.#say = say;
    this.#log = new RecordLog(say, pageSize);
  }

  take(bytes: Uint8Array): void {
    if (this.#lost) return;
    if (this.#heldBytes + bytes.length < this.#wanted) {
      this.#hold(bytes.slice());
      return;
    }
    const all = this.#heldBytes === 0 ? bytes : this.#joined(bytes);
    this.#held = [];
    this.#heldBytes = 0;
    this.#attempt(all);
  }

  /** Nothing follows; what is missing is told. */
  end(): void {
    if (!this.#lost) {
      this.#ended = true;
      this.#decoder?.endOfInput();
      this.#attempt(this.#joined(noBytes));
    }
    this.#log.end();
    this.#lost = true;
  }

  #attempt(bytes: Uint8Array): void {
    try {
      const left = this.#decode(bytes);
      if (left < bytes.length) this.#hold(bytes.slice(left));
    } catch (error) {
      this.#lost = true;
      this.#log.end();
      this.#say(`not understood from here on: ${(error as Error).message}`);
    }
  }

  /** Decodes all whole records; the index behind them. */
  #decode(bytes: Uint8Array): number {
    this.#decoder ??= this.#choose(bytes);
    const decoder = this.#decoder;
    if (decoder === undefined) {
      if (bytes.length >= HEAD_BYTES || (this.#ended && bytes.length > 0)) {
        throw new Error('it begins like no connection of a migration');
      }
      this.#wanted = bytes.length + 1;
      return 0;
    }
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    for (let at = 0; ; at += decoder.consumed) {
      const record = decoder.next(bytes, view, at, bytes.length);
      if (record === undefined) {
        this.#wanted = decoder.needed;
        return at;
      }
      this.#tell(record, decoder.recordOffset, decoder.packaged);
    }
  }

  /** A device state, which comes in whatever pieces the network makes of it, is one line. */
  #tell(record: AnyRecord, offset: number, packaged?: boolean): void {
    if (record.type !== 'device-data') {
      this.#log.take(record, offset, packaged);
      return;
    }
    this.#device ??= { offset, bytes: 0 };
    this.#device.bytes += record.dataLength;
    if (!record.last) return;
    this.#log.take({ ...record, dataLength: this.#device.bytes }, this.#device.offset, packaged);
    this.#device = undefined;
  }

  #hold(bytes: Uint8Array): void {
    this.#held.push(bytes);
    this.#heldBytes += bytes.length;
  }

  #joined(last: Uint8Array): Uint8Array {
    const all = new Uint8Array(this.#heldBytes + last.length);
    let at = 0;
    for (const piece of [...this.#held, last]) {
      all.set(piece, at);
      at += piece.length;
    }
    return all;
  }
}

export class MessageLog implements RelayObserver {
  readonly #write: (line: string) => void;
  readonly #now: () => number;
  readonly #readings = new Map<number, Readonly<Record<Direction, Reading>>>();
  /** The main connection that came last, whose blocks and sections the others build on. */
  #main: StreamRecords | undefined;
  #start: number | undefined;

  /** @param now milliseconds from any start */
  constructor(write: (line: string) => void, now: () => number = () => performance.now()) {
    this.#write = write;
    this.#now = now;
  }

  opened(connection: number): void {
    const pageSize = this.#main?.context().targetPageSize ?? DEFAULT_TARGET_PAGE_SIZE;
    const reading = (direction: Direction, choose: Choice) =>
      new Reading(choose, pageSize, (text) => this.#line(connection, direction, text));
    this.#readings.set(connection, {
      s2d: reading('s2d', (head) => this.#fromSource(head)),
      d2s: reading('d2s', () => new ReturnPathDecoder()),
    });
  }

  passed(connection: number, direction: Direction, bytes: Uint8Array): void {
    this.#readings.get(connection)?.[direction].take(bytes);
  }

  ended(connection: number, direction: Direction, total: number): void {
    this.#readings.get(connection)?.[direction].end();
    this.#line(connection, direction, `ended after ${total} bytes`);
  }

  cut(connection: number): void {
    const readings = this.#readings.get(connection);
    readings?.s2d.end();
    readings?.d2s.end();
    this.#readings.delete(connection);
  }

  close(): void {
    for (const connection of [...this.#readings.keys()]) this.cut(connection);
  }

  /** The decoder for what a source sends on a connection that begins like this. */
  #fromSource(head: Uint8Array): Decoder | undefined {
    const { kind } = recognize(head);
    const context = this.#main?.context();
    switch (kind) {
      case 'main':
        this.#main = new StreamRecords({});
        return this.#main;
      case 'multifd':
        return new MultifdDecoder(context === undefined ? {} : { targetPageSize: context.targetPageSize });
      case 'preempt':
      case 'lane':
        return new StreamRecords({ channel: kind, ...known(context) });
      case 'main-resumed':
        this.#main = new StreamRecords({ resumed: true, ...known(context) });
        return this.#main;
      default:
        return undefined;
    }
  }

  #line(connection: number, direction: Direction, text: string): void {
    const now = this.#now();
    this.#start ??= now;
    const seconds = ((now - this.#start) / 1000).toFixed(3).padStart(9);
    this.#write(`${seconds}  ${connection} ${direction}  ${text}`);
  }
}

function known(context: StreamContext | undefined): Pick<StreamDecoderOptions, 'context'> {
  if (context === undefined) throw new Error('it builds on a main connection that did not come this way');
  return { context };
}
