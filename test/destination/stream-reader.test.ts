/** Reading the main channel from a real socket: cut anywhere, handed over anywhere, ended anywhere, or damaged. */
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createDestinationCounters } from '#lib/destination/destination-counters.js';
import { ARENA_BYTES, decoderOptions, StreamReader } from '#lib/destination/stream-reader.js';
import { concatenate } from '#lib/memory/bytes.js';
import { decodeAll } from '#lib/wire/decode-all.js';
import * as encode from '#lib/wire/encode.js';
import { WireError } from '#lib/wire/errors.js';
import { GUEST_STATE_SECTION, RAM_SECTION } from '#lib/wire/machine.js';
import type { StreamRecord } from '#lib/wire/messages.js';
import { Ping, RamFlag, RUN_FLAG } from '#lib/wire/protocol.js';
import { type ChannelPair, channelPair } from '../../testing/channel-pair.ts';

const PAGE = 4096;

function pageRecord(offset: number, flags: number, idstr: string | undefined, body: Uint8Array): Uint8Array {
  const header = new Uint8Array(encode.MAX_PAGE_HEADER_BYTES);
  const name = idstr === undefined ? undefined : encode.encodeIdstr(idstr);
  const end = encode.encodePageHeader(new DataView(header.buffer), 0, offset, flags, name);
  return concatenate([header.subarray(0, end), body]);
}

const page = (number: number, idstr?: string): Uint8Array =>
  pageRecord(
    number * PAGE,
    RamFlag.PAGE | (idstr === undefined ? RamFlag.CONTINUE : 0),
    idstr,
    new Uint8Array(PAGE).fill(number + 1),
  );
const zeroPage = (number: number): Uint8Array =>
  pageRecord(number * PAGE, RamFlag.ZERO | RamFlag.CONTINUE, undefined, new Uint8Array(1));

const head = concatenate([
  encode.encodeHeader(),
  encode.encodeConfiguration({ machine: 'test' }),
  encode.encodeOpenReturnPath(),
  encode.encodePing(1),
  encode.encodeSectionStart({ type: 'START', ...RAM_SECTION }),
  encode.encodeRamBlockList([
    { idstr: 'pc.ram', usedLength: 64 * PAGE },
    { idstr: 'vga', usedLength: 8 * PAGE },
  ]),
  encode.encodeRamEos(),
  encode.encodeFooter(RAM_SECTION.id),
]);
const part = (kind: 'PART' | 'END', ...records: Uint8Array[]): Uint8Array =>
  concatenate([
    encode.encodeSectionPart(kind, RAM_SECTION.id),
    ...records,
    encode.encodeRamEos(),
    encode.encodeFooter(RAM_SECTION.id),
  ]);
const stream = concatenate([
  head,
  part('PART', page(0, 'pc.ram'), page(1), zeroPage(2), page(3, 'vga')),
  encode.encodeRamDiscard('pc.ram', [{ start: 0, length: PAGE }]),
  part('PART', page(4), page(5, 'pc.ram'), page(6)),
  encode.encodeSectionStart({ type: 'FULL', ...GUEST_STATE_SECTION }),
  encode.encodeSelfSizedBody(Uint8Array.from({ length: 500 }, (_, i) => i & 0xff)),
  encode.encodeFooter(GUEST_STATE_SECTION.id),
  part('END', page(7)),
  encode.encodeEof(),
]);

/** A record with copies of the data it refers to, which is gone at the next. */
function kept(record: StreamRecord, bytes: Uint8Array): unknown {
  if (record.type !== 'page' && record.type !== 'device-data') return record;
  const { dataStart, dataLength, ...rest } = record;
  return { ...rest, data: Buffer.from(bytes.subarray(dataStart, dataStart + dataLength)).toString('latin1') };
}

