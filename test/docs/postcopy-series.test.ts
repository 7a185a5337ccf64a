/** docs/postcopy-series.md has a row for each patch, and what it points at is there. */
import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';

const root = new URL('../../', import.meta.url);
const read = (path: string): string => readFileSync(new URL(path, root), 'utf8');

interface Row {
  readonly patch: string;
  readonly title: string;
  readonly asks: string;
  /** Files, each with a name in it. */
  readonly where: readonly (readonly [file: string, name: string | undefined])[];
  readonly tests: readonly (readonly [file: string, title: string])[];
}

const rows: Row[] = read('docs/postcopy-series.md')
  .split('\n')
  .filter((line) => /^\| \d+ \|/.test(line))
  .map((line) => {
    const [patch, title, asks, where, shownBy] = line
      .slice(1, -1)
      .split(' | ')
      .map((cell) => cell.trim());
    return {
      patch,
      title,
      asks,
      where: where.split('<br>').map((each) => {
        const [, file, name] = /^`([^`]+)`(?: `([^`]+)`)?$/.exec(each) ?? [];
        return [file, name] as const;
      }),
      tests: shownBy.split('<br>').map((each) => {
        const [, file, name] = /^`([^`]+)` “([^”]+)”$/.exec(each) ?? [];
        return [file, name] as const;
      }),
    };
  });

test('has the 56 patches in their order', () => {
  expect(rows.map(({ patch }) => patch)).toEqual(Array.from({ length: 56 }, (_, i) => String(i + 1).padStart(2, '0')));
  for (const { title, asks } of rows) {
    expect(title).toMatch(/\S/);
    expect(asks).toMatch(/^[A-Z].{10,}\.$/);
  }
});

describe.each(rows)('patch $patch, $title', ({ where, tests }) => {
  test('is where it is said to be', () => {
    for (const [file, name] of where) {
      expect(file).toMatch(/^(lib|native|docs)\//);
      expect(existsSync(new URL(file, root)), file).toBe(true);
      if (name !== undefined) expect(read(file).includes(name), `${file} has ${name}`).toBe(true);
    }
    expect(where.some(([, name]) => name !== undefined)).toBe(true);
  });

  test('is shown by tests that are there', () => {
    for (const [file, title] of tests) {
      expect(file).toMatch(/^test\/.*\.test\.ts$/);
      expect(existsSync(new URL(file, root)), file).toBe(true);
      const quoted = ["'", '`'].some((quote) => read(file).includes(`${quote}${title}${quote}`));
      expect(quoted, `${file} has a test "${title}"`).toBe(true);
    }
  });
});
