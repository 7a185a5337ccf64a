/** The stream decoder: each record, each way to break it, and properties over random streams. */
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { StreamDecoder, type StreamDecoderOptions } from '#lib/wire/decode.js';
import * as encode from '#lib/wire/encode.js';
import { WireError, type WireErrorCode } from '#lib/wire/errors.js';
import { Ping, RamFlag, RUN_FLAG } from '#lib/wire/protocol.js';
import { type Fed, feed, joined, type Plain, text } from '../../testing/feed.js';
import { naiveRamSection } from '../../testing/naive-codec.js';
import { type ArbitraryStream, arbitraryStream, SELF_SIZED } from '../../testing/stream-arbitrary.js';

const PAGE = 4096;
const cutSizes = fc.array(fc.oneof(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 6000 })), {
  minLength: 1,
  maxLength: 20,
});

function decoderFor(stream: ArbitraryStream): StreamDecoder {
  return new StreamDecoder({ selfSizedDevices: [SELF_SIZED], blockPageSize: stream.blockPageSize });
}

function expectWireError(error: unknown, code?: WireErrorCode): asserts error is WireError {
  if (error !== undefined && !(error instanceof WireError)) throw error;
  if (code !== undefined) expect(error, 'an error').toBeInstanceOf(WireError);
  if (code !== undefined) expect((error as WireError).code, (error as WireError).message).toBe(code);
}

describe('any stream', () => {
  test('decodes to what was encoded, whole and however it is cut', () => {
    fc.assert(
      fc.property(arbitraryStream, cutSizes, (stream, cuts) => {
        const whole = feed(decoderFor(stream), stream.bytes);
        expect(whole).toEqual({ records: stream.records, error: undefined, left: 0 });
        expect(feed(decoderFor(stream), stream.bytes, { cuts, poison: 0x7e })).toEqual(whole);
      }),
      { numRuns: 150 },
    );
  });

  test('decodes byte by byte', () => {
    fc.assert(
      fc.property(arbitraryStream, (stream) => {
        const fed = feed(
          decoderFor(stream),
          stream.bytes.length > 20_000 ? stream.bytes.subarray(0, 20_000) : stream.bytes,
          {
            cuts: [1],
            ends: stream.bytes.length <= 20_000,
          },
        );
        expect(fed.error).toBeUndefined();
        expect(fed.records).toEqual(stream.records.slice(0, fed.records.length));
        if (stream.bytes.length <= 20_000) expect(fed).toEqual({ records: stream.records, error: undefined, left: 0 });
      }),
      { numRuns: 15 },
    );
  });

  test('finds huge pages from the advised sizes alone', () => {
    fc.assert(
      fc.property(arbitraryStream, (stream) => {
        const fed = feed(new StreamDecoder({ selfSizedDevices: [SELF_SIZED] }), stream.bytes);
        expect(fed).toEqual({ records: stream.records, error: undefined, left: 0 });
      }),
      { numRuns: 50 },
    );
  });

  test('cut short gives the first records, and TRUNCATED at the end of the input', () => {
    fc.assert(
      fc.property(arbitraryStream, fc.array(fc.nat(), { minLength: 1, maxLength: 20 }), (stream, places) => {
        const eofAt = eofOffset(stream);
        for (const place of places) {
          const cut = place % stream.bytes.length;
          const part = stream.bytes.subarray(0, cut);
          const open = feed(decoderFor(stream), part, { ends: false });
          expect(open.error).toBeUndefined();
          expect(open.records).toEqual(stream.records.slice(0, open.records.length));
          const ended = feed(decoderFor(stream), part);
          expect(ended.records).toEqual(stream.records.slice(0, ended.records.length));
          expect(ended.records.length).toBeGreaterThanOrEqual(open.records.length);
          // Behind EOF the VM description may be missing, but not cut.
          if (cut === eofAt + 1) expect(ended.error).toBeUndefined();
          else expectWireError(ended.error, 'TRUNCATED');
        }
      }),
      { numRuns: 60 },
    );
  });

  test('with flipped bytes throws nothing but a WireError, and never looks outside the bytes given', () => {
    const flip = fc.record({ at: fc.nat(), value: fc.integer({ min: 1, max: 255 }) });
    fc.assert(
      fc.property(arbitraryStream, fc.array(flip, { minLength: 1, maxLength: 4 }), cutSizes, (stream, flips, cuts) => {
        const bytes = stream.bytes.slice();
        for (const { at, value } of flips) bytes[at % bytes.length] ^= value;
        const exact = feed(decoderFor(stream), bytes, { cuts });
        expectWireError(exact.error);
        for (const poison of [0x00, 0x7e, 0xff]) {
          expect(feed(decoderFor(stream), bytes, { cuts, poison })).toEqual(exact);
        }
      }),
      { numRuns: 150 },
    );
  });

  test('of random bytes throws nothing but a WireError', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), cutSizes, fc.boolean(), (bytes, cuts, resumed) => {
        const input = resumed ? bytes : joined([encode.encodeHeader(), bytes]);
        expectWireError(feed(new StreamDecoder({ resumed }), input, { cuts, poison: 0x08 }).error);
      }),
    );
  });

  test('has the pages that the naive decoder finds', () => {
    fc.assert(
      fc.property(arbitraryStream, (stream) => {
        const sections = ramSections(stream.bytes, decoderFor(stream));
        expect(sections.length).toBeGreaterThan(0);
        let lastBlock = '';
        for (const { at, pages } of sections) {
          const naive = naiveRamSection(stream.bytes, at, lastBlock);
          lastBlock = naive.lastBlock;
          const expected = naive.pages.map(({ block, offset, kind, fill, data }) => {
            return { type: 'page', kind, idstr: block, offset: Number(offset), fill, data: text(data) };
          });
          expect(pages).toEqual(expected);
        }
      }),
      { numRuns: 60 },
    );
  });
});

