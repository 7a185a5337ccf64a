/**
 * What a main connection, a preempt channel or a lane holds, gathered record by record in memory that does not grow
 * with it: pages are counted, runs of commands folded, lists bounded.
 */
import { capabilitiesOfConfiguration, capabilityOf } from '../wire/capabilities.js';
import type { StreamContext } from '../wire/decode.js';
import type { CommandRecord, ConfigurationRecord, SectionEntry, StreamRecord } from '../wire/messages.js';
import { RAM_SECTION } from '../wire/protocol.js';
import { BoundedList } from './bounded-list.js';
import { type DeviceInspection, DeviceTally } from './device-tally.js';
import { type BlockInspection, type PageCounts, RamTally } from './ram-tally.js';
import { type Use, Uses } from './uses.js';

export interface SectionInspection extends SectionEntry {
  /** Where it is first seen. */
  readonly offset: number;
  readonly packaged: boolean;
  /** How many records of each type it has: START, PART, END, FULL. */
  readonly records: { readonly [type: string]: number };
  /** Bytes of all its records, footers included. */
  readonly bytes: number;
}

/** One command, or a run of discards or of pings that count up. */
export interface CommandInspection {
  readonly command: CommandRecord['command'];
  /** Of the first. */
  readonly offset: number;
  readonly packaged: boolean;
  readonly count: number;
  /** Of PING. */
  readonly value?: number;
  readonly lastValue?: number;
  /** Of POSTCOPY_ADVISE. */
  readonly pageSizeSummary?: number;
  readonly targetPageSize?: number;
  /** Of POSTCOPY_RAM_DISCARD. */
  readonly ranges?: number;
  readonly bytes?: number;
  readonly blocks?: readonly string[];
  /** Of PACKAGED. */
  readonly length?: number;
  /** Of RECV_BITMAP. */
  readonly idstr?: string;
}

export interface PackageInspection {
  /** Of its first byte. */
  readonly offset: number;
  readonly length: number;
  readonly records: readonly { readonly offset: number; readonly record: string }[];
  readonly omitted: number;
}

export interface StreamParts {
  /** Null on a connection without header. */
  readonly version: number | null;
  readonly configuration: Omit<ConfigurationRecord, 'type'> | null;
  readonly uses: readonly Use[];
  /** As QEMU's globalstate has it: what the guest did when it stopped. */
  readonly runState: string | null;
  readonly sections: readonly SectionInspection[];
  readonly commands: readonly CommandInspection[];
  readonly packages: readonly PackageInspection[];
  readonly blocks: readonly BlockInspection[];
  readonly pages: PageCounts;
  readonly discards: { readonly commands: number; readonly ranges: number; readonly bytes: number };
  readonly devices: readonly DeviceInspection[];
  readonly vmDescription: { readonly pageSize: number | null; readonly devices: number } | null;
  /** Records by name, those of packages included. */
  readonly counts: { readonly [record: string]: number };
  /** Entries of the lists above that were too many to keep. */
  readonly omitted: { readonly commands: number; readonly devices: number; readonly packages: number };
}

type Mutable<T> = { -readonly [Key in keyof T]: T[Key] };
type Command = Mutable<CommandInspection> & { blockSet?: Set<string> };

interface Section extends Mutable<Omit<SectionInspection, 'records'>> {
  readonly records: { [type: string]: number };
}

interface Package {
  readonly offset: number;
  readonly length: number;
  readonly records: BoundedList<{ readonly offset: number; readonly record: string }>;
}

/** A stream has one package; more are a COLO source's. */
const MAX_PACKAGES = 100;

const names: Readonly<Record<Exclude<StreamRecord['type'], 'command' | 'section-start' | 'section-part'>, string>> = {
  header: 'HEADER',
  configuration: 'CONFIGURATION',
  'section-end': 'FOOTER',
  eof: 'EOF',
  vmdescription: 'VMDESCRIPTION',
  'ram-blocks': 'MEM_SIZE',
  page: 'page',
  'page-run': 'run of pages',
  'ram-eos': 'EOS',
  'lane-greeting': 'GREETING',
  'multifd-flush': 'MULTIFD_FLUSH',
  'device-data': 'device data',
};

