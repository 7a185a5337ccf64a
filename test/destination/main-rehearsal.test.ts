/** The rehearsal of the main thread: a package that is gone through to its end, whichever machine is waited for. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createDestinationSignals, Handed } from '#lib/destination/destination-signals.js';
import { rehearse } from '#lib/destination/main-rehearsal.js';
import type { DestinationOwnerCalls, MainThreadData } from '#lib/destination/main-thread.js';
import { decoderOptions } from '#lib/destination/stream-reader.js';
import { native } from '#lib/native.js';
import { resolveCapabilities } from '#lib/options.js';
import type { Owner } from '#lib/threads/thread.js';
import { StreamDecoder } from '#lib/wire/decode.js';
import type { StreamRecord } from '#lib/wire/messages.js';
import { handleLeaks } from '../../testing/lib-thread.ts';

let leaks: ReturnType<typeof handleLeaks>;
beforeEach(() => {
  leaks = handleLeaks();
});
afterEach(() => {
  expect(leaks()).toEqual({});
});

const dataOf = (machine: MainThreadData['machine']) =>
  ({ machine, capabilities: resolveCapabilities({ postcopyRam: true }) }) as MainThreadData;
const nobody = { call: () => undefined } as unknown as Owner<DestinationOwnerCalls>;
const never = () => false;

/** The records of bytes[at …], those of the package in place of PACKAGED. */
function recordsOf(decoder: StreamDecoder, bytes: Uint8Array, start: number): StreamRecord[] {
  const view = new DataView(bytes.buffer);
  const records: StreamRecord[] = [];
  for (let at = start; at < bytes.length; at += decoder.consumed) {
    const record = decoder.next(bytes, view, at, bytes.length);
    if (record === undefined) throw new Error('a record is cut');
    if (record.type === 'command' && record.command === 'PACKAGED')
      return [...records, ...recordsOf(decoder.package(), bytes, at + decoder.consumed)];
    records.push(record);
  }
  return records;
}

test.each<[string, MainThreadData['machine']]>([
  ['a guest of ours', 'own'],
  ['any machine', { like: undefined }],
])('of %s the source sends a whole postcopy', (_what, machine) => {
  const commands: string[][] = [];
  rehearse(dataOf(machine), nobody, never, (data, socket, { kick }) => {
    expect(createDestinationSignals(data.signals).get('LET_GO')).toBe(Handed.YES);
    expect(native().socketReadable(data.listener)).toBe(false);
    const bytes = new Uint8Array(64 * 1024);
    const length = native().socketReceive(socket, kick, bytes, 0, bytes.length);
    const records = recordsOf(new StreamDecoder(decoderOptions), bytes.slice(0, length), 0);
    commands.push(records.flatMap((record) => (record.type === 'command' ? [record.command] : [])));
  });
  expect(commands.length).toBeGreaterThan(1);
  expect(commands[0]).toEqual([
    ...['OPEN_RETURN_PATH', 'PING', 'PING', 'POSTCOPY_ADVISE', 'POSTCOPY_RAM_DISCARD', 'PING'],
    ...['POSTCOPY_LISTEN', 'PING', 'PING', 'POSTCOPY_RUN'],
  ]);
});

test('the guest is not asked for anything, and the owner has the calls that will ask it', () => {
  const called: string[] = [];
  const owner = { call: (name: string) => called.push(name) } as unknown as Owner<DestinationOwnerCalls>;
  let rounds = 0;
  rehearse(
    dataOf('own'),
    owner,
    () => rounds === 1,
    ({ signals }, _socket, thread) => {
      rounds += 1;
      const [block] = thread.owner.call('ramBlocks', { blocks: [], machine: undefined }) as Awaited<
        ReturnType<DestinationOwnerCalls['ramBlocks']>
      >;
      expect(native().ramBlockInfo(block.handle).address).toBe(block.address);
      expect(thread.owner.call('openUserfaultfd', [block])).toBeGreaterThan(0);
      thread.owner.call('loadGuest', { state: new Uint8Array(1), vmDescription: undefined });
      thread.owner.call('takeOverGuest', { ran: true });
      expect(signals.byteLength).toBe(createDestinationSignals().buffer.byteLength);
    },
  );
  expect(called).toEqual(['rehearse', 'rehearse']);
});

test('what is thrown in it leaves nothing open', () => {
  const fail = () => {
    throw new Error('something is wrong');
  };
  expect(() => rehearse(dataOf('own'), nobody, never, fail)).toThrow('something is wrong');
});
