/** Two halves become the machine again, whichever has which page; or nothing is made, and the reason is said. */
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { reconcileHalves } from '#lib/machine/reconcile.js';
import { SavedMachine } from '#lib/machine/saved-machine.js';
import { allPages, blockPages, SmallMachine, saveHalves } from '../../testing/half-machines.ts';
import { handleLeaks } from '../../testing/lib-thread.ts';
import { saveCaptured } from '../../testing/saved-machine.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'postcopy-test-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

const pages = Array.from({ length: allPages }, (_, page) => page);
const even = pages.filter((page) => page % 2 === 0);
const odd = pages.filter((page) => page % 2 === 1);
const out = () => join(folder, 'out');

/** Where each page is: at one side, at both, or at none. */
const anySplit = fc.array(fc.constantFrom('destination', 'source', 'both'), {
  minLength: allPages,
  maxLength: allPages,
});

test('any split of the pages gives back the image (property)', async () => {
  const leaks = handleLeaks();
  const image = SmallMachine.image();
  await fc.assert(
    fc.asyncProperty(anySplit, async (split) => {
      const within = mkdtempSync(join(folder, 'split-'));
      const has = (side: string) => pages.filter((page) => split[page] === side || split[page] === 'both');
      const { destination, source } = await saveHalves(within, has('destination'), has('source'));
      const made = await reconcileHalves(destination, source, join(within, 'out'));
      using machine = await SavedMachine.open(made.directory);
      expect(Buffer.concat(machine.ramBlocks.map((block) => block.bytes())).equals(image)).toBe(true);
      const [taken, rest] = [made.blocks.map((b) => b.fromDestination), made.blocks.map((b) => b.fromSource)];
      expect(taken.reduce((a, b) => a + b)).toBe(has('destination').length);
      expect(rest.reduce((a, b) => a + b)).toBe(allPages - has('destination').length);
      expect(readdirSync(within).sort()).toEqual(['destination', 'out', 'source']);
      rmSync(within, { recursive: true });
    }),
    { numRuns: 20 },
  );
  expect(leaks()).toEqual({});
});

test('tells what it made, and how far it is', async () => {
  const { destination, source } = await saveHalves(folder, even, odd);
  const seen: [number, number][] = [];
  const onProgress = (done: number, total: number) => seen.push([done, total]);
  const made = await reconcileHalves(destination, source, out(), { onProgress });
  const image = SmallMachine.image();
  let at = 0;
  for (const [index, [idstr, count]] of Object.entries(blockPages).entries()) {
    const bytes = image.subarray(at, at + count * 4096);
    at += bytes.length;
    expect(made.blocks[index]).toMatchObject({
      ...{ idstr, length: count * 4096 },
      sha256: createHash('sha256').update(bytes).digest('hex'),
    });
  }
  expect(made).toMatchObject({ runState: 'running', directory: out() });
  expect(seen.at(-1)).toEqual([allPages * 4096, allPages * 4096]);
  expect(JSON.parse(readFileSync(join(out(), 'manifest.json'), 'utf8')).partial).toBeUndefined();
});

test('what both have is taken of the destination, where the guest ran on', async () => {
  const { destination, source } = await saveHalves(folder, pages, pages);
  expect((await reconcileHalves(destination, source, out())).blocks.map(({ fromSource }) => fromSource)).toEqual([
    0, 0, 0,
  ]);
});

