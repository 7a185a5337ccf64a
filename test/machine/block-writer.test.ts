/** A block's file: its bytes and their digest, with no place taken for what is zero. */
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { BlockWriter, CHUNK_BYTES } from '#lib/machine/block-writer.js';
import { pattern } from '../../testing/relay-peers.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'postcopy-test-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

test('holds what was written, over what was there before', async () => {
  const path = join(folder, 'block');
  writeFileSync(path, pattern(2 * CHUNK_BYTES, 9));
  const bytes = Buffer.alloc(CHUNK_BYTES + 8192);
  bytes.set(pattern(4096, 1), 4096);
  bytes.set(pattern(4096, 2), CHUNK_BYTES);
  let digest = '';
  {
    await using writer = await BlockWriter.open(path);
    await writer.write(bytes.subarray(0, CHUNK_BYTES));
    await writer.write(bytes.subarray(CHUNK_BYTES));
    digest = await writer.finish();
  }
  expect(readFileSync(path).equals(bytes)).toBe(true);
  expect(digest).toBe(createHash('sha256').update(bytes).digest('hex'));
  expect(statSync(path).blocks * 512).toBeLessThan(CHUNK_BYTES / 2);
});
