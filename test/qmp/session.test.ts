/** One client: negotiation before all else, commands, ids, and errors by class. */
import { describe, expect, test } from 'vitest';
import { MigrationError } from '#lib/errors.js';
import { JsonStream } from '#lib/qmp/json-stream.js';
import { QmpError } from '#lib/qmp/messages.js';
import { command, QmpSession } from '#lib/qmp/session.js';

const commands = new Map([
  ['echo', command({ text: { type: 'string', optional: true } }, ({ text }) => text ?? [])],
  ['nothing', command({}, () => {})],
  ['later', command({}, async () => ({ done: true }))],
  [
    'refuse',
    command({}, () => {
      throw new QmpError('never');
    }),
  ],
  ['fail', command({}, () => Promise.reject(new MigrationError('BAD_URI', 'no URI', { hint: 'give one' })))],
]);

/** What a client hears that says all that. */
async function heard(text: string): Promise<unknown[]> {
  const session = new QmpSession(commands);
  const answers: unknown[] = [];
  for (const item of new JsonStream().items(Buffer.from(text))) answers.push(JSON.parse(await session.answer(item)));
  return answers;
}

const negotiate = '{"execute":"qmp_capabilities"}';
const generic = (desc: string) => ({ error: { class: 'GenericError', desc } });
const notFound = (desc: string) => ({ error: { class: 'CommandNotFound', desc } });

describe('negotiation', () => {
  test('comes first, and once', async () => {
    expect(await heard(`{"execute":"echo","id":1}{"execute":"qmp_capabilities","id":2}${negotiate}`)).toEqual([
      { id: 1, ...notFound("Expecting capabilities negotiation with 'qmp_capabilities'") },
      { return: {}, id: 2 },
      notFound('Capabilities negotiation is already complete, command ignored'),
    ]);
  });

  test('with what there is not, it has not been', async () => {
    expect(await heard('{"execute":"qmp_capabilities","arguments":{"enable":["oob"]}}{"execute":"echo"}')).toEqual([
      generic("Parameter 'enable' does not accept value 'oob'"),
      notFound("Expecting capabilities negotiation with 'qmp_capabilities'"),
    ]);
    expect(await heard('{"execute":"qmp_capabilities","arguments":{"enable":[]}}')).toEqual([{ return: {} }]);
  });

  test('each session has its own', async () => {
    const [one, other] = [new QmpSession(commands), new QmpSession(commands)];
    await one.answer({ kind: 'value', value: { execute: 'qmp_capabilities' }, idText: undefined });
    expect([one.isNegotiated, other.isNegotiated]).toEqual([true, false]);
  });
});

test('commands are answered with their results, in order', async () => {
  const calls = '{"execute":"later","id":"a"}{"execute":"echo","arguments":{"text":"x"},"id":"b"}{"execute":"nothing"}';
  expect((await heard(negotiate + calls)).slice(1)).toEqual([
    { return: { done: true }, id: 'a' },
    { return: 'x', id: 'b' },
    { return: {} },
  ]);
});

test.each([
  ['[]', generic('QMP input must be a JSON object')],
  ['null\n', generic('QMP input must be a JSON object')],
  ['{}', generic("QMP input lacks member 'execute'")],
  ['{"id":5}', { id: 5, ...generic("QMP input lacks member 'execute'") }],
  ['{"id":5,"x":1}', { id: 5, ...generic("QMP input member 'x' is unexpected") }],
  ['{"execute":1}', generic("QMP input member 'execute' must be a string")],
  ['{"execute":"echo","arguments":[]}', generic("QMP input member 'arguments' must be an object")],
  ['{"exec-oob":"echo"}', generic("QMP input member 'exec-oob' is unexpected")],
  ['{"execute":"nope","id":null}', { id: null, ...notFound('The command nope has not been found') }],
  ['{"execute":"toString"}', notFound('The command toString has not been found')],
  ['{"execute":"nothing","arguments":{"x":1}}', generic("Parameter 'x' is unexpected")],
  ['{"execute":"refuse","id":[1]}', { id: [1], ...generic('never') }],
  ['{"execute":"fail"}', generic('no URI: give one')],
  ['}', generic('JSON parse error, expecting value')],
])('%s', async (text, answer) => {
  expect((await heard(negotiate + text)).slice(1)).toEqual([answer]);
});
