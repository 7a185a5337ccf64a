/** The halves of a machine: only the pages that are marked, and none else is as much as touched. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { saveReceivedHalf } from '#lib/machine/half-machine.js';
import { readManifest } from '#lib/machine/machine-files.js';
import { decodeMarks, encodeMarks, marksFile } from '#lib/machine/page-marks.js';
import { SaveDirectory } from '#lib/machine/save-directory.js';
import { SavedMachine } from '#lib/machine/saved-machine.js';
import { native } from '#lib/native.js';
import { allPages, marksOf, peer, SmallMachine, saveHalves } from '../../testing/half-machines.ts';
import { handleLeaks } from '../../testing/lib-thread.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'postcopy-test-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

const odd = Array.from({ length: allPages }, (_, page) => page).filter((page) => page % 3 === 1);

test('what is marked, its marks, and zeroes for all else', async () => {
  const leaks = handleLeaks();
  const { destination, source } = await saveHalves(folder, odd, [0]);
  const manifest = await readManifest(destination);
  expect(manifest).toMatchObject({ partial: true, peer, vmDescription: false });
  const files = manifest.blocks.map(({ file }) => file);
  expect(readdirSync(destination).sort()).toEqual([...files, 'device-state.bin', 'manifest.json', 'received'].sort());
  expect(readdirSync(source)).toContain('remainder');
  const image = Buffer.concat(files.map((file) => readFileSync(join(destination, file))));
  for (let page = 0; page < allPages; page++) {
    const expected = page % 3 === 1 ? SmallMachine.page(page) : new Uint8Array(4096);
    expect(image.subarray(page * 4096, page * 4096 + 4096).equals(expected)).toBe(true);
  }
  for (const [index, marks] of marksOf(odd).entries()) {
    const path = join(destination, marksFile('received', files[index]));
    expect(decodeMarks(readFileSync(path), marks.pageCount, path)).toEqual(marks);
    expect(readFileSync(path).equals(encodeMarks(marks))).toBe(true);
  }
  expect(leaks()).toEqual({});
});

test('a page that is not marked is not touched: it may be missing, and would be waited for', async () => {
  using small = new SmallMachine(() => 'zero');
  const [{ handle, size, pageSize }] = small.ramBlocks;
  // Made of a memory whose pages are all to come: none is there afterwards but the one that was marked.
  native().ramBlockAdvise(handle, native().constants.MADV_NOHUGEPAGE, 0, size);
  const { machine, ramBlocks, deviceState } = small;
  const directory = await SaveDirectory.create(join(folder, 'half'));
  const isAnonymousZero = () => native().countPages(handle, 0, size, native().constants.PAGE_IS_PRESENT);
  expect(isAnonymousZero()).toBe(0);
  await saveReceivedHalf(directory, { machine, ramBlocks, deviceState, pages: marksOf([7]), peer });
  expect(isAnonymousZero()).toBe(1);
  expect(pageSize).toBe(4096);
});

test('a half is not sent, and the message says what makes it whole', async () => {
  const { destination } = await saveHalves(folder, odd, []);
  await expect(SavedMachine.open(destination)).rejects.toMatchObject({
    code: 'MACHINE_INVALID',
    hint: expect.stringMatching(/postcopy reconcile/),
  });
});

test('where it can not be written, it says so', async () => {
  using small = new SmallMachine(() => 'right');
  const { machine, ramBlocks, deviceState } = small;
  const path = join(folder, 'half');
  const directory = await SaveDirectory.create(path);
  rmSync(path, { recursive: true });
  const half = { machine, ramBlocks, deviceState, pages: marksOf([]), peer };
  await expect(saveReceivedHalf(directory, half)).rejects.toMatchObject({ code: 'SAVE_FAILED' });
});
