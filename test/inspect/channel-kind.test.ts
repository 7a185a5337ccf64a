/** What a recording is by its first bytes: every connection of the recordings, and what people mistake for one. */
import { expect, test } from 'vitest';
import { HEAD_BYTES, recognize } from '#lib/inspect/channel-kind.js';
import { stringToUtf8 } from '#lib/wire/text.js';
import { captures } from '../../testing/captures.js';

test.each(captures())('$name: every connection is recognised', ({ summary, fromSource, fromDestination }) => {
  const found = summary.connections.map(({ conn }) => recognize(fromSource(conn).subarray(0, HEAD_BYTES)).kind);
  expect(found).toEqual(summary.connections.map(({ kind }) => kind));
  for (const { conn, d2s_bytes } of summary.connections) {
    if (d2s_bytes > 0) expect(recognize(fromDestination(conn).subarray(0, HEAD_BYTES)).kind).toBe('return-path');
  }
});

const bytes = (...values: number[]) => Uint8Array.from(values);

test.each([
  ['an empty file', bytes()],
  ['gzip', bytes(0x1f, 0x8b, 8, 0)],
  ['zstd', bytes(0x28, 0xb5, 0x2f, 0xfd, 0)],
  ['xz', bytes(0xfd, 0x37, 0x7a, 0x58, 0x5a, 0)],
  ['libvirt', stringToUtf8('LibvirtQemudSave\x02')],
  ['qcow2', bytes(0x51, 0x46, 0x49, 0xfb, 0, 0, 0, 3)],
  ['ELF', bytes(0x7f, 0x45, 0x4c, 0x46)],
  ['packet capture', bytes(0xd4, 0xc3, 0xb2, 0xa1)],
  ['text', stringToUtf8('{"execute": "migrate"}\n')],
  ['text', stringToUtf8('Übertragung\n')],
  ['none of', bytes(0, 0, 0, 0, 0, 0, 0, 0)],
  // A command, a message and a page of lengths that they can't have.
  ['none of', bytes(8, 0, 2, 0, 5)],
  ['none of', bytes(0, 2, 0, 5)],
  ['none of', bytes(0, 0, 0, 0, 0, 0, 0x10, 8, 0)],
  ['none of', bytes(0, 0, 0, 0, 0, 0, 0x10, 8, 3, 0x61)],
  ['none of', bytes(0xff, 0, 0, 0, 0, 0, 0x10, 8, 1, 0x61)],
])('%s: %j', (looksLike, head) => {
  expect(recognize(head)).toEqual({ kind: 'unrecognized', looksLike: expect.stringContaining(looksLike) });
});

test('a magic number that is cut is one still', () => {
  expect(recognize(bytes(0x51, 0x45)).kind).toBe('main');
  expect(recognize(bytes(0x11, 0x22, 0x33)).kind).toBe('multifd');
});

test('the first page of a preempt channel names its block', () => {
  expect(recognize(bytes(0, 0, 0, 0, 0, 0, 0x10, 8, 1, 0x61, 0)).kind).toBe('preempt');
  expect(recognize(bytes(0, 0, 0, 0, 0, 0, 0x10, 0x28, 1, 0x61, 0)).kind).toBe('unrecognized');
});

test('a lane begins with a magic number of ours', () => {
  expect(recognize(bytes(0x50, 0x43, 0x4c, 0x4e)).kind).toBe('lane');
  expect(recognize(bytes(0x50, 0x43, 0x4c, 0x4f)).kind).toBe('unrecognized');
});

test('a preempt channel on which no page was asked for is EOS alone', () => {
  expect(recognize(bytes(0, 0, 0, 0, 0, 0, 0, 0x10)).kind).toBe('preempt');
  expect(recognize(bytes(0, 0, 0, 0, 0, 0, 0, 0x10, 0)).kind).toBe('preempt');
  expect(recognize(bytes(0, 0, 0, 0, 0, 0, 0)).kind).toBe('unrecognized');
});
