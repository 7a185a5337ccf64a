/** Recordings: what is in the files, that they are whole at every moment, and that none is overwritten. */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Recorder } from '#lib/relay/recorder.js';
import { readRecording } from '../../testing/recordings.ts';
import { cutInto, pattern } from '../../testing/relay-peers.ts';

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'postcopy-test-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

test('bytes, and an index of what came when', () => {
  let now = 5000;
  const recorder = new Recorder(`${folder}/r/`, () => now);
  recorder.opened(0);
  now += 1.234;
  recorder.passed(0, 's2d', Uint8Array.of(1, 2, 3), 0);
  recorder.passed(0, 'd2s', Uint8Array.of(9), 0);
  now += 1000;
  recorder.opened(1);
  recorder.passed(1, 's2d', Uint8Array.of(7), 0);
  recorder.passed(0, 's2d', Uint8Array.of(4), 3);
  recorder.cut(0);
  recorder.ended(0, 's2d', 4);
  recorder.close();
  expect(readFileSync(`${folder}/r/conn0.s2d.bin`)).toEqual(Buffer.of(1, 2, 3, 4));
  expect(readFileSync(`${folder}/r/conn0.d2s.bin`)).toEqual(Buffer.of(9));
  expect(readFileSync(`${folder}/r/conn1.s2d.bin`)).toEqual(Buffer.of(7));
  expect(readFileSync(`${folder}/r/conn1.d2s.bin`)).toHaveLength(0);
  const lines = readFileSync(`${folder}/r/index.jsonl`, 'utf8').trim().split('\n');
  expect(lines.map((line) => JSON.parse(line))).toEqual([
    { t: 0, ev: 'open', conn: 0 },
    { t: 0.001234, conn: 0, dir: 's2d', off: 0, len: 3 },
    { t: 0.001234, conn: 0, dir: 'd2s', off: 0, len: 1 },
    { t: 1.001234, ev: 'open', conn: 1 },
    { t: 1.001234, conn: 1, dir: 's2d', off: 0, len: 1 },
    { t: 1.001234, conn: 0, dir: 's2d', off: 3, len: 1 },
    { t: 1.001234, ev: 'cut', conn: 0 },
    { t: 1.001234, ev: 'eof', conn: 0, dir: 's2d', total: 4 },
  ]);
});

test('not closed, it is whole all the same: the index names all bytes there are (property)', () => {
  let runs = 0;
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 5000 }), { minLength: 1, maxLength: 8 }), (sizes) => {
      const recorder = new Recorder(`${folder}/${runs++}/`);
      const whole = pattern(3 * sizes.reduce((sum, size) => sum + size, 0), runs);
      const pieces = cutInto(whole, sizes);
      recorder.opened(0);
      let offset = 0;
      for (const piece of pieces) {
        recorder.passed(0, 's2d', piece, offset);
        offset += piece.length;
        expect(readRecording(recorder.prefix).pieces(0, 's2d').at(-1)).toEqual(piece);
      }
      expect(readRecording(recorder.prefix).bytes(0, 's2d')).toEqual(whole);
      recorder.close();
    }),
    { numRuns: 20 },
  );
});

test('a folder that is there holds the files; any other name begins theirs', () => {
  mkdirSync(`${folder}/there`);
  expect(new Recorder(`${folder}/there`).prefix).toBe(`${folder}/there/`);
  expect(existsSync(`${folder}/there/index.jsonl`)).toBe(true);
  expect(new Recorder(`${folder}/new/run`).prefix).toBe(`${folder}/new/run.`);
  expect(existsSync(`${folder}/new/run.index.jsonl`)).toBe(true);
});

test('a recording is not overwritten, and where none can be made is said', () => {
  new Recorder(`${folder}/`).close();
  expect(() => new Recorder(`${folder}/`)).toThrow(
    expect.objectContaining({ code: 'BAD_ARGUMENT', message: expect.stringContaining('index.jsonl already') }),
  );
  writeFileSync(`${folder}/file`, '');
  expect(() => new Recorder(`${folder}/file/in/`)).toThrow(expect.objectContaining({ code: 'BAD_ARGUMENT' }));
});
