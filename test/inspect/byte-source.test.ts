/** Where bytes come from: files, pipes, gzip of both, and what can't be read. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type ByteSource, openSource, STDIN } from '#lib/inspect/byte-source.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'postcopy-source-'));
});
afterAll(() => rm(folder, { recursive: true }));

const content = Buffer.from(Array.from({ length: 3_000_000 }, (_, i) => (i * 31 + (i >> 9)) & 255));

async function readAll(source: ByteSource, pieceBytes: number): Promise<Buffer> {
  const pieces: Buffer[] = [];
  const into = new Uint8Array(pieceBytes);
  for (;;) {
    const length = await source.read(into);
    if (length === 0) return Buffer.concat(pieces);
    pieces.push(Buffer.from(into.subarray(0, length)));
  }
}

async function file(name: string, bytes: Uint8Array): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, bytes);
  return path;
}

/** Chunks of odd sizes, the first a single byte. */
function piped(bytes: Buffer): Readable {
  return Readable.from([bytes.subarray(0, 1), bytes.subarray(1, 5000), bytes.subarray(5000)]);
}

describe.each([
  ['plain', content, false],
  ['gzip', gzipSync(content), true],
  ['two gzip members', Buffer.concat([gzipSync(content.subarray(0, 999)), gzipSync(content.subarray(999))]), true],
])('%s', (name, bytes, gzip) => {
  test.each([1000, 1 << 20])('from a file, %i bytes at a time', async (pieceBytes) => {
    const source = await openSource(await file(name, bytes));
    expect(source).toMatchObject({ gzip, size: bytes.length });
    expect((await readAll(source, pieceBytes)).equals(content)).toBe(true);
    expect(source.position).toBe(bytes.length);
    await source.close();
  });

  test('from standard input', async () => {
    const source = await openSource(STDIN, piped(bytes));
    expect(source).toMatchObject({ gzip, size: undefined });
    expect((await readAll(source, 70_000)).equals(content)).toBe(true);
    await source.close();
  });
});

test.each([0, 1, 2, 5])('a file of %i bytes', async (length) => {
  const source = await openSource(await file('short', content.subarray(0, length)));
  expect(await readAll(source, 10)).toEqual(content.subarray(0, length));
  await source.close();
});

test('cut gzip data gives what it holds and then ends', async () => {
  const packed = gzipSync(content);
  const source = await openSource(await file('cut', packed.subarray(0, packed.length - 1000)));
  const got = await readAll(source, 65_536);
  expect(got.length).toBeGreaterThan(0);
  expect(got.equals(content.subarray(0, got.length))).toBe(true);
  await source.close();
});

test('damaged gzip data is named as such', async () => {
  const packed = Buffer.from(gzipSync(content));
  packed.writeUInt32LE(~packed.readUInt32LE(packed.length - 8) >>> 0, packed.length - 8);
  const source = await openSource(await file('damaged', packed));
  await expect(readAll(source, 65_536)).rejects.toMatchObject({ code: 'STREAM_CORRUPT', record: 'gzip' });
  await source.close();
});

test.each([
  ['no such file', 'missing', 'ENOENT'],
  ['a folder', '.', 'EISDIR'],
])('%s', async (_what, name, errno) => {
  await expect(openSource(join(folder, name))).rejects.toMatchObject({
    code: 'BAD_ARGUMENT',
    message: expect.stringContaining(errno),
  });
});
