/** Verdicts: what tells a cut recording from a corrupt one, and both from our own faults. */
import { expect, test } from 'vitest';
import { MigrationError } from '#lib/errors.js';
import { complete, type Standing, unreadable, verdictOf } from '#lib/inspect/verdict.js';
import { WireError } from '#lib/wire/errors.js';

const standing: Standing = {
  recordOffset: 100,
  readOffset: 112,
  ended: true,
  packageEnd: Number.POSITIVE_INFINITY,
  within: 'section 2 (ram)',
};
const truncated = new WireError('TRUNCATED', 'the input ends 12 bytes into it', 100, 'page');

test('an input that ends inside a record is cut there', () => {
  expect(verdictOf(truncated, standing)).toMatchObject({
    verdict: 'cut',
    offset: 112,
    record: 'page',
    recordOffset: 100,
    within: 'section 2 (ram)',
    detail: expect.stringContaining('12 bytes into'),
  });
});

test('an input that ends between records is cut too', () => {
  const { verdict, detail } = verdictOf(truncated, { ...standing, recordOffset: 112 });
  expect({ verdict, detail }).toEqual({ verdict: 'cut', detail: expect.stringContaining('next record should begin') });
});

test('a package that is there whole and ends inside a record is corrupt', () => {
  expect(verdictOf(truncated, { ...standing, packageEnd: 112 }).verdict).toBe('corrupt');
  expect(verdictOf(truncated, { ...standing, ended: false, packageEnd: 110 }).verdict).toBe('corrupt');
  expect(verdictOf(truncated, { ...standing, packageEnd: 113 }).verdict).toBe('cut');
});

test('damage names the offset at fault; what is not decoded is unsupported', () => {
  const damage = new WireError('BAD_FLAGS', 'flags 0x1', 104, 'ram record');
  expect(verdictOf(damage, standing)).toMatchObject({ verdict: 'corrupt', offset: 104, code: 'BAD_FLAGS' });
  expect(verdictOf(new WireError('UNSUPPORTED', 'HOOK', 104, 'ram record'), standing).verdict).toBe('unsupported');
});

test('damaged gzip data is corrupt; other errors are not about the recording', () => {
  const gzip = new MigrationError('STREAM_CORRUPT', 'the gzip data is damaged', { record: 'gzip' });
  expect(verdictOf(gzip, standing)).toMatchObject({ verdict: 'corrupt', offset: 112, record: 'gzip' });
  const other = new MigrationError('BAD_ARGUMENT', 'cannot read');
  expect(() => verdictOf(other, standing)).toThrow(other);
});

test('the two verdicts without a fault', () => {
  expect(complete(7)).toMatchObject({ verdict: 'complete', offset: 7, record: null });
  expect(unreadable('text')).toMatchObject({ verdict: 'unreadable', detail: 'text' });
});
