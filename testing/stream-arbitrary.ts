/**
 * fast-check arbitraries of whole migration streams: the bytes, made with the library's encoders, and the
 * records they must decode to, in the form of testing/feed.ts.
 */
import * as fc from 'fast-check';
import * as encode from '#lib/wire/encode.js';
import type { RamBlockEntry } from '#lib/wire/messages.js';
import { RamFlag } from '#lib/wire/protocol.js';
import { joined, type Plain, text } from './feed.js';

const PAGE = 4096;
const HUGE_PAGE = 2 * 2 ** 20;
const RAM_ID = 2;

/** The idstr whose bodies tell their own length in arbitrary streams. */
export const SELF_SIZED = 'self-sized';

/** A piece of stream and what it means. */
interface Part {
  readonly bytes: Uint8Array;
  readonly records: readonly Plain[];
}

export interface ArbitraryStream extends Part {
  /** Page size of a block, as `blockPageSize` of the decoder. */
  readonly blockPageSize: (idstr: string) => number;
}

const name = fc.string({ unit: 'grapheme-ascii', minLength: 1, maxLength: 40 });
const u32 = fc.nat(0xffffffff);
const uuid = fc.uuid();
/** Capabilities that change the layout. */
const meaningful = ['mapped-ram', 'x-ignore-shared'];

const configuration: fc.Arbitrary<Part> = fc
  .record(
    {
      machine: name,
      capabilities: fc.array(
        name.filter((capability) => !meaningful.includes(capability)),
        { maxLength: 4 },
      ),
      uuid,
    },
    { requiredKeys: ['machine'] },
  )
  .map((fields) => ({
    bytes: encode.encodeConfiguration(fields),
    records: [{ type: 'configuration', ...fields }],
  }));

const blocks = fc
  .uniqueArray(fc.record({ idstr: name, pages: fc.integer({ min: 1, max: 2 ** 38 }), huge: fc.boolean() }), {
    selector: (block) => block.idstr,
    minLength: 1,
    maxLength: 5,
  })
  .map((list) =>
    list.map(({ idstr, pages, huge }, index): RamBlockEntry => {
      const entry = { index, idstr, usedLength: pages * PAGE };
      return huge ? { ...entry, pageSize: HUGE_PAGE } : entry;
    }),
  );

function ramSection(type: 'PART' | 'END', list: readonly RamBlockEntry[]): fc.Arbitrary<Part> {
  const page = fc.record({
    block: fc.nat(list.length - 1),
    at: fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }),
    kind: fc.constantFrom('normal', 'zero', 'xbzrle', 'compressed'),
    fill: fc.nat(255),
    alwaysName: fc.boolean(),
    data: fc.uint8Array({ maxLength: 30 }),
  });
  return fc.array(page, { maxLength: 6 }).map((pages) => {
    const parts = [encode.encodeSectionPart(type, RAM_ID)];
    const records: Plain[] = [{ type: 'section-part', kind: type, id: RAM_ID, idstr: 'ram' }];
    let last = -1;
    for (const { block, at, kind, fill, alwaysName, data } of pages) {
      const { idstr, usedLength } = list[block];
      const offset = Math.floor(at * (usedLength / PAGE)) * PAGE;
      const cont = block === last && !alwaysName;
      const body = pageBody(kind, fill, data);
      const header = new Uint8Array(encode.MAX_PAGE_HEADER_BYTES);
      const flags = body.flag | (cont ? RamFlag.CONTINUE : 0);
      const end = encode.encodePageHeader(
        new DataView(header.buffer),
        0,
        offset,
        flags,
        cont ? undefined : encode.encodeIdstr(idstr),
      );
      parts.push(header.subarray(0, end), body.bytes);
      records.push({ type: 'page', kind, idstr, offset, fill: kind === 'zero' ? fill : 0, data: text(body.data) });
      last = block;
    }
    parts.push(encode.encodeRamEos(), encode.encodeFooter(RAM_ID));
    records.push({ type: 'ram-eos' }, { type: 'section-end', id: RAM_ID, idstr: 'ram' });
    return { bytes: joined(parts), records };
  });
}

function pageBody(kind: string, fill: number, data: Uint8Array): { flag: number; bytes: Uint8Array; data: Uint8Array } {
  switch (kind) {
    case 'zero':
      return { flag: RamFlag.ZERO, bytes: Uint8Array.of(fill), data: new Uint8Array(0) };
    case 'xbzrle':
      return { flag: RamFlag.XBZRLE, bytes: joined([Uint8Array.of(1, 0, data.length), data]), data };
    case 'compressed':
      return { flag: RamFlag.COMPRESS_PAGE, bytes: joined([Uint8Array.of(0, 0, 0, data.length), data]), data };
    default: {
      const page = new Uint8Array(PAGE);
      page.set(data, PAGE - data.length);
      return { flag: RamFlag.PAGE, bytes: page, data: page };
    }
  }
}