/** Where EOF stands: the last byte, or that before the VM description, which is the last record. */
function eofOffset(stream: ArbitraryStream): number {
  const last = stream.records.at(-1)!;
  const behind = last.type === 'vmdescription' ? encode.encodeVmDescription(last.json as string).length : 0;
  return stream.bytes.length - behind - 1;
}

/** The bodies of RAM's PART and END sections, and the pages in them. */
function ramSections(bytes: Uint8Array, decoder: StreamDecoder): { at: number; pages: Plain[] }[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const sections: { at: number; pages: Plain[] }[] = [];
  let at = 0;
  decoder.endOfInput();
  for (;;) {
    const record = decoder.next(bytes, view, at, bytes.length);
    if (record === undefined) return sections;
    at += decoder.consumed;
    if (record.type === 'command' && record.command === 'PACKAGED') {
      decoder.package();
      at += record.length;
    }
    if (record.type === 'section-part') sections.push({ at, pages: [] });
    if (record.type === 'page') {
      const { type, kind, block, offset, fill, dataStart, dataLength } = record;
      const data = text(bytes.subarray(dataStart, dataStart + dataLength));
      sections.at(-1)!.pages.push({ type, kind, idstr: block.idstr, offset, fill, data });
    }
  }
}

// --- broken streams, one fault each ------------------------------------------------------------------------

const ram = { id: 2, idstr: 'ram', instanceId: 0, versionId: 4 };
const block = { idstr: 'pc.ram', usedLength: 4 * PAGE };
const start = [encode.encodeHeader(), encode.encodeConfiguration({ machine: 'none' })];
const setup = [
  ...start,
  encode.encodeSectionStart({ type: 'START', ...ram }),
  encode.encodeRamBlockList([block]),
  encode.encodeRamEos(),
  encode.encodeFooter(2),
];
const part = [...setup, encode.encodeSectionPart('PART', 2)];

function page(offset: number, flags: number, idstr: string | undefined, body: readonly number[] = []): Uint8Array {
  const header = new Uint8Array(encode.MAX_PAGE_HEADER_BYTES);
  const name = idstr === undefined ? undefined : encode.encodeIdstr(idstr);
  const end = encode.encodePageHeader(new DataView(header.buffer), 0, offset, flags, name);
  return joined([header.subarray(0, end), Uint8Array.from(body)]);
}

const bytes = (...values: number[]) => Uint8Array.from(values);
const blockList = (blocks: Parameters<typeof encode.encodeRamBlockList>[0]) => [
  ...start,
  encode.encodeSectionStart({ type: 'START', ...ram }),
  encode.encodeRamBlockList(blocks),
];

interface Broken {
  readonly what: string;
  readonly code: WireErrorCode;
  readonly record: string;
  /** The good bytes, then the bad ones: the error must name an offset in the latter. */
  readonly good: readonly Uint8Array[];
  readonly bad: Uint8Array;
  readonly options?: StreamDecoderOptions;
}

