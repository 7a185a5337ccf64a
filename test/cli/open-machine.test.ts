/** Opening a kept machine, with the line that tells how far it is. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { Look } from '#lib/cli/live-line.js';
import { openMachine } from '#lib/cli/open-machine.js';
import { saveCaptured } from '../../testing/saved-machine.ts';

test('is told by the line, to the last byte', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'postcopy-test-'));
  const { blocks } = await saveCaptured(`${folder}/m`);
  const total = blocks.reduce((sum, { length }) => sum + length, 0);
  const looks: (() => Look)[] = [];
  const line = { event: () => {}, follow: (look: () => Look) => void looks.push(look), end: () => {} };
  using saved = await openMachine(`${folder}/m`, line);
  expect(saved.ramBlocks.map(({ size }) => size)).toEqual(blocks.map(({ length }) => length));
  expect(looks[0]().mark).toBe(String(total));
  await expect(openMachine(`${folder}/none`, line)).rejects.toMatchObject({ code: 'MACHINE_INVALID' });
  rmSync(folder, { recursive: true });
});
