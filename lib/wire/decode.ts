/**
 * The incremental decoder of a migration stream: bytes in, records out, no socket.
 *
 * Runs in whichever thread reads the channel; one decoder a connection (or package). Invariants:
 * 1. `next()` consumes one whole record or nothing, so how the bytes were cut never changes what comes out.
 * 2. Every length, offset and name is checked before it is used; whatever is wrong throws a WireError, and
 *    so does every later call.
 * 3. Nothing outside bytes[start, end) is read.
 * 4. Decoding a page allocates nothing (the record is reused) and takes no BigInt.
 */
import { Cursor, SHORTAGE } from './cursor.js';
import { WireError, type WireErrorCode } from './errors.js';
import { type Ending, scanDeviceBody } from './footer-scan.js';
import type {
  CommandRecord,
  ConfigurationRecord,
  DiscardRange,
  PageKind,
  PageRecord,
  PageRunRecord,
  RamBlockEntry,
  SectionEntry,
  StreamRecord,
} from './messages.js';
import {
  CAPABILITY_IGNORE_SHARED,
  CAPABILITY_MAPPED_RAM,
  type CommandName,
  commands,
  DEFAULT_HOST_PAGE_SIZE,
  DEFAULT_TARGET_PAGE_SIZE,
  DISCARD_VERSION,
  defaultLimits,
  LANE_MAGIC,
  type Limits,
  lengthAllowed,
  MULTIFD_MAGIC,
  Ping,
  RAM_SECTION,
  RamFlag,
  RUN_FLAG,
  SectionType,
  STREAM_MAGIC,
  STREAM_VERSION,
  SUBSECTION_VERSION,
  Subsection,
  TARGET_PAGE_BITS,
  XBZRLE_ENCODING,
} from './protocol.js';
import { encodeIdstr, uuidText } from './text.js';

/** What the connections of one migration have told so far; plain data, so it can cross threads. */
export interface StreamContext {
  readonly targetPageSize: number;
  /** Of a POSTCOPY_ADVISE for RAM; 0 without one. */
  readonly pageSizeSummary: number;
  readonly ignoreShared: boolean;
  /** Whether the source has asked if runs of pages are understood: it is one of ours, and may send them. */
  readonly mayHaveRuns: boolean;
  readonly sections: readonly SectionEntry[];
  readonly blocks: readonly RamBlockEntry[];
}

export interface StreamDecoderOptions {
  /** Until the configuration gives another; a power of two, 1 KiB to 64 KiB. 4096 by default. */
  readonly targetPageSize?: number;
  /** Page size of the hosts: blocks of this page size have no page-size field. 4096 by default. */
  readonly hostPageSize?: number;
  /** Stream offset of the first byte given; 0 by default. */
  readonly startOffset?: number;
  /** A connection made in recovery: begins with a record, not with the header. Wants a `context`. */
  readonly resumed?: boolean;
  /**
   * `preempt` for the second connection of postcopy-preempt: page records alone; `lane` for one of ours, which has them
   * behind a greeting. Both want a `context`.
   */
  readonly channel?: 'main' | DemandChannel;
  /** What earlier connections of this migration told. */
  readonly context?: StreamContext;
  /** `lastBlockIdstr` of the decoder that read this same connection so far, for pages that CONTINUE from it. */
  readonly lastBlock?: string | undefined;
  /**
   * The page size of the block here, which the stream's must equal. Without it the stream is believed: a
   * page-size field is taken to be there where the value is one of the advised page sizes.
   */
  readonly blockPageSize?: (idstr: string) => number;
  readonly limits?: Partial<Limits>;
  /** Idstrs whose FULL body is a u32 length and that many bytes, so that its end need not be guessed. */
  readonly selfSizedDevices?: readonly string[];
}

/** What brings pages that were asked for, and nothing else. */
export type DemandChannel = 'preempt' | 'lane';

type State =
  | 'header'
  | 'greeting'
  | 'configuration'
  | 'sections'
  | 'ram'
  | 'device-length'
  | 'device'
  | 'footer'
  | 'package'
  | 'trailer'
  | 'end';

/** What is being decoded, by state, for the error when the input ends there. */
const stateRecords: Readonly<Record<State, string>> = {
  header: 'header',
  greeting: 'greeting',
  configuration: 'configuration',
  sections: 'stream',
  ram: 'ram section',
  'device-length': 'device section',
  device: 'device section',
  footer: 'footer',
  package: 'PACKAGED',
  trailer: 'vmdescription',
  end: 'stream',
};

type Channel = 'main' | 'package' | DemandChannel;

/** Where what is decoded may end. */
const ends: Readonly<Record<Channel, ReadonlySet<State>>> = {
  main: new Set<State>(['trailer', 'end']),
  package: new Set<State>(['sections', 'trailer', 'end']),
  preempt: new Set<State>(['ram']),
  lane: new Set<State>(['ram']),
};

/** What a connection begins with, where that is not the stream. */
const firstStates: Readonly<Partial<Record<Channel, State>>> = { preempt: 'ram', lane: 'greeting' };

/** The parts of a context that all decoders of a migration in this thread share. */
interface Shared {
  targetPageSize: number;
  pageSizeSummary: number;
  ignoreShared: boolean;
  mayHaveRuns: boolean;
  readonly sections: Map<number, SectionEntry>;
  readonly blocks: Map<string, BlockName>;
}