const brokenStreams: Broken[] = [
  {
    what: 'another magic',
    code: 'BAD_MAGIC',
    record: 'header',
    good: [],
    bad: bytes(0x51, 0x45, 0x56, 0x4e, 0, 0, 0, 3),
  },
  {
    what: 'the magic of a multifd channel',
    code: 'UNSUPPORTED',
    record: 'header',
    good: [],
    bad: bytes(0x11, 0x22, 0x33, 0x44, 0, 0, 0, 1),
  },
  {
    what: 'version 2',
    code: 'BAD_VERSION',
    record: 'header',
    good: [],
    bad: bytes(0x51, 0x45, 0x56, 0x4d, 0, 0, 0, 2),
  },
  {
    what: 'a machine name without end',
    code: 'LIMIT',
    record: 'configuration',
    good: [encode.encodeHeader()],
    bad: bytes(7, 0, 1, 0, 0),
  },
  {
    what: 'a machine name with a control character',
    code: 'BAD_NAME',
    record: 'configuration',
    good: [encode.encodeHeader()],
    bad: bytes(7, 0, 0, 0, 1, 0x1b),
  },
  {
    what: 'an unknown subsection',
    code: 'UNSUPPORTED',
    record: 'configuration',
    good: start,
    bad: joined([bytes(5, 15), new TextEncoder().encode('configuration/x'), bytes(0, 0, 0, 1)]),
  },
  {
    what: 'a subsection of another version',
    code: 'BAD_VERSION',
    record: 'configuration',
    good: start,
    bad: joined([bytes(5, 18), new TextEncoder().encode('configuration/uuid'), bytes(0, 0, 0, 2)]),
  },
  {
    what: 'a subsection twice',
    code: 'DUPLICATE',
    record: 'configuration',
    good: [encode.encodeHeader(), encode.encodeConfiguration({ machine: 'none', targetPageBits: 12 })],
    bad: joined([
      bytes(5, 30),
      new TextEncoder().encode('configuration/target-page-bits'),
      bytes(0, 0, 0, 1, 0, 0, 0, 12),
    ]),
  },
  {
    what: '9 target page bits',
    code: 'BAD_VALUE',
    record: 'configuration',
    good: start,
    bad: joined([
      bytes(5, 30),
      new TextEncoder().encode('configuration/target-page-bits'),
      bytes(0, 0, 0, 1, 0, 0, 0, 9),
    ]),
  },
  {
    what: 'mapped-ram',
    code: 'UNSUPPORTED',
    record: 'configuration',
    good: [encode.encodeHeader()],
    bad: joined([encode.encodeConfiguration({ machine: 'none', capabilities: ['mapped-ram'] }), bytes(8)]),
  },
  {
    what: 'a million capabilities',
    code: 'LIMIT',
    record: 'configuration',
    good: start,
    bad: joined([bytes(5, 26), new TextEncoder().encode('configuration/capabilities'), bytes(0, 0, 0, 1, 0, 16, 0, 0)]),
  },
  { what: 'section type 9', code: 'UNKNOWN_SECTION_TYPE', record: 'section', good: setup, bad: bytes(9) },
  { what: 'a footer between sections', code: 'UNKNOWN_SECTION_TYPE', record: 'section', good: setup, bad: bytes(0x7e) },
  { what: 'a second configuration', code: 'UNKNOWN_SECTION_TYPE', record: 'section', good: setup, bad: bytes(7) },
  {
    what: 'PART of an id never started',
    code: 'UNKNOWN_SECTION_ID',
    record: 'section',
    good: setup,
    bad: encode.encodeSectionPart('PART', 3),
  },
  {
    what: 'an id for two sections',
    code: 'DUPLICATE',
    record: 'section',
    good: setup,
    bad: encode.encodeSectionStart({ type: 'FULL', ...ram, idstr: 'cpu' }),
  },
  {
    what: 'more sections than the limit',
    code: 'LIMIT',
    record: 'section',
    good: setup,
    bad: encode.encodeSectionStart({ type: 'FULL', ...ram, id: 3, idstr: 'cpu' }),
    options: { limits: { maxSections: 1 } },
  },
  {
    what: 'a section without name',
    code: 'BAD_NAME',
    record: 'section',
    good: setup,
    bad: bytes(4, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0),
  },
  {
    what: 'no footer',
    code: 'FOOTER_MISMATCH',
    record: 'footer',
    good: [...part, encode.encodeRamEos()],
    bad: encode.encodeEof(),
  },
  {
    what: 'the footer of another section',
    code: 'FOOTER_MISMATCH',
    record: 'footer',
    good: [...part, encode.encodeRamEos()],
    bad: encode.encodeFooter(3),
  },
  { what: 'command 0', code: 'UNKNOWN_COMMAND', record: 'command', good: start, bad: bytes(8, 0, 0, 0, 0) },
  { what: 'command 12', code: 'UNKNOWN_COMMAND', record: 'command', good: start, bad: bytes(8, 0, 12, 0, 0) },
  {
    what: 'PING of 5 bytes, seen in its head',
    code: 'BAD_LENGTH',
    record: 'PING',
    good: start,
    bad: bytes(8, 0, 2, 0, 5),
  },
  {
    what: 'POSTCOPY_ADVISE of 8 bytes',
    code: 'BAD_LENGTH',
    record: 'POSTCOPY_ADVISE',
    good: start,
    bad: bytes(8, 0, 3, 0, 8),
  },
  {
    what: 'POSTCOPY_ADVISE of no page size',
    code: 'BAD_VALUE',
    record: 'POSTCOPY_ADVISE',
    good: start,
    bad: encode.encodePostcopyAdvise({ pageSizeSummary: 0, targetPageSize: 4096 }),
  },
  {
    what: 'a package above the limit',
    code: 'LIMIT',
    record: 'PACKAGED',
    good: start,
    bad: bytes(8, 0, 7, 0, 4, 0xff, 0xff, 0xff, 0xff),
  },
  {
    what: 'RECV_BITMAP with a name longer than itself',
    code: 'BAD_LENGTH',
    record: 'RECV_BITMAP',
    good: setup,
    bad: bytes(8, 0, 10, 0, 2, 200, 65),
  },
  {
    what: 'RECV_BITMAP of an unknown block',
    code: 'UNKNOWN_RAM_BLOCK',
    record: 'RECV_BITMAP',
    good: setup,
    bad: encode.encodeRecvBitmap('x'),
  },
  {
    what: 'a discard of version 1',
    code: 'BAD_VERSION',
    record: 'POSTCOPY_RAM_DISCARD',
    good: setup,
    bad: bytes(8, 0, 6, 0, 4, 1, 1, 65, 0),
  },
  {
    what: 'a discard with a name longer than itself',
    code: 'BAD_LENGTH',
    record: 'POSTCOPY_RAM_DISCARD',
    good: setup,
    bad: bytes(8, 0, 6, 0, 4, 0, 255, 65, 0),
  },
  {
    what: 'a discard with half a range',
    code: 'BAD_LENGTH',
    record: 'POSTCOPY_RAM_DISCARD',
    good: setup,
    bad: bytes(8, 0, 6, 0, 5, 0, 1, 65, 0, 0),
  },
  {
    what: 'a discard whose name does not end',
    code: 'BAD_VALUE',
    record: 'POSTCOPY_RAM_DISCARD',
    good: setup,
    bad: joined([bytes(8, 0, 6, 0, 9, 0, 6), encode.encodeIdstr('pc.ram'), bytes(1)]),
  },
  {
    what: 'a discard in an unknown block',
    code: 'UNKNOWN_RAM_BLOCK',
    record: 'POSTCOPY_RAM_DISCARD',
    good: setup,
    bad: encode.encodeRamDiscard('x', []),
  },
  {
    what: 'a discard of half a page',
    code: 'BAD_VALUE',
    record: 'POSTCOPY_RAM_DISCARD',
    good: setup,
    bad: encode.encodeRamDiscard('pc.ram', [{ start: 0, length: 2048 }]),
  },
  {
    what: 'a discard of nothing',
    code: 'BAD_VALUE',
    record: 'POSTCOPY_RAM_DISCARD',
    good: setup,
    bad: encode.encodeRamDiscard('pc.ram', [{ start: 0, length: 0 }]),
  },
  {
    what: 'a discard beyond the block',
    code: 'PAGE_OUT_OF_RANGE',
    record: 'POSTCOPY_RAM_DISCARD',
    good: setup,
    bad: encode.encodeRamDiscard('pc.ram', [{ start: PAGE, length: 4 * PAGE }]),
  },
  {
    what: 'a block list in which a block is twice',
    code: 'DUPLICATE',
    record: 'ram-blocks',
    good: blockList([block, block]).slice(0, 3),
    bad: encode.encodeRamBlockList([block, block]),
  },
  {
    what: 'a second block list',
    code: 'DUPLICATE',
    record: 'ram-blocks',
    good: part,
    bad: encode.encodeRamBlockList([block]),
  },
  {
    what: 'more blocks than the limit',
    code: 'LIMIT',
    record: 'ram-blocks',
    good: blockList([]).slice(0, 3),
    bad: encode.encodeRamBlockList([block, { ...block, idstr: 'b' }]),
    options: { limits: { maxBlocks: 1 } },
  },
  {
    what: 'blocks beyond the total',
    code: 'BAD_LENGTH',
    record: 'ram-blocks',
    good: blockList([]).slice(0, 3),
    bad: bytes(0, 0, 0, 0, 0, 0, 0x10, 4, 1, 65, 0, 0, 0, 0, 0, 0, 0x20, 0),
  },
  {
    what: 'a block without length',
    code: 'BAD_VALUE',
    record: 'ram-blocks',
    good: blockList([]).slice(0, 3),
    bad: bytes(0, 0, 0, 0, 0, 0, 0x10, 4, 1, 65, 0, 0, 0, 0, 0, 0, 0, 0),
  },
  {
    what: 'a block of half a page',
    code: 'BAD_VALUE',
    record: 'ram-blocks',
    good: blockList([]).slice(0, 3),
    bad: bytes(0, 0, 0, 0, 0, 0, 0x10, 4, 1, 65, 0, 0, 0, 0, 0, 0, 8, 0),
  },
  {
    what: 'a block of 2^63 bytes',
    code: 'BAD_VALUE',
    record: 'ram-blocks',
    good: blockList([]).slice(0, 3),
    bad: bytes(0x80, 0, 0, 0, 0, 0, 0, 4, 1, 65, 0x80, 0, 0, 0, 0, 0, 0, 0),
  },
  {
    what: 'a block name that is not text',
    code: 'BAD_NAME',
    record: 'ram-blocks',
    good: blockList([]).slice(0, 3),
    bad: bytes(0, 0, 0, 0, 0, 0, 0x10, 4, 1, 0x80, 0, 0, 0, 0, 0, 0, 0x10, 0),
  },
  {
    what: 'the page size of a block other than here',
    code: 'BAD_VALUE',
    record: 'ram-blocks',
    good: [
      ...start,
      encode.encodePostcopyAdvise({ pageSizeSummary: 0x201000, targetPageSize: PAGE }),
      encode.encodeSectionStart({ type: 'START', ...ram }),
    ],
    bad: encode.encodeRamBlockList([{ ...block, pageSize: 0x200000 }]),
    options: { blockPageSize: () => 0x40000000 },
  },
  {
    what: 'a first page that says CONTINUE',
    code: 'UNKNOWN_RAM_BLOCK',
    record: 'page',
    good: part,
    bad: page(0, RamFlag.ZERO | RamFlag.CONTINUE, undefined, [0]),
  },
  {
    what: 'a page of an unknown block',
    code: 'UNKNOWN_RAM_BLOCK',
    record: 'page',
    good: part,
    bad: page(0, RamFlag.ZERO, 'pc.rom', [0]),
  },
  {
    what: 'a page of a block whose name only begins the same',
    code: 'UNKNOWN_RAM_BLOCK',
    record: 'page',
    good: [...part, page(0, RamFlag.ZERO, 'pc.ram', [0])],
    bad: page(0, RamFlag.ZERO, 'pc.ram2', [0]),
  },
  {
    what: 'the page behind the last',
    code: 'PAGE_OUT_OF_RANGE',
    record: 'page',
    good: part,
    bad: page(4 * PAGE, RamFlag.ZERO, 'pc.ram', [0]),
  },
  {
    what: 'a page at 2^63',
    code: 'PAGE_OUT_OF_RANGE',
    record: 'page',
    good: part,
    bad: joined([bytes(0x80, 0, 0, 0, 0, 0, 0, RamFlag.PAGE, 6), encode.encodeIdstr('pc.ram')]),
  },
  {
    what: 'a page at 2^32',
    code: 'PAGE_OUT_OF_RANGE',
    record: 'page',
    good: part,
    bad: page(2 ** 32, RamFlag.ZERO, 'pc.ram', [0]),
  },
  {
    what: 'ZERO and PAGE together',
    code: 'BAD_FLAGS',
    record: 'ram record',
    good: part,
    bad: page(0, RamFlag.ZERO | RamFlag.PAGE, 'pc.ram', [0]),
  },
  { what: 'no flag', code: 'BAD_FLAGS', record: 'ram record', good: part, bad: page(PAGE, 0, 'pc.ram') },
  {
    what: 'EOS with an offset',
    code: 'BAD_FLAGS',
    record: 'ram record',
    good: part,
    bad: page(PAGE, RamFlag.EOS, 'pc.ram'),
  },
  {
    what: 'EOS with CONTINUE',
    code: 'BAD_FLAGS',
    record: 'ram record',
    good: part,
    bad: page(0, RamFlag.EOS | RamFlag.CONTINUE, undefined),
  },
  {
    what: 'MULTIFD_FLUSH with an offset',
    code: 'BAD_FLAGS',
    record: 'ram record',
    good: part,
    bad: page(PAGE, RamFlag.MULTIFD_FLUSH, 'pc.ram'),
  },
  { what: 'HOOK', code: 'UNSUPPORTED', record: 'ram record', good: part, bad: page(0, RamFlag.HOOK, 'pc.ram') },
  {
    what: 'an unknown xbzrle encoding',
    code: 'BAD_VALUE',
    record: 'page',
    good: part,
    bad: page(0, RamFlag.XBZRLE, 'pc.ram', [2, 0, 0]),
  },
  {
    what: 'xbzrle longer than a page',
    code: 'BAD_LENGTH',
    record: 'page',
    good: part,
    bad: page(0, RamFlag.XBZRLE, 'pc.ram', [1, 0x10, 1]),
  },
  {
    what: 'four gigabytes of compressed page',
    code: 'BAD_LENGTH',
    record: 'page',
    good: part,
    bad: page(0, RamFlag.COMPRESS_PAGE, 'pc.ram', [0xff, 0xff, 0xff, 0xff]),
  },
  {
    what: 'a device above the limit',
    code: 'LIMIT',
    record: 'device cpu',
    good: [...setup, encode.encodeSectionStart({ type: 'FULL', ...ram, id: 3, idstr: 'cpu' })],
    bad: new Uint8Array(100),
    options: { limits: { maxDeviceBytes: 99 } },
  },
  {
    what: 'a self-sized device above the limit',
    code: 'LIMIT',
    record: 'device cpu',
    good: [...setup, encode.encodeSectionStart({ type: 'FULL', ...ram, id: 3, idstr: 'cpu' })],
    bad: bytes(0xff, 0xff, 0xff, 0xff),
    options: { selfSizedDevices: ['cpu'] },
  },
  {
    what: 'a self-sized device longer than it says',
    code: 'FOOTER_MISMATCH',
    record: 'footer',
    good: [...setup, encode.encodeSectionStart({ type: 'FULL', ...ram, id: 3, idstr: 'cpu' }), bytes(0, 0, 0, 1, 5)],
    bad: bytes(6, 0, 0, 0, 0),
    options: { selfSizedDevices: ['cpu'] },
  },
  {
    what: 'a VM description above the limit',
    code: 'LIMIT',
    record: 'vmdescription',
    good: [...setup, encode.encodeEof()],
    bad: bytes(6, 0xff, 0, 0, 0),
  },
  {
    what: 'a record behind EOF',
    code: 'TRAILING_BYTES',
    record: 'stream',
    good: [...setup, encode.encodeEof()],
    bad: encode.encodePing(1),
  },
  {
    what: 'bytes behind the VM description',
    code: 'TRAILING_BYTES',
    record: 'stream',
    good: [...setup, encode.encodeEof(), encode.encodeVmDescription('{}')],
    bad: bytes(0),
  },
];