/** Pieces of a device body come as they were cut: joined here. */
function joined(records: readonly unknown[]): unknown[] {
  const whole: Record<string, unknown>[] = [];
  for (const record of records as Record<string, unknown>[]) {
    const last = whole.at(-1);
    if (record.type === 'device-data' && last?.type === 'device-data' && last.id === record.id) {
      last.data = `${last.data}${record.data}`;
      last.last = record.last;
    } else {
      whole.push({ ...record });
    }
  }
  return whole;
}

const expected = joined(
  [...decodeAll(stream, decoderOptions)].map(({ recordOffset: _offset, packaged: _packaged, ...record }) =>
    kept(record as StreamRecord, stream),
  ),
);

let pair: ChannelPair;
const newArena = () => new SharedArrayBuffer(ARENA_BYTES);

beforeEach(() => {
  pair = channelPair('the source at unix:/x');
});

afterEach(() => {
  pair.close();
});

/**
 * Reads what is sent in pieces of these sizes, repeated. Another reader takes over between two sections, at the
 * first chance after `handOverAfter` records.
 */
function readAll(own: ChannelPair, cuts: readonly number[], handOverAfter: number) {
  const arena = newArena();
  const counters = createDestinationCounters();
  let reader = new StreamReader(own.near, arena, counters);
  const records: unknown[] = [];
  const offsets: number[] = [];
  let mayHandOver = false;
  let handedOver = false;
  for (let at = 0, i = 0; at < stream.length; i += 1) {
    const end = Math.min(stream.length, at + cuts[i % cuts.length]);
    own.far.send(stream.subarray(at, end));
    at = end;
    expect(reader.fill()).toBe(true);
    for (;;) {
      if (!handedOver && mayHandOver && records.length >= handOverAfter) {
        reader = new StreamReader(own.near, arena, counters, structuredClone(reader.handOver()));
        handedOver = true;
      }
      const record = reader.tryNext();
      if (record === undefined) break;
      mayHandOver = record.type === 'section-end' || record.type === 'command';
      records.push(kept(record, reader.bytes));
      offsets.push(reader.recordOffset);
    }
  }
  return { records: joined(records), counters, offsets, handedOver };
}

test('the records are the same however the stream is cut and handed over (property)', () => {
  fc.assert(
    fc.property(
      fc.array(fc.oneof(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 9000 })), {
        minLength: 1,
        maxLength: 20,
      }),
      fc.integer({ min: 0, max: 20 }),
      (cuts, handOverAfter) => {
        const own = channelPair();
        try {
          const { records, counters, offsets, handedOver } = readAll(own, cuts, handOverAfter);
          expect(handedOver).toBe(true);
          expect(records).toEqual(expected);
          expect(counters.get('transferred')).toBe(stream.length);
          expect(offsets).toEqual([...offsets].sort((a, b) => a - b));
        } finally {
          own.close();
        }
      },
    ),
    { numRuns: 60 },
  );
});

test('a stream larger than the arena goes through it', async () => {
  const own = channelPair();
  const reader = new StreamReader(own.near, newArena(), createDestinationCounters());
  const pages = 600; // more than two arenas
  const bytes = concatenate([
    head,
    part('PART', page(0, 'pc.ram'), ...Array.from({ length: pages }, (_, number) => page(number % 64))),
    encode.encodeEof(),
  ]);
  let read = 0;
  let sent = 0;
  for (let isEof = false; !isEof; ) {
    const record = reader.tryNext();
    if (record?.type === 'eof') isEof = true;
    if (record?.type === 'page') {
      const data = reader.bytes.subarray(record.dataStart, record.dataStart + record.dataLength);
      expect(data.every((byte) => byte === record.offset / PAGE + 1)).toBe(true);
      read += 1;
    }
    if (record !== undefined) continue;
    const more = Math.min(50_000, bytes.length - sent);
    own.far.send(bytes.subarray(sent, sent + more));
    sent += more;
    expect(reader.fill()).toBe(true);
  }
  expect(read).toBe(pages + 1);
  own.close();
});