/** A block with its name as it is in page records. */
interface BlockName {
  readonly entry: RamBlockEntry;
  readonly name: Uint8Array;
}

interface DeviceBody {
  readonly section: SectionEntry;
  /** Bytes of the body returned so far. */
  done: number;
  /** Bytes of the whole body, where it tells; undefined where its end must be found. */
  size: number | undefined;
}

type Mutable<T> = { -readonly [Key in keyof T]: T[Key] };

const TWO_32 = 2 ** 32;
const WORD_BYTES = 8;
/** How many pages a run has. */
const RUN_LENGTH_BYTES = 4;
/** The length of a self-sized device body. */
const LENGTH_BYTES = 4;
const SUBSECTION_PREFIX = 'configuration/';

/** Stand where no page and no section has been seen yet, and are never returned. */
const noBlock: RamBlockEntry = { index: -1, idstr: '', usedLength: 0 };
const noSection: SectionEntry = { id: -1, idstr: '', instanceId: 0, versionId: 0 };

/** Bytes between a page record's header and its data: fill byte, or encoding and length. */
function pagePrefixBytes(kindFlag: number): number {
  if (kindFlag === RamFlag.ZERO) return 1;
  if (kindFlag === RamFlag.XBZRLE) return 3;
  return kindFlag === RamFlag.COMPRESS_PAGE ? 4 : 0;
}

export class StreamDecoder {
  /** Bytes that the last successful `next()` consumed; 0 if it returned undefined. */
  consumed = 0;
  /** Bytes from `start` that are needed at least, after `next()` returned undefined; 0 when none will come. */
  needed = 0;
  /** Stream offset of the next byte. */
  offset: number;
  /** Stream offset at which the last record began. */
  recordOffset: number;

  private state: State;
  private channel: Channel;
  private failure: WireError | undefined;
  private inputEnded = false;
  /** Stream offset at which the input is known to end (packages). */
  private endOffset = Number.POSITIVE_INFINITY;
  /** Of the call of `next()` that runs. */
  private start = 0;
  private ending: Ending = 'open';

  private readonly options: StreamDecoderOptions;
  private readonly limits: Limits;
  private readonly hostPageSize: number;
  private readonly selfSized: ReadonlySet<string>;
  private shared: Shared;

  private readonly cursor = new Cursor();
  private readonly page: Mutable<PageRecord> = {
    type: 'page',
    kind: 'normal',
    block: noBlock,
    offset: 0,
    fill: 0,
    dataStart: 0,
    dataLength: 0,
  };
  private targetPageSize: number;
  /** The run that is being read: its next page, and how many are left. */
  private readonly run = { block: noBlock, kind: 'normal' as PageRunRecord['kind'], offset: 0, pages: 0 };
  /** The block of the last page record on this connection. */
  private lastBlock: BlockName | undefined;
  /** The section whose body or footer comes next. */
  private section = noSection;
  private device: DeviceBody = { section: noSection, done: 0, size: undefined };
  private packageLength = 0;

  /** @throws RangeError if the target page size is not a power of two from 1 KiB to 64 KiB */
  constructor(options: StreamDecoderOptions = {}) {
    this.options = options;
    this.limits = { ...defaultLimits, ...options.limits };
    this.hostPageSize = options.hostPageSize ?? DEFAULT_HOST_PAGE_SIZE;
    this.selfSized = new Set(options.selfSizedDevices);
    this.offset = options.startOffset ?? 0;
    this.recordOffset = this.offset;
    this.shared = shareContext(options);
    this.targetPageSize = this.shared.targetPageSize;
    this.lastBlock = options.lastBlock === undefined ? undefined : this.shared.blocks.get(options.lastBlock);
    this.channel = options.channel ?? 'main';
    this.state = firstStates[this.channel] ?? (options.resumed ? 'sections' : 'header');
  }

  /**
   * Decodes one record from bytes[start, end); `view` shows the same bytes at the same indexes.
   * Returns undefined, with nothing consumed, where the record is not there whole; call again with the
   * same bytes and more behind them, at least `needed` from `start`.
   *
   * The object of a page record is reused by the next call.
   * @throws WireError for bytes that break the protocol, or that end too early after `endOfInput()`
   */
  next(bytes: Uint8Array, view: DataView, start: number, end: number): StreamRecord | undefined {
    if (this.failure !== undefined) throw this.failure;
    const available = end - start;
    const expected = this.endOffset - this.offset;
    const stop = available > expected ? start + expected : end;
    this.start = start;
    this.ending = available >= expected ? 'package' : this.inputEnded ? 'input' : 'open';
    this.consumed = 0;
    this.needed = 0;
    this.recordOffset = this.offset;
    if (this.state === 'ram') return this.ramRecord(bytes, view, start, stop);
    if (start === stop && this.mayEnd()) return undefined;
    return this.byCursor(bytes, view, start, stop, this.state);
  }

  /** Says that nothing follows the bytes that `next()` is given from now on. */
  endOfInput(): void {
    this.inputEnded = true;
  }

  /**
   * A decoder for the package that the last record, PACKAGED, announced: give it those `length` bytes
   * (it needs no `endOfInput()`). It shares sections and blocks with this decoder, which goes on behind
   * the package.
   */
  package(): StreamDecoder {
    if (this.state !== 'package') throw new Error('the last record was not PACKAGED');
    const inner = new StreamDecoder({ ...this.options, startOffset: this.offset, resumed: true, lastBlock: undefined });
    inner.share(this.shared);
    inner.channel = 'package';
    inner.endOffset = this.offset + this.packageLength;
    this.offset = inner.endOffset;
    this.state = 'sections';
    return inner;
  }

