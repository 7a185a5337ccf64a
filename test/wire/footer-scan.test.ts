/** Finding the end of device bodies that do not tell their length. */
import { describe, expect, test } from 'vitest';
import { encodeFooter, encodePing, encodeSectionPart, encodeSectionStart } from '#lib/wire/encode.js';
import { type Ending, scanDeviceBody } from '#lib/wire/footer-scan.js';
import { joined } from '../../testing/feed.js';

const ID = 7;
const cpu = { id: ID, idstr: 'cpu', instanceId: 0, versionId: 1 };
const sections = new Map([[ID, cpu]]);
const bytes = (...values: number[]) => Uint8Array.from(values);
const footer = encodeFooter(ID);

function scan(parts: readonly Uint8Array[], ending: Ending) {
  const input = joined(parts);
  // Poison around it: a footer and a beginning that must not be seen.
  const poison = joined([footer, encodePing(1)]);
  const buffer = joined([poison, input, poison]);
  return scanDeviceBody(
    buffer,
    new DataView(buffer.buffer),
    poison.length,
    poison.length + input.length,
    ID,
    ending,
    sections,
  );
}

const body = bytes(1, 2, 3);
const start = encodeSectionStart({ type: 'FULL', id: 8, idstr: 'apic', instanceId: 0, versionId: 1 });

describe('a footer ends the body where a record follows', () => {
  const followers: [string, Uint8Array][] = [
    ['a new section', start],
    ['this section again', encodeSectionStart({ type: 'FULL', ...cpu })],
    ['a part of a known section', encodeSectionPart('PART', ID)],
    ['the end of a known section', encodeSectionPart('END', ID)],
    ['a command', encodePing(1)],
    ['EOF and a VM description', bytes(0, 6)],
  ];
  test.each(followers)('%s', (_name, follower) => {
    expect(scan([body, footer, follower], 'open')).toEqual({ length: 3, last: true });
    expect(scan([footer, follower], 'open')).toEqual({ length: 0, last: true });
  });
});

describe('a footer is part of the body where no record can follow', () => {
  const followers: [string, Uint8Array][] = [
    ['no record type', bytes(9)],
    ['a footer', footer],
    ['a configuration', bytes(7, 0, 0, 0, 1, 65)],
    ['a part of an unknown section', encodeSectionPart('PART', 99)],
    ['a section without name', bytes(4, 0, 0, 0, 8, 0)],
    ['a section name that is not text', bytes(4, 0, 0, 0, 8, 2, 65, 200)],
    ['another section with a known id', encodeSectionStart({ type: 'FULL', ...cpu, idstr: 'apic' })],
    ['an unknown command', bytes(8, 0, 99, 0, 0)],
    ['a command of a length it cannot have', bytes(8, 0, 2, 0, 5)],
    ['EOF and something else', bytes(0, 1)],
  ];
  test.each(followers)('%s', (_name, follower) => {
    const first = joined([body, footer, follower]);
    expect(scan([first, footer, encodePing(1)], 'open')).toEqual({ length: first.length, last: true });
  });

  test('the footer of another section is no footer', () => {
    expect(scan([body, encodeFooter(ID + 1), encodePing(1)], 'open')).toEqual({ length: 17, last: false });
  });
});

describe('what may be the footer is held back while more can come', () => {
  const full = joined([footer, start]);
  const decided = footer.length + 6 + 4;
  test.each(Array.from({ length: decided }, (_, i) => i))('%d bytes of footer and section', (length) => {
    expect(scan([body, full.subarray(0, length)], 'open')).toEqual({ length: 3, last: false });
  });

  test('until it is decided', () => {
    expect(scan([body, full.subarray(0, decided)], 'open')).toEqual({ length: 3, last: true });
  });

  test('one byte of EOF', () => {
    expect(scan([body, footer, bytes(0)], 'open')).toEqual({ length: 3, last: false });
  });
});

describe('at the end', () => {
  test('of a package a footer is enough', () => {
    expect(scan([body, footer], 'package')).toEqual({ length: 3, last: true });
  });

  test('of the input a footer and EOF are enough, but a footer alone is not', () => {
    expect(scan([body, footer, bytes(0)], 'input')).toEqual({ length: 3, last: true });
    expect(scan([body, footer], 'input')).toEqual({ length: 3, last: false });
  });

  test('what lacks bytes is no record, and a later footer stands', () => {
    const lookalike = joined([footer, bytes(4, 0, 0, 0, 8, 255, 65)]);
    expect(scan([lookalike, footer], 'package')).toEqual({ length: lookalike.length, last: true });
    expect(scan([body, footer.subarray(0, 3)], 'package')).toEqual({ length: 6, last: false });
  });
});
