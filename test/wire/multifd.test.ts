/** Data channels of multifd: QEMU's recordings to the last byte and to the memory they make; each way to break one. */
import { createHash } from 'node:crypto';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { decodeAll } from '#lib/wire/decode-all.js';
import { WireError, type WireErrorCode } from '#lib/wire/errors.js';
import type { MultifdPacketRecord, MultifdRecord } from '#lib/wire/messages.js';
import { MultifdDecoder, type MultifdDecoderOptions } from '#lib/wire/multifd.js';
import {
  MULTIFD_MAGIC,
  MULTIFD_NAME_BYTES,
  MULTIFD_OPENING_BYTES,
  MULTIFD_PACKET_BYTES,
  MULTIFD_VERSION,
  MultifdFlag,
} from '#lib/wire/protocol.js';
import { stringToUtf8 } from '#lib/wire/text.js';
import { type Capture, captures } from '../../testing/captures.js';
import { joined } from '../../testing/feed.js';

const PAGE = 4096;

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Gives `bytes` in pieces of the sizes in `cuts`, repeated, and then says that they end. */
function decode(bytes: Uint8Array, cuts = [bytes.length + 1], options: MultifdDecoderOptions = {}): MultifdRecord[] {
  const decoder = new MultifdDecoder(options);
  const view = viewOf(bytes);
  const records: MultifdRecord[] = [];
  let at = 0;
  let given = 0;
  for (let i = 0; ; i++) {
    const ended = given === bytes.length;
    if (ended) decoder.endOfInput();
    for (;;) {
      const record = decoder.next(bytes, view, at, given);
      if (record === undefined) break;
      expect(decoder.recordOffset).toBe(at);
      at += decoder.consumed;
      records.push(record);
    }
    if (ended) return records;
    given = Math.min(bytes.length, given + cuts[i % cuts.length]);
  }
}

const packetsOf = (records: readonly MultifdRecord[]) =>
  records.filter((record): record is MultifdPacketRecord => record.type === 'multifd-packet');

const withMultifd = captures().filter(({ summary }) => summary.multifd !== undefined);

test('there are recordings of multifd', () => {
  expect(withMultifd.map(({ name }) => name)).toEqual(['e-multifd', 'e2-multifd-uuid-rp']);
});

/** What the main channel and the packets put into RAM, one synchronisation after the other. */
function rebuild({ summary, fromSource }: Capture): Map<string, Uint8Array> {
  const memory = new Map(Object.entries(summary.blocks).map(([idstr, { size }]) => [idstr, new Uint8Array(size)]));
  type Write = { idstr: string; offset: number; data: Uint8Array | undefined };
  const rounds: Write[][] = [[]];
  let round = 0;
  const put = (idstr: string, offset: number, data?: Uint8Array) => rounds[round].push({ idstr, offset, data });
  const next = () => {
    round++;
    rounds[round] ??= [];
  };
  for (const record of decodeAll(fromSource(0))) {
    if (record.type === 'page') put(record.block.idstr, record.offset);
    if (record.type === 'ram-eos') next();
  }
  for (const { conn } of summary.multifd ?? []) {
    round = 0;
    const bytes = fromSource(conn);
    for (const { idstr, normal, zero, dataStart, sync } of packetsOf(decode(bytes))) {
      normal.forEach((offset, i) => {
        put(idstr, offset, bytes.subarray(dataStart + i * PAGE, dataStart + (i + 1) * PAGE));
      });
      for (const offset of zero) put(idstr, offset);
      if (sync) next();
    }
  }
  for (const { idstr, offset, data } of rounds.flat()) {
    const block = memory.get(idstr) as Uint8Array;
    if (data === undefined) block.fill(0, offset, offset + PAGE);
    else block.set(data, offset);
  }
  return memory;
}

