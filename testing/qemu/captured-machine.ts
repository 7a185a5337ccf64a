/**
 * A machine out of a recorded stream: its blocks, its memory and its devices, and the records of a stream
 * that brings it to a destination. Scripts put these together as they like, in order or not.
 *
 * Records are made with the encoders of lib/wire; only the devices' sections are the recorded bytes.
 */
import {
  type Configuration,
  encodeConfiguration,
  encodeEof,
  encodeFooter,
  encodeHeader,
  encodeIdstr,
  encodePageHeader,
  encodeRamBlockList,
  encodeRamEos,
  encodeSectionPart,
  encodeSectionStart,
  encodeVmDescription,
  MAX_PAGE_HEADER_BYTES,
} from '#lib/wire/encode.js';
import { decodeAll, RamFlag } from '#lib/wire/index.js';
import type { DiscardRange, RamBlockEntry, SectionEntry } from '#lib/wire/messages.js';
import { capture } from '../captures.ts';
import { joined } from '../feed.ts';

export const PAGE_BYTES = 4096;

type Block = Omit<RamBlockEntry, 'index'>;

/** A page by its block and its number in there. */
export interface PageAddress {
  readonly idstr: string;
  readonly page: number;
}

export class CapturedMachine {
  readonly machine: string;
  readonly blocks: readonly Block[];
  /** What the recorded memory holds at the end of its stream, by block. */
  readonly memory: ReadonlyMap<string, Uint8Array>;
  /** The whole sections of the devices in order, footers included. */
  readonly devices: readonly (SectionEntry & { readonly section: Uint8Array })[];
  readonly vmDescription: string;
  readonly ramSection: SectionEntry;

  /** From the main connection of the capture of that name. */
  constructor(captureName: string) {
    const bytes = capture(captureName).fromSource(0);
    const records = [...decodeAll(bytes)];
    const only = <Type extends string>(type: Type) => {
      const record = records.find((candidate) => candidate.type === type);
      return record as Extract<(typeof records)[number], { type: Type }> | undefined;
    };
    this.machine = only('configuration')?.machine ?? '';
    this.blocks = only('ram-blocks')?.blocks ?? [];
    this.vmDescription = only('vmdescription')?.json ?? '{}';
    this.memory = new Map(this.blocks.map(({ idstr, usedLength }) => [idstr, new Uint8Array(usedLength)]));
    const devices: (SectionEntry & { section: Uint8Array })[] = [];
    let ram: SectionEntry | undefined;
    let start: (SectionEntry & { readonly recordOffset: number }) | undefined;
    for (const record of records) {
      if (record.type === 'section-start' && record.idstr === 'ram') ram = record;
      if (record.type === 'section-start') start = record;
      if (record.type === 'section-end' && record.idstr !== 'ram' && start !== undefined) {
        const { id, idstr, instanceId, versionId, recordOffset } = start;
        const section = bytes.slice(recordOffset, record.recordOffset + encodeFooter(id).length);
        devices.push({ id, idstr, instanceId, versionId, section });
      }
    }
    if (ram === undefined) throw new Error(`${captureName} has no ram section`);
    this.ramSection = ram;
    this.devices = devices;
    this.#fillMemory(bytes);
  }

  #fillMemory(bytes: Uint8Array): void {
    for (const record of decodeAll(bytes)) {
      if (record.type !== 'page') continue;
      const { block, offset, kind, fill, dataStart, dataLength } = record;
      const memory = this.memory.get(block.idstr) as Uint8Array;
      if (kind === 'zero') memory.fill(fill, offset, offset + PAGE_BYTES);
      else memory.set(bytes.subarray(dataStart, dataStart + dataLength), offset);
    }
  }

  // --- what a stream is made of -----------------------------------------------------------------------------

  header(changed: Partial<Configuration> = {}): Uint8Array {
    return joined([encodeHeader(), encodeConfiguration({ machine: this.machine, ...changed })]);
  }

  /** The START section of RAM, with the block list. */
  ramStart(blocks: readonly Block[] = this.blocks, section: Partial<SectionEntry> = {}): Uint8Array {
    const { id, idstr, instanceId, versionId } = { ...this.ramSection, ...section };
    const head = encodeSectionStart({ type: 'START', id, idstr, instanceId, versionId });
    return joined([head, encodeRamBlockList(blocks), encodeRamEos(), encodeFooter(id)]);
  }

  /** A PART section of RAM with these page records in it; an END section with none is {@link ramEnd}. */
  ramPart(...records: readonly Uint8Array[]): Uint8Array {
    const { id } = this.ramSection;
    return joined([encodeSectionPart('PART', id), ...records, encodeRamEos(), encodeFooter(id)]);
  }

  ramEnd(): Uint8Array {
    const { id } = this.ramSection;
    return joined([encodeSectionPart('END', id), encodeRamEos(), encodeFooter(id)]);
  }

  /** The sections of all devices. */
  allDevices(): Uint8Array {
    return joined(this.devices.map(({ section }) => section));
  }

  ending(): Uint8Array {
    return joined([encodeEof(), encodeVmDescription(this.vmDescription)]);
  }

  /** Every page of every block, in order. */
  allPages(): PageAddress[] {
    return this.blocks.flatMap(({ idstr, usedLength }) =>
      Array.from({ length: usedLength / PAGE_BYTES }, (_, page) => ({ idstr, page })),
    );
  }

  /** Each block as one range, to be discarded. */
  wholeBlocks(): { idstr: string; ranges: DiscardRange[] }[] {
    return this.blocks.map(({ idstr, usedLength }) => ({ idstr, ranges: [{ start: 0, length: usedLength }] }));
  }

  content({ idstr, page }: PageAddress): Uint8Array {
    const memory = this.memory.get(idstr);
    if (memory === undefined) throw new Error(`the captured machine has no block ${idstr}`);
    return memory.subarray(page * PAGE_BYTES, (page + 1) * PAGE_BYTES);
  }

  /** The records of these pages as QEMU would send them: zero pages as such, CONTINUE within a block. */
  pages(addresses: readonly PageAddress[]): Uint8Array {
    let last: string | undefined;
    const records = addresses.map((address) => {
      const record = this.page(address, address.idstr === last);
      last = address.idstr;
      return record;
    });
    return joined(records);
  }

  /** One page's record, its name left out if it is to `continue` the block before. */
  page(address: PageAddress, continues = false): Uint8Array {
    const content = this.content(address);
    if (content.some((byte) => byte !== 0)) return pageRecord(address, RamFlag.PAGE, content, continues);
    return pageRecord(address, RamFlag.ZERO, Uint8Array.of(0), continues);
  }
}

/** Any page record: header with that kind, then what is behind it. */
export function pageRecord(
  { idstr, page }: PageAddress,
  kind: number,
  rest: Uint8Array,
  continues = false,
): Uint8Array {
  const head = new Uint8Array(MAX_PAGE_HEADER_BYTES);
  const flags = kind | (continues ? RamFlag.CONTINUE : 0);
  const view = new DataView(head.buffer);
  const end = encodePageHeader(view, 0, page * PAGE_BYTES, flags, continues ? undefined : encodeIdstr(idstr));
  return joined([head.subarray(0, end), rest]);
}
