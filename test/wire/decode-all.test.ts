/** Recordings of a real QEMU, decoded to the last byte, and streams decoded whole. */
import { createHash } from 'node:crypto';
import { inflateSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import type { StreamContext, StreamDecoderOptions } from '#lib/wire/decode.js';
import { StreamDecoder } from '#lib/wire/decode.js';
import { decodeAll, decodeReturnPath, type Located } from '#lib/wire/decode-all.js';
import * as encode from '#lib/wire/encode.js';
import { WireError } from '#lib/wire/errors.js';
import type { PageKind, RamBlockEntry, ReturnPathMessageRecord, StreamRecord } from '#lib/wire/messages.js';
import { RamFlag } from '#lib/wire/protocol.js';
import { applyXbzrle } from '#lib/wire/xbzrle.js';
import { type Capture, type ConnectionKind, captures } from '../../testing/captures.js';
import { encodeMessages, encodeRecords } from '../../testing/encode-records.js';
import { feed, joined } from '../../testing/feed.js';

const PAGE = 4096;

interface Decoded {
  readonly conn: number;
  readonly kind: ConnectionKind;
  readonly bytes: Uint8Array;
  readonly records: Located<StreamRecord>[];
  /** Where the input ends too early, if it does. */
  readonly truncatedAt: number | undefined;
}

/** Decodes every connection of a capture from the source, in order, each with what those before it told. */
function decodeCapture({ summary, fromSource }: Capture): Decoded[] {
  let context: StreamContext | undefined;
  return summary.connections
    .filter(({ kind }) => kind !== 'multifd')
    .map(({ conn, kind }) => {
      const bytes = fromSource(conn);
      const records: Located<StreamRecord>[] = [];
      const options = optionsFor(kind, context);
      let truncatedAt: number | undefined;
      try {
        for (const record of decodeAll(bytes, options)) records.push(record);
      } catch (error) {
        if (!(error instanceof WireError) || error.code !== 'TRUNCATED') throw error;
        truncatedAt = error.offset;
      }
      // A cut connection's context: decode what was whole once more, without saying that it ended.
      if (kind === 'main') context = contextOf(bytes);
      return { conn, kind, bytes, records, truncatedAt };
    });
}

function optionsFor(kind: ConnectionKind, context: StreamContext | undefined): StreamDecoderOptions {
  const carried = context === undefined ? {} : { context };
  return { resumed: kind === 'main-resumed', channel: kind === 'preempt' ? 'preempt' : 'main', ...carried };
}

function contextOf(bytes: Uint8Array): StreamContext {
  const decoder = new StreamDecoder();
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  for (;;) {
    const record = decoder.next(bytes, view, at, bytes.length);
    if (record === undefined || record.type === 'eof') return decoder.context();
    at += decoder.consumed;
    if (record.type === 'command' && record.command === 'PACKAGED') {
      decoder.package();
      at += record.length;
    }
  }
}

function counted(names: Iterable<string>): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const name of names) counts[name] = (counts[name] ?? 0) + 1;
  return counts;
}

/** The name summary.json counts a record under, if it does. */
function countName(record: Located<StreamRecord>): string[] {
  const where = record.packaged ? ' (in package)' : '';
  switch (record.type) {
    case 'configuration':
      return ['section CONFIGURATION'];
    case 'section-start':
    case 'section-part':
      return [`section ${record.kind}${where}`];
    case 'section-end':
      return ['section FOOTER'];
    case 'eof':
      return ['section EOF'];
    case 'vmdescription':
      return ['section VMDESCRIPTION'];
    case 'command':
      return [`section COMMAND${where}`, `cmd ${record.command}`];
    case 'ram-eos':
      return ['ram EOS'];
    case 'page':
      return [`ram ${record.kind === 'normal' ? 'page' : record.kind}`];
    default:
      return [];
  }
}

/** Commands as summary.json lists them: discards that follow one another summed up. */
function commandsInOrder(records: readonly Located<StreamRecord>[]): unknown[] {
  const list: Record<string, unknown>[] = [];
  for (const record of records) {
    if (record.type !== 'command') continue;
    const entry = { cmd: record.command, where: record.packaged ? 'package' : 'stream' };
    switch (record.command) {
      case 'POSTCOPY_RAM_DISCARD': {
        const bytes = record.ranges.reduce((sum, range) => sum + range.length, 0);
        const last = list.at(-1);
        if (last?.cmd === 'POSTCOPY_RAM_DISCARD') {
          last.n = (last.n as number) + 1;
          last.ranges = (last.ranges as number) + record.ranges.length;
          last.bytes = (last.bytes as number) + bytes;
          last.blocks = [...new Set([...(last.blocks as string[]), record.idstr])];
        } else {
          list.push({ cmd: record.command, n: 1, ranges: record.ranges.length, bytes, blocks: [record.idstr] });
        }
        break;
      }
      case 'PING':
        list.push({ ...entry, value: record.value });
        break;
      case 'POSTCOPY_ADVISE':
        list.push({ ...entry, page_size_summary: record.pageSizeSummary, target_page_size: record.targetPageSize });
        break;
      case 'PACKAGED':
        list.push({ ...entry, package_bytes: record.length });
        break;
      case 'RECV_BITMAP':
        list.push({ ...entry, block: record.idstr });
        break;
      default:
        list.push(entry);
    }
  }
  return list;
}

