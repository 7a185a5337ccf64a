/**
 * Names for the messages of both directions, as a table of failures uses them: what a message is and which of its
 * kind, so that the same point is found again in another run although page counts differ.
 */
import type { ReturnPathMessageRecord, StreamRecord } from '#lib/wire/messages.js';
import { Ping } from '#lib/wire/protocol.js';

/** Where what is inside a package is told apart from the rest. */
const PACKAGED = 'packaged ';

function pingName(value: number): string {
  if (value >= Ping.PLACED) return 'of credit';
  return value > Ping.DISCARDED ? 'of discards' : String(value);
}

/** What a record of the stream is, without its number. */
function streamName(record: StreamRecord): string {
  switch (record.type) {
    case 'section-start':
    case 'section-part':
      return `${record.kind} ${record.idstr}`;
    case 'section-end':
      return `footer ${record.idstr}`;
    case 'device-data':
      return `body ${record.idstr}`;
    case 'command':
      return record.command === 'PING' ? `PING ${pingName(record.value)}` : record.command;
    default:
      return record.type;
  }
}

/** What a message of the return path is, without its number. */
function returnPathName(message: ReturnPathMessageRecord): string {
  if (message.type === 'PONG') return `PONG ${pingName(message.value)}`;
  return message.type === 'REQ_PAGES' && message.idstr !== undefined ? 'REQ_PAGES_ID' : message.type;
}

/** Numbers messages as they come: `PART ram #2`. Pages are counted in their section: `page #3 of PART ram #2`. */
export class MessageNames {
  readonly #counts = new Map<string, number>();
  #section = '';
  #pages = 0;

  ofStream(record: StreamRecord, packaged: boolean): string {
    if (record.type === 'page') {
      this.#pages += 1;
      return `page #${this.#pages} of ${this.#section}`;
    }
    const name = this.#numbered((packaged ? PACKAGED : '') + streamName(record));
    if (record.type === 'section-part') {
      this.#section = name;
      this.#pages = 0;
    }
    return name;
  }

  ofReturnPath(message: ReturnPathMessageRecord): string {
    return this.#numbered(returnPathName(message));
  }

  #numbered(name: string): string {
    const count = (this.#counts.get(name) ?? 0) + 1;
    this.#counts.set(name, count);
    return `${name} #${count}`;
  }
}