describe('makes nothing, and says why', () => {
  /** The error, and that nothing is there besides the halves. */
  const refused = async (destination: string, source: string, signal?: AbortSignal) => {
    const before = readdirSync(folder);
    const error = await reconcileHalves(destination, source, out(), signal === undefined ? {} : { signal }).catch(
      (thrown) => thrown,
    );
    expect(readdirSync(folder)).toEqual(before);
    return error;
  };

  test('pages that are in neither half, by block and range (property)', async () => {
    const gap = fc.uniqueArray(fc.integer({ min: 0, max: blockPages['pc.ram'] - 1 }), { minLength: 1, maxLength: 5 });
    await fc.assert(
      fc.asyncProperty(gap, async (missing) => {
        const lost = new Set([...missing, blockPages['pc.ram'] + 36]);
        const { destination, source } = await saveHalves(
          folder,
          even.filter((page) => !lost.has(page)),
          odd.filter((page) => !lost.has(page)),
        );
        const error = await refused(destination, source);
        expect(error).toMatchObject({ code: 'PAGES_MISSING' });
        expect(error.message).toContain(`${missing.length} of pc.ram (`);
        expect(error.message).toContain('1 of vga.vram (36)');
        for (const path of [destination, source]) rmSync(path, { recursive: true });
      }),
      { numRuns: 5 },
    );
  });

  test('the first eight ranges of many', async () => {
    const { destination, source } = await saveHalves(folder, even, []);
    expect((await refused(destination, source)).message).toContain(
      '150 of pc.ram (1, 3, 5, 7, 9, 11, 13, 15, and 142 more)',
    );
  });

  test('a directory that is there already', async () => {
    const { destination, source } = await saveHalves(folder, even, odd);
    mkdirSync(out());
    expect(await refused(destination, source)).toMatchObject({ code: 'SAVE_FAILED', hint: /new/ });
    expect(readdirSync(out())).toEqual([]);
  });

  test('the halves the wrong way round', async () => {
    const { destination, source } = await saveHalves(folder, even, odd);
    const error = await refused(source, destination);
    expect(error).toMatchObject({ code: 'MACHINE_INVALID' });
    expect(error.message).toMatch(/is the source's half, and the destination's is wanted/);
  });

  test('a machine that is whole', async () => {
    const { source } = await saveHalves(folder, even, odd);
    await saveCaptured(join(folder, 'whole'));
    expect(await refused(join(folder, 'whole'), source)).toMatchObject({ message: /is a whole machine$/ });
  });

  const change = (directory: string, changed: (manifest: Record<string, never>) => void) => {
    const path = join(directory, 'manifest.json');
    const manifest = JSON.parse(readFileSync(path, 'utf8'));
    changed(manifest);
    writeFileSync(path, JSON.stringify(manifest));
  };

  test.each<[string, (manifest: { [field: string]: never }) => void]>([
    ['machine type', ({ configuration }) => Object.assign(configuration, { machine: 'pc-q35-7.2' })],
    ['UUID', ({ configuration }) => Object.assign(configuration, { uuid: '00112233-4455-6677-8899-aabbccddeeff' })],
    ['RAM blocks', ({ blocks }) => Object.assign(blocks[0], { idstr: 'other' })],
    ['device state', ({ deviceState }) => Object.assign(deviceState, { sha256: 'ab'.repeat(32) })],
  ])('halves that differ in their %s', async (what, changed) => {
    const { destination, source } = await saveHalves(folder, even, odd);
    change(source, changed);
    const error = await refused(destination, source);
    expect(error).toMatchObject({ code: 'HALVES_MISMATCH' });
    expect(error.message).toContain(`not of one migration: the ${what} of the first is `);
  });

  test.each<[string, (directory: string) => void, RegExp]>([
    [
      'a block that was changed',
      (directory) => {
        const path = join(directory, '00-pc.ram.ram');
        const bytes = readFileSync(path);
        bytes[5] ^= 1;
        writeFileSync(path, bytes);
      },
      /00-pc\.ram\.ram: has the SHA-256/,
    ],
    ['a block that was cut', (directory) => truncateSync(join(directory, '01-vga.vram.ram'), 4096), /has 4096 bytes/],
    [
      'device state that was changed',
      (directory) => writeFileSync(join(directory, 'device-state.bin'), 'x'),
      /device-state\.bin: has the SHA-256/,
    ],
    [
      'no marks',
      (directory) => rmSync(join(directory, 'received', '02-pc.rom.ram.bitmap')),
      /02-pc\.rom\.ram\.bitmap: is missing/,
    ],
  ])('a half that is not as it was saved: %s', async (_what, spoil, message) => {
    const { destination, source } = await saveHalves(folder, even, odd);
    spoil(destination);
    const error = await refused(destination, source);
    expect(error).toMatchObject({ code: 'MACHINE_INVALID' });
    expect(error.message).toMatch(message);
  });

  test('an end by its user', async () => {
    const { destination, source } = await saveHalves(folder, even, odd);
    expect(await refused(destination, source, AbortSignal.abort())).toMatchObject({ code: 'CANCELLED' });
  });
});
