/** The directory of a saved machine: made, refused, published, or left as if nothing had been. */
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { SaveDirectory } from '#lib/machine/save-directory.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'postcopy-test-'));
});
afterEach(() => {
  chmodSync(folder, 0o700);
  rmSync(folder, { recursive: true });
});

const path = (name: string) => join(folder, name);

test('a new one is only its owner’s to read, and so is what is in it', async () => {
  const directory = await SaveDirectory.create(path('new'));
  await directory.write('a', 'secret');
  expect(statSync(path('new')).mode & 0o777).toBe(0o700);
  expect(statSync(path('new/a')).mode & 0o777).toBe(0o600);
});

test('the manifest comes last and whole, and then all stays', async () => {
  const directory = await SaveDirectory.create(path('new'));
  await directory.write('a', 'one');
  await directory.publish('{}');
  await directory.remove();
  expect(readdirSync(path('new')).sort()).toEqual(['a', 'manifest.json']);
  expect(readFileSync(path('new/manifest.json'), 'utf8')).toBe('{}');
});

test('a folder in it goes with what was written to it, or stays', async () => {
  for (const isPublished of [false, true]) {
    const directory = await SaveDirectory.create(path('new'));
    await directory.makeFolder('marks');
    await directory.write('marks/a', 'one');
    if (isPublished) await directory.publish('{}');
    await directory.remove();
    expect(existsSync(path('new/marks/a'))).toBe(isPublished);
    expect(existsSync(path('new'))).toBe(isPublished);
  }
});

test('given its name at the end, or, where that is taken, nothing is left of it', async () => {
  for (const isTaken of [false, true]) {
    const directory = await SaveDirectory.create(path('unfinished'));
    await directory.write('a', 'one');
    await directory.publish('{}');
    const moved = directory.moveTo(path('whole'));
    if (isTaken) await expect(moved).rejects.toMatchObject({ code: 'SAVE_FAILED' });
    else await moved;
    expect(readdirSync(path('whole')).sort()).toEqual(['a', 'manifest.json']);
    expect(readdirSync(folder)).toEqual(['whole']);
  }
});

describe('where the machine does not come whole', () => {
  test('a new directory goes again', async () => {
    const directory = await SaveDirectory.create(path('new'));
    await directory.write('a', 'one');
    writeFileSync(directory.pathFor('b'), 'by another thread');
    await directory.remove();
    expect(existsSync(path('new'))).toBe(false);
  });

  test('one that was there stays, and so does what others put there', async () => {
    mkdirSync(path('there'));
    const directory = await SaveDirectory.create(path('there'));
    await directory.write('a', 'one');
    writeFileSync(path('there/other'), 'not ours');
    await directory.remove();
    expect(readdirSync(path('there'))).toEqual(['other']);
  });
});

describe('is refused with the reason', () => {
  const refused = (name: string) => SaveDirectory.create(path(name)).catch((error) => error);

  test('a directory that is not empty', async () => {
    mkdirSync(path('full'));
    writeFileSync(path('full/x'), '');
    expect(await refused('full')).toMatchObject({ code: 'SAVE_FAILED', message: `${path('full')} is not empty` });
  });

  test('a file', async () => {
    writeFileSync(path('file'), '');
    expect(await refused('file')).toMatchObject({ code: 'SAVE_FAILED', hint: 'choose the path of a directory' });
  });

  test('a directory in none', async () => {
    expect(await refused('a/b')).toMatchObject({ code: 'SAVE_FAILED', hint: 'make the directory that it is to be in' });
  });

  test('a place where nothing can be made', async () => {
    const error = await SaveDirectory.create('/proc/self/machine').catch((thrown) => thrown);
    expect(error).toMatchObject({ code: 'SAVE_FAILED' });
  });

  test('a file system with too little room, before anything is written', async () => {
    const directory = await SaveDirectory.create(path('new'));
    await expect(directory.requireRoom(2 ** 52)).rejects.toMatchObject({
      code: 'SAVE_FAILED',
      message: expect.stringMatching(/^the machine has \d+ bytes of RAM, and .* has room for \d+$/),
    });
    await directory.requireRoom(4096);
  });
});