describe('a run', () => {
  const PAGES = 512;
  const own = concatenate([
    encode.encodeHeader(),
    encode.encodeConfiguration({ machine: 'test' }),
    encode.encodePing(Ping.RUNS),
  ]);
  const blockList = concatenate([
    encode.encodeSectionStart({ type: 'START', ...RAM_SECTION }),
    encode.encodeRamBlockList([{ idstr: 'pc.ram', usedLength: 2 * PAGES * PAGE }]),
    encode.encodeRamEos(),
    encode.encodeFooter(RAM_SECTION.id),
    encode.encodeSectionPart('PART', RAM_SECTION.id),
  ]);
  const begin = (first: number, flags: number): Uint8Array =>
    pageRecord(first * PAGE, RUN_FLAG | flags, 'pc.ram', Uint8Array.of(0, 0, PAGES >> 8, PAGES & 0xff));
  const content = Uint8Array.from({ length: PAGES * PAGE }, (_, i) => (i * 7 + (i >> 12)) & 0xff);

  test('that is taken leaves the arena alone, wherever it was cut, and the stream goes on behind it', async () => {
    const counters = createDestinationCounters();
    const reader = new StreamReader(pair.near, newArena(), counters);
    const stream = concatenate([
      ...[own, blockList, begin(0, RamFlag.PAGE), content, begin(PAGES, RamFlag.ZERO)],
      ...[encode.encodeRamEos(), encode.encodeFooter(RAM_SECTION.id), encode.encodePing(5)],
    ]);
    const target = new Uint8Array(content.length);
    const source = pair.sendFar(stream);
    let record: StreamRecord;
    do record = reader.next();
    while (record.type !== 'page-run');
    reader.takeRun();
    reader.takeRunBytes(target, content.length);
    expect(Buffer.compare(target, content)).toBe(0);
    expect(reader.next()).toMatchObject({ type: 'page-run', kind: 'zero', pages: PAGES });
    expect(reader.tryNext()).toMatchObject({ type: 'page', kind: 'zero', offset: PAGES * PAGE });
    reader.takeRun();
    expect(reader.next()).toEqual({ type: 'ram-eos' });
    expect(reader.next()).toMatchObject({ type: 'section-end' });
    expect(reader.next()).toEqual({ type: 'command', command: 'PING', value: 5 });
    expect(reader.recordOffset).toBe(stream.length - encode.encodePing(5).length);
    expect(counters.get('transferred')).toBe(stream.length);
    await source;
  });

  test('that the source leaves in is PEER_GONE', () => {
    const reader = new StreamReader(pair.near, newArena(), createDestinationCounters());
    pair.far.send(concatenate([own, blockList, begin(0, RamFlag.PAGE), content.subarray(0, 5000)]));
    pair.closeFar();
    while (reader.next().type !== 'page-run');
    reader.takeRun();
    const take = () => reader.takeRunBytes(new Uint8Array(content.length), content.length);
    expect(take).toThrow(expect.objectContaining({ code: 'PEER_GONE' }));
  });
});

describe('a package', () => {
  const inner = concatenate([encode.encodePostcopyListen(), encode.encodePing(3), encode.encodePostcopyRun()]);
  const behind = part('PART', page(9, 'pc.ram'));

  test('is taken whole, in pieces or not, and the stream goes on behind it', () => {
    const counters = createDestinationCounters();
    const reader = new StreamReader(pair.near, newArena(), counters);
    const bytes = concatenate([head, encode.encodePackaged(inner), behind]);
    pair.far.send(bytes.subarray(0, head.length + 9 + 3)); // three bytes of the package are here already
    let record: StreamRecord;
    do record = reader.next();
    while (record.type !== 'command' || record.command !== 'PACKAGED');
    expect(record.length).toBe(inner.length);
    pair.far.send(bytes.subarray(head.length + 9 + 3));
    const taken = reader.takePackage(record.length);
    expect([...taken.bytes]).toEqual([...inner]);
    const first = taken.decoder.next(taken.bytes, new DataView(taken.bytes.buffer), 0, inner.length);
    expect(first).toEqual({ type: 'command', command: 'POSTCOPY_LISTEN' });
    expect(taken.decoder.recordOffset).toBe(head.length + 9);
    expect(reader.next()).toMatchObject({ type: 'section-part' });
    expect(reader.next()).toMatchObject({ type: 'page', offset: 9 * PAGE });
    expect(reader.next()).toEqual({ type: 'ram-eos' });
    expect(reader.next()).toMatchObject({ type: 'section-end' });
    expect(counters.get('transferred')).toBe(bytes.length);
  });

  test('cut in the middle is PEER_GONE', () => {
    const reader = new StreamReader(pair.near, newArena(), createDestinationCounters());
    pair.far.send(concatenate([head, encode.encodePackaged(inner).subarray(0, 12)]));
    pair.closeFar();
    let record: StreamRecord;
    do record = reader.next();
    while (record.type !== 'command' || record.command !== 'PACKAGED');
    expect(() => reader.takePackage(inner.length)).toThrow(expect.objectContaining({ code: 'PEER_GONE' }));
  });
});