describe('a stream with one fault', () => {
  test.each(brokenStreams)('$what: $code', ({ code, record, good, bad, options }) => {
    const goodBytes = joined(good);
    const before = feed(new StreamDecoder(options), goodBytes, { ends: false });
    expect(before.error).toBeUndefined();

    const whole = joined([goodBytes, bad]);
    for (const cuts of [[whole.length], [1]]) {
      const decoder = new StreamDecoder(options);
      const { error, records } = feed(decoder, whole, { cuts, ends: false });
      expectWireError(error, code);
      expect(error.record).toBe(record);
      const configurationAt = start[0].length;
      const earliest = record === 'configuration' ? configurationAt : goodBytes.length;
      expect(error.offset).toBeGreaterThanOrEqual(earliest);
      expect(error.offset).toBeLessThanOrEqual(whole.length);
      expect(records.length).toBeGreaterThanOrEqual(before.records.length);
      expect(error.message).toContain(`offset ${error.offset}`);
      expect(() => decoder.next(whole, new DataView(whole.buffer), 0, whole.length)).toThrow(error);
    }
  });

  test('a package in a package: UNSUPPORTED', () => {
    const inner = encode.encodePackaged(encode.encodePostcopyRun());
    const { error } = feed(new StreamDecoder({ resumed: true }), encode.encodePackaged(inner));
    expectWireError(error, 'UNSUPPORTED');
    expect(error.offset).toBe(9);
  });

  test('a device section that does not end in its package: TRUNCATED there', () => {
    const section = encode.encodeSectionStart({ type: 'FULL', ...ram, id: 3, idstr: 'cpu' });
    const stream = joined([...setup, encode.encodePackaged(section), encode.encodeFooter(3), encode.encodeEof()]);
    const { error } = feed(new StreamDecoder(), stream, { ends: false });
    expectWireError(error, 'TRUNCATED');
    expect(error.offset).toBe(joined(setup).length + 9 + section.length);
  });
});

