/**
 * What an input did, as numbers: which kind of record followed which, and after which one it failed. An input
 * that takes a step that none took before is worth keeping.
 */
import type { Channel, Outcome } from './input.ts';
import type { AnyRecord } from './record-digest.ts';

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
    case 'multifd-packet': {
      const { sync, compression, normal, zero } = record;
      return `packet ${sync} ${compression} ${Math.min(normal.length, 2)} ${zero.length > 0}`;
    }
    default:
      return record.type;
  }
}

const channelNumber: Readonly<Record<Channel, number>> = {
  main: 0,
  'main-resumed': 1,
  preempt: 2,
  'return-path': 3,
  multifd: 4,
};

/** Tells an {@link Outcome} which kind of record followed which, and how it ended. */
export class Steps {
  readonly #kinds: Names;
  readonly #outcome: Outcome;
  readonly #channel: number;
  #last = 0;

  constructor(kinds: Names, channel: Channel, outcome: Outcome) {
    this.#kinds = kinds;
    this.#outcome = outcome;
    this.#channel = channelNumber[channel];
  }

  step(record: AnyRecord, start: number, packaged: boolean): void {
    const kind = 1 + this.#kinds.number(kindOf(record));
    this.#outcome.features.push(this.#pair(packaged ? 1 : 0, kind));
    this.#outcome.record(start, packaged);
    this.#last = kind;
  }

  end(error: number): void {
    this.#outcome.features.push(this.#pair(2, error));
  }

  #pair(group: number, what: number): number {
    return ((this.#channel * 3 + group) * 256 + this.#last) * 1024 + what;
  }
}
