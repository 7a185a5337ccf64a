/** What a page of the writer must hold, and what is found in one that does not. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { examinePage, fillPage, pageKey, writerPlace } from '#lib/guest/kvm/writer-pages.js';

const ADDRESS = 0x12_3000;
const page = (pass: number, next = 0): Uint32Array => {
  const words = new Uint32Array(1024);
  fillPage(words, 0, ADDRESS, pass, next);
  return words;
};
const passes = fc.integer({ min: 1, max: 2 ** 32 - 2 });

test('a page is good for its pass and place, and no other (property)', () => {
  fc.assert(
    fc.property(passes, passes, fc.integer({ min: 0, max: 8 }), (pass, other, next) => {
      expect(examinePage(page(pass, next), 0, ADDRESS, pass, next).state).toBe('good');
      if (other !== pass) expect(examinePage(page(pass), 0, ADDRESS, other).state).not.toBe('good');
      expect(examinePage(page(pass), 0, ADDRESS + 4096, pass).state).not.toBe('good');
    }),
  );
});

test('any byte that is changed shows (property)', () => {
  fc.assert(
    fc.property(passes, fc.integer({ min: 0, max: 4095 }), fc.integer({ min: 1, max: 255 }), (pass, at, change) => {
      const words = page(pass);
      new Uint8Array(words.buffer)[at] ^= change;
      expect(examinePage(words, 0, ADDRESS, pass).state).not.toBe('good');
    }),
  );
});

describe('a page that should be of pass 9 is', () => {
  test.each<[string, Uint32Array, string, number]>([
    ['lost where it is zero', new Uint32Array(1024), 'lost', 9],
    ['stale where it is of another pass', page(5), 'stale', 4],
    ['torn where parts are of several', page(8, 3), 'torn', 1],
    ['torn where it is of a pass to come', page(10), 'torn', 1],
    ['torn where it is of another place', page(9).map((word) => (word === 0 ? 0 : word ^ 0x1000)), 'torn', 1],
  ])('%s', (_what, words, state, lostWrites) => {
    expect(examinePage(words, 0, ADDRESS, 9)).toEqual({ state, lostWrites });
  });
});

test('one that was never filled must be zero', () => {
  expect(examinePage(new Uint32Array(1024), 0, ADDRESS, 0).state).toBe('good');
  expect(examinePage(page(1), 0, ADDRESS, 0)).toEqual({ state: 'torn', lostWrites: 0 });
});

test('keys of neighbouring passes and pages differ', () => {
  const keys = new Set<number>();
  for (let pass = 1; pass <= 50; pass += 1) {
    for (let index = 0; index < 50; index += 1) keys.add(pageKey(ADDRESS + index * 4096, pass));
  }
  expect(keys.size).toBe(2500);
});

describe('from the registers it follows', () => {
  const FIRST = 0x10_0000;
  const registers = (ebx: number, esi: number, edi: number): Uint8Array => {
    const bytes = new Uint8Array(144);
    const view = new DataView(bytes.buffer);
    for (const [offset, value] of [
      [8, ebx],
      [32, esi],
      [40, edi],
    ]) {
      view.setUint32(offset, value, true);
    }
    return bytes;
  };

  test.each<[string, Uint8Array, number, number, number]>([
    ['that it has not begun', registers(0, 0, 0), 2, FIRST, 0],
    ['that no word is written yet', registers(FIRST + 4096, 7, FIRST + 4096), 7, FIRST + 4096, 0],
    ['that one is, and its pointer not moved on', registers(FIRST, 7, FIRST + 4), 7, FIRST, 1],
    ['that one is', registers(FIRST, 7, FIRST + 512), 7, FIRST, 1],
    ['that two are', registers(FIRST, 7, FIRST + 516), 7, FIRST, 2],
    ['that all are', registers(FIRST, 7, FIRST + 4096), 7, FIRST, 8],
    ['that the next page is not begun', registers(FIRST + 4096, 7, FIRST), 7, FIRST + 4096, 0],
  ])('%s', (_what, bytes, pass, at, words) => {
    expect(writerPlace(bytes, FIRST)).toEqual({ pass, page: at, words });
  });
});
