/** A recording through a decoder: window by window, to its end or its fault. */
import { expect, test } from 'vitest';
import { type RecordDecoder, walk } from '#lib/inspect/walk.js';
import { Window } from '#lib/inspect/window.js';
import { WireError } from '#lib/wire/errors.js';
import { memorySource } from '../../testing/memory-source.js';

/** Records are a length and that many bytes; 255 is none. */
class Lengths implements RecordDecoder<number> {
  consumed = 0;
  needed = 0;
  offset = 0;
  recordOffset = 0;
  #ended = false;

  next(bytes: Uint8Array, _view: DataView, start: number, end: number): number | undefined {
    this.recordOffset = this.offset;
    this.consumed = 0;
    this.needed = end === start ? 1 : 1 + bytes[start];
    if (this.needed === 256) throw new WireError('BAD_LENGTH', '255', this.offset, 'length');
    if (end - start < this.needed || end === start) {
      if (this.#ended && end > start) throw new WireError('TRUNCATED', 'short', this.offset, 'length');
      return undefined;
    }
    this.consumed = this.needed;
    this.offset += this.consumed;
    return bytes[start];
  }

  endOfInput(): void {
    this.#ended = true;
  }
}

async function walked(bytes: readonly number[], between: () => Promise<void> | void = () => {}) {
  const records: number[] = [];
  const source = memorySource(Uint8Array.from(bytes), 2);
  const take = (record: number) => {
    records.push(record);
  };
  const common = { decoder: new Lengths(), source, window: new Window(4) };
  return { end: await walk({ ...common, take, between, within: () => 'here' }), records };
}

test('takes every record, also those larger than the window', async () => {
  const { end, records } = await walked([1, 9, 0, 6, 1, 1, 1, 1, 1, 1, 2, 7, 7]);
  expect(records).toEqual([1, 0, 6, 2]);
  expect(end).toMatchObject({ verdict: 'complete', offset: 13 });
});

test('waits between two reads', async () => {
  let calls = 0;
  await walked([1, 9, 0, 0, 0], async () => {
    await Promise.resolve();
    calls++;
  });
  // Before the first read and after each, the one that finds the end among them.
  expect(calls).toBe(5);
});

test('ends with a verdict at what is cut or wrong', async () => {
  expect(await walked([1, 9, 3, 9])).toMatchObject({
    end: { verdict: 'cut', offset: 4, recordOffset: 2 },
    records: [1],
  });
  expect(await walked([0, 255, 9])).toMatchObject({ end: { verdict: 'corrupt', offset: 1, within: 'here' } });
});

test('an error that is not about the bytes goes through', async () => {
  const full = new Error('no space left');
  await expect(
    walked([1, 9], () => {
      throw full;
    }),
  ).rejects.toBe(full);
});
