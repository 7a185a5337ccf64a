/** The machine as a source sends it: the sections of the guest's device state, read back as a destination does. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { concatenate } from '#lib/memory/bytes.js';
import { outgoingMachine } from '#lib/source/outgoing-machine.js';
import { StreamDecoder } from '#lib/wire/decode.js';
import { encodeConfiguration, encodeEof, encodeHeader } from '#lib/wire/encode.js';
import {
  decodeGlobalStateBody,
  decodeGuestStateBody,
  GLOBAL_STATE_SECTION,
  GUEST_STATE_SECTION,
  MACHINE_NAME,
  RAM_SECTION,
} from '#lib/wire/machine.js';
import { feed } from '../../testing/feed.ts';

test('of a guest of ours: decode to the state, and whether it ran (property)', () => {
  const { configuration, deviceSections } = outgoingMachine(undefined);
  expect(configuration).toEqual({ machine: MACHINE_NAME });
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 3000 }), fc.boolean(), (state, ran) => {
      const stream = concatenate([
        encodeHeader(),
        encodeConfiguration(configuration),
        ...deviceSections(state, ran),
        encodeEof(),
      ]);
      const { records, error, left } = feed(
        new StreamDecoder({ selfSizedDevices: [GUEST_STATE_SECTION.idstr] }),
        stream,
      );
      expect({ error, left }).toEqual({ error: undefined, left: 0 });
      const bodies = new Map(
        records
          .filter(({ type }) => type === 'device-data')
          .map(({ idstr, data }) => [idstr, new Uint8Array(Buffer.from(data as string, 'latin1'))]),
      );
      expect([...bodies.keys()]).toEqual([GUEST_STATE_SECTION.idstr, GLOBAL_STATE_SECTION.idstr]);
      const guestState = decodeGuestStateBody(bodies.get(GUEST_STATE_SECTION.idstr) as Uint8Array, 0);
      expect([...guestState]).toEqual([...state]);
      const runState = decodeGlobalStateBody(bodies.get(GLOBAL_STATE_SECTION.idstr) as Uint8Array, 0);
      expect(runState).toBe(ran ? 'running' : 'paused');
    }),
    { numRuns: 60 },
  );
});

test('of any other machine: its configuration, its RAM section, and its device state as it is', () => {
  const configuration = { machine: 'pc-i440fx-7.2', uuid: '00112233-4455-6677-8899-aabbccddeeff' };
  const ramSection = { id: 7, idstr: 'ram', instanceId: 0, versionId: 4 };
  const state = Uint8Array.of(1, 2, 3);
  const described = outgoingMachine({ configuration, ramSection, vmDescription: '{"page_size":4096}' });
  expect(described).toMatchObject({ configuration, ramSection, vmDescription: '{"page_size":4096}' });
  expect(concatenate([...described.deviceSections(state, true)])).toEqual(state);
  const undescribed = outgoingMachine({ configuration, ramSection });
  expect(JSON.parse(undescribed.vmDescription)).toEqual({ page_size: 4096, devices: [] });
});

test.each([
  ['pc-i440fx-7.2', false, false],
  ['microvm', false, false],
  ['pc-q35-8.0', false, true],
  ['pc-q35-10.1', false, true],
  ['pc-q35-10.2', true, true],
  ['virt-11.0', true, true],
])('a QEMU of machine type %s: asks before it runs: %s, preempts at the switch: %s', (machine, asks, atSwitch) => {
  const type = { configuration: { machine }, ramSection: RAM_SECTION };
  expect(outgoingMachine(type)).toMatchObject({ answersBeforeRun: asks, preemptsAtSwitch: atSwitch });
});

test('a destination of ours is asked before it runs the guest', () => {
  expect(outgoingMachine(undefined)).toMatchObject({ answersBeforeRun: true, preemptsAtSwitch: false });
});
