/**
 * The seeds: every capture of a real QEMU made small, so that one is decoded in some ten microseconds. Every
 * kind of record that a capture has is still there: blocks shrink to a few pages, the pages of a section to a few
 * of each kind, device states to a few bytes. What no capture has is added by hand.
 */
import type { StreamContext } from '#lib/wire/decode.js';
import { decodeAll, decodeReturnPath, type Located } from '#lib/wire/decode-all.js';
import * as encode from '#lib/wire/encode.js';
import { WireError } from '#lib/wire/errors.js';
import { encodeGlobalStateBody, GUEST_STATE_SECTION, MACHINE_NAME } from '#lib/wire/machine.js';
import type { RamBlockEntry, ReturnPathMessageRecord, SectionEntry, StreamRecord } from '#lib/wire/messages.js';
import { MULTIFD_OPENING_BYTES, MULTIFD_PACKET_BYTES, Ping, RamFlag, RUN_FLAG } from '#lib/wire/protocol.js';
import { type Capture, captures } from '../testing/captures.ts';
import { encodeMessage, encodePage, encodeRecord, PACKAGED_BYTES } from '../testing/encode-records.ts';
import { joined } from '../testing/feed.ts';
import type { Channel, Input, Origin, Piece } from './input.ts';

const PAGE = 4096;
/** Blocks left of a block list, and target pages left of a block. */
const BLOCKS = 3;
const BLOCK_PAGES = 4;
/** Of each kind, in a section; and of those with 4096 bytes, in a stream. */
const PAGES_PER_KIND = 2;
const NORMAL_PAGES = 2;
const RAM_SECTIONS = 3;
const DEVICES = 3;
const DEVICE_BYTES = 160;
const DISCARDS = 3;
const MESSAGES_PER_TYPE = 3;
const MULTIFD_OFFSETS = 3;
const BY_HAND = 'by-hand/';

export function readSeeds(): Input[] {
  return [...captures().flatMap(ofCapture), ...byHand()];
}

function ofCapture(capture: Capture): Input[] {
  let main: SmallStream | undefined;
  return capture.summary.connections.flatMap(({ conn, kind }) => {
    const bytes = capture.fromSource(conn);
    const name = `${capture.name}/${conn}`;
    if (kind === 'multifd') return [seed(name, kind, undefined, smallMultifd(bytes))];
    const before = kind === 'main' ? undefined : main;
    const stream = new SmallStream(bytes, before);
    const pieces = stream.read(kind);
    if (kind === 'main') main = stream;
    const back = smallReturnPath(capture.fromDestination(conn));
    return [
      seed(name, kind, before?.small, pieces),
      ...(back.length === 0 ? [] : [seed(`${name}/back`, 'return-path', undefined, back)]),
    ];
  });
}

function seed(name: string, channel: Channel, context: StreamContext | undefined, pieces: Piece[]): Input {
  return { origin: { name, channel, context }, pieces };
}

const piece = (bytes: Uint8Array, packaged = false): Piece => ({ bytes, packaged });

type Page = Extract<StreamRecord, { type: 'page' }>;

/** One connection on its way to a seed, record by record. */
class SmallStream {
  /** What the capture's next connections build on: of the capture itself, and of the seed. */
  full: StreamContext | undefined;
  small: StreamContext | undefined;
  readonly #bytes: Uint8Array;
  readonly #before: SmallStream | undefined;
  readonly #pieces: Piece[] = [];
  #captured: readonly RamBlockEntry[] = [];
  /** Those that are left, by name. */
  readonly #blocks = new Map<string, RamBlockEntry>();
  readonly #devices = new Map<boolean, number>();
  readonly #keptDevices = new Set<string>();
  #pagesOfKind = new Map<string, number>();
  #normalPages = 0;
  #ramSections = 0;
  #discards = 0;
  #lastBlock: string | undefined;
  /** Of the section whose records come: whether it is kept, and bytes of its body so far. */
  #keeps = true;
  #bodyBytes = 0;

