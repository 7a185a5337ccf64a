/** Recordings of a real QEMU as inspection sums them up, and damaged ones, which always end in a verdict. */
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Inspection, inspect, readContext, type StreamInspection } from '#lib/inspect/inspect.js';
import type { PageCounts } from '#lib/inspect/ram-tally.js';
import type { MessageInspection, ReturnPathParts } from '#lib/inspect/return-path-summary.js';
import type { CommandInspection } from '#lib/inspect/stream-summary.js';
import type { StreamContext } from '#lib/wire/decode.js';
import { type Capture, capture, captures, type Summary } from '../../testing/captures.js';
import { memorySource } from '../../testing/memory-source.js';

interface Inspected {
  readonly context: StreamContext;
  /** The connections from the source, but for multifd channels. */
  readonly streams: readonly StreamInspection[];
  readonly messages: readonly { readonly conn: number; readonly parts: ReturnPathParts; readonly verdict: string }[];
}

async function inspectCapture({ summary, fromSource, fromDestination }: Capture): Promise<Inspected> {
  const context = await readContext(memorySource(fromSource(0)));
  const streams: StreamInspection[] = [];
  const messages: Inspected['messages'][number][] = [];
  for (const { conn, kind, d2s_bytes } of summary.connections) {
    if (kind === 'multifd') continue;
    const inspection = await inspect(memorySource(fromSource(conn)), { context });
    expect(inspection.kind).toBe(kind);
    if (inspection.content === 'stream') streams.push(inspection);
    if (d2s_bytes === 0) continue;
    const back = await inspect(memorySource(fromDestination(conn)));
    if (back.content !== 'messages') throw new Error(`connection ${conn} has a ${back.kind} for a return path`);
    messages.push({ conn, parts: back, verdict: back.end.verdict });
  }
  return { context, streams, messages };
}

function add(into: Record<string, number>, more: Readonly<Record<string, number>>): void {
  for (const [name, count] of Object.entries(more)) if (count > 0) into[name] = (into[name] ?? 0) + count;
}

const pageNames: Readonly<Record<keyof PageCounts, string>> = {
  normal: 'page',
  zero: 'zero',
  xbzrle: 'xbzrle',
  compressed: 'compressed',
};

function renamed(pages: PageCounts, prefix = ''): Record<string, number> {
  return Object.fromEntries(
    Object.entries(pages).map(([kind, count]) => [prefix + pageNames[kind as keyof PageCounts], count]),
  );
}

const sectionTypes = ['CONFIGURATION', 'START', 'PART', 'END', 'FULL', 'EOF', 'VMDESCRIPTION', 'FOOTER'];
const ramRecords: Readonly<Record<string, string>> = { EOS: 'ram EOS', MULTIFD_FLUSH: 'ram MULTIFD_FLUSH' };
/** Counted by the inspection and not by the summary. */
const uncounted = new Set(['HEADER', 'MEM_SIZE']);

/** The counts in the form of summary.json. */
function countsOf({ streams, messages }: Inspected): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { counts: all, pages, packages } of streams) {
    const packaged: Record<string, number> = {};
    for (const { records } of packages) {
      for (const { record } of records) add(packaged, { [record.split(' ')[0]]: 1 });
    }
    for (const [name, count] of Object.entries(all)) {
      const inPackage = packaged[name] ?? 0;
      if (uncounted.has(name)) continue;
      if (name === 'FOOTER') add(counts, { 'section FOOTER': count });
      else if (sectionTypes.includes(name)) {
        add(counts, { [`section ${name}`]: count - inPackage, [`section ${name} (in package)`]: inPackage });
      } else if (ramRecords[name] !== undefined) add(counts, { [ramRecords[name]]: count });
      else {
        add(counts, { [`cmd ${name}`]: count });
        add(counts, { 'section COMMAND': count - inPackage, 'section COMMAND (in package)': inPackage });
      }
    }
    add(counts, renamed(pages, 'ram '));
  }
  for (const { parts } of messages) {
    add(counts, Object.fromEntries(Object.entries(parts.counts).map(([name, count]) => [`rp ${name}`, count])));
  }
  return counts;
}