/** A record's name as the protocol has it: `FULL`, `PING`, `FOOTER`, `EOS`, … */
export function recordName(record: StreamRecord): string {
  if (record.type === 'command') return record.command;
  if (record.type === 'section-start' || record.type === 'section-part') return record.kind;
  return names[record.type];
}

export class StreamSummary {
  readonly #ram = new RamTally();
  readonly #devices = new DeviceTally();
  readonly #uses = new Uses();
  readonly #sections = new Map<number, Section>();
  readonly #known = new Map<number, SectionEntry>();
  readonly #commands = new BoundedList<Command>();
  readonly #packages = new BoundedList<Package>(MAX_PACKAGES);
  readonly #counts = new Map<string, number>();
  readonly #discards = { commands: 0, ranges: 0, bytes: 0 };
  #version: number | null = null;
  #configuration: StreamParts['configuration'] = null;
  /** The section whose record is open, and where that record begins. */
  #open: { readonly section: Section; readonly offset: number } | undefined;

  /** @param context what the main connection of the same migration told, where this is another one */
  constructor(context?: StreamContext) {
    if (context === undefined) return;
    this.#ram.targetPageSize = context.targetPageSize;
    for (const block of context.blocks) this.#ram.addBlock(block);
    for (const section of context.sections) this.#known.set(section.id, section);
  }

  /** Says that the connection itself shows a capability. */
  uses(capability: string): void {
    this.#uses.note(capability, 0);
  }

  /**
   * The next record, at [offset, end) of the stream; the data of a device lies in `bytes`. A page comes
   * through {@link page} instead.
   */
  take(record: StreamRecord, offset: number, end: number, packaged: boolean, bytes: Uint8Array): void {
    if (record.type === 'device-data') {
      this.#devices.data(bytes, record.dataStart, record.dataLength);
      return;
    }
    const name = recordName(record);
    this.#counts.set(name, (this.#counts.get(name) ?? 0) + 1);
    if (packaged && record.type !== 'section-end') this.#inPackage(record, name, offset);
    if (record.type === 'configuration') {
      for (const capability of capabilitiesOfConfiguration(record)) this.#uses.note(capability, offset);
      const { type: _, ...configuration } = record;
      this.#configuration = configuration;
      if (record.targetPageBits !== undefined) this.#ram.targetPageSize = 2 ** record.targetPageBits;
      return;
    }
    this.#uses.note(capabilityOf(record), offset);
    this.#other(record, offset, end, packaged);
  }

  /** A page: allocates nothing but the bitmap of the pages seen. */
  page(record: Extract<StreamRecord, { type: 'page' }>, offset: number): void {
    if (record.kind === 'xbzrle' || record.kind === 'compressed') this.#uses.note(capabilityOf(record), offset);
    this.#ram.page(record.block.index, record.offset, record.kind);
  }

