/** What decoders returned, as one number that does not depend on how the bytes were cut. */
import { WireError } from '#lib/wire/errors.js';
import type { MultifdRecord, ReturnPathMessageRecord, StreamRecord } from '#lib/wire/messages.js';

export type AnyRecord = StreamRecord | MultifdRecord | ReturnPathMessageRecord;

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