/** Bytes within records are the decoder's to check. */
function expectedCounts({ counts }: Summary): Record<string, number> {
  return Object.fromEntries(Object.entries(counts).filter(([name]) => name !== 'xbzrle bytes'));
}

type ListedCommand = Partial<Summary['commands_in_order'][number]> & { len?: number };

function commandOf(command: CommandInspection): ListedCommand[] {
  const { command: cmd, packaged, value, lastValue, ranges, bytes, blocks, count } = command;
  if (cmd === 'POSTCOPY_RAM_DISCARD') {
    return [{ cmd, n: count, ranges: ranges ?? 0, bytes: bytes ?? 0, blocks: [...(blocks ?? [])] }];
  }
  const where = packaged ? 'package' : 'stream';
  const last = lastValue ?? value ?? 0;
  if (value !== undefined) {
    return Array.from({ length: last - value + 1 }, (_, i): ListedCommand => ({ cmd, where, value: value + i }));
  }
  const { pageSizeSummary, targetPageSize, length, idstr } = command;
  return [
    {
      cmd,
      where,
      ...(pageSizeSummary === undefined ? {} : { page_size_summary: pageSizeSummary }),
      ...(targetPageSize === undefined ? {} : { target_page_size: targetPageSize }),
      ...(length === undefined ? {} : { package_bytes: length }),
      ...(idstr === undefined ? {} : { block: idstr }),
    },
  ];
}

type ListedMessage = Partial<Summary['return_path_in_order'][number]>;

function messageOf(conn: number, message: MessageInspection): ListedMessage[] {
  const { message: msg, value, lastValue, count, named, idstr, received, bits } = message;
  if (msg === 'REQ_PAGES') return [{ conn, msg: 'REQ_PAGES*', n: count, with_id: named ?? 0 }];
  if (idstr !== undefined) {
    return [{ conn, msg, block: idstr, bytes: (bits ?? 0) / 8, received: received ?? 0 }];
  }
  const last = lastValue ?? value ?? 0;
  if (value === undefined) return [{ conn, msg }];
  return Array.from({ length: last - value + 1 }, (_, i): ListedMessage => ({ conn, msg, value: value + i }));
}

