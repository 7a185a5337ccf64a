/** The capability a record shows: QEMU's recordings name those that were on and leave a trace, and no others. */
import { expect, test } from 'vitest';
import {
  capabilitiesOfConfiguration,
  capabilityOf,
  capabilityOfMagic,
  capabilityOfMessage,
} from '#lib/wire/capabilities.js';
import { decodeAll, decodeReturnPath } from '#lib/wire/decode-all.js';
import { MULTIFD_MAGIC, returnPathMessages, STREAM_MAGIC } from '#lib/wire/protocol.js';
import { type Capture, captures } from '../../testing/captures.js';

/** What the main channels of a recording show, up to where it was cut. */
function shown({ fromSource }: Capture): string[] {
  const found = new Set<string>();
  try {
    for (const record of decodeAll(fromSource(0))) {
      const names = record.type === 'configuration' ? capabilitiesOfConfiguration(record) : [capabilityOf(record)];
      for (const name of names) if (name !== undefined) found.add(name);
    }
  } catch {
    // Cut recordings are decode-all.test.ts's.
  }
  return [...found].sort();
}

test('recordings show what was on', () => {
  const expected: Record<string, string[]> = {
    'a-precopy': [],
    'a2-precopy-return-path': ['return-path'],
    'a6-uuid-ignore-shared': ['validate-uuid', 'x-ignore-shared'],
    'b-postcopy': ['postcopy-ram', 'return-path'],
    'b3-postcopy-advised-only': ['postcopy-ram', 'return-path'],
    'e2-multifd-uuid-rp': ['return-path'],
    'f-xbzrle': ['xbzrle'],
    'g-compress': ['compress'],
  };
  const chosen = captures().filter(({ name }) => name in expected);
  expect(Object.fromEntries(chosen.map((capture) => [capture.name, shown(capture)]))).toEqual(expected);
});

test('the first word of a channel shows multifd', () => {
  expect(capabilityOfMagic.get(MULTIFD_MAGIC)).toBe('multifd');
  expect(capabilityOfMagic.get(STREAM_MAGIC)).toBeUndefined();
  expect(capabilityOf({ type: 'multifd-flush' })).toBe('multifd');
});

test('an advise without page sizes is not for RAM', () => {
  expect(capabilityOf({ type: 'command', command: 'POSTCOPY_ADVISE' })).toBe('dirty-bitmaps');
  const ram = { type: 'command', command: 'POSTCOPY_ADVISE', pageSizeSummary: 4096, targetPageSize: 4096 } as const;
  expect(capabilityOf(ram)).toBe('postcopy-ram');
});

test('sections of other things that move have capabilities of their own', () => {
  const section = { type: 'section-start', kind: 'START', id: 9, instanceId: 0, versionId: 1 } as const;
  expect(capabilityOf({ ...section, idstr: 'dirty-bitmap' })).toBe('dirty-bitmaps');
  expect(capabilityOf({ ...section, idstr: 'block' })).toBe('block');
  expect(capabilityOf({ ...section, idstr: 'ram' })).toBeUndefined();
});

test('a return path shows itself, and postcopy by its requests', () => {
  const postcopy = captures().find(({ name }) => name === 'b-postcopy') as Capture;
  const found = new Set([...decodeReturnPath(postcopy.fromDestination(0))].map((message) => capabilityOf(message)));
  expect([...found].sort()).toEqual(['postcopy-ram', 'return-path']);
  const names = new Set([...returnPathMessages.values()].map(({ name }) => name.replace(/_ID$/, '')));
  expect(Object.keys(capabilityOfMessage).sort()).toEqual([...names].sort());
});
