/** The schema of a table of commands and events, as QEMU would tell it. */
import { expect, test } from 'vitest';
import { schema } from '#lib/qmp/schema.js';
import { command } from '#lib/qmp/session.js';

const switched = { type: 'boolean' } as const;

const entries = schema(
  new Map([
    ['turn', command({ on: switched, speed: { type: 'integer', bits: 8, optional: true } }, () => {})],
    ['query-turns', command({}, () => [], { type: 'array', of: { type: 'object', members: { on: switched } } })],
  ]),
  { TURNED: { type: 'object', members: { how: { type: 'enum', values: ['left', 'right'] } } } },
);
const named = (name: unknown) => entries.find((entry) => entry.name === name);

test('commands and events name their types', () => {
  expect(named('turn')).toMatchObject({ 'meta-type': 'command' });
  expect(named(named('turn')?.['arg-type'])).toMatchObject({
    'meta-type': 'object',
    members: [
      { name: 'on', type: 'bool' },
      { name: 'speed', type: 'int', default: null },
    ],
  });
  expect(named('TURNED')).toMatchObject({ 'meta-type': 'event' });
  const list = named(named('query-turns')?.['ret-type']);
  expect(list).toMatchObject({ 'meta-type': 'array', name: `[${list?.['element-type']}]` });
  expect(named(list?.['element-type'])).toMatchObject({ members: [{ name: 'on', type: 'bool' }] });
});

test('enums tell their values, builtins what JSON has for them', () => {
  const data = named(named('TURNED')?.['arg-type']) as { members?: object };
  const [{ type: how }] = data.members as { type: string }[];
  expect(named(how)).toMatchObject({ 'meta-type': 'enum', values: ['left', 'right'], members: [{ name: 'left' }, {}] });
  expect(named('int')).toEqual({ 'meta-type': 'builtin', name: 'int', 'json-type': 'int' });
  expect(named('bool')).toMatchObject({ 'json-type': 'boolean' });
});

test('every type that is named is there once', () => {
  const names = entries.map(({ name }) => name);
  expect(new Set(names).size).toBe(names.length);
  expect(named('turn')?.['ret-type']).toBe(named('query-turns')?.['arg-type']);
  for (const entry of entries) {
    const members = (entry.members ?? []) as { type?: string }[];
    const used = [entry['arg-type'], entry['ret-type'], entry['element-type'], ...members.map(({ type }) => type)];
    for (const type of used) if (type !== undefined) expect(names).toContain(type);
  }
});