/** Device sections as summary.json lists them. */
function devices(records: readonly Located<StreamRecord>[]): unknown[] {
  const list: Record<string, unknown>[] = [];
  for (const record of records) {
    if (record.type === 'section-start' && record.idstr !== 'ram') {
      const { idstr, id, instanceId, versionId, packaged } = record;
      list.push({
        idstr,
        instance: instanceId,
        version: versionId,
        section: id,
        size: 0,
        in: packaged ? 'package' : 'stream',
      });
    }
    if (record.type === 'device-data') list.at(-1)!.size = (list.at(-1)!.size as number) + record.dataLength;
  }
  return list;
}

/** Pages by block and kind, whatever the phase they were sent in. */
function pagesByBlock(decoded: readonly Decoded[]): Record<string, Record<string, number>> {
  const pages: Record<string, Record<string, number>> = {};
  for (const { records } of decoded) {
    for (const record of records) {
      if (record.type === 'ram-blocks') for (const { idstr } of record.blocks) pages[idstr] ??= {};
      if (record.type !== 'page') continue;
      const kinds = pages[record.block.idstr];
      const kind = record.kind === 'normal' ? 'page' : record.kind;
      kinds[kind] = (kinds[kind] ?? 0) + 1;
    }
  }
  return pages;
}

function summaryPagesByBlock({ summary }: Capture): Record<string, Record<string, number>> {
  return Object.fromEntries(
    Object.entries(summary.blocks).map(([idstr, { records }]) => {
      const kinds: Record<string, number> = {};
      for (const [key, count] of Object.entries(records)) {
        const kind = key.split(' ').at(-1)!;
        kinds[kind] = (kinds[kind] ?? 0) + count;
      }
      return [idstr, kinds];
    }),
  );
}

/** The memory that the records of all connections make, in the order of the connections. */
function rebuild(decoded: readonly Decoded[]): Map<string, Uint8Array> {
  const memory = new Map<string, Uint8Array>();
  for (const { records, bytes } of decoded) {
    for (const record of records) {
      if (record.type === 'ram-blocks') {
        for (const { idstr, usedLength } of record.blocks) memory.set(idstr, new Uint8Array(usedLength));
      }
      if (record.type === 'command' && record.command === 'POSTCOPY_RAM_DISCARD') {
        for (const { start, length } of record.ranges) memory.get(record.idstr)!.fill(0, start, start + length);
      }
      if (record.type !== 'page') continue;
      const block = memory.get(record.block.idstr)!;
      const page = block.subarray(record.offset, record.offset + PAGE);
      const data = bytes.subarray(record.dataStart, record.dataStart + record.dataLength);
      unpack[record.kind](page, data, record.fill);
    }
  }
  return memory;
}

const unpack: Record<PageKind, (page: Uint8Array, data: Uint8Array, fill: number) => void> = {
  normal: (page, data) => page.set(data),
  zero: (page, _data, fill) => page.fill(fill),
  xbzrle: (page, data) => applyXbzrle(page, data, 0, data.length, 0),
  compressed: (page, data) => page.set(inflateSync(data)),
};

const all = captures();

test('there are captures of every kind', () => {
  expect(all).toHaveLength(26);
  const kinds = new Set(all.flatMap(({ summary }) => summary.connections.map(({ kind }) => kind)));
  expect([...kinds].sort()).toEqual(['main', 'main-resumed', 'multifd', 'preempt']);
});

