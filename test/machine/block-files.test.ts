/** Names of block files, and which pages are worth writing. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { blockFileNames, forDataRuns } from '#lib/machine/block-files.js';

const idstr = fc.string({
  unit: fc.integer({ min: 0x20, max: 0x7e }).map((code) => String.fromCharCode(code)),
  minLength: 1,
  maxLength: 255,
});

describe('file names', () => {
  test('keep what people know a block by', () => {
    expect(blockFileNames(['pc.ram', '0000:00:02.0/vga.vram', '/rom@etc/acpi/tables'])).toEqual([
      '00-pc.ram.ram',
      '01-0000_00_02.0_vga.vram.ram',
      '02-_rom_etc_acpi_tables.ram',
    ]);
  });

  test('are safe, and never one for two blocks (property)', () => {
    fc.assert(
      fc.property(fc.array(idstr, { maxLength: 200 }), (names) => {
        const files = blockFileNames(names);
        expect(new Set(files).size).toBe(names.length);
        for (const file of files) expect(file).toMatch(/^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$/);
      }),
    );
  });
});

describe('runs of data', () => {
  const runs = (bytes: Buffer, length = bytes.length) => {
    const found: [number, number][] = [];
    forDataRuns(bytes, length, (start, end) => found.push([start, end]));
    return found;
  };

  test('are the pages that are not all zero, neighbours in one (property)', () => {
    fc.assert(
      fc.property(fc.array(fc.boolean(), { maxLength: 40 }), (pages) => {
        const bytes = Buffer.alloc(pages.length * 4096);
        // One byte anywhere makes a page data.
        pages.forEach((isData, page) => {
          if (isData) bytes[page * 4096 + ((page * 977) % 4096)] = 1;
        });
        const covered = pages.map(() => false);
        let last = -1;
        for (const [start, end] of runs(bytes)) {
          expect(start).toBeGreaterThan(last);
          last = end;
          covered.fill(true, start / 4096, end / 4096);
        }
        expect(covered).toEqual(pages);
      }),
    );
  });

  test('end where the length does', () => {
    expect(runs(Buffer.alloc(3 * 4096, 1), 2 * 4096)).toEqual([[0, 8192]]);
  });
});
