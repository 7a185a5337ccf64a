/** Each capability that a stream can show is handled or refused by its name, with the place and what to do. */
import { expect, test } from 'vitest';
import { capabilityHandling, isHandled, refusal, requireHandled } from '#lib/destination/capability-check.js';
import {
  capabilityOfCommand,
  capabilityOfMagic,
  capabilityOfPage,
  capabilityOfSection,
} from '#lib/wire/capabilities.js';
import { decodeAll } from '#lib/wire/decode-all.js';
import type { StreamRecord } from '#lib/wire/messages.js';
import { type Capture, captures } from '../../testing/captures.js';

/** The first refusal in a recording's main channel, up to where it was cut. */
function firstRefusal({ fromSource }: Capture): unknown {
  try {
    for (const record of decodeAll(fromSource(0))) requireHandled(record, record.recordOffset);
    return undefined;
  } catch (error) {
    return (error as { name?: string }).name === 'WireError' ? undefined : error;
  }
}

test('recordings of QEMU are refused where one has what is not handled, and nowhere else', () => {
  const refused = captures().flatMap((capture) => {
    const error = firstRefusal(capture);
    return error === undefined ? [] : [[capture.name, error]];
  });
  const refusedFor = (capability: string, offset: unknown) =>
    expect.objectContaining({ code: 'UNSUPPORTED', offset, message: expect.stringContaining(capability) });
  expect(refused).toEqual([
    ['a6-uuid-ignore-shared', refusedFor('x-ignore-shared', 8)],
    ['g-compress', refusedFor('compress', expect.any(Number))],
  ]);
});

test.each<[string, StreamRecord]>([
  ['x-ignore-shared', { type: 'configuration', machine: 'pc', capabilities: ['x-ignore-shared'] }],
  ['x-from-the-future', { type: 'configuration', machine: 'pc', capabilities: ['x-from-the-future'] }],
  ['multifd', { type: 'multifd-flush' }],
  ['x-colo', { type: 'command', command: 'ENABLE_COLO' }],
  ['dirty-bitmaps', { type: 'command', command: 'POSTCOPY_ADVISE' }],
  ['block', { type: 'section-start', kind: 'START', id: 1, idstr: 'block', instanceId: 0, versionId: 1 }],
  [
    'dirty-bitmaps',
    { type: 'section-start', kind: 'START', id: 1, idstr: 'dirty-bitmap', instanceId: 0, versionId: 1 },
  ],
])('%s: the error names it, the offset and the way out', (capability, record) => {
  expect(() => requireHandled(record, 4711)).toThrow(
    expect.objectContaining({
      code: 'UNSUPPORTED',
      offset: 4711,
      message: expect.stringMatching(new RegExp(`capability ${capability} on, .* at offset 4711 shows: `)),
      hint: expect.stringContaining(`migrate_set_capability ${capability} off`),
    }),
  );
});

test.each<StreamRecord>([
  { type: 'configuration', machine: 'pc', uuid: '00000000-0000-0000-0000-000000000000' },
  { type: 'command', command: 'OPEN_RETURN_PATH' },
  { type: 'command', command: 'POSTCOPY_ADVISE', pageSizeSummary: 4096, targetPageSize: 4096 },
  { type: 'section-start', kind: 'FULL', id: 1, idstr: 'cpu', instanceId: 0, versionId: 1 },
])('$type $command$idstr passes', (record) => {
  expect(() => requireHandled(record, 0)).not.toThrow();
});

test('everything that lib/wire can find on has a reason here, or is handled', () => {
  const tables = [Object.values(capabilityOfPage), Object.values(capabilityOfCommand)].flat();
  const shown = [...tables, ...capabilityOfSection.values(), ...capabilityOfMagic.values()];
  for (const capability of shown)
    if (capability !== undefined) expect([...capabilityHandling.keys()]).toContain(capability);
  for (const [capability, why] of capabilityHandling) {
    if (!isHandled(capability)) expect(refusal(capability, 'a record', 1).message).toContain(why);
  }
});