function command(list: readonly RamBlockEntry[]): fc.Arbitrary<Part> {
  const block = fc.constantFrom(...list);
  const bare = fc.constantFrom(
    { command: 'OPEN_RETURN_PATH', bytes: encode.encodeOpenReturnPath() },
    { command: 'POSTCOPY_LISTEN', bytes: encode.encodePostcopyListen() },
    { command: 'POSTCOPY_RUN', bytes: encode.encodePostcopyRun() },
    { command: 'POSTCOPY_RESUME', bytes: encode.encodePostcopyResume() },
    { command: 'ENABLE_COLO', bytes: encode.encodeEnableColo() },
    { command: 'SWITCHOVER_START', bytes: encode.encodeSwitchoverStart() },
  );
  const range = fc.record({
    at: fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }),
    size: fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }),
  });
  return fc.oneof(
    bare.map(({ command: code, bytes }) => ({ bytes, records: [{ type: 'command', command: code }] })),
    u32.map((value) => ({ bytes: encode.encodePing(value), records: [{ type: 'command', command: 'PING', value }] })),
    block.map(({ idstr }) => ({
      bytes: encode.encodeRecvBitmap(idstr),
      records: [{ type: 'command', command: 'RECV_BITMAP', idstr }],
    })),
    fc.tuple(block, fc.array(range, { maxLength: 12 })).map(([{ idstr, usedLength }, list]) => {
      const ranges = list.map(({ at, size }) => {
        const first = Math.floor(at * (usedLength / PAGE));
        const count = 1 + Math.floor(size * (usedLength / PAGE - first));
        return { start: first * PAGE, length: count * PAGE };
      });
      return {
        bytes: encode.encodeRamDiscard(idstr, ranges),
        records: [{ type: 'command', command: 'POSTCOPY_RAM_DISCARD', idstr, ranges }],
      };
    }),
  );
}

/** A device section whose body may hold what looks like its footer, if not like a record behind it. */
function device(id: number): fc.Arbitrary<Part> {
  const lookalike = joined([encode.encodeFooter(id), Uint8Array.of(0xff)]);
  const fragment = fc.oneof(fc.uint8Array({ maxLength: 20 }).map(withoutFooters), fc.constant(lookalike));
  return fc
    .record({
      idstr: name,
      instanceId: u32,
      versionId: u32,
      fragments: fc.array(fragment, { maxLength: 5 }),
      selfSized: fc.boolean(),
    })
    .filter(({ idstr }) => idstr !== 'ram' && idstr !== SELF_SIZED)
    .map(({ idstr: any, instanceId, versionId, fragments, selfSized }) => {
      const idstr = selfSized ? SELF_SIZED : any;
      const section = { id, idstr, instanceId, versionId };
      const data = selfSized ? encode.encodeSelfSizedBody(joined(fragments)) : joined(fragments);
      return {
        bytes: joined([encode.encodeSectionStart({ type: 'FULL', ...section }), data, encode.encodeFooter(id)]),
        records: [
          { type: 'section-start', kind: 'FULL', ...section },
          { type: 'device-data', id, idstr, data: text(data) },
          { type: 'section-end', id, idstr },
        ],
      };
    });
}

function withoutFooters(bytes: Uint8Array): Uint8Array {
  return bytes.map((byte) => (byte === 0x7e ? 0x7f : byte));
}

function packaged(firstId: number, list: readonly RamBlockEntry[]): fc.Arbitrary<Part> {
  return fc
    .tuple(
      fc.array(command(list), { maxLength: 3 }),
      device(firstId),
      device(firstId + 1),
      fc.array(command(list), { maxLength: 2 }),
    )
    .map(([before, first, second, after]) => {
      const inner = inOrder([...before, first, second, ...after]);
      return {
        bytes: encode.encodePackaged(inner.bytes),
        records: [{ type: 'command', command: 'PACKAGED', length: inner.bytes.length }, ...inner.records],
      };
    });
}

function inOrder(parts: readonly Part[]): Part {
  return { bytes: joined(parts.map((part) => part.bytes)), records: parts.flatMap((part) => part.records) };
}

/** A stream from header to EOF, postcopy advised, with or without a VM description. */
export const arbitraryStream: fc.Arbitrary<ArbitraryStream> = blocks.chain((list) => {
  const start = { id: RAM_ID, idstr: 'ram', instanceId: 0, versionId: 4 };
  const sizes = { pageSizeSummary: HUGE_PAGE + PAGE, targetPageSize: PAGE };
  const setup: Part = {
    bytes: joined([
      encode.encodePostcopyAdvise(sizes),
      encode.encodeSectionStart({ type: 'START', ...start }),
      encode.encodeRamBlockList(list),
      encode.encodeRamEos(),
      encode.encodeFooter(RAM_ID),
    ]),
    records: [
      { type: 'command', command: 'POSTCOPY_ADVISE', ...sizes },
      { type: 'section-start', kind: 'START', ...start },
      { type: 'ram-blocks', total: list.reduce((sum, block) => sum + block.usedLength, 0), blocks: list },
      { type: 'ram-eos' },
      { type: 'section-end', id: RAM_ID, idstr: 'ram' },
    ],
  };
  const header: Part = { bytes: encode.encodeHeader(), records: [{ type: 'header', version: 3 }] };
  const eof: Part = { bytes: encode.encodeEof(), records: [{ type: 'eof' }] };
  const item = fc.oneof(ramSection('PART', list), command(list));
  return fc
    .tuple(
      fc.option(configuration, { nil: undefined }),
      fc.array(item, { maxLength: 6 }),
      fc.option(packaged(10, list), { nil: undefined }),
      fc.array(item, { maxLength: 4 }),
      ramSection('END', list),
      device(20),
      device(21),
      fc.option(fc.string().map(vmDescription), { nil: undefined }),
    )
    .map(([config, before, inner, after, end, first, second, description]) => {
      const parts = [header, config, setup, ...before, inner, ...after, end, first, second, eof, description];
      const whole = inOrder(parts.filter((part) => part !== undefined));
      const pageSizes = new Map(list.map((block) => [block.idstr, block.pageSize ?? PAGE]));
      return { ...whole, blockPageSize: (idstr: string) => pageSizes.get(idstr) ?? PAGE };
    });
});

function vmDescription(json: string): Part {
  // Lone surrogates have no UTF-8.
  const wellFormed = new TextDecoder().decode(new TextEncoder().encode(json));
  return { bytes: encode.encodeVmDescription(wellFormed), records: [{ type: 'vmdescription', json: wellFormed }] };
}