  /** Whether the next record may need no more bytes: pages of a run of zeroes are to come. */
  get isInRun(): boolean {
    return this.run.pages > 0;
  }

  /**
   * The last record was the begin of a run, and its pages are not asked for: the caller takes their bytes from the
   * stream, all of them, before it calls `next()` again.
   */
  takeRun(): void {
    if (this.run.kind === 'normal') this.offset += this.run.pages * this.targetPageSize;
    this.run.pages = 0;
  }

  /** What has been learned so far, for the decoders of this migration's other connections. */
  context(): StreamContext {
    const { targetPageSize, pageSizeSummary, ignoreShared, mayHaveRuns, sections, blocks } = this.shared;
    return {
      targetPageSize,
      pageSizeSummary,
      ignoreShared,
      mayHaveRuns,
      sections: [...sections.values()],
      blocks: [...blocks.values()].map((block) => block.entry),
    };
  }

  /** The block that a page with CONTINUE would be in; undefined before the first page. */
  get lastBlockIdstr(): string | undefined {
    return this.lastBlock?.entry.idstr;
  }

  private share(shared: Shared): void {
    this.shared = shared;
    this.targetPageSize = shared.targetPageSize;
  }

  // --- pages: no cursor, no allocation ---------------------------------------------------------------------

  private ramRecord(bytes: Uint8Array, view: DataView, start: number, end: number): StreamRecord | undefined {
    const available = end - start;
    if (this.run.pages > 0) return this.pageOfRun(start, available);
    if (available < WORD_BYTES) return this.short(WORD_BYTES, available);
    const high = view.getUint32(start);
    const low = view.getUint32(start + 4);
    const flags = low & (this.targetPageSize - 1);
    const isRun = (flags & RUN_FLAG) !== 0 && this.shared.mayHaveRuns;
    const kindFlag = flags & ~(isRun ? RamFlag.CONTINUE | RUN_FLAG : RamFlag.CONTINUE);
    if (
      kindFlag !== RamFlag.PAGE &&
      kindFlag !== RamFlag.ZERO &&
      kindFlag !== RamFlag.XBZRLE &&
      kindFlag !== RamFlag.COMPRESS_PAGE
    ) {
      return this.ramControl(bytes, view, start, end, high, low, flags);
    }

    let at = start + WORD_BYTES;
    let block: BlockName;
    if ((flags & RamFlag.CONTINUE) === 0) {
      if (available < WORD_BYTES + 1) return this.short(WORD_BYTES + 1, available);
      const nameLength = view.getUint8(at);
      at += 1 + nameLength;
      if (at > end) return this.short(at - start, available);
      block = this.namedBlock(bytes, at - nameLength, nameLength);
    } else if (this.lastBlock === undefined) {
      throw this.fail('UNKNOWN_RAM_BLOCK', 'page', 'CONTINUE before any block was named on this connection', start);
    } else {
      block = this.lastBlock;
    }

    const offset = high * TWO_32 + (low - flags);
    if (offset + this.targetPageSize > block.entry.usedLength) {
      throw this.fail('PAGE_OUT_OF_RANGE', 'page', `page ${offset} is not inside block ${block.entry.idstr}`, start);
    }
    return isRun
      ? this.runOf(block, offset, kindFlag, view, start, at, end)
      : this.pageOf(block, offset, kindFlag, view, start, at, end);
  }

  /** The rest of what begins a run; its pages come next. */
  private runOf(
    block: BlockName,
    offset: number,
    kindFlag: number,
    view: DataView,
    start: number,
    at: number,
    end: number,
  ): StreamRecord | undefined {
    if (kindFlag !== RamFlag.PAGE && kindFlag !== RamFlag.ZERO) {
      throw this.fail('BAD_FLAGS', 'page run', `kind 0x${kindFlag.toString(16)}`, start);
    }
    if (at + RUN_LENGTH_BYTES > end) return this.short(at + RUN_LENGTH_BYTES - start, end - start);
    const pages = view.getUint32(at);
    const { idstr, usedLength } = block.entry;
    if (pages === 0) throw this.fail('BAD_LENGTH', 'page run', 'no pages', at);
    if (offset + pages * this.targetPageSize > usedLength) {
      const detail = `${pages} pages from ${offset} are not inside block ${idstr}`;
      throw this.fail('PAGE_OUT_OF_RANGE', 'page run', detail, at);
    }
    this.lastBlock = block;
    const { run } = this;
    run.block = block.entry;
    run.kind = kindFlag === RamFlag.ZERO ? 'zero' : 'normal';
    run.offset = offset;
    run.pages = pages;
    return this.taken(at + RUN_LENGTH_BYTES - start, { type: 'page-run', ...run });
  }

  /** The next page of a run; one of zeroes takes no bytes. */
  private pageOfRun(start: number, available: number): StreamRecord | undefined {
    const { run } = this;
    const { kind, block, offset } = run;
    const dataLength = kind === 'zero' ? 0 : this.targetPageSize;
    if (available < dataLength) return this.short(dataLength, available);
    run.offset += this.targetPageSize;
    run.pages -= 1;
    return this.takenPage(kind, block, offset, 0, start, start, dataLength);
  }