describe.each(captures())('$name', (recording) => {
  const { summary } = recording;
  const inspected = inspectCapture(recording);

  test('counts what the summary counts', async () => {
    expect(countsOf(await inspected)).toEqual(expectedCounts(summary));
  });

  test('lists commands and messages in order', async () => {
    const { streams, messages } = await inspected;
    const commands = streams.flatMap((stream) => stream.commands.flatMap(commandOf));
    expect(commands).toEqual(summary.commands_in_order.map(({ ...command }) => withoutKey(command, 'len')));
    const listed = messages.flatMap(({ conn, parts }) => parts.messages.flatMap((each) => messageOf(conn, each)));
    const expected = summary.return_path_in_order.map(({ ...message }) =>
      ['len', 'of', ...(message.msg === 'REQ_PAGES*' ? ['blocks'] : [])].reduce(withoutKey, message),
    );
    expect(listed).toEqual(expected);
  });

  test('counts the requests of each block', async () => {
    const { messages } = await inspected;
    const requests: Record<string, number> = {};
    for (const { parts } of messages) {
      for (const { idstr, requests: count } of parts.requests) add(requests, { [idstr]: count });
    }
    const expected: Record<string, number> = {};
    for (const { msg, blocks } of summary.return_path_in_order) if (msg === 'REQ_PAGES*') add(expected, blocks ?? {});
    expect(requests).toEqual(expected);
  });

  test('counts the pages of each block', async () => {
    const { streams } = await inspected;
    const found: Record<string, { size: number | null; pages: number | null; records: Record<string, number> }> = {};
    for (const { blocks } of streams) {
      for (const { idstr, usedLength, pages, records } of blocks) {
        found[idstr] ??= { size: usedLength, pages, records: {} };
        add(found[idstr].records, renamed(records));
      }
    }
    const expected = Object.entries(summary.blocks).map(([idstr, { size, pages, records }]) => {
      const byKind: Record<string, number> = {};
      for (const [name, count] of Object.entries(records)) add(byKind, { [name.split(' ').at(-1) as string]: count });
      return [idstr, { size, pages, records: byKind }];
    });
    expect(found).toEqual(Object.fromEntries(expected));
  });

  test('lists the devices, and names their fields where a VM description came', async () => {
    const { streams } = await inspected;
    const devices = streams.flatMap((stream) => stream.devices);
    expect(
      devices.map(({ name, instanceId, versionId, sectionId, size, packaged }) => ({
        idstr: name,
        instance: instanceId,
        version: versionId,
        section: sectionId,
        size,
        in: packaged ? 'package' : 'stream',
      })),
    ).toEqual(summary.devices);
    const described = streams.some(({ vmDescription }) => vmDescription !== null);
    expect(devices.filter(({ fields }) => (fields !== null) !== described)).toEqual([]);
  });

  test('says whether it is whole, with the configuration and the run state', async () => {
    const { streams, messages } = await inspected;
    const cut = new Set(summary.truncated.filter(({ dir }) => dir !== 'd2s').map(({ conn }) => conn));
    const conns = summary.connections.filter(({ kind }) => kind !== 'multifd');
    expect(streams.map(({ end }) => [end.verdict, end.offset])).toEqual(
      conns.map(({ conn, s2d_bytes }) => [cut.has(conn) ? 'cut' : 'complete', s2d_bytes]),
    );
    expect(messages.filter(({ verdict }) => verdict !== 'complete')).toEqual([]);
    const { machine, subsections, globalstate } = summary.config;
    const { capabilities, uuid } = streams[0].configuration ?? {};
    expect(streams[0].configuration?.machine).toBe(machine);
    expect(capabilities).toEqual(subsections['configuration/capabilities']?.caps);
    expect(uuid?.replaceAll('-', '')).toEqual(subsections['configuration/uuid']?.uuid);
    expect(streams.map(({ runState }) => runState).find((state) => state !== null) ?? undefined).toBe(globalstate);
  });
});

function withoutKey<T extends object>(value: T, key: string): T {
  return Object.fromEntries(Object.entries(value).filter(([name]) => name !== key)) as T;
}

test('every page of a whole migration is there, each counted once', async () => {
  for (const name of ['a-precopy', 'a3-precopy-slow', 'b-postcopy', 'f-xbzrle', 'g-compress']) {
    const inspection = await inspect(memorySource(capture(name).fromSource(0)));
    const blocks = inspection.content === 'stream' ? inspection.blocks : [];
    expect(blocks.map(({ distinct }) => distinct)).toEqual(blocks.map(({ pages }) => pages));
  }
});

test('a multifd channel needs no main connection', async () => {
  const { summary, fromSource } = capture('e-multifd');
  for (const { conn, packets, pages, zero_pages, sync, id } of summary.multifd ?? []) {
    const inspection = await inspect(memorySource(fromSource(conn)));
    expect(inspection).toMatchObject({
      kind: 'multifd',
      channel: id,
      packets,
      syncs: sync,
      pages: { normal: pages, zero: zero_pages },
      end: { verdict: 'complete' },
    });
  }
});

test.each([
  ['preempt', 'c-preempt'],
  ['main-resumed', 'd-recover'],
])('a %s recording alone is told to need its main connection', async (kind, name) => {
  const inspection = await inspect(memorySource(capture(name).fromSource(1)));
  expect(inspection).toMatchObject({ content: 'nothing', kind, end: { verdict: 'unreadable' } });
  expect(inspection.end.detail).toContain('--main');
});

test('how the bytes come makes no difference', async () => {
  const bytes = capture('b6-postcopy-machine-none').fromSource(0);
  const whole = await inspect(memorySource(bytes));
  expect(await inspect(memorySource(bytes, 997))).toEqual(whole);
});

