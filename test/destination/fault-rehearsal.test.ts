/** The rehearsal of the fault thread: real faults, one after the other, and nobody left waiting. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createDestinationCounters } from '#lib/destination/destination-counters.js';
import { createDestinationSignals } from '#lib/destination/destination-signals.js';
import { rehearse, type Serve } from '#lib/destination/fault-rehearsal.js';
import { PageRequested } from '#lib/destination/page-requested.js';
import { native, type UserfaultfdHandle } from '#lib/native.js';
import { handleLeaks } from '../../testing/lib-thread.ts';

let leaks: ReturnType<typeof handleLeaks>;
beforeEach(() => {
  leaks = handleLeaks();
});
afterEach(() => {
  expect(leaks()).toEqual({});
});

test('each page is faulted, and placed when it was asked for', () => {
  const { constants: c, awaitEvents, readEvents } = native();
  const offsets = new Set<number>();
  const serve: Serve = ({ signals, counters }, { blocks: [block], requested }, { kick }) => {
    offsets.clear();
    const uffd = createDestinationSignals(signals).get('USERFAULTFD') as UserfaultfdHandle;
    const events = new Float64Array(c.EVENT_WORDS);
    return {
      turn: (patienceMs) => {
        expect(awaitEvents(uffd, kick, patienceMs)).toBe(1);
        expect(readEvents(uffd, kick, events, 0)).toBe(1);
        const offset = events[c.EVENT_ADDRESS] - block.address;
        offsets.add(offset);
        createDestinationCounters(counters).add('faults', 1);
        new PageRequested([block.size], requested).add(0, Math.floor(offset / 4096), 1);
      },
    };
  };
  let rounds = 0;
  rehearse(
    () => rounds === 2,
    (...work) => {
      rounds += 1;
      return serve(...work);
    },
  );
  expect(rounds).toBe(2);
  expect(offsets.size).toBe(16);
});

test('a fault that is not seen to is told, and whoever waited goes on', () => {
  const serve: Serve = () => ({ turn: () => {} });
  expect(() => rehearse(() => false, serve)).toThrow('fault 1 of the rehearsal was not seen to');
});