describe.each(all)('$name', (capture) => {
  const { summary } = capture;
  const decoded = decodeCapture(capture);
  const records = decoded.flatMap((connection) => connection.records);

  test('decodes to the last byte', () => {
    const truncated = decoded
      .filter(({ truncatedAt }) => truncatedAt !== undefined)
      .map(({ conn, truncatedAt, bytes }) => ({ conn, at: truncatedAt, of: bytes.length }));
    // A preempt channel has no end of its own: between records is as good as any.
    const preempt = decoded.filter(({ kind }) => kind === 'preempt').map(({ conn }) => conn);
    const expected = summary.truncated
      .filter(({ conn, dir, at, of }) => dir !== 'd2s' && !(preempt.includes(conn) && at === of))
      .map(({ conn, at, of }) => ({ conn, at, of }));
    expect(truncated).toEqual(expected);
    for (const { conn, bytes } of decoded) {
      expect(bytes.length).toBe(summary.connections.find((connection) => connection.conn === conn)!.s2d_bytes);
    }
  });

  test('has the configuration', () => {
    const { machine, subsections } = summary.config;
    const caps = subsections['configuration/capabilities']?.caps;
    const uuid = subsections['configuration/uuid']?.uuid;
    const { recordOffset, packaged, ...found } = records.find((record) => record.type === 'configuration')!;
    expect({ recordOffset, packaged }).toEqual({ recordOffset: 8, packaged: false });
    expect({ ...found, uuid: (found as { uuid?: string }).uuid?.replaceAll('-', '') }).toEqual({
      type: 'configuration',
      machine,
      ...(caps && { capabilities: caps }),
      uuid,
    });
  });

  test('has as many records of each kind', () => {
    const expected = Object.entries(summary.counts).filter(([name]) => !/^rp |^xbzrle bytes|FLUSH/.test(name));
    expect(counted(records.flatMap(countName))).toEqual(Object.fromEntries(expected));
  });

  test('has the commands in order', () => {
    const expected = summary.commands_in_order.map(({ ...entry }) => {
      delete (entry as { len?: number }).len;
      return entry;
    });
    expect(commandsInOrder(records)).toEqual(expected);
  });

  test('has the device sections with their sizes', () => {
    expect(devices(records)).toEqual(summary.devices);
  });

  test('has the pages of each block', () => {
    expect(pagesByBlock(decoded)).toEqual(summaryPagesByBlock(capture));
  });

  test('rebuilds the memory', () => {
    const multifd = summary.connections.some(({ kind }) => kind === 'multifd');
    if (multifd) {
      // Its data pages went over the other channels, which multifd.test.ts adds.
      expect(records.some((record) => record.type === 'page' && record.kind !== 'zero')).toBe(false);
      return;
    }
    const hashes = [...rebuild(decoded)].map(([idstr, memory]) => [
      idstr,
      createHash('sha256').update(memory).digest('hex'),
    ]);
    const expected = Object.entries(summary.blocks).map(([idstr, block]) => [idstr, block.sha256]);
    expect(hashes).toEqual(expected);
  });

  test('cut chaotically gives the same records', () => {
    let seed = 1;
    const cuts = Array.from({ length: 97 }, () => {
      seed = (seed * 48271) % 0x7fffffff;
      return seed % 7 === 0 ? (seed % 13) + 1 : (seed % 70_000) + 1;
    });
    let context: StreamContext | undefined;
    for (const { kind, bytes } of decoded) {
      const decoders = [0, 1].map(() => new StreamDecoder(optionsFor(kind, context)));
      const whole = feed(decoders[0], bytes, { ends: false });
      const cut = feed(decoders[1], bytes, { cuts, ends: false });
      expect(whole.error).toBeUndefined();
      expect(cut.records.length).toBeGreaterThan(0);
      expect(cut).toEqual(whole);
      if (kind === 'main') context = decoders[0].context();
    }
  });

  test('sent back on the return path what the summary says', () => {
    const messages = summary.connections
      .filter(({ kind }) => kind !== 'multifd')
      .flatMap(({ conn, d2s_bytes }) => {
        const bytes = capture.fromDestination(conn);
        expect(bytes.length).toBe(d2s_bytes);
        return [...decodeReturnPath(bytes)].map((message) => ({ conn, message }));
      });
    expect(counted(messages.map(({ message }) => messageName(message)))).toEqual(
      Object.fromEntries(
        Object.entries(summary.counts)
          .filter(([name]) => name.startsWith('rp '))
          .map(([name, count]) => [name.slice(3), count]),
      ),
    );
    expect(messagesInOrder(messages)).toEqual(
      summary.return_path_in_order.map(({ ...entry }) => {
        for (const unused of ['len', 'of']) delete (entry as Record<string, unknown>)[unused];
        return entry;
      }),
    );
  });

  test('encoded again gives the same bytes', () => {
    for (const { kind, bytes, records: own, truncatedAt } of decoded) {
      const again = encodeRecords(own, bytes);
      expect(again.length).toBe(truncatedAt ?? bytes.length);
      expect(Buffer.compare(again, bytes.subarray(0, again.length)), `${kind} connection`).toBe(0);
    }
  });

  test('encodes the return path to the same bytes', () => {
    for (const { conn, kind } of summary.connections) {
      if (kind === 'multifd') continue;
      const bytes = capture.fromDestination(conn);
      expect(Buffer.compare(encodeMessages([...decodeReturnPath(bytes)]), bytes), `connection ${conn}`).toBe(0);
    }
  });
});

