/**
 * What decoders returned, as one number that does not depend on how the bytes were cut, and as steps from one
 * kind of record to the next: what an input has to show that it is worth keeping.
 */
import { WireError } from '#lib/wire/errors.js';
import type { MultifdRecord, ReturnPathMessageRecord, StreamRecord } from '#lib/wire/messages.js';

export type AnyRecord = StreamRecord | MultifdRecord | ReturnPathMessageRecord;

/** Numbers for names, as they come; the same names give the same numbers in every run of a seed. */
export class Names {
  readonly #numbers = new Map<string, number>();

  get size(): number {
    return this.#numbers.size;
  }

  number(name: string): number {
    let number = this.#numbers.get(name);
    if (number === undefined) {
      number = this.#numbers.size;
      this.#numbers.set(name, number);
    }
    return number;
  }
}

/** The kind of a record, as finely as decoders tell them apart. */
export function kindOf(record: AnyRecord): string {
  switch (record.type) {
    case 'command':
      return record.command;
    case 'section-start':
    case 'section-part':
      return record.idstr === 'ram' ? `ram ${record.kind}` : record.kind;
    case 'page':
      return record.kind;
    case 'ram-blocks':
      return record.blocks.some(({ pageSize }) => pageSize !== undefined) ? 'huge ram-blocks' : record.type;
    case 'configuration':
      return `configuration ${Object.keys(record).length}`;
    case 'REQ_PAGES':
      return record.idstr === undefined ? 'REQ_PAGES' : 'REQ_PAGES_ID';
    case 'multifd-packet':
      return `packet ${record.sync} ${record.compression} ${Math.min(record.normal.length, 2)} ${record.zero.length > 0}`;
    default:
      return record.type;
  }
}

/** FNV-1a over numbers, strings and bytes. */
export class RecordDigest {
  value = 0x811c9dc5;
  records = 0;
  /** Of a device body whose last piece is still to come: the pieces depend on the cuts, their sum does not. */
  #body = 0;

  add(record: AnyRecord, recordOffset: number, bytes: Uint8Array): void {
    if (record.type === 'device-data') {
      this.#deviceData(record, bytes);
      return;
    }
    this.records++;
    this.#body = 0;
    this.#number(recordOffset);
    this.#text(record.type);
    if (record.type === 'page') {
      this.#text(record.block.idstr);
      this.#number(record.offset);
      this.#number(record.fill);
      this.#data(bytes, record.dataStart, record.dataLength);
    } else if (record.type === 'multifd-packet') {
      const { dataStart, dataLength, ...rest } = record;
      this.#text(JSON.stringify(rest));
      this.#data(bytes, dataStart, dataLength);
    } else {
      this.#text(JSON.stringify(record));
    }
  }

  error(error: WireError): void {
    this.#text(error.message);
    this.#text(error.code);
  }

  #deviceData(record: Extract<StreamRecord, { type: 'device-data' }>, bytes: Uint8Array): void {
    const { dataStart, dataLength, last, id } = record;
    let body = this.#body;
    for (let at = dataStart; at < dataStart + dataLength; at++) body = Math.imul(body ^ bytes[at], 0x01000193);
    this.#body = body;
    if (!last) return;
    this.records++;
    this.#number(body);
    this.#number(id);
  }

  /** Samples: data is not interpreted, so what matters is where it lies and how long it is. */
  #data(bytes: Uint8Array, start: number, length: number): void {
    this.#number(length);
    const step = Math.max(1, length >>> 4);
    for (let at = 0; at < length; at += step) this.#number(bytes[start + at]);
    if (length > 0) this.#number(bytes[start + length - 1]);
  }

  #number(value: number): void {
    this.value = Math.imul(this.value ^ (value % 2 ** 32), 0x01000193);
    this.value = Math.imul(this.value ^ Math.floor(value / 2 ** 32), 0x01000193);
  }

  #text(text: string): void {
    let value = this.value;
    for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193);
    this.value = value;
  }
}

/** The error, where that is how decoding may end. Anything else is thrown on. */
export function asWireError(error: unknown): WireError {
  if (error instanceof WireError) return error;
  throw error;
}