  /** The rest of a page record: what lies behind its header, at `at`. */
  private pageOf(
    block: BlockName,
    offset: number,
    kindFlag: number,
    view: DataView,
    start: number,
    at: number,
    end: number,
  ): StreamRecord | undefined {
    const prefix = pagePrefixBytes(kindFlag);
    if (at + prefix > end) return this.short(at + prefix - start, end - start);
    let kind: PageKind = 'normal';
    let fill = 0;
    let dataLength = this.targetPageSize;
    if (kindFlag === RamFlag.ZERO) {
      kind = 'zero';
      dataLength = 0;
      fill = view.getUint8(at);
    } else if (kindFlag === RamFlag.XBZRLE) {
      kind = 'xbzrle';
      if (view.getUint8(at) !== XBZRLE_ENCODING) {
        throw this.fail('BAD_VALUE', 'page', `xbzrle encoding ${view.getUint8(at)}`, at);
      }
      dataLength = view.getUint16(at + 1);
      if (dataLength > this.targetPageSize) {
        throw this.fail('BAD_LENGTH', 'page', `${dataLength} bytes of xbzrle are more than a page`, at + 1);
      }
    } else if (kindFlag === RamFlag.COMPRESS_PAGE) {
      kind = 'compressed';
      dataLength = view.getUint32(at);
      // zlib's worst case adds less than a tenth; what is twice a page was not made from one.
      if (dataLength > 2 * this.targetPageSize) {
        throw this.fail('BAD_LENGTH', 'page', `${dataLength} bytes of compressed data for one page`, at);
      }
    }
    const dataStart = at + prefix;
    if (dataStart + dataLength > end) return this.short(dataStart + dataLength - start, end - start);

    this.lastBlock = block;
    return this.takenPage(kind, block.entry, offset, fill, start, dataStart, dataLength);
  }

  /** The one page record, which began at `start` and ends with its data. */
  private takenPage(
    kind: PageKind,
    block: RamBlockEntry,
    offset: number,
    fill: number,
    start: number,
    dataStart: number,
    dataLength: number,
  ): PageRecord {
    const { page } = this;
    page.kind = kind;
    page.block = block;
    page.offset = offset;
    page.fill = fill;
    page.dataStart = dataStart;
    page.dataLength = dataLength;
    this.consumed = dataStart + dataLength - start;
    this.offset += this.consumed;
    return page;
  }

  /** The block named in bytes[at, at + length): mostly that of the page before. */
  private namedBlock(bytes: Uint8Array, at: number, length: number): BlockName {
    const last = this.lastBlock;
    if (last !== undefined && sameBytes(last.name, bytes, at, length)) return last;
    for (const block of this.shared.blocks.values()) {
      if (sameBytes(block.name, bytes, at, length)) return block;
    }
    throw this.fail('UNKNOWN_RAM_BLOCK', 'page', 'the block it names is not in the block list', at);
  }

  private get isDemandChannel(): boolean {
    return this.channel === 'preempt' || this.channel === 'lane';
  }

  /** The RAM records that are not pages. */
  private ramControl(
    bytes: Uint8Array,
    view: DataView,
    start: number,
    end: number,
    high: number,
    low: number,
    flags: number,
  ): StreamRecord | undefined {
    if (high === 0 && low === RamFlag.EOS) {
      if (!this.isDemandChannel) this.state = 'footer';
      return this.taken(WORD_BYTES, { type: 'ram-eos' });
    }
    if (high === 0 && low === RamFlag.MULTIFD_FLUSH) return this.taken(WORD_BYTES, { type: 'multifd-flush' });
    if (flags === RamFlag.MEM_SIZE && !this.isDemandChannel) {
      return this.byCursor(bytes, view, start, end, 'ram');
    }
    if (flags === RamFlag.HOOK) throw this.fail('UNSUPPORTED', 'ram record', 'HOOK records (RDMA)', start);
    throw this.fail('BAD_FLAGS', 'ram record', `flags 0x${flags.toString(16)}`, start);
  }

  // --- all other records: through the cursor ---------------------------------------------------------------

  private byCursor(
    bytes: Uint8Array,
    view: DataView,
    start: number,
    end: number,
    state: State,
  ): StreamRecord | undefined {
    const { cursor } = this;
    cursor.reset(bytes, view, start, end);
    try {
      const record = this.record(state, bytes, view, end);
      return record === undefined ? this.short(end - start + 1, end - start) : this.taken(cursor.at - start, record);
    } catch (error) {
      if (error !== SHORTAGE) throw error;
      return this.short(cursor.wanted - start, end - start);
    }
  }

  /** Reads one record at the cursor and steps the state; must change nothing before it has all bytes. */
  private record(state: State, bytes: Uint8Array, view: DataView, end: number): StreamRecord | undefined {
    switch (state) {
      case 'header':
        return this.header();
      case 'greeting':
        return this.greeting();
      case 'configuration':
        // Old machine types send none.
        if (this.cursor.peek() === SectionType.CONFIGURATION) return this.configuration();
        this.state = 'sections';
        return this.sectionRecord();
      case 'sections':
        return this.sectionRecord();
      case 'ram':
        return this.ramBlocks();
      case 'device-length':
        return this.deviceLength(end);
      case 'device':
        return this.deviceData(bytes, view, end);
      case 'footer':
        return this.footer();
      case 'trailer':
        return this.vmDescription();
      case 'package':
        throw new Error('package() must be called after PACKAGED, before the next record');
      case 'end':
        this.cursor.peek();
        throw this.fail('TRAILING_BYTES', 'stream', 'bytes after the end of the stream', this.cursor.at);
    }
  }

