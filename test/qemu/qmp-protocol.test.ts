/** What a real QEMU answers to wrong input, and to right input written oddly: ours answers the same. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { QmpServer } from '#lib/qmp/server.js';
import { command } from '#lib/qmp/session.js';
import { QemuProcess } from '../../testing/qemu/qemu-process.ts';
import { RawQmp } from '../../testing/qemu/raw-qmp.ts';

const running = { status: 'running', singlestep: false, running: true };
const commands = new Map([
  ['query-status', command({}, () => running)],
  ['query-name', command({}, () => {})],
]);

let folder: string;
let qemu: QemuProcess;
let server: QmpServer;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'postcopy-test-'));
  const arguments_ = ['-M', 'none', '-m', '16', '-qmp', `unix:${folder}/qemu,server=on,wait=off`];
  qemu = await QemuProcess.start('QEMU', arguments_);
  expect(existsSync(`${folder}/qemu`)).toBe(true);
  const version = { qemu: { major: 7, minor: 2, micro: 0 }, package: 'a test' };
  server = await QmpServer.listen(`unix:${folder}/ours`, { commands, version });
});
afterAll(async () => {
  await server.close();
  await qemu.stop();
  rmSync(folder, { recursive: true });
});

/** What each of the two answers. */
async function both(inputs: readonly (string | Uint8Array)[]): Promise<[unknown[][], unknown[][]]> {
  const answersOf = async (path: string): Promise<unknown[][]> => {
    using raw = await RawQmp.open(path, path);
    const answers: unknown[][] = [];
    for (const input of inputs) answers.push(await raw.answers(input));
    return answers;
  };
  return [await answersOf(`${folder}/ours`), await answersOf(`${folder}/qemu`)];
}

test('before and in negotiation', async () => {
  const [ours, theirs] = await both([
    '{"execute":"query-status"}',
    '{"execute":"nope","id":1}',
    '{"execute":1}',
    'garbage\n',
    '[]',
    '{"execute":"qmp_capabilities","arguments":{"foo":[]}}',
    '{"execute":"qmp_capabilities","arguments":{"enable":1}}',
    '{"execute":"qmp_capabilities","id":{"a":1}}',
    '{"execute":"qmp_capabilities"}',
    '{"execute":"query-status"}',
  ]);
  expect(ours).toEqual(theirs);
});

const latin1 = (text: string) => Buffer.from(text, 'latin1');
const withId = (id: string) => latin1(`{"execute":"query-name","id":${id}}`);

describe.each<[string, readonly (string | Uint8Array)[]]>([
  [
    'requests',
    [
      "{'execute':'query-name'}",
      '{"execute":"query-name"}{"execute":"query-name","id":1}',
      '  {\t"execute" :\r\n"query-name" } ',
      '{"execute":"nope"}',
      '{"execute":"","id":"x"}',
      '{"execute":{"a":1}}',
      '{}',
      '[]',
      '"x"',
      '1\n',
      'null\n',
      '{"id":5}',
      '{"id":5,"x":1}',
      '{"arguments":{}}',
      '{"execute":"query-name","control":{}}',
      '{"execute":"query-name","arguments":[]}',
      '{"execute":"query-name","arguments":null}',
      '{"execute":"query-name","arguments":{"x":1}}',
    ],
  ],
  [
    'ids',
    [
      ...['null', '[1,{"b":null}]', '1.50', '1e3', '9223372036854775807', '""', "'a'", '"\\u00e9\\n\xc3\xa9"'],
      ...['"\\ud83d\\ude00"', '"\\/\\b\\f\\\'\\""', '{"z":1,"a":2,"1":3}', 'true', '"\\u0000"'],
    ].map(withId),
  ],
  [
    'structure',
    [
      ...[
        '{"execute"}',
        '{"a":}',
        '{"a" 1}',
        '{"a":1,}',
        '{"a":1,2:3}',
        '{1:2}',
        '{,}',
        '{"a":1 "b":2}',
        '{"a":1,"a":2}',
      ],
      ...['[1,]', '[1 2]', '[,]', '[}', '{]', '}', ']', ':', ',', '}\n}', ']]{{', '{"execute":"query-name"}}'],
      ...['{"a":[}', '{"a":[}]', '{"a":[}]}', '{"a":{"b":[}]}', '{"a":{"b":]}}', '{"a":1]'],
      ...['['.repeat(1024) + ']'.repeat(1024), '['.repeat(1025), '['.repeat(3000), '{"a":'.repeat(1025)],
    ],
  ],
  [
    'tokens',
    [
      ...[
        'nope\n',
        'truex\n',
        'foo1\n',
        'Foo bar\n',
        '01\n',
        '01 02\n',
        '-\n',
        '-\n5\n',
        '-x\n',
        '1.\n',
        '1.5e\n',
        '1e+\n',
      ],
      ...['.5\n', '+1\n', '%p\n', 'a!b{"execute":"query-name"}', '{execute:"query-name"}', '\\\n', '\x7f\n', '\0\n'],
      ...['tru\x01e\n', '{"execute":"query-name"} // x\n', '\xff\xfe\n', '#\n', "'\n", '"abc\n', '"abc'],
      ...['"a\n b c , {"execute":"query-name"}', '"a\x1fb"', '"\\\n"', '{"execute":"que\xff', '"\\x41"', '"\\q"'],
      ...['"\\u12"', '"\\ud800"', '"\\uD800\\uD800"', '"\\ude00"', '"\\uzzzz"', '"\xed\xa0\x80"', '"\x80"', '"a\x7f"'],
      '{"execute":"query-name","id":01}',
    ].map(latin1),
  ],
])('%s', (_, inputs) => {
  test('are answered as QEMU does', async () => {
    const [[, ...ours], [, ...theirs]] = await both(['{"execute":"qmp_capabilities"}', ...inputs]);
    const named = (answers: unknown[][]) =>
      answers.map((answer, index) => ({ input: Buffer.from(inputs[index]).toString('latin1').slice(0, 80), answer }));
    expect(named(ours)).toEqual(named(theirs));
  });
});