function messageName(message: ReturnPathMessageRecord): string {
  return message.type === 'REQ_PAGES' && message.idstr !== undefined ? 'REQ_PAGES_ID' : message.type;
}

/** Return-path messages as summary.json lists them: page requests that follow one another summed up. */
function messagesInOrder(messages: readonly { conn: number; message: ReturnPathMessageRecord }[]): unknown[] {
  const list: Record<string, unknown>[] = [];
  const lastBlock = new Map<number, string>();
  for (const { conn, message } of messages) {
    switch (message.type) {
      case 'REQ_PAGES': {
        if (message.idstr !== undefined) lastBlock.set(conn, message.idstr);
        const idstr = lastBlock.get(conn)!;
        let last = list.at(-1);
        if (last?.msg !== 'REQ_PAGES*') {
          last = { conn, msg: 'REQ_PAGES*', n: 0, with_id: 0, blocks: {} };
          list.push(last);
        }
        const blocks = last.blocks as Record<string, number>;
        last.n = (last.n as number) + 1;
        last.with_id = (last.with_id as number) + (message.idstr === undefined ? 0 : 1);
        blocks[idstr] = (blocks[idstr] ?? 0) + 1;
        break;
      }
      case 'RECV_BITMAP': {
        const { idstr, bitmap } = message;
        const received = bitmap.reduce((sum, byte) => sum + byte.toString(2).replaceAll('0', '').length, 0);
        list.push({ conn, msg: message.type, block: idstr, bytes: bitmap.length, received });
        break;
      }
      case 'SWITCHOVER_ACK':
        list.push({ conn, msg: message.type });
        break;
      default:
        list.push({ conn, msg: message.type, value: message.value });
    }
  }
  return list;
}

describe('decodeAll', () => {
  const resumed = { resumed: true };

  test('puts the records of a package behind it, with offsets in the whole stream', () => {
    const bytes = joined([encode.encodePackaged(encode.encodePing(3)), encode.encodePing(4), encode.encodeEof()]);
    const seen = [...decodeAll(bytes, resumed)].map(({ type, recordOffset, packaged }) => ({
      type,
      recordOffset,
      packaged,
    }));
    expect(seen).toEqual([
      { type: 'command', recordOffset: 0, packaged: false },
      { type: 'command', recordOffset: 9, packaged: true },
      { type: 'command', recordOffset: 18, packaged: false },
      { type: 'eof', recordOffset: 27, packaged: false },
    ]);
  });

  test('yields all whole records of a cut package, then throws TRUNCATED', () => {
    const bytes = encode.encodePackaged(joined([encode.encodePing(3), encode.encodePostcopyRun()])).subarray(0, 18);
    const seen: unknown[] = [];
    expect(() => {
      for (const { type } of decodeAll(bytes, resumed)) seen.push(type);
    }).toThrow(expect.objectContaining({ code: 'TRUNCATED', offset: 18 }));
    expect(seen).toEqual(['command', 'command']);
  });

  test('yields pages that stay as they are, and returns the context', () => {
    const block: Omit<RamBlockEntry, 'index'> = { idstr: 'a', usedLength: 2 * PAGE };
    const page = (offset: number) => {
      const bytes = new Uint8Array(11);
      const view = new DataView(bytes.buffer);
      view.setUint8(encode.encodePageHeader(view, 0, offset, RamFlag.ZERO, encode.encodeIdstr('a')), 0);
      return bytes;
    };
    const bytes = joined([
      encode.encodeSectionStart({ type: 'START', id: 2, idstr: 'ram', instanceId: 0, versionId: 4 }),
      encode.encodeRamBlockList([block]),
      page(0),
      page(PAGE),
      encode.encodeRamEos(),
      encode.encodeFooter(2),
      encode.encodeEof(),
    ]);
    const generator = decodeAll(bytes, resumed);
    const seen: StreamRecord[] = [];
    let step = generator.next();
    for (; !step.done; step = generator.next()) seen.push(step.value);
    expect(seen.filter((record) => record.type === 'page').map(({ offset }) => offset)).toEqual([0, PAGE]);
    expect(step.value.blocks).toEqual([{ index: 0, ...block }]);
  });
});

describe('decodeReturnPath', () => {
  test('yields the messages with their offsets, then throws TRUNCATED where they are cut', () => {
    const bytes = joined([encode.encodePong(1), encode.encodeShut(0)]);
    expect([...decodeReturnPath(bytes)].map(({ recordOffset }) => recordOffset)).toEqual([0, 8]);
    expect(() => [...decodeReturnPath(bytes.subarray(0, 15))]).toThrow(
      expect.objectContaining({ code: 'TRUNCATED', offset: 8 }),
    );
  });
});