  private greeting(): StreamRecord {
    const magic = this.cursor.u32();
    if (magic !== LANE_MAGIC) {
      throw this.fail('BAD_MAGIC', 'greeting', `begins with 0x${magic.toString(16)}, not with 'PCLN'`, this.start);
    }
    this.state = 'ram';
    return { type: 'lane-greeting' };
  }

  private header(): StreamRecord {
    const { cursor } = this;
    const magic = cursor.u32();
    if (magic === MULTIFD_MAGIC) {
      throw this.fail('UNSUPPORTED', 'header', 'begins as a data channel of capability multifd', this.start);
    }
    if (magic !== STREAM_MAGIC) {
      throw this.fail('BAD_MAGIC', 'header', `begins with 0x${magic.toString(16)}, not with 'QEVM'`, this.start);
    }
    const version = cursor.u32();
    if (version !== STREAM_VERSION) {
      throw this.fail('BAD_VERSION', 'header', `stream version ${version}, not ${STREAM_VERSION}`, cursor.at - 4);
    }
    this.state = 'configuration';
    return { type: 'header', version };
  }

  private configuration(): StreamRecord {
    const { cursor } = this;
    cursor.u8();
    const length = cursor.u32();
    this.limit('maxMachineNameBytes', length, 'configuration', 'bytes of machine name');
    const machine = this.checkName(cursor.name(length), 'configuration');
    const found: Mutable<ConfigurationRecord> = { type: 'configuration', machine };
    // Only the byte behind tells whether a subsection follows; the stream can't end here, so there is one.
    const seen = new Set<string>();
    while (cursor.peek() === SectionType.SUBSECTION) this.subsection(found, seen);

    this.shared.ignoreShared = found.capabilities?.includes(CAPABILITY_IGNORE_SHARED) ?? false;
    if (found.targetPageBits !== undefined) this.shared.targetPageSize = 2 ** found.targetPageBits;
    this.targetPageSize = this.shared.targetPageSize;
    this.state = 'sections';
    return found;
  }

  private subsection(found: Mutable<ConfigurationRecord>, seen: Set<string>): void {
    const { cursor } = this;
    const at = cursor.at;
    cursor.u8();
    const name = this.checkName(cursor.idstr(), 'configuration');
    const version = cursor.u32();
    // Also what bounds the record: there is no other limit on how many follow.
    if (seen.has(name)) throw this.fail('DUPLICATE', 'configuration', `a second subsection ${name}`, at);
    seen.add(name);
    if (!name.startsWith(SUBSECTION_PREFIX)) {
      throw this.fail('UNSUPPORTED', 'configuration', `subsection ${name}`, at);
    }
    if (version !== SUBSECTION_VERSION) {
      throw this.fail('BAD_VERSION', 'configuration', `version ${version} of subsection ${name}`, cursor.at - 4);
    }
    switch (name) {
      case Subsection.CAPABILITIES:
        found.capabilities = this.capabilities();
        break;
      case Subsection.TARGET_PAGE_BITS:
        found.targetPageBits = cursor.u32();
        if (found.targetPageBits < TARGET_PAGE_BITS.min || found.targetPageBits > TARGET_PAGE_BITS.max) {
          throw this.fail('BAD_VALUE', 'configuration', `${found.targetPageBits} target page bits`, cursor.at - 4);
        }
        break;
      case Subsection.UUID:
        found.uuid = uuidText(cursor.copy(16));
        break;
      default:
        throw this.fail('UNSUPPORTED', 'configuration', `subsection ${name}`, at);
    }
  }

  private capabilities(): string[] {
    const { cursor } = this;
    const count = cursor.u32();
    this.limit('maxCapabilities', count, 'configuration', 'capabilities');
    const names: string[] = [];
    for (let i = 0; i < count; i++) names.push(this.checkName(cursor.idstr(), 'configuration'));
    if (names.includes(CAPABILITY_MAPPED_RAM)) {
      throw this.fail('UNSUPPORTED', 'configuration', `capability ${CAPABILITY_MAPPED_RAM}`, cursor.at);
    }
    return names;
  }

  private sectionRecord(): StreamRecord {
    const { cursor } = this;
    const type = cursor.u8();
    switch (type) {
      case SectionType.EOF:
        this.state = 'trailer';
        return { type: 'eof' };
      case SectionType.START:
        return this.sectionStart('START');
      case SectionType.FULL:
        return this.sectionStart('FULL');
      case SectionType.PART:
        return this.sectionPart('PART');
      case SectionType.END:
        return this.sectionPart('END');
      case SectionType.COMMAND:
        return this.command();
      default:
        throw this.fail(
          'UNKNOWN_SECTION_TYPE',
          'section',
          `no record begins with 0x${type.toString(16)} here`,
          this.start,
        );
    }
  }

  private sectionStart(kind: 'START' | 'FULL'): StreamRecord {
    const { cursor, shared } = this;
    const id = cursor.u32();
    const idstr = this.checkName(cursor.idstr(), 'section');
    const section = { id, idstr, instanceId: cursor.u32(), versionId: cursor.u32() };
    const known = shared.sections.get(id);
    if (known !== undefined && (known.idstr !== idstr || known.instanceId !== section.instanceId)) {
      throw this.fail('DUPLICATE', 'section', `id ${id} of ${known.idstr} is announced for ${idstr}`, this.start);
    }
    this.limit('maxSections', shared.sections.size + (known === undefined ? 1 : 0), 'section', 'sections');
    shared.sections.set(id, section);
    this.enterBody(section, kind === 'FULL' && this.selfSized.has(idstr));
    return { type: 'section-start', kind, ...section };
  }