  constructor(bytes: Uint8Array, before: SmallStream | undefined) {
    this.#bytes = bytes;
    this.#before = before;
    for (const block of before?.small?.blocks ?? []) this.#blocks.set(block.idstr, block);
  }

  read(kind: 'main' | 'main-resumed' | 'preempt'): Piece[] {
    const records = decodeAll(this.#bytes, {
      resumed: kind === 'main-resumed',
      channel: kind === 'preempt' ? 'preempt' : 'main',
      ...(this.#before?.full === undefined ? {} : { context: this.#before.full }),
    });
    const sections = new Map<number, SectionEntry>();
    try {
      for (const record of records) {
        if (record.type === 'section-start') sections.set(record.id, entryOf(record));
        this.#take(record);
      }
    } catch (error) {
      // Captures of broken connections end early.
      if (!(error instanceof WireError) || error.code !== 'TRUNCATED') throw error;
    }
    const context = {
      targetPageSize: PAGE,
      pageSizeSummary: 0,
      ignoreShared: false,
      mayHaveRuns: false,
      sections: [...sections.values()],
    };
    this.full = { ...context, blocks: this.#captured };
    this.small = { ...context, blocks: [...this.#blocks.values()] };
    mendPackages(this.#pieces);
    return this.#pieces;
  }

  #take(record: Located<StreamRecord>): void {
    switch (record.type) {
      case 'section-start':
      case 'section-part':
        this.#keeps = this.#keepsSection(record);
        this.#bodyBytes = 0;
        this.#pagesOfKind = new Map();
        break;
      case 'page':
        if (this.#keeps) this.#page(record);
        return;
      case 'device-data':
        if (this.#keeps) this.#deviceData(record);
        return;
      case 'ram-blocks':
        this.#pieces.push(piece(encode.encodeRamBlockList(this.#smallBlocks(record.blocks))));
        return;
      case 'command':
        if (record.command === 'POSTCOPY_RAM_DISCARD') return this.#discard(record.idstr);
        if (record.command === 'RECV_BITMAP' && !this.#blocks.has(record.idstr)) return;
        break;
      case 'vmdescription':
        this.#pieces.push(piece(encode.encodeVmDescription(this.#smallDescription(record.json))));
        return;
    }
    const isOfSection = record.type.startsWith('section') || record.type === 'ram-eos';
    if (this.#keeps || !isOfSection) this.#pieces.push(piece(encodeRecord(record, this.#bytes), record.packaged));
  }

  #keepsSection(record: Extract<Located<StreamRecord>, { type: 'section-start' | 'section-part' }>): boolean {
    if (record.idstr === 'ram') return record.kind !== 'PART' || this.#ramSections++ < RAM_SECTIONS;
    const kept = this.#devices.get(record.packaged) ?? 0;
    this.#devices.set(record.packaged, kept + 1);
    if (kept >= DEVICES && record.idstr !== 'globalstate') return false;
    this.#keptDevices.add(record.idstr);
    return true;
  }

  #page(record: Page & Located<StreamRecord>): void {
    const block = this.#blocks.get(record.block.idstr);
    if (block === undefined) return;
    const wasContinued = (this.#bytes[record.recordOffset + 7] & RamFlag.CONTINUE) !== 0;
    const kind = `${record.kind} ${wasContinued}`;
    const seen = this.#pagesOfKind.get(kind) ?? 0;
    if (seen === PAGES_PER_KIND || (record.kind === 'normal' && this.#normalPages === NORMAL_PAGES)) return;
    this.#pagesOfKind.set(kind, seen + 1);
    if (record.kind === 'normal') this.#normalPages++;
    const small = { ...record, block, offset: record.offset % block.usedLength };
    const continued = wasContinued && this.#lastBlock === block.idstr;
    this.#lastBlock = block.idstr;
    this.#pieces.push(piece(encodePage(small, this.#bytes, continued), record.packaged));
  }

  #deviceData(record: Extract<Located<StreamRecord>, { type: 'device-data' }>): void {
    const length = Math.min(record.dataLength, DEVICE_BYTES - this.#bodyBytes);
    this.#bodyBytes += length;
    if (length === 0) return;
    this.#pieces.push(piece(this.#bytes.slice(record.dataStart, record.dataStart + length), record.packaged));
  }

  #smallBlocks(blocks: readonly RamBlockEntry[]): RamBlockEntry[] {
    this.#captured = blocks;
    return blocks.slice(0, BLOCKS).map((block) => {
      const usedLength = Math.min(block.usedLength, (block.pageSize ?? PAGE) * BLOCK_PAGES);
      const small = { ...block, usedLength };
      this.#blocks.set(block.idstr, small);
      return small;
    });
  }

  #discard(idstr: string): void {
    const block = this.#blocks.get(idstr);
    if (block === undefined || this.#discards++ >= DISCARDS) return;
    const { usedLength, pageSize = PAGE } = block;
    const ranges = [0, 2 * pageSize]
      .filter((start) => start < usedLength)
      .map((start) => ({ start, length: pageSize }));
    this.#pieces.push(piece(encode.encodeRamDiscard(idstr, ranges)));
  }

  /** Of the devices that are left. */
  #smallDescription(json: string): string {
    const { devices, ...rest } = JSON.parse(json) as { devices: { name: string }[] };
    return JSON.stringify({ ...rest, devices: devices.filter(({ name }) => this.#keptDevices.has(name)).slice(0, 2) });
  }
}

function entryOf({ id, idstr, instanceId, versionId }: SectionEntry): SectionEntry {
  return { id, idstr, instanceId, versionId };
}

/** Gives each PACKAGED the length of the packaged pieces behind it. */
export function mendPackages(pieces: Piece[]): void {
  for (const [i, { bytes, packaged }] of pieces.entries()) {
    if (packaged || bytes.length !== PACKAGED_BYTES || !isPackaged(bytes)) continue;
    let length = 0;
    for (let inner = i + 1; inner < pieces.length && pieces[inner].packaged; inner++) {
      length += pieces[inner].bytes.length;
    }
    const mended = bytes.slice();
    new DataView(mended.buffer).setUint32(PACKAGED_BYTES - 4, length);
    pieces[i] = { bytes: mended, packaged };
  }
}

const packagedHead = encode.encodePackaged(new Uint8Array(0)).subarray(0, PACKAGED_BYTES - 4);

function isPackaged(bytes: Uint8Array): boolean {
  return packagedHead.every((byte, i) => bytes[i] === byte);
}

function smallReturnPath(bytes: Uint8Array): Piece[] {
  const kept = new Map<string, number>();
  const pieces: Piece[] = [];
  for (const message of decodeReturnPath(bytes)) {
    const kind = message.type === 'REQ_PAGES' ? `${message.type} ${message.idstr}` : message.type;
    const seen = kept.get(kind) ?? 0;
    if (seen === MESSAGES_PER_TYPE) continue;
    kept.set(kind, seen + 1);
    pieces.push(piece(encodeMessage(smallMessage(message))));
  }
  return pieces;
}

function smallMessage(message: ReturnPathMessageRecord): ReturnPathMessageRecord {
  return message.type === 'RECV_BITMAP' ? { ...message, bitmap: message.bitmap.slice(0, 8) } : message;
}

/** The opening, and packets with room for a few offsets: the fields that say so are changed, all else is QEMU's. */
function smallMultifd(bytes: Uint8Array): Piece[] {
  const pieces = [piece(bytes.slice(0, MULTIFD_OPENING_BYTES))];
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = MULTIFD_OPENING_BYTES;
  while (at < bytes.length && pieces.length < 6) {
    const allocated = view.getUint32(at + 12);
    const normal = view.getUint32(at + 16);
    const zero = view.getUint32(at + 40);
    const dataAt = at + MULTIFD_PACKET_BYTES + 8 * allocated;
    const left = Math.min(normal, 1);
    const small = joined([
      bytes.slice(at, at + MULTIFD_PACKET_BYTES + 8 * MULTIFD_OFFSETS),
      bytes.subarray(dataAt, dataAt + left * PAGE),
    ]);
    const smallView = new DataView(small.buffer);
    smallView.setUint32(12, MULTIFD_OFFSETS);
    smallView.setUint32(16, left);
    smallView.setUint32(20, left * PAGE);
    smallView.setUint32(40, Math.min(zero, MULTIFD_OFFSETS - left));
    pieces.push(piece(small));
    at = dataAt + (normal === 0 ? 0 : view.getUint32(at + 20));
  }
  return pieces;
}

/** Whether it is a stream of a guest of ours, not of a QEMU machine. */
export function isOwnMachine(origin: Origin): boolean {
  return origin.name.startsWith(BY_HAND);
}

// --- what no capture has -----------------------------------------------------------------------------------

function byHand(): Input[] {
  return [
    seed(`${BY_HAND}page-bits`, 'main', undefined, withPageBits(10)),
    seed(`${BY_HAND}large-pages`, 'main', undefined, withPageBits(16)),
    seed(`${BY_HAND}postcopy`, 'main', undefined, ownMachine()),
    seed(`${BY_HAND}commands`, 'main', undefined, rareCommands()),
    seed(`${BY_HAND}messages`, 'return-path', undefined, [
      piece(encode.encodeSwitchoverAck()),
      piece(encode.encodeResumeAck()),
      piece(encode.encodeRecvBitmapReply('pc.ram', new Uint8Array(8))),
      piece(encode.encodeShut(1)),
    ]),
  ];
}

const ram = { id: 2, idstr: 'ram', instanceId: 0, versionId: 4 };

function page(offset: number, flags: number, body: Uint8Array): Uint8Array {
  const header = new Uint8Array(encode.MAX_PAGE_HEADER_BYTES);
  const end = encode.encodePageHeader(new DataView(header.buffer), 0, offset, flags, encode.encodeIdstr('pc.ram'));
  return joined([header.subarray(0, end), body]);
}

/** A run of pages of the other block: its begin, and each of the pages as it is on the stream. */
function run(kind: number, first: number, pages: readonly Uint8Array[]): Uint8Array[] {
  const header = new Uint8Array(encode.MAX_PAGE_HEADER_BYTES + encode.RUN_LENGTH_BYTES);
  const view = new DataView(header.buffer);
  const idstr = encode.encodeIdstr('vga.vram');
  const end = encode.encodePageHeader(view, 0, first * PAGE, kind | RUN_FLAG, idstr);
  return [header.subarray(0, encode.encodeRunLength(view, end, pages.length)), ...pages];
}

function withPageBits(bits: number): Piece[] {
  const size = 2 ** bits;
  const uuid = '00112233-4455-6677-8899-aabbccddeeff';
  return [
    encode.encodeHeader(),
    encode.encodeConfiguration({ machine: MACHINE_NAME, capabilities: ['events'], targetPageBits: bits, uuid }),
    encode.encodeSectionStart({ type: 'START', ...ram }),
    encode.encodeRamBlockList([{ idstr: 'pc.ram', usedLength: 4 * size }]),
    encode.encodeRamEos(),
    encode.encodeFooter(2),
    encode.encodeSectionPart('END', 2),
    ...(size > PAGE ? [] : [page(size, RamFlag.PAGE, new Uint8Array(size).fill(5))]),
    page(2 * size, RamFlag.ZERO, Uint8Array.of(7)),
    page(3 * size, RamFlag.ZERO | RamFlag.CONTINUE, Uint8Array.of(0)),
    encode.encodeRamEos(),
    encode.encodeFooter(2),
    encode.encodeEof(),
  ].map((bytes) => piece(bytes));
}

/** Postcopy as our own source sends it: device states inside the package, pages behind it. */
function ownMachine(): Piece[] {
  const device = (idstr: string, id: number, body: Uint8Array) => [
    encode.encodeSectionStart({ type: 'FULL', id, idstr, instanceId: 0, versionId: 1 }),
    body,
    encode.encodeFooter(id),
  ];
  const before = [
    encode.encodeHeader(),
    encode.encodeConfiguration({ machine: MACHINE_NAME }),
    encode.encodeOpenReturnPath(),
    encode.encodePing(1),
    encode.encodePing(Ping.RUNS),
    encode.encodePostcopyAdvise({ pageSizeSummary: PAGE, targetPageSize: PAGE }),
    encode.encodeSectionStart({ type: 'START', ...ram }),
    encode.encodeRamBlockList([
      { idstr: 'pc.ram', usedLength: BLOCK_PAGES * PAGE },
      { idstr: 'vga.vram', usedLength: BLOCK_PAGES * PAGE },
    ]),
    encode.encodeRamEos(),
    encode.encodeFooter(2),
    encode.encodeSectionPart('PART', 2),
    page(0, RamFlag.PAGE, new Uint8Array(PAGE).fill(3)),
    page(PAGE, RamFlag.ZERO, Uint8Array.of(9)),
    ...run(RamFlag.ZERO, 0, [new Uint8Array(0), new Uint8Array(0)]),
    encode.encodeRamEos(),
    encode.encodeFooter(2),
    encode.encodeRamDiscard('pc.ram', [{ start: 0, length: PAGE }]),
    encode.encodePackaged(new Uint8Array(0)),
  ];
  const inside = [
    encode.encodePostcopyListen(),
    ...device(GUEST_STATE_SECTION.idstr, 3, encode.encodeSelfSizedBody(Uint8Array.of(1, 2, 3, 0x7e))),
    ...device('globalstate', 4, encodeGlobalStateBody('running')),
    encode.encodePing(3),
    encode.encodePostcopyRun(),
  ];
  const behind = [
    encode.encodePing(4),
    encode.encodeSectionPart('PART', 2),
    page(0, RamFlag.PAGE, new Uint8Array(PAGE).fill(4)),
    page(2 * PAGE, RamFlag.ZERO, Uint8Array.of(0)),
    page(3 * PAGE, RamFlag.ZERO | RamFlag.CONTINUE, Uint8Array.of(6)),
    ...run(RamFlag.PAGE, 2, [new Uint8Array(PAGE).fill(8), new Uint8Array(PAGE).fill(9)]),
    encode.encodeRamEos(),
    encode.encodeFooter(2),
    encode.encodeEof(),
  ];
  const pieces = [
    ...before.map((bytes) => piece(bytes)),
    ...inside.map((bytes) => piece(bytes, true)),
    ...behind.map((bytes) => piece(bytes)),
  ];
  mendPackages(pieces);
  return pieces;
}

function rareCommands(): Piece[] {
  const flush = new Uint8Array(8);
  new DataView(flush.buffer).setUint32(4, RamFlag.MULTIFD_FLUSH);
  return [
    encode.encodeHeader(),
    encode.encodeConfiguration({ machine: MACHINE_NAME, capabilities: ['x-colo', 'dirty-bitmaps'] }),
    encode.encodePostcopyAdvise(),
    encode.encodeEnableColo(),
    encode.encodeSwitchoverStart(),
    encode.encodeSectionStart({ type: 'START', ...ram }),
    encode.encodeRamBlockList([{ idstr: 'pc.ram', usedLength: BLOCK_PAGES * PAGE }]),
    encode.encodeRamEos(),
    encode.encodeFooter(2),
    encode.encodeSectionPart('END', 2),
    flush,
    encode.encodeRamEos(),
    encode.encodeFooter(2),
    encode.encodeEof(),
    encode.encodeVmDescription('{"page_size":4096,"devices":[]}'),
  ].map((bytes) => piece(bytes));
}
