/** The sections of the guest's device state, read back as a destination does. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { concatenate } from '#lib/memory/bytes.js';
import { deviceSections } from '#lib/source/device-state.js';
import { StreamDecoder } from '#lib/wire/decode.js';
import { encodeConfiguration, encodeEof, encodeHeader } from '#lib/wire/encode.js';
import {
  decodeGlobalStateBody,
  decodeGuestStateBody,
  GLOBAL_STATE_SECTION,
  GUEST_STATE_SECTION,
  MACHINE_NAME,
} from '#lib/wire/machine.js';
import { feed } from '../../testing/feed.ts';

test('decode to the state, and whether the guest ran (property)', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 3000 }), fc.boolean(), (state, ran) => {
      const stream = concatenate([
        encodeHeader(),
        encodeConfiguration({ machine: MACHINE_NAME }),
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