describe.each(withMultifd)('$name', (capture) => {
  const channels = capture.summary.multifd ?? [];

  test.each(channels)('channel $id decodes to the last byte', (expected) => {
    const records = decode(capture.fromSource(expected.conn));
    const [opening] = records;
    const packets = packetsOf(records);
    const uuid = opening.type === 'multifd-opening' ? opening.uuid.replaceAll('-', '') : '';
    expect(opening).toMatchObject({ type: 'multifd-opening', version: 1, channel: expected.id });
    expect({
      uuid,
      packets: packets.length,
      pages: packets.reduce((sum, { normal }) => sum + normal.length, 0),
      zero_pages: packets.reduce((sum, { zero }) => sum + zero.length, 0),
      sync: packets.filter(({ sync }) => sync).length,
      page_alloc: [...new Set(packets.map(({ pagesAllocated }) => pagesAllocated))],
    }).toEqual({
      uuid: expected.uuid,
      packets: expected.packets,
      pages: expected.pages,
      zero_pages: expected.zero_pages,
      sync: expected.sync,
      page_alloc: expected.page_alloc,
    });
  });

  test('the channels and the main one rebuild the memory', () => {
    const hashes = [...rebuild(capture)].map(([idstr, memory]) => [
      idstr,
      createHash('sha256').update(memory).digest('hex'),
    ]);
    expect(hashes).toEqual(Object.entries(capture.summary.blocks).map(([idstr, { sha256 }]) => [idstr, sha256]));
  });

  test('cut anywhere gives the same records', () => {
    const bytes = capture.fromSource(channels[0].conn);
    expect(decode(bytes, [1, 63, 70_001, 1344])).toEqual(decode(bytes));
  });
});

interface Packet {
  readonly flags?: number;
  readonly allocated?: number;
  readonly normal?: readonly number[];
  readonly zero?: readonly number[];
  readonly dataLength?: number;
  readonly name?: string;
}

function opening(channel = 3): Uint8Array {
  const bytes = new Uint8Array(MULTIFD_OPENING_BYTES);
  const view = viewOf(bytes);
  view.setUint32(0, MULTIFD_MAGIC);
  view.setUint32(4, MULTIFD_VERSION);
  bytes.set([0xab, 0xcd], 8);
  bytes[24] = channel;
  return bytes;
}

function packet({ flags = 0, normal = [], zero = [], name = 'pc.ram', ...more }: Packet): Uint8Array {
  const allocated = more.allocated ?? normal.length + zero.length + 1;
  const dataLength = more.dataLength ?? normal.length * PAGE;
  const header = new Uint8Array(MULTIFD_PACKET_BYTES + 8 * allocated);
  const view = viewOf(header);
  [MULTIFD_MAGIC, MULTIFD_VERSION, flags, allocated, normal.length, dataLength].forEach((word, i) => {
    view.setUint32(4 * i, word);
  });
  view.setUint32(32, zero.length);
  header.set(stringToUtf8(name).subarray(0, MULTIFD_NAME_BYTES), 64);
  [...normal, ...zero].slice(0, allocated).forEach((offset, i) => {
    view.setBigUint64(MULTIFD_PACKET_BYTES + 8 * i, BigInt(offset));
  });
  return joined([header, new Uint8Array(normal.length === 0 ? 0 : dataLength).fill(7)]);
}

test('a packet has its normal pages first, then zero pages', () => {
  const bytes = joined([opening(), packet({ flags: MultifdFlag.SYNC, normal: [PAGE, 0], zero: [5 * PAGE] })]);
  expect(decode(bytes)).toEqual([
    { type: 'multifd-opening', version: 1, uuid: 'abcd0000-0000-0000-0000-000000000000', channel: 3 },
    {
      type: 'multifd-packet',
      sync: true,
      compression: 'none',
      packetNumber: 0,
      idstr: 'pc.ram',
      normal: [PAGE, 0],
      zero: [5 * PAGE],
      pagesAllocated: 4,
      dataStart: MULTIFD_OPENING_BYTES + MULTIFD_PACKET_BYTES + 4 * 8,
      dataLength: 2 * PAGE,
    },
  ]);
});