describe('a source that goes', () => {
  const sendAndGo = (bytes: Uint8Array): StreamReader => {
    pair.far.send(bytes);
    pair.closeFar();
    return new StreamReader(pair.near, newArena(), createDestinationCounters());
  };

  test('in the middle of a record is PEER_GONE, with the offset of that record and its name', () => {
    const reader = sendAndGo(concatenate([head, encode.encodePing(7).subarray(0, 5)]));
    const read = (): void => {
      for (;;) reader.next();
    };
    expect(read).toThrow(
      expect.objectContaining({
        code: 'PEER_GONE',
        offset: head.length,
        message: expect.stringContaining('the source at unix:/x'),
      }),
    );
  });

  test('between two records is PEER_GONE, or the end where the stream may end', () => {
    const reader = sendAndGo(concatenate([head, encode.encodeEof()]));
    while (reader.next().type !== 'eof');
    expect(reader.nextOrEnd()).toBeUndefined();
    expect(() => reader.next()).toThrow(expect.objectContaining({ code: 'PEER_GONE', offset: head.length + 1 }));
  });

  test('behind the EOF, where only that shows where the last device ended', () => {
    const device = concatenate([
      encode.encodeSectionStart({ type: 'FULL', id: 9, idstr: 'timer', instanceId: 0, versionId: 2 }),
      new Uint8Array(24),
      encode.encodeFooter(9),
    ]);
    const reader = sendAndGo(concatenate([head, device, encode.encodeEof()]));
    while (reader.next().type !== 'eof');
    expect(reader.nextOrEnd()).toBeUndefined();
  });

  test('in the middle of a device is PEER_GONE', () => {
    const start = encode.encodeSectionStart({ type: 'FULL', id: 9, idstr: 'timer', instanceId: 0, versionId: 2 });
    const reader = sendAndGo(concatenate([head, start, new Uint8Array(24)]));
    const read = (): void => {
      for (;;) reader.next();
    };
    expect(read).toThrow(expect.objectContaining({ code: 'PEER_GONE' }));
  });

  test('in the middle of the VM description is PEER_GONE', () => {
    const description = encode.encodeVmDescription('{"devices":[]}');
    const reader = sendAndGo(concatenate([head, encode.encodeEof(), description.subarray(0, 9)]));
    while (reader.next().type !== 'eof');
    expect(() => reader.nextOrEnd()).toThrow(expect.objectContaining({ code: 'PEER_GONE' }));
  });

  test('after the VM description has said all', () => {
    const reader = sendAndGo(concatenate([head, encode.encodeEof(), encode.encodeVmDescription('{}')]));
    while (reader.next().type !== 'eof');
    expect(reader.nextOrEnd()).toMatchObject({ type: 'vmdescription', json: '{}' });
  });
});

