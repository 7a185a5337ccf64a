/** Progress of an inspection: quiet at first, then a line now and then, live on a terminal. */
import { describe, expect, test } from 'vitest';
import { createInspectProgress, progressLine } from '#lib/cli/inspect-progress.js';

const GIB = 2 ** 30;

test.each([
  [3 * GIB, 40 * GIB, 3000, 'read 3.0 GiB of 40 GiB (7 %), 1.0 GiB/s, 37 s left'],
  [GIB, 100 * GIB, 1000, 'read 1.0 GiB of 100 GiB (1 %), 1.0 GiB/s, 1 min 39 s left'],
  [GIB, 10_001 * GIB, 1000, 'read 1.0 GiB of 9.8 TiB (0 %), 1.0 GiB/s, 2 h 46 min left'],
  [GIB, undefined, 2000, 'read 1.0 GiB, 512 MiB/s'],
  [2 * GIB, GIB, 1000, 'read 2.0 GiB, 2.0 GiB/s'],
  [0, GIB, 1000, 'read 0 B of 1.0 GiB (0 %), 0 B/s'],
])('%i of %s after %i ms', (position, size, elapsed, line) => {
  expect(progressLine(position, size, elapsed)).toBe(line);
});

/** A stream that keeps what is written, and a clock that is set by hand. */
async function setUp(terminal: boolean) {
  const written: string[] = [];
  const clock = { ms: 0 };
  const stream = {
    isTTY: terminal,
    columns: terminal ? 80 : undefined,
    rows: terminal ? 24 : undefined,
    write: (text: string) => {
      written.push(text);
      return true;
    },
  } as unknown as NodeJS.WriteStream;
  const progress = await createInspectProgress(stream, () => clock.ms);
  const at = (ms: number, position: number) => {
    clock.ms = ms;
    progress.update(position, 100);
  };
  return { progress, written, at };
}

describe('elsewhere than on a terminal', () => {
  test('says nothing of what is quick', async () => {
    const { progress, written, at } = await setUp(false);
    at(0, 1);
    at(999, 99);
    progress.end();
    expect(written).toEqual([]);
  });

  test('writes a line every second', async () => {
    const { written, at } = await setUp(false);
    for (let ms = 0; ms <= 12_000; ms += 500) at(ms, ms / 200);
    expect(written.length).toBe(12);
    for (const line of written) expect(line).toMatch(/^read .* left\n$/);
  });
});

test('a terminal has one live line, which is gone at the end', async () => {
  const { progress, written, at } = await setUp(true);
  at(1000, 10);
  at(1050, 11);
  at(1100, 12);
  expect(written.filter((text) => text.includes('read'))).toHaveLength(2);
  progress.end();
  expect(written.at(-1)).not.toContain('read');
});