  private sectionPart(kind: 'PART' | 'END'): StreamRecord {
    const id = this.cursor.u32();
    const section = this.shared.sections.get(id);
    if (section === undefined) {
      throw this.fail('UNKNOWN_SECTION_ID', 'section', `${kind} of id ${id}, which was never started`, this.start);
    }
    this.enterBody(section, false);
    return { type: 'section-part', kind, id, idstr: section.idstr };
  }

  private enterBody(section: SectionEntry, selfSized: boolean): void {
    this.section = section;
    if (section.idstr === RAM_SECTION) {
      this.state = 'ram';
      return;
    }
    this.device = { section, done: 0, size: undefined };
    this.state = selfSized ? 'device-length' : 'device';
  }

  private footer(): StreamRecord {
    const { cursor } = this;
    const { id, idstr } = this.section;
    const type = cursor.u8();
    if (type !== SectionType.FOOTER) {
      throw this.fail(
        'FOOTER_MISMATCH',
        'footer',
        `section ${id} (${idstr}) ends with 0x${type.toString(16)}`,
        this.start,
      );
    }
    const footerId = cursor.u32();
    if (footerId !== id) {
      throw this.fail('FOOTER_MISMATCH', 'footer', `section ${id} (${idstr}) ends with id ${footerId}`, this.start);
    }
    this.state = 'sections';
    return { type: 'section-end', id, idstr };
  }

  private vmDescription(): StreamRecord {
    const { cursor } = this;
    if (cursor.u8() !== SectionType.VMDESCRIPTION) {
      throw this.fail('TRAILING_BYTES', 'stream', 'bytes after EOF that are no VM description', this.start);
    }
    const length = cursor.u32();
    this.limit('maxVmDescriptionBytes', length, 'vmdescription', 'bytes');
    const json = cursor.text(length);
    this.state = 'end';
    return { type: 'vmdescription', json };
  }

  // --- opaque bodies ---------------------------------------------------------------------------------------

  /** The length is a part of the body, and goes out with its first piece. */
  private deviceLength(end: number): StreamRecord {
    const { cursor } = this;
    const device = this.device;
    const size = LENGTH_BYTES + cursor.u32();
    this.limit('maxDeviceBytes', size, `device ${device.section.idstr}`, 'bytes');
    cursor.at -= LENGTH_BYTES;
    device.size = size;
    this.state = 'device';
    return this.devicePiece(Math.min(size, end - cursor.at), size);
  }

  private deviceData(bytes: Uint8Array, view: DataView, end: number): StreamRecord | undefined {
    const { section, size, done } = this.device;
    const at = this.cursor.at;
    if (size !== undefined) {
      return at === end ? undefined : this.devicePiece(Math.min(size - done, end - at), size);
    }
    const { length, last } = scanDeviceBody(bytes, view, at, end, section.id, this.ending, this.shared.sections);
    const room = this.limits.maxDeviceBytes - done;
    if (length > room) {
      // Where the limit lies, and not how far the bytes at hand reach: that depends on how they were cut.
      const detail = `more bytes than maxDeviceBytes ${this.limits.maxDeviceBytes}`;
      throw this.fail('LIMIT', `device ${section.idstr}`, detail, at + room);
    }
    if (length === 0 && !last) return undefined;
    return this.devicePiece(length, last ? done + length : undefined);
  }

  /** The next `length` bytes of a body; `size` is that of the whole body, if known. */
  private devicePiece(length: number, size: number | undefined): StreamRecord {
    const device = this.device;
    const { id, idstr } = device.section;
    const dataStart = this.cursor.skip(length);
    device.done += length;
    const last = device.done === size;
    if (last) this.state = 'footer';
    return { type: 'device-data', id, idstr, dataStart, dataLength: length, last };
  }

  // --- the block list --------------------------------------------------------------------------------------

  private ramBlocks(): StreamRecord {
    const { cursor, shared } = this;
    const total = cursor.u64() - RamFlag.MEM_SIZE;
    if (shared.blocks.size > 0) throw this.fail('DUPLICATE', 'ram-blocks', 'a second block list', this.start);
    const blocks = new Map<string, BlockName>();
    let left = total;
    while (left > 0) {
      this.limit('maxBlocks', blocks.size + 1, 'ram-blocks', 'RAM blocks');
      const entry = this.ramBlock(blocks.size);
      if (blocks.has(entry.idstr)) {
        throw this.fail('DUPLICATE', 'ram-blocks', `block ${entry.idstr} is listed twice`, cursor.at);
      }
      blocks.set(entry.idstr, { entry, name: encodeIdstr(entry.idstr) });
      left -= entry.usedLength;
    }
    if (left < 0) {
      throw this.fail(
        'BAD_LENGTH',
        'ram-blocks',
        `the blocks are ${-left} bytes more than the total ${total}`,
        this.start,
      );
    }
    for (const [idstr, block] of blocks) shared.blocks.set(idstr, block);
    return { type: 'ram-blocks', total, blocks: [...blocks.values()].map((block) => block.entry) };
  }

