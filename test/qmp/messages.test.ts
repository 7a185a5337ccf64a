/** The lines that a QMP server says. */
import { expect, test } from 'vitest';
import { failed, greeting, happened, QmpError, returned } from '#lib/qmp/messages.js';

test('each is one line of JSON', () => {
  const version = { qemu: { major: 7, minor: 2, micro: 0 }, package: 'postcopy' };
  const lines = [
    greeting(version),
    returned({ text: 'a\nb' }, '"x"'),
    failed(new QmpError('no\nway'), '1'),
    happened({ event: 'STOP' }, 0),
  ];
  for (const line of lines) expect(line).toMatch(/^[^\r\n]+\r\n$/);
  expect(JSON.parse(lines[0])).toEqual({ QMP: { version, capabilities: [] } });
});

test('the id comes back as the client wrote it, and only where there was one', () => {
  expect(returned([], '12345678901234567890').trim()).toBe('{"return": [], "id": 12345678901234567890}');
  expect(JSON.parse(returned({}, undefined))).toEqual({ return: {} });
  expect(JSON.parse(failed(new QmpError('x'), undefined))).toEqual({ error: { class: 'GenericError', desc: 'x' } });
  expect(JSON.parse(failed(new QmpError('y', 'CommandNotFound'), '{"a":1}'))).toEqual({
    id: { a: 1 },
    error: { class: 'CommandNotFound', desc: 'y' },
  });
});

test('an event has its time in seconds and microseconds, and data where it has any', () => {
  expect(JSON.parse(happened({ event: 'STOP' }, 1_700_000_000_123.456))).toEqual({
    timestamp: { seconds: 1_700_000_000, microseconds: 123_456 },
    event: 'STOP',
  });
  expect(JSON.parse(happened({ event: 'MIGRATION', data: { status: 'active' } }, 999.9))).toEqual({
    timestamp: { seconds: 0, microseconds: 999_900 },
    event: 'MIGRATION',
    data: { status: 'active' },
  });
});