test('a packet without normal pages has no data, whatever its length says', () => {
  const sync = packet({ flags: MultifdFlag.SYNC, name: '', dataLength: 12345 });
  expect(decode(joined([opening(), sync, sync]))).toHaveLength(3);
});

test.each([
  [1, 'zlib'],
  [2, 'zstd'],
  [4, 'qpl'],
  [8, 'uadk'],
  [16, 'qatzip'],
])('compression %i is %s, of any length', (code, compression) => {
  const records = decode(joined([opening(), packet({ flags: code << 1, normal: [0], dataLength: 77 })]));
  expect(records[1]).toMatchObject({ compression, dataLength: 77 });
});

test('the target page size counts', () => {
  const bytes = joined([opening(), packet({ normal: [16384], dataLength: 16384 })]);
  expect(decode(bytes, undefined, { targetPageSize: 16384 })[1]).toMatchObject({ dataLength: 16384 });
});

const broken: { what: string; code: WireErrorCode; bytes: Uint8Array; offset: number }[] = [
  { what: 'another magic', code: 'BAD_MAGIC', bytes: new Uint8Array(64), offset: 0 },
  { what: 'nothing at all', code: 'TRUNCATED', bytes: new Uint8Array(0), offset: 0 },
  ...(
    [
      ['another magic in a packet', 'BAD_MAGIC', new Uint8Array(400), 0],
      ['an unknown flag', 'BAD_FLAGS', packet({ flags: 0x80 }), 8],
      ['an unknown compression', 'BAD_FLAGS', packet({ flags: 3 << 1 }), 8],
      ['device state', 'UNSUPPORTED', packet({ flags: MultifdFlag.DEVICE_STATE }), 8],
      ['too many offsets', 'LIMIT', packet({ allocated: 1025 }), 0],
      ['more pages than offsets', 'BAD_LENGTH', packet({ normal: [0, PAGE], allocated: 1 }), 0],
      ['a wrong length', 'BAD_LENGTH', packet({ normal: [0], dataLength: PAGE - 1 }), 20],
      ['more than compression makes', 'BAD_LENGTH', packet({ flags: 2, normal: [0], dataLength: 2 * PAGE + 1 }), 20],
      ['a block without name', 'BAD_NAME', packet({ normal: [0], name: '' }), 64],
      ['a name without end', 'BAD_NAME', packet({ normal: [0], name: 'x'.repeat(256) }), 64],
      ['a name with a control character', 'BAD_NAME', packet({ name: 'a\nb' }), 64],
      ['an unaligned offset', 'BAD_VALUE', packet({ normal: [100] }), MULTIFD_PACKET_BYTES],
      ['a cut packet', 'TRUNCATED', packet({ normal: [0] }).subarray(0, 1000), 0],
    ] as const
  ).map(([what, code, bytes, offset]) => ({
    what,
    code,
    bytes: joined([opening(), bytes]),
    offset: MULTIFD_OPENING_BYTES + offset,
  })),
];

test.each(broken)('$what is $code', ({ code, bytes, offset }) => {
  expect(() => decode(bytes)).toThrow(expect.objectContaining({ name: 'WireError', code, offset }));
});

test('what was broken stays broken', () => {
  const decoder = new MultifdDecoder();
  const bytes = new Uint8Array(64);
  for (let i = 0; i < 2; i++) expect(() => decoder.next(bytes, viewOf(bytes), 0, 64)).toThrow(WireError);
});

test('any bytes give records or a WireError', () => {
  const good = joined([opening(), packet({ normal: [0, PAGE], zero: [2 * PAGE] }), packet({ flags: 1, name: '' })]);
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { maxLength: 4 }), (changes) => {
      const bytes = good.slice();
      for (const [at, value] of changes) bytes[at] = value;
      try {
        decode(bytes, [100]);
      } catch (error) {
        if (!(error instanceof WireError)) throw error;
      }
    }),
    { numRuns: 2000 },
  );
});