describe('next()', () => {
  const stream = joined([...part, page(0, RamFlag.PAGE, 'pc.ram', Array(PAGE).fill(7)), encode.encodeRamEos()]);
  const view = new DataView(stream.buffer);

  function at(offset: number): StreamDecoder {
    const decoder = new StreamDecoder();
    for (let position = 0; position < offset; position += decoder.consumed) {
      expect(decoder.next(stream, view, position, stream.length)).toBeDefined();
    }
    return decoder;
  }

  test('says how many bytes it needs at least', () => {
    const pageAt = joined(part).length;
    const decoder = at(pageAt);
    const needed = [];
    for (let end = pageAt; ; end = pageAt + decoder.needed) {
      if (decoder.next(stream, view, pageAt, end) !== undefined) break;
      expect(decoder.consumed).toBe(0);
      needed.push(decoder.needed);
    }
    expect(needed).toEqual([8, 9, 15, 15 + PAGE]);
    expect(decoder.consumed).toBe(15 + PAGE);
    expect(decoder.recordOffset).toBe(pageAt);
    expect(decoder.offset).toBe(pageAt + 15 + PAGE);
  });

  test('counts offsets from startOffset, wherever the bytes stand', () => {
    const decoder = new StreamDecoder({ resumed: true, startOffset: 2 ** 40 });
    const ping = joined([new Uint8Array(11), encode.encodePing(5)]);
    expect(decoder.next(ping, new DataView(ping.buffer), 11, ping.length)).toEqual({
      type: 'command',
      command: 'PING',
      value: 5,
    });
    expect(decoder.recordOffset).toBe(2 ** 40);
    expect(decoder.offset).toBe(2 ** 40 + 9);
  });

  test('returns one object for all pages, and new ones for all else', () => {
    const pages = joined([
      ...part,
      page(0, RamFlag.ZERO, 'pc.ram', [1]),
      page(PAGE, RamFlag.ZERO | RamFlag.CONTINUE, undefined, [2]),
    ]);
    const decoder = new StreamDecoder();
    const seen = [];
    for (let position = 0; position < pages.length; position += decoder.consumed) {
      seen.push(decoder.next(pages, new DataView(pages.buffer), position, pages.length));
    }
    const [first, second] = seen.slice(-2);
    expect(first).toBe(second);
    expect(first).toMatchObject({ offset: PAGE, fill: 2, block: { index: 0, ...block } });
    expect(new Set(seen).size).toBe(seen.length - 1);
  });

  test('is refused between PACKAGED and package()', () => {
    const decoder = new StreamDecoder({ resumed: true });
    const bytesOf = encode.encodePackaged(encode.encodePostcopyRun());
    const packageView = new DataView(bytesOf.buffer);
    decoder.next(bytesOf, packageView, 0, bytesOf.length);
    expect(() => decoder.next(bytesOf, packageView, 9, bytesOf.length)).toThrow('package()');
    decoder.package();
    expect(decoder.offset).toBe(bytesOf.length);
    expect(() => decoder.package()).toThrow('PACKAGED');
  });

  test('never reads a package beyond its end', () => {
    const decoder = new StreamDecoder({ resumed: true });
    const bytesOf = joined([encode.encodePackaged(encode.encodePing(3)), encode.encodePing(4)]);
    const packageView = new DataView(bytesOf.buffer);
    decoder.next(bytesOf, packageView, 0, bytesOf.length);
    const inner = decoder.package();
    expect(inner.next(bytesOf, packageView, 9, bytesOf.length)).toMatchObject({ value: 3 });
    expect(inner.next(bytesOf, packageView, 18, bytesOf.length)).toBeUndefined();
    expect(decoder.next(bytesOf, packageView, 18, bytesOf.length)).toMatchObject({ value: 4 });
    expect(decoder.recordOffset).toBe(18);
  });

  test('gives a device body out before its end is there, but never what may be its footer', () => {
    const head = encode.encodeSectionStart({ type: 'FULL', id: 3, idstr: 'cpu', instanceId: 0, versionId: 1 });
    const body = bytes(1, 2, 3);
    const bytesOf = joined([head, body, encode.encodeFooter(3), encode.encodeEof(), bytes(6, 0, 0, 0, 0)]);
    const bodyView = new DataView(bytesOf.buffer);
    const decoder = new StreamDecoder({ resumed: true });
    decoder.next(bytesOf, bodyView, 0, bytesOf.length);
    let from = head.length;
    expect(decoder.next(bytesOf, bodyView, from, from + 2)).toMatchObject({
      type: 'device-data',
      dataLength: 2,
      last: false,
    });
    from += 2;
    expect(decoder.next(bytesOf, bodyView, from, from + 3)).toMatchObject({
      type: 'device-data',
      dataLength: 1,
      last: false,
    });
    from += 1;
    const eofAt = from + 5;
    for (let end = from; end <= eofAt + 1; end++) expect(decoder.next(bytesOf, bodyView, from, end)).toBeUndefined();
    expect(decoder.next(bytesOf, bodyView, from, eofAt + 2)).toMatchObject({ dataLength: 0, last: true });
    expect(decoder.next(bytesOf, bodyView, from, eofAt + 2)).toEqual({ type: 'section-end', id: 3, idstr: 'cpu' });
    expect(decoder.next(bytesOf, bodyView, eofAt, eofAt + 2)).toEqual({ type: 'eof' });
  });
});