  private ramBlock(index: number): RamBlockEntry {
    const { cursor } = this;
    const idstr = this.checkName(cursor.idstr(), 'ram-blocks');
    const usedLength = cursor.u64();
    if (usedLength === 0 || usedLength % this.targetPageSize !== 0 || usedLength > Number.MAX_SAFE_INTEGER) {
      throw this.fail('BAD_VALUE', 'ram-blocks', `block ${idstr} has length ${usedLength}`, cursor.at - 8);
    }
    const entry: Mutable<RamBlockEntry> = { index, idstr, usedLength };
    const pageSize = this.pageSizeField(idstr);
    if (pageSize !== undefined) entry.pageSize = pageSize;
    if (this.shared.ignoreShared) entry.address = this.address(idstr);
    return entry;
  }

  private address(idstr: string): number {
    const address = this.cursor.u64();
    if (address > Number.MAX_SAFE_INTEGER) {
      throw this.fail('BAD_VALUE', 'ram-blocks', `block ${idstr} has address ${address}`, this.cursor.at - 8);
    }
    return address;
  }

  /** The field is there if postcopy was advised and the block has larger pages than the host. */
  private pageSizeField(idstr: string): number | undefined {
    const { cursor } = this;
    const { hostPageSize } = this;
    const { pageSizeSummary } = this.shared;
    if (pageSizeSummary === 0) return undefined;
    const believed = pageSizeSummary === hostPageSize ? hostPageSize : undefined;
    const expected = this.options.blockPageSize?.(idstr) ?? believed;
    if (expected === hostPageSize) return undefined;
    // What else could follow begins another block, EOS or an address; none of them is a page size by itself.
    const at = cursor.at;
    const found = cursor.u64();
    if (expected === undefined && !isAdvisedPageSize(found, pageSizeSummary, hostPageSize)) {
      cursor.at = at;
      return undefined;
    }
    if (expected !== undefined && found !== expected) {
      throw this.fail('BAD_VALUE', 'ram-blocks', `block ${idstr} has page size ${found}, here ${expected}`, at);
    }
    return found;
  }

  // --- commands --------------------------------------------------------------------------------------------

  private command(): StreamRecord {
    const { cursor } = this;
    const code = cursor.u16();
    const entry = commands.get(code);
    if (entry === undefined) throw this.fail('UNKNOWN_COMMAND', 'command', `code ${code}`, this.start);
    const length = cursor.u16();
    if (!lengthAllowed(entry.length, length)) {
      throw this.fail('BAD_LENGTH', entry.name, `a payload of ${length} bytes`, cursor.at - 2);
    }
    // All of the payload first, so that what the readers find short is not short of input.
    cursor.skip(length);
    cursor.at -= length;
    return this.commandPayloads[entry.name](length);
  }

  private readonly commandPayloads: Readonly<Record<CommandName, (length: number) => CommandRecord>> = {
    OPEN_RETURN_PATH: () => ({ type: 'command', command: 'OPEN_RETURN_PATH' }),
    PING: () => this.ping(),
    POSTCOPY_ADVISE: (length) => this.postcopyAdvise(length),
    POSTCOPY_LISTEN: () => ({ type: 'command', command: 'POSTCOPY_LISTEN' }),
    POSTCOPY_RUN: () => ({ type: 'command', command: 'POSTCOPY_RUN' }),
    POSTCOPY_RAM_DISCARD: (length) => this.ramDiscard(length),
    PACKAGED: () => this.packaged(),
    ENABLE_COLO: () => ({ type: 'command', command: 'ENABLE_COLO' }),
    POSTCOPY_RESUME: () => ({ type: 'command', command: 'POSTCOPY_RESUME' }),
    RECV_BITMAP: (length) => this.recvBitmap(length),
    SWITCHOVER_START: () => ({ type: 'command', command: 'SWITCHOVER_START' }),
  };

  private ping(): CommandRecord {
    const value = this.cursor.u32();
    if (value === Ping.RUNS) this.shared.mayHaveRuns = true;
    return { type: 'command', command: 'PING', value };
  }

  private postcopyAdvise(length: number): CommandRecord {
    if (length === 0) return { type: 'command', command: 'POSTCOPY_ADVISE' };
    const pageSizeSummary = this.cursor.u64();
    const targetPageSize = this.cursor.u64();
    if (pageSizeSummary === 0) throw this.fail('BAD_VALUE', 'POSTCOPY_ADVISE', 'no page size at all', this.start + 5);
    this.shared.pageSizeSummary = pageSizeSummary;
    return { type: 'command', command: 'POSTCOPY_ADVISE', pageSizeSummary, targetPageSize };
  }

  private ramDiscard(length: number): CommandRecord {
    const { cursor } = this;
    const end = cursor.at + length;
    const version = cursor.u8();
    if (version !== DISCARD_VERSION) {
      throw this.fail('BAD_VERSION', 'POSTCOPY_RAM_DISCARD', `version ${version}`, cursor.at - 1);
    }
    const nameLength = cursor.u8();
    const rangeBytes = length - 3 - nameLength;
    if (rangeBytes < 0 || rangeBytes % 16 !== 0) {
      throw this.fail('BAD_LENGTH', 'POSTCOPY_RAM_DISCARD', `${length} bytes with a name of ${nameLength}`, this.start);
    }
    const block = this.knownBlock(cursor.name(nameLength), 'POSTCOPY_RAM_DISCARD');
    if (cursor.u8() !== 0) {
      throw this.fail('BAD_VALUE', 'POSTCOPY_RAM_DISCARD', 'the name does not end with a zero byte', cursor.at - 1);
    }
    const ranges: DiscardRange[] = [];
    while (cursor.at < end) ranges.push(this.discardRange(block));
    return { type: 'command', command: 'POSTCOPY_RAM_DISCARD', idstr: block.idstr, ranges };
  }

