/** Stream errors: what they say, and that the document explains each code. */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { WireError, wireErrorCodes } from '#lib/wire/errors.js';

test('a WireError says what and where', () => {
  const error = new WireError('BAD_FLAGS', 'flags 0xa', 4096, 'ram record');
  expect(error).toBeInstanceOf(Error);
  expect({ ...error }).toMatchObject({ name: 'WireError', code: 'BAD_FLAGS', offset: 4096, record: 'ram record' });
  expect(error.message).toBe('ram record at offset 4096 (0x1000): flags 0xa');
});

test('every code stands in docs/protocol.md with its sentence', () => {
  const doc = readFileSync(new URL('../../docs/protocol.md', import.meta.url), 'utf8');
  const rows = [...doc.matchAll(/^\| `([A-Z_]+)` \| (.*) \|$/gm)].map(([, code, sentence]) => [code, sentence]);
  expect(Object.fromEntries(rows)).toMatchObject(wireErrorCodes);
});