test('a device body above the limit fails where the limit lies, however it is cut', () => {
  const head = encode.encodeSectionStart({ type: 'FULL', id: 3, idstr: 'cpu', instanceId: 0, versionId: 1 });
  const stream = joined([head, new Uint8Array(300), encode.encodeFooter(3), encode.encodeEof()]);
  const limited = () => new StreamDecoder({ resumed: true, limits: { maxDeviceBytes: 100 } });
  const whole = feed(limited(), stream).error;
  expect(whole).toMatchObject({ code: 'LIMIT', offset: head.length + 100 });
  for (const cut of [1, 7, 100, 101, 250]) expect(feed(limited(), stream, { cuts: [cut] }).error).toEqual(whole);
});

describe('runs of pages', () => {
  const own = [...start, encode.encodePing(Ping.RUNS), ...part.slice(2)];
  const run = (offset: number, flags: number, idstr: string | undefined, pages: number) =>
    joined([page(offset, flags | RUN_FLAG, idstr), bytes(0, 0, 0, pages)]);
  const zeroRun = run(PAGE, RamFlag.ZERO, 'pc.ram', 3);
  const content = joined([new Uint8Array(PAGE).fill(7), new Uint8Array(PAGE).fill(8)]);

  test('a run is its begin and, behind that, pages like any others, however it is cut', () => {
    const stream = joined([
      ...own,
      run(0, RamFlag.PAGE, 'pc.ram', 2),
      content,
      page(2 * PAGE, RamFlag.ZERO | RamFlag.CONTINUE, undefined, [5]),
      run(PAGE, RamFlag.ZERO | RamFlag.CONTINUE, undefined, 3),
      encode.encodeRamEos(),
      encode.encodeFooter(2),
      encode.encodeEof(),
    ]);
    const whole = feed(new StreamDecoder(), stream);
    expect(whole).toMatchObject({ error: undefined, left: 0 });
    const begin = { type: 'page-run', block: { index: 0, ...block } };
    const common = { type: 'page', idstr: 'pc.ram' };
    const zero = { ...common, kind: 'zero', fill: 0, data: '' };
    expect(whole.records.slice(8, -3)).toEqual([
      { ...begin, kind: 'normal', offset: 0, pages: 2 },
      { ...common, kind: 'normal', offset: 0, fill: 0, data: text(content.subarray(0, PAGE)) },
      { ...common, kind: 'normal', offset: PAGE, fill: 0, data: text(content.subarray(PAGE)) },
      { ...zero, offset: 2 * PAGE, fill: 5 },
      { ...begin, kind: 'zero', offset: PAGE, pages: 3 },
      { ...zero, offset: PAGE },
      { ...zero, offset: 2 * PAGE },
      { ...zero, offset: 3 * PAGE },
    ]);
    for (const cuts of [[1], [7], [PAGE], [3, 5000]]) {
      expect(feed(new StreamDecoder(), stream, { cuts, poison: 0xa5 })).toEqual(whole);
    }
  });

  test('a run that is taken is passed over, whoever reads its bytes', () => {
    const decoder = new StreamDecoder();
    feed(decoder, joined(own), { ends: false });
    const stream = joined([run(0, RamFlag.PAGE, 'pc.ram', 2), content, encode.encodeRamEos()]);
    const view = new DataView(stream.buffer);
    const begin = decoder.offset;
    expect(decoder.next(stream, view, 0, 30)).toMatchObject({ type: 'page-run', pages: 2 });
    const head = decoder.consumed;
    expect(decoder.isInRun).toBe(true);
    decoder.takeRun();
    expect([decoder.isInRun, decoder.offset]).toEqual([false, begin + head + content.length]);
    expect(decoder.next(stream, view, head + content.length, stream.length)).toEqual({ type: 'ram-eos' });
  });

  test.each<[string, Uint8Array, WireErrorCode]>([
    ['of no pages', run(0, RamFlag.PAGE, 'pc.ram', 0), 'BAD_LENGTH'],
    ['beyond its block', run(0, RamFlag.ZERO, 'pc.ram', 5), 'PAGE_OUT_OF_RANGE'],
    [
      'of four billion pages',
      joined([page(0, RamFlag.ZERO | RUN_FLAG, 'pc.ram'), bytes(255, 255, 255, 255)]),
      'PAGE_OUT_OF_RANGE',
    ],
    ['of xbzrle', run(0, RamFlag.XBZRLE, 'pc.ram', 1), 'BAD_FLAGS'],
    ['without a kind', run(0, 0, 'pc.ram', 1), 'BAD_FLAGS'],
  ])('a run %s is refused', (_what, bad, code) => {
    expect(feed(new StreamDecoder(), joined([...own, bad])).error).toMatchObject({ code });
  });

  test('a run that the input ends in is cut', () => {
    const cut = joined([...own, run(0, RamFlag.PAGE, 'pc.ram', 2), content.subarray(0, -1)]);
    expect(feed(new StreamDecoder(), cut).error).toMatchObject({ code: 'TRUNCATED' });
  });

  test('of a source that has not asked whether they are understood it is no record', () => {
    expect(feed(new StreamDecoder(), joined([...part, zeroRun])).error).toMatchObject({ code: 'BAD_FLAGS' });
    const context = {
      targetPageSize: PAGE,
      pageSizeSummary: 0,
      ignoreShared: false,
      sections: [],
      blocks: [{ index: 0, ...block }],
    };
    const read = (mayHaveRuns: boolean) =>
      feed(new StreamDecoder({ channel: 'preempt', context: { ...context, mayHaveRuns } }), zeroRun).error;
    expect(read(false)).toMatchObject({ code: 'BAD_FLAGS' });
    expect(read(true)).toBeUndefined();
  });
});