  /** The section that is open, for people; null between sections. */
  within(): string | null {
    if (this.#open === undefined) return null;
    const { section, offset } = this.#open;
    const where = section.packaged ? ' of the package' : '';
    return `section ${section.id} (${section.idstr})${where}, from offset ${offset}`;
  }

  parts(): StreamParts {
    return {
      version: this.#version,
      configuration: this.#configuration,
      uses: this.#uses.list(),
      runState: this.#devices.runState(),
      sections: [...this.#sections.values()],
      commands: this.#commands.items.map(({ blockSet, ...command }) =>
        blockSet === undefined ? command : { ...command, blocks: [...blockSet] },
      ),
      packages: this.#packages.items.map(({ offset, length, records }) => ({
        offset,
        length,
        records: records.items,
        omitted: records.omitted,
      })),
      blocks: this.#ram.blocks(),
      pages: this.#ram.pages,
      discards: this.#discards,
      devices: this.#devices.devices(),
      vmDescription: this.#devices.vmDescription,
      counts: Object.fromEntries(this.#counts),
      omitted: {
        commands: this.#commands.omitted,
        devices: this.#devices.omitted,
        packages: this.#packages.omitted,
      },
    };
  }

  #other(record: StreamRecord, offset: number, end: number, packaged: boolean): void {
    switch (record.type) {
      case 'header':
        this.#version = record.version;
        break;
      case 'section-start': {
        const { id, idstr, instanceId, versionId } = record;
        const section = { id, idstr, instanceId, versionId };
        this.#openSection(section, record.kind, offset, packaged);
        if (record.kind === 'FULL' && idstr !== RAM_SECTION) this.#devices.begin(section, offset, end, packaged);
        break;
      }
      case 'section-part':
        this.#openSection(this.#known.get(record.id), record.kind, offset, packaged);
        break;
      case 'section-end':
        if (this.#open !== undefined) this.#open.section.bytes += end - this.#open.offset;
        this.#open = undefined;
        this.#devices.end();
        break;
      case 'ram-blocks':
        for (const block of record.blocks) this.#ram.addBlock(block);
        break;
      case 'vmdescription':
        this.#devices.describe(record.json);
        break;
      case 'command':
        this.#command(record, offset, packaged);
    }
  }

  #openSection(known: SectionEntry | undefined, kind: string, offset: number, packaged: boolean): void {
    if (known === undefined) return;
    this.#known.set(known.id, known);
    let section = this.#sections.get(known.id);
    if (section === undefined) {
      section = { ...known, offset, packaged, records: {}, bytes: 0 };
      this.#sections.set(known.id, section);
    }
    section.records[kind] = (section.records[kind] ?? 0) + 1;
    this.#open = { section, offset };
  }

  #inPackage(record: StreamRecord, name: string, offset: number): void {
    const idstr = record.type === 'section-start' || record.type === 'section-part' ? ` ${record.idstr}` : '';
    this.#packages.last?.records.add({ offset, record: `${name}${idstr}` });
  }

  #command(record: CommandRecord, offset: number, packaged: boolean): void {
    if (record.command === 'POSTCOPY_RAM_DISCARD') {
      const bytes = record.ranges.reduce((sum, { length }) => sum + length, 0);
      this.#discards.commands++;
      this.#discards.ranges += record.ranges.length;
      this.#discards.bytes += bytes;
      this.#ram.discard(record.idstr, record.ranges.length, bytes);
    }
    if (record.command === 'PACKAGED') {
      this.#packages.add({ offset: offset + 9, length: record.length, records: new BoundedList() });
    }
    const last = this.#commands.last;
    if (last !== undefined && last.packaged === packaged && fold(last, record)) return;
    this.#commands.add(commandInspection(record, offset, packaged));
  }
}

function commandInspection(record: CommandRecord, offset: number, packaged: boolean): Command {
  const base = { command: record.command, offset, packaged, count: 1 };
  if (record.command !== 'POSTCOPY_RAM_DISCARD') {
    const { type: _, command: __, ...fields } = record;
    return { ...base, ...fields };
  }
  const { idstr, ranges } = record;
  const bytes = ranges.reduce((sum, { length }) => sum + length, 0);
  return { ...base, ranges: ranges.length, bytes, blockSet: new Set([idstr]) };
}

/** Adds a discard to a run of discards, a ping to one that counts up to it. False where it is neither. */
function fold(last: Command, record: CommandRecord): boolean {
  if (last.command !== record.command) return false;
  if (record.command === 'POSTCOPY_RAM_DISCARD') {
    last.count++;
    last.ranges = (last.ranges ?? 0) + record.ranges.length;
    last.bytes = (last.bytes ?? 0) + record.ranges.reduce((sum, { length }) => sum + length, 0);
    last.blockSet?.add(record.idstr);
    return true;
  }
  if (record.command !== 'PING' || record.value !== (last.lastValue ?? last.value ?? 0) + 1) return false;
  last.count++;
  last.lastValue = record.value;
  return true;
}
