/** States of devices: put together from pieces, named by the description, dropped where they are too large. */
import { expect, test } from 'vitest';
import { DeviceTally } from '#lib/inspect/device-tally.js';

const section = { id: 4, idstr: 'timer', instanceId: 1, versionId: 2 };

function take(tally: DeviceTally, bytes: Uint8Array, pieceBytes = 3, idstr = 'timer'): void {
  tally.begin({ ...section, idstr }, 100, 120, false);
  for (let at = 0; at < bytes.length; at += pieceBytes) tally.data(bytes, at, Math.min(pieceBytes, bytes.length - at));
  tally.end();
}

const described = (...devices: object[]) => JSON.stringify({ page_size: 4096, devices });
const timer = { name: 'timer', instance_id: 1, fields: [{ name: 't', type: 'uint64', size: 8 }] };

test('names the fields of a state that came in pieces', () => {
  const tally = new DeviceTally();
  take(tally, Uint8Array.of(0, 0, 0, 0, 0, 0, 1, 2));
  tally.describe(described(timer));
  expect(tally.vmDescription).toEqual({ pageSize: 4096, devices: 1 });
  expect(tally.devices()).toEqual([
    {
      name: 'timer',
      instanceId: 1,
      versionId: 2,
      sectionId: 4,
      offset: 100,
      bodyOffset: 120,
      size: 8,
      packaged: false,
      fields: { t: 258 },
      problem: null,
      data: null,
    },
  ]);
});

test.each([
  ['no VM description', undefined],
  ['not JSON', '{'],
  ['does not have it', described({ ...timer, instance_id: 0 })],
  ['8 bytes', undefined],
])('without fields it says why and gives the bytes: %s', (why, json) => {
  const tally = new DeviceTally();
  const bytes = why === '8 bytes' ? Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8, 9) : Uint8Array.of(1, 2);
  take(tally, bytes);
  if (why === '8 bytes') tally.describe(described(timer));
  else if (json !== undefined) tally.describe(json);
  const [device] = tally.devices();
  expect(device).toMatchObject({ fields: null, problem: expect.stringContaining(why) });
  expect(device.data).toBe(Buffer.from(bytes).toString('hex'));
});

test('a state too large to keep is only measured', () => {
  const tally = new DeviceTally();
  take(tally, new Uint8Array(5 * 2 ** 20), 2 ** 20);
  tally.describe(described(timer));
  expect(tally.devices()).toMatchObject([
    { size: 5 * 2 ** 20, fields: null, data: null, problem: expect.stringContaining('too large') },
  ]);
});

test('all states together stay below what is kept', () => {
  const tally = new DeviceTally();
  for (let i = 0; i < 20; i++) take(tally, new Uint8Array(4 * 2 ** 20), 2 ** 22);
  const kept = tally.devices().filter(({ data }) => data !== null);
  expect(kept.length).toBe(16);
});

test('the run state is that of globalstate, in printable characters', () => {
  const tally = new DeviceTally();
  expect(tally.runState()).toBeNull();
  const body = Buffer.concat([Buffer.from([0, 0, 0, 9]), Buffer.from('pa\u0007used\0zz'), Buffer.alloc(80)]);
  take(tally, body, 50, 'globalstate');
  expect(tally.runState()).toBe('pa?used');
});

test('a globalstate that is too short has none', () => {
  const tally = new DeviceTally();
  take(tally, Uint8Array.of(0, 0), 50, 'globalstate');
  expect(tally.runState()).toBeNull();
});
