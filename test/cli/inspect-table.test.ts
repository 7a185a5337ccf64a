/** The tables of an inspection: what they show of recordings, and that nothing of a peer's reaches a terminal raw. */
import { describe, expect, test } from 'vitest';
import { deviceText, endLine, inspectTable } from '#lib/cli/inspect-table.js';
import { inspect, readContext } from '#lib/inspect/inspect.js';
import { complete } from '#lib/inspect/verdict.js';
import { type Capture, capture } from '../../testing/captures.js';
import { memorySource } from '../../testing/memory-source.js';

async function tableOf(bytes: Uint8Array, main?: Capture): Promise<string> {
  const context = main === undefined ? undefined : await readContext(memorySource(main.fromSource(0)));
  const inspection = await inspect(memorySource(bytes), context === undefined ? {} : { context });
  return plain(inspectTable('file', inspection));
}

// The first alternative is the escape that begins a colour.
const plain = (text: string) => text.replace(new RegExp(`${String.fromCharCode(27)}\\[[0-9;]*m`, 'g'), '');

test('a postcopy stream: facts, blocks, commands, devices, verdict', async () => {
  const table = await tableOf(capture('b-postcopy').fromSource(0));
  expect(table).toMatch(/^file: main connection, from the source, 9\.1 MiB\n/);
  expect(table).toMatch(/^machine +microvm$/m);
  expect(table).toMatch(/^uses +return-path \(at 0x14\), postcopy-ram \(at 0x22\)$/m);
  expect(table).toMatch(/^run state +running$/m);
  expect(table).toMatch(/^sections +ram \(1 START, 37 PART, 1 END; 9\.1 MiB\)$/m);
  expect(table).toMatch(/^pages +2,312 normal, 2,319 zero, 0 xbzrle, 0 compressed$/m);
  expect(table).toMatch(/^package +3,628 bytes at 0x203b2b, 18 records$/m);
  expect(table).toMatch(/│ microvm\.ram +│ +16 MiB │ +│ 4,098 │ +4,098 │ +2,307 │ +2,305 │/);
  expect(table).toMatch(/│ 0x203a44 │ POSTCOPY_RAM_DISCARD │ 5 commands, 6 ranges, 15 MiB of .* and 3 more +│/);
  expect(table).toMatch(/│ 0x203b2b │ {3}POSTCOPY_LISTEN +│/);
  expect(table).toMatch(/│ 0x203b30 │ +0 │ timer \(in the package\) +│ +0 │ +2 │ +24 │/);
  expect(table).toContain('fields are not named: the stream has no VM description');
  expect(table).toMatch(/\ncomplete: every record is whole, 9,514,205 bytes$/);
});

test('a stream of another machine: uuid, capabilities, huge pages, VM description', async () => {
  const shared = await tableOf(capture('a6-uuid-ignore-shared').fromSource(0));
  expect(shared).toMatch(/^uuid +[0-9a-f-]{36}$/m);
  expect(shared).toContain('x-ignore-shared (at');
  expect(shared).toMatch(/^VM description +\d+ devices$/m);
  expect(await tableOf(capture('h-postcopy-hugepages').fromSource(0))).toMatch(/│ m0 +│ +\d+ MiB │ +2\.0 MiB │/);
});

test('the other connections', async () => {
  const back = await tableOf(capture('d-recover').fromDestination(1));
  expect(back).toMatch(/^file: return path, from the destination/);
  expect(back).toMatch(/RECV_BITMAP │ microvm\.ram, 432 of 4,160 bits/);
  expect(back).toMatch(/106 requests, 424 KiB; 1 name their block/);
  expect(back).toMatch(/│ microvm\.ram │ +106 │ +424 KiB │/);
  const channel = await tableOf(capture('e-multifd').fromSource(1));
  expect(channel).toMatch(/^packets +18, 8 of them to synchronise$/m);
  expect(channel).toMatch(/│ microvm\.ram +│ +\? │/);
  const preempt = capture('c-preempt');
  expect(await tableOf(preempt.fromSource(1), preempt)).toMatch(/^file: preempt channel/);
  expect(await tableOf(preempt.fromSource(1))).toMatch(
    /^file: preempt channel, from the source\n\nunreadable: .*--main/,
  );
});

describe('the verdict', () => {
  const fault = { ...complete(12), record: 'page', recordOffset: 8, detail: 'what' };
  test.each([
    [complete(1234), 'complete: every record is whole, 1,234 bytes'],
    [
      { ...fault, verdict: 'cut', code: 'TRUNCATED', within: 'section 2' },
      'cut at offset 12 (0xc): what; in section 2',
    ],
    [{ ...fault, verdict: 'corrupt', code: 'BAD_FLAGS' }, 'corrupt: what'],
    [{ ...fault, verdict: 'corrupt', record: 'gzip' }, 'corrupt at offset 12 (0xc): what'],
    [{ ...fault, verdict: 'unreadable' }, 'unreadable: what'],
  ] as const)('%j', (end, line) => {
    expect(plain(endLine(end))).toBe(line);
  });
});

const device = {
  name: 'dev',
  instanceId: 0,
  versionId: 1,
  sectionId: 3,
  offset: 256,
  bodyOffset: 260,
  size: 40,
  packaged: false,
  fields: null,
  problem: null,
  data: null,
};

test('a device: its fields, one a line', () => {
  const fields = { a: 5, b: 4096, list: [1, 2], inner: [{ x: true }, { x: 'ff' }], none: [] };
  expect(plain(deviceText({ ...device, fields })).split('\n')).toEqual([
    'dev instance 0 version 1: 40 bytes at offset 0x100',
    'a           5',
    'b           4096 (0x1000)',
    'list        1 2',
    'inner[0].x  true',
    'inner[1].x  ff',
  ]);
});

test('a device: its bytes where they have no names', () => {
  const data = '00'.repeat(32) + 'ff'.repeat(8);
  expect(
    plain(deviceText({ ...device, problem: 'no description', data }))
      .split('\n')
      .slice(1),
  ).toEqual(['no description', `     0x0  ${'00'.repeat(32)}`, `    0x20  ${'ff'.repeat(8)}`]);
});

test('a device without fields at all', () => {
  expect(plain(deviceText({ ...device, size: 0, fields: {} }))).toBe(
    'dev instance 0 version 1: 0 bytes at offset 0x100\nno fields',
  );
});

test('control characters of a description do not reach the terminal', () => {
  const named = plain(deviceText({ ...device, fields: { 'a\u001b[2Jb': 1, c: 'x\u0007' } }));
  expect(named).toContain('a?[2Jb  1');
  expect(named).toContain('x?');
  expect(plain(deviceText({ ...device, problem: 'field \u001b]0;x reaches' }))).toContain('field ?]0;x reaches');
});