describe('options', () => {
  test('a context carries blocks and sections to a preempt channel and a resumed connection', () => {
    const first = new StreamDecoder();
    feed(first, joined(setup), { ends: false });
    const context = structuredClone(first.context());
    expect(context).toEqual({
      targetPageSize: PAGE,
      pageSizeSummary: 0,
      ignoreShared: false,
      mayHaveRuns: false,
      sections: [ram],
      blocks: [{ index: 0, ...block }],
    });

    const requested = joined([
      page(PAGE, RamFlag.ZERO, 'pc.ram', [0]),
      encode.encodeRamEos(),
      page(0, RamFlag.ZERO | RamFlag.CONTINUE, undefined, [1]),
    ]);
    const preempt: Fed = feed(new StreamDecoder({ channel: 'preempt', context }), requested);
    expect(preempt.error).toBeUndefined();
    expect(preempt.records.map((record) => record.type)).toEqual(['page', 'ram-eos', 'page']);

    const resumed = joined([
      encode.encodeRecvBitmap('pc.ram'),
      encode.encodePostcopyResume(),
      encode.encodeSectionPart('END', 2),
      page(PAGE, RamFlag.ZERO, 'pc.ram', [0]),
      encode.encodeRamEos(),
      encode.encodeFooter(2),
      encode.encodeEof(),
    ]);
    const again = feed(new StreamDecoder({ resumed: true, context }), resumed);
    expect(again.error).toBeUndefined();
    expect(again.records).toHaveLength(7);
  });

  test('a decoder can take over a connection from another, pages that CONTINUE included', () => {
    const first = new StreamDecoder();
    feed(
      first,
      joined([...part, page(0, RamFlag.ZERO, 'pc.ram', [0]), encode.encodeRamEos(), encode.encodeFooter(2)]),
      {
        ends: false,
      },
    );
    expect(first.lastBlockIdstr).toBe('pc.ram');
    const rest = joined([
      encode.encodePackaged(encode.encodePing(3)),
      encode.encodeSectionPart('PART', 2),
      page(PAGE, RamFlag.ZERO | RamFlag.CONTINUE, undefined, [9]),
    ]);
    const options = { resumed: true, startOffset: first.offset, context: first.context() };
    const second = feed(new StreamDecoder({ ...options, lastBlock: first.lastBlockIdstr }), rest, { ends: false });
    expect(second.error).toBeUndefined();
    expect(second.records.at(-1)).toMatchObject({ idstr: 'pc.ram', offset: PAGE, fill: 9 });
    expectWireError(feed(new StreamDecoder(options), rest, { ends: false }).error, 'UNKNOWN_RAM_BLOCK');
  });

  test('bytes may be in shared memory', () => {
    const stream = joined([...setup, encode.encodeEof(), encode.encodeVmDescription('{"é":1}')]);
    const bytesOf = new Uint8Array(new SharedArrayBuffer(stream.length));
    bytesOf.set(stream);
    const decoder = new StreamDecoder();
    const seen = [];
    for (let position = 0; position < stream.length; position += decoder.consumed) {
      seen.push(decoder.next(bytesOf, new DataView(bytesOf.buffer), position, stream.length));
    }
    expect(seen.at(-1)).toEqual({ type: 'vmdescription', json: '{"é":1}' });
  });

  test('a preempt channel has no block list, and may end between records only', () => {
    const channel = 'preempt';
    expectWireError(feed(new StreamDecoder({ channel }), encode.encodeRamBlockList([block])).error, 'BAD_FLAGS');
    expect(feed(new StreamDecoder({ channel }), encode.encodeRamEos()).error).toBeUndefined();
    expectWireError(feed(new StreamDecoder({ channel }), encode.encodeRamEos().subarray(0, 7)).error, 'TRUNCATED');
  });

  test('a lane has the records of a preempt channel behind its greeting', () => {
    const channel = 'lane';
    const greeting = encode.encodeLaneGreeting();
    const lane = joined([greeting, encode.encodeRamEos()]);
    expect(feed(new StreamDecoder({ channel }), lane)).toMatchObject({
      records: [{ type: 'lane-greeting' }, { type: 'ram-eos' }],
      error: undefined,
    });
    expectWireError(feed(new StreamDecoder({ channel }), encode.encodeRamEos()).error, 'BAD_MAGIC');
    expectWireError(feed(new StreamDecoder({ channel }), greeting.subarray(0, 3)).error, 'TRUNCATED');
    expectWireError(
      feed(new StreamDecoder({ channel }), joined([greeting, encode.encodeRamBlockList([block])])).error,
      'BAD_FLAGS',
    );
  });

  test('the target page size comes from the configuration, and moves the flags', () => {
    const large = 65536;
    const stream = joined([
      encode.encodeHeader(),
      encode.encodeConfiguration({ machine: 'virt', targetPageBits: 16 }),
      encode.encodeSectionStart({ type: 'START', ...ram }),
      encode.encodeRamBlockList([{ idstr: 'mach-virt.ram', usedLength: 2 * large }]),
      page(large, RamFlag.PAGE, 'mach-virt.ram', Array(large).fill(1)),
      encode.encodeRamEos(),
      encode.encodeFooter(2),
      encode.encodeEof(),
    ]);
    const { records, error } = feed(new StreamDecoder(), stream);
    expect(error).toBeUndefined();
    expect(records[1]).toEqual({ type: 'configuration', machine: 'virt', targetPageBits: 16 });
    expect(records[4]).toMatchObject({ type: 'page', offset: large, data: '\x01'.repeat(large) });
  });

  test.each([0, 512, 5000, 131072])('a target page size of %d is refused', (targetPageSize) => {
    expect(() => new StreamDecoder({ targetPageSize })).toThrow(RangeError);
  });

  test('x-ignore-shared puts addresses in the block list, behind the page size', () => {
    const blocks = [
      { idstr: 'a', usedLength: PAGE, address: 0xc0000 },
      { idstr: 'b', usedLength: 2 ** 21, pageSize: 2 ** 21, address: 2 ** 32 },
    ];
    const stream = joined([
      encode.encodeHeader(),
      encode.encodeConfiguration({ machine: 'pc', capabilities: ['x-ignore-shared'] }),
      encode.encodePostcopyAdvise({ pageSizeSummary: 0x201000, targetPageSize: PAGE }),
      encode.encodeSectionStart({ type: 'START', ...ram }),
      encode.encodeRamBlockList(blocks),
      encode.encodeRamEos(),
    ]);
    for (const blockPageSize of [undefined, (idstr: string) => (idstr === 'b' ? 2 ** 21 : PAGE)]) {
      const { records, error } = feed(new StreamDecoder(blockPageSize ? { blockPageSize } : {}), stream, {
        ends: false,
      });
      expect(error).toBeUndefined();
      expect(records.at(-2)).toEqual({
        type: 'ram-blocks',
        total: PAGE + 2 ** 21,
        blocks: blocks.map((entry, index) => ({ index, ...entry })),
      });
    }
  });

  test('without POSTCOPY_ADVISE for RAM no page size is looked for', () => {
    const stream = joined([
      ...start,
      encode.encodePostcopyAdvise(),
      ...blockList([block]).slice(2),
      encode.encodeRamEos(),
    ]);
    const { records, error } = feed(new StreamDecoder({ blockPageSize: () => 2 ** 21 }), stream, { ends: false });
    expect(error).toBeUndefined();
    expect(records.at(-2)).toMatchObject({ blocks: [{ index: 0, ...block }] });
  });
});