test('records come as lines with their offsets', async () => {
  const lines: string[] = [];
  const bytes = capture('a4-machine-none').fromSource(0);
  await inspect(memorySource(bytes), { onRecord: (line) => lines.push(line) });
  expect(lines[0]).toMatch(/^ +0x0 {2}HEADER version 3$/);
  expect(lines.at(-1)).toMatch(/VMDESCRIPTION \d+ characters$/);
  const offsets = lines.map((line) => Number(line.trim().split(' ')[0]));
  expect(offsets).toEqual([...offsets].sort((a, b) => a - b));
});

test('cut at any byte is cut there', async () => {
  const bytes = capture('a4-machine-none').fromSource(0);
  for (let length = 1; length < bytes.length; length += 7) {
    const { end } = await inspect(memorySource(bytes.subarray(0, length)));
    // Without its VM description a stream is still whole.
    const afterEof = end.verdict === 'complete' && bytes[length] === 0x06;
    if (!afterEof) expect(end).toMatchObject({ verdict: 'cut', offset: length });
  }
});

test('a package cut in the middle is cut; a record that reaches beyond its package is corrupt', async () => {
  const bytes = capture('b6-postcopy-machine-none').fromSource(0).slice();
  const inspection = await inspect(memorySource(bytes));
  const [{ offset, length }] = inspection.content === 'stream' ? inspection.packages : [];
  const cut = await inspect(memorySource(bytes.subarray(0, offset + Math.floor(length / 2))));
  expect(cut.end).toMatchObject({ verdict: 'cut', offset: offset + Math.floor(length / 2) });
  new DataView(bytes.buffer).setUint32(offset - 4, length - 2);
  const corrupt = await inspect(memorySource(bytes));
  expect(corrupt.end).toMatchObject({ verdict: 'corrupt', code: 'TRUNCATED' });
});

const verdicts = ['complete', 'cut', 'corrupt', 'unsupported', 'unreadable'];

function expectVerdict({ end, bytes }: Inspection, length: number): void {
  expect(verdicts).toContain(end.verdict);
  expect(bytes).toBeLessThanOrEqual(length);
  expect(end.detail).not.toBe('');
  if (end.verdict === 'complete' || end.verdict === 'cut') expect(end.offset).toBe(length);
}

/** Parts of recordings of every kind, small enough to damage many times. */
const specimens: readonly (readonly [string, Uint8Array, Uint8Array | undefined])[] = [
  ['main', capture('a4-machine-none').fromSource(0), undefined],
  ['postcopy', capture('b-postcopy').fromSource(0).subarray(2_112_000, 2_118_000), undefined],
  ['with configuration', capture('a6-uuid-ignore-shared').fromSource(0).subarray(0, 40_310), undefined],
  ['return path', capture('d4-recover-preempt').fromDestination(2), undefined],
  ['preempt', capture('c-preempt').fromSource(1).subarray(0, 20_000), capture('c-preempt').fromSource(0)],
  ['multifd', capture('e-multifd').fromSource(1).subarray(0, 20_000), undefined],
];

describe.each(specimens)('damaged: %s', (_name, good, main) => {
  test('always a verdict', async () => {
    const context = main === undefined ? undefined : await readContext(memorySource(main));
    const change = fc.record({ at: fc.nat(good.length - 1), bytes: fc.uint8Array({ minLength: 1, maxLength: 9 }) });
    const damage = fc.record({
      changes: fc.array(change, { minLength: 1, maxLength: 4 }),
      from: fc.constantFrom(0, 0, 0, 1, 20),
      length: fc.oneof(fc.constant(good.length), fc.nat(good.length)),
      piece: fc.integer({ min: 500, max: 70_000 }),
    });
    await fc.assert(
      fc.asyncProperty(damage, async ({ changes, from, length, piece }) => {
        const bytes = good.slice(from, Math.max(from, length));
        for (const { at, bytes: patch } of changes) {
          if (at < bytes.length) bytes.set(patch.subarray(0, bytes.length - at), at);
        }
        const options = context === undefined ? {} : { context };
        const inspection = await inspect(memorySource(bytes, piece), { ...options, onRecord: () => {} });
        expectVerdict(inspection, bytes.length);
      }),
      { numRuns: 300 },
    );
  });
});
