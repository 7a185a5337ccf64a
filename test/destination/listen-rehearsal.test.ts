/** The rehearsal of the listen thread: every page of a made-up source, asked for and placed for real. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createDestinationSignals } from '#lib/destination/destination-signals.js';
import { type Listen, rehearse } from '#lib/destination/listen-rehearsal.js';
import { PageIntake } from '#lib/destination/page-intake.js';
import { decoderOptions } from '#lib/destination/stream-reader.js';
import { native } from '#lib/native.js';
import { StreamDecoder } from '#lib/wire/decode.js';
import { handleLeaks } from '../../testing/lib-thread.ts';

let leaks: ReturnType<typeof handleLeaks>;
beforeEach(() => {
  leaks = handleLeaks();
});
afterEach(() => {
  expect(leaks()).toEqual({});
});

/** Takes in what has been sent, as the thread does. */
const takeIn: Listen = (data, work, { kick, trace }) => {
  const bytes = new Uint8Array(work.arena);
  const length = native().socketReceive(work.channel.socket, kick, bytes, 0, bytes.length);
  const decoder = new StreamDecoder({ ...decoderOptions, resumed: true, context: work.position.context });
  const intake = new PageIntake(data, work, bytes, trace);
  const types: string[] = [];
  for (let at = 0; at < length; at += decoder.consumed) {
    const record = decoder.next(bytes, new DataView(work.arena), at, length);
    if (record === undefined) throw new Error('a record is cut');
    types.push(record.type);
    if (record.type === 'page') intake.add(record, at);
  }
  intake.flush();
  expect(types.at(0)).toBe('command');
  expect(types.at(-1)).toBe('eof');
  expect(intake.received[0].count()).toBe(intake.received[0].pageCount);
  expect(intake.requested.findNext(0, 0)).toBe(intake.received[0].pageCount); // each was waited for
};

test('its stream has all pages, and a real userfaultfd takes them', () => {
  let rounds = 0;
  rehearse(
    () => false,
    (data, work, thread) => {
      rounds += 1;
      expect(createDestinationSignals(data.signals).get('USERFAULTFD')).toBeGreaterThan(0);
      takeIn(data, work, thread);
    },
  );
  expect(rounds).toBeGreaterThan(1);
});

test('there is no other round once there is work, and what is thrown leaves nothing open', () => {
  let rounds = 0;
  rehearse(
    () => rounds === 1,
    () => {
      rounds += 1;
    },
  );
  expect(rounds).toBe(1);
  const fail = () => {
    throw new Error('something is wrong');
  };
  expect(() => rehearse(() => false, fail)).toThrow('something is wrong');
});
