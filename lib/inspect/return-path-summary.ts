/** What a return path holds, in memory that does not grow with it: requests counted, runs of messages folded. */
import { capabilityOf } from '../wire/capabilities.js';
import type { ReturnPathMessageRecord } from '../wire/messages.js';
import { BoundedList } from './bounded-list.js';
import { type Use, Uses } from './uses.js';

/** One message, or a run of page requests or of pongs that count up. */
export interface MessageInspection {
  readonly message: ReturnPathMessageRecord['type'];
  /** Of the first. */
  readonly offset: number;
  readonly count: number;
  /** Of SHUT, PONG, RESUME_ACK. */
  readonly value?: number;
  readonly lastValue?: number;
  /** Of REQ_PAGES: what was asked for in all, and how many messages named their block. */
  readonly bytes?: number;
  readonly named?: number;
  /** Of RECV_BITMAP. */
  readonly idstr?: string;
  /** Of RECV_BITMAP: pages that had been received, and bits of the bitmap. */
  readonly received?: number;
  readonly bits?: number;
}

export interface RequestInspection {
  readonly idstr: string;
  readonly requests: number;
  readonly bytes: number;
}

export interface ReturnPathParts {
  readonly uses: readonly Use[];
  readonly messages: readonly MessageInspection[];
  /** Page requests by block. */
  readonly requests: readonly RequestInspection[];
  readonly counts: { readonly [message: string]: number };
  readonly omitted: { readonly messages: number };
}

type Mutable<T> = { -readonly [Key in keyof T]: T[Key] };

/** Stands where a request names no block and none was named before. */
const UNNAMED = '(none named)';

/** As blocks in a block list. */
const MAX_NAMES = 1024;
const BEYOND = '(others)';

export class ReturnPathSummary {
  readonly #uses = new Uses();
  readonly #messages = new BoundedList<Mutable<MessageInspection>>();
  readonly #requests = new Map<string, { requests: number; bytes: number }>();
  readonly #counts = new Map<string, number>();
  #block = UNNAMED;

  take(record: ReturnPathMessageRecord, offset: number): void {
    this.#uses.note(capabilityOf(record), offset);
    const named = record.type === 'REQ_PAGES' && record.idstr !== undefined;
    const name = named ? 'REQ_PAGES_ID' : record.type;
    this.#counts.set(name, (this.#counts.get(name) ?? 0) + 1);
    if (record.type === 'REQ_PAGES') this.#request(record.length, record.idstr);
    const last = this.#messages.last;
    if (last === undefined || !fold(last, record)) this.#messages.add(messageInspection(record, offset));
  }

  parts(): ReturnPathParts {
    return {
      uses: this.#uses.list(),
      messages: this.#messages.items,
      requests: [...this.#requests].map(([idstr, counts]) => ({ idstr, ...counts })),
      counts: Object.fromEntries(this.#counts),
      omitted: { messages: this.#messages.omitted },
    };
  }

  #request(length: number, idstr: string | undefined): void {
    this.#block = idstr ?? this.#block;
    const name = this.#requests.has(this.#block) || this.#requests.size < MAX_NAMES ? this.#block : BEYOND;
    const counts = this.#requests.get(name) ?? { requests: 0, bytes: 0 };
    counts.requests++;
    counts.bytes += length;
    this.#requests.set(name, counts);
  }
}

function messageInspection(record: ReturnPathMessageRecord, offset: number): Mutable<MessageInspection> {
  const base = { message: record.type, offset, count: 1 };
  switch (record.type) {
    case 'REQ_PAGES':
      return { ...base, bytes: record.length, named: record.idstr === undefined ? 0 : 1 };
    case 'RECV_BITMAP':
      return { ...base, idstr: record.idstr, received: bitsSet(record.bitmap), bits: 8 * record.bitmap.length };
    case 'SWITCHOVER_ACK':
      return base;
    default:
      return { ...base, value: record.value };
  }
}

/** Adds a request to a run of requests, a pong to one that counts up to it. False where it is neither. */
function fold(last: Mutable<MessageInspection>, record: ReturnPathMessageRecord): boolean {
  if (last.message !== record.type) return false;
  if (record.type === 'REQ_PAGES') {
    last.count++;
    last.bytes = (last.bytes ?? 0) + record.length;
    last.named = (last.named ?? 0) + (record.idstr === undefined ? 0 : 1);
    return true;
  }
  if (record.type !== 'PONG' || record.value !== (last.lastValue ?? last.value ?? 0) + 1) return false;
  last.count++;
  last.lastValue = record.value;
  return true;
}

function bitsSet(bitmap: Uint8Array): number {
  let count = 0;
  for (let byte of bitmap) for (; byte !== 0; byte &= byte - 1) count++;
  return count;
}