describe('bytes that are no stream', () => {
  test('are STREAM_CORRUPT from the first on, with offset, record and cause', () => {
    const reader = new StreamReader(pair.near, newArena(), createDestinationCounters());
    pair.far.send(new TextEncoder().encode('GET / HTTP/1.1\r\n\r\n'));
    expect(() => reader.next()).toThrow(
      expect.objectContaining({ code: 'STREAM_CORRUPT', offset: 0, record: 'header', cause: expect.any(WireError) }),
    );
    expect(() => reader.next()).toThrow(expect.objectContaining({ code: 'STREAM_CORRUPT' }));
  });

  test('in the middle are STREAM_CORRUPT there', () => {
    const reader = new StreamReader(pair.near, newArena(), createDestinationCounters());
    pair.far.send(concatenate([head, Uint8Array.of(0xee, 0xee, 0xee)]));
    const read = (): void => {
      for (;;) reader.next();
    };
    expect(read).toThrow(expect.objectContaining({ code: 'STREAM_CORRUPT', offset: head.length }));
  });

  test('any one byte changed gives records or a typed error with an offset, and nothing else (property)', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: stream.length - 1 }), fc.integer({ min: 1, max: 255 }), (at, change) => {
        const own = channelPair();
        const damaged = stream.slice();
        damaged[at] ^= change;
        own.far.send(damaged);
        own.closeFar();
        const reader = new StreamReader(own.near, newArena(), createDestinationCounters());
        try {
          while (reader.nextOrEnd() !== undefined);
        } catch (error) {
          expect(error).toMatchObject({
            name: 'MigrationError',
            code: expect.stringMatching(/^(STREAM_CORRUPT|UNSUPPORTED|PEER_GONE)$/),
            offset: expect.any(Number),
          });
        } finally {
          own.close();
        }
      }),
      { numRuns: 200 },
    );
  });
});

test('another connection is read with what the first one told, from its own begin', () => {
  const counters = createDestinationCounters();
  const first = new StreamReader(pair.near, newArena(), counters);
  pair.far.send(concatenate([head, part('PART', page(0, 'pc.ram')), Uint8Array.of(0xee)]));
  for (let type = ''; type !== 'page'; type = first.next().type);
  const other = channelPair();
  const second = new StreamReader(other.near, newArena(), counters, structuredClone(first.reconnect()));
  other.far.send(concatenate([encode.encodeRecvBitmap('vga'), part('PART', page(1, 'vga'))]));
  expect(second.next()).toMatchObject({ command: 'RECV_BITMAP', idstr: 'vga' });
  expect(second.recordOffset).toBe(0);
  expect(second.next()).toMatchObject({ type: 'section-part', idstr: 'ram' });
  expect(second.next()).toMatchObject({ type: 'page', offset: PAGE });
  other.far.send(part('PART', page(2)));
  for (let type = ''; type !== 'section-part'; type = second.next().type);
  expect(second.next()).toMatchObject({ type: 'page', offset: 2 * PAGE });
  other.close();
});

test('a page that continues from the block of the connection before is none', () => {
  const first = new StreamReader(pair.near, newArena(), createDestinationCounters());
  pair.far.send(concatenate([head, part('PART', page(0, 'pc.ram'))]));
  for (let type = ''; type !== 'page'; type = first.next().type);
  const other = channelPair();
  const second = new StreamReader(other.near, newArena(), createDestinationCounters(), first.reconnect());
  other.far.send(part('PART', page(1)));
  second.next();
  expect(() => second.next()).toThrow(expect.objectContaining({ code: 'STREAM_CORRUPT' }));
  other.close();
});

test('a peer that says nothing for too long is gone; one that speaks in time is not, nor one without a limit', () => {
  const reader = new StreamReader(pair.near, newArena(), createDestinationCounters());
  pair.far.send(head);
  reader.peerTimeoutMs = 20;
  expect(reader.next()).toMatchObject({ type: 'header' });
  const readOn = (): void => {
    for (;;) reader.next();
  };
  expect(readOn).toThrow(
    expect.objectContaining({ code: 'PEER_GONE', message: expect.stringMatching(/no sign of life for 0.02 s/) }),
  );
});
