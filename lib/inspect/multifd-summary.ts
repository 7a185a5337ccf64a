/** What a data channel of multifd holds. */
import { capabilityOf } from '../wire/capabilities.js';
import type { StreamContext } from '../wire/decode.js';
import type { MultifdRecord } from '../wire/messages.js';
import { type BlockInspection, type PageCounts, RamTally } from './ram-tally.js';
import { type Use, Uses } from './uses.js';

export interface MultifdParts {
  readonly version: number | null;
  readonly uuid: string | null;
  readonly channel: number | null;
  readonly uses: readonly Use[];
  readonly packets: number;
  /** Packets at which all channels wait for each other. */
  readonly syncs: number;
  /** Packets by how their pages are compressed. */
  readonly compressions: { readonly [compression: string]: number };
  readonly blocks: readonly BlockInspection[];
  readonly pages: PageCounts;
}

/** As blocks in a block list; pages of others are counted together. */
const MAX_NAMES = 1024;
const BEYOND = '(others)';

export class MultifdSummary {
  readonly #ram = new RamTally();
  readonly #uses = new Uses();
  readonly #compressions = new Map<string, number>();
  readonly #names = new Set<string>();
  #opening: { version: number; uuid: string; channel: number } | undefined;
  #packets = 0;
  #syncs = 0;

  /** @param context what the main connection of the same migration told, where it is known */
  constructor(context?: StreamContext) {
    this.#ram.targetPageSize = context?.targetPageSize ?? this.#ram.targetPageSize;
    for (const block of context?.blocks ?? []) {
      this.#ram.addBlock(block);
      this.#names.add(block.idstr);
    }
  }

  take(record: MultifdRecord, offset: number): void {
    this.#uses.note(capabilityOf(record), offset);
    if (record.type === 'multifd-opening') {
      const { version, uuid, channel } = record;
      this.#opening = { version, uuid, channel };
      return;
    }
    this.#packets++;
    if (record.sync) this.#syncs++;
    this.#compressions.set(record.compression, (this.#compressions.get(record.compression) ?? 0) + 1);
    if (this.#names.size < MAX_NAMES && record.idstr !== '') this.#names.add(record.idstr);
    const idstr = this.#names.has(record.idstr) ? record.idstr : BEYOND;
    const kind = record.compression === 'none' ? 'normal' : 'compressed';
    for (const page of record.normal) this.#ram.pageOf(idstr, page, kind);
    for (const page of record.zero) this.#ram.pageOf(idstr, page, 'zero');
  }

  parts(): MultifdParts {
    return {
      version: this.#opening?.version ?? null,
      uuid: this.#opening?.uuid ?? null,
      channel: this.#opening?.channel ?? null,
      uses: this.#uses.list(),
      packets: this.#packets,
      syncs: this.#syncs,
      compressions: Object.fromEntries(this.#compressions),
      blocks: this.#ram.blocks(),
      pages: this.#ram.pages,
    };
  }
}