  private discardRange(block: RamBlockEntry): DiscardRange {
    const at = this.cursor.at;
    const start = this.cursor.u64();
    const length = this.cursor.u64();
    const mask = this.targetPageSize;
    if (length === 0 || start % mask !== 0 || length % mask !== 0) {
      throw this.fail('BAD_VALUE', 'POSTCOPY_RAM_DISCARD', `range ${start}+${length} is not whole target pages`, at);
    }
    if (start + length > block.usedLength) {
      const detail = `range ${start}+${length} is not inside block ${block.idstr}`;
      throw this.fail('PAGE_OUT_OF_RANGE', 'POSTCOPY_RAM_DISCARD', detail, at);
    }
    return { start, length };
  }

  private packaged(): CommandRecord {
    if (this.channel === 'package') throw this.fail('UNSUPPORTED', 'PACKAGED', 'a package in a package', this.start);
    const length = this.cursor.u32();
    this.limit('maxPackageBytes', length, 'PACKAGED', 'bytes');
    this.packageLength = length;
    this.state = 'package';
    return { type: 'command', command: 'PACKAGED', length };
  }

  private recvBitmap(length: number): CommandRecord {
    const { cursor } = this;
    const nameLength = cursor.u8();
    if (nameLength + 1 !== length) {
      throw this.fail('BAD_LENGTH', 'RECV_BITMAP', `${length} bytes with a name of ${nameLength}`, cursor.at - 1);
    }
    return {
      type: 'command',
      command: 'RECV_BITMAP',
      idstr: this.knownBlock(cursor.name(nameLength), 'RECV_BITMAP').idstr,
    };
  }

  private knownBlock(name: string | undefined, record: string): RamBlockEntry {
    const idstr = this.checkName(name, record);
    const block = this.shared.blocks.get(idstr);
    if (block === undefined) {
      throw this.fail('UNKNOWN_RAM_BLOCK', record, `block ${idstr} is not in the block list`, this.cursor.at);
    }
    return block.entry;
  }

  // --- outcomes --------------------------------------------------------------------------------------------

  private checkName(name: string | undefined, record: string): string {
    if (name === undefined)
      throw this.fail('BAD_NAME', record, 'a name that is empty or not printable ASCII', this.cursor.at);
    return name;
  }

  private limit(name: keyof Limits, value: number, record: string, what: string): void {
    const limit = this.limits[name];
    if (value > limit) throw this.fail('LIMIT', record, `${value} ${what}, above ${name} ${limit}`, this.start);
  }

  private taken(length: number, record: StreamRecord): StreamRecord {
    this.consumed = length;
    this.offset += length;
    return record;
  }

  /** Whether no more bytes will come and none are missing. */
  private mayEnd(): boolean {
    const wanted: Ending = this.channel === 'package' ? 'package' : 'input';
    return this.ending === wanted && ends[this.channel].has(this.state);
  }

  private short(needed: number, available: number): undefined {
    if (this.ending !== 'open') {
      if (available === 0 && this.mayEnd()) return undefined;
      const record = stateRecords[this.state];
      throw this.fail('TRUNCATED', record, `the input ends ${available} bytes into it`, this.start);
    }
    this.needed = needed;
    return undefined;
  }

  private fail(code: WireErrorCode, record: string, detail: string, at: number): WireError {
    this.failure = new WireError(code, detail, this.offset + (at - this.start), record);
    return this.failure;
  }
}

function shareContext(options: StreamDecoderOptions): Shared {
  const { context } = options;
  const targetPageSize = context?.targetPageSize ?? options.targetPageSize ?? DEFAULT_TARGET_PAGE_SIZE;
  const bits = Math.log2(targetPageSize);
  if (!Number.isInteger(bits) || bits < TARGET_PAGE_BITS.min || bits > TARGET_PAGE_BITS.max) {
    throw new RangeError(`target page size ${targetPageSize} is not a power of two from 1 KiB to 64 KiB`);
  }
  return {
    targetPageSize,
    pageSizeSummary: context?.pageSizeSummary ?? 0,
    ignoreShared: context?.ignoreShared ?? false,
    mayHaveRuns: context?.mayHaveRuns ?? false,
    sections: new Map(context?.sections.map((section) => [section.id, section])),
    blocks: new Map(context?.blocks.map((entry) => [entry.idstr, { entry, name: encodeIdstr(entry.idstr) }])),
  };
}

function sameBytes(name: Uint8Array, bytes: Uint8Array, at: number, length: number): boolean {
  if (name.length !== length) return false;
  for (let i = 0; i < length; i++) {
    if (name[i] !== bytes[at + i]) return false;
  }
  return true;
}

/** Whether `value` is a power of two in the or-ed page sizes, other than the host's. */
function isAdvisedPageSize(value: number, summary: number, hostPageSize: number): boolean {
  const isPowerOfTwo = value > 0 && Number.isInteger(Math.log2(value));
  return isPowerOfTwo && value !== hostPageSize && Math.floor(summary / value) % 2 === 1;
}
