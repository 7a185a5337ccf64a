/**
 * Each case of observed-source.json, which tells what a real QEMU does with destinations that are odd or break the
 * protocol, played to our own source: what becomes of it is what becomes of QEMU, or stands here with the reason.
 */
import { describe, expect, test } from 'vitest';
import { playToOurSource } from '../../testing/our-source.ts';
import { CapturedMachine } from '../../testing/qemu/captured-machine.ts';
import { comparableSource, type ObservedSource, observedSources as observed } from '../../testing/qemu/observed.ts';
import { sourceCases } from '../../testing/qemu/source-cases.ts';

const machine = new CapturedMachine('b-postcopy');

/** A migration that has failed when its guest had been handed over. */
const lostInPostcopy = { source_status: 'failed', source_runstate: 'postmigrate', postcopy_requests: null };

/** What becomes of ours where it is not what becomes of QEMU. */
const own: Readonly<Record<string, { readonly why: string; readonly outcome: Record<string, unknown> }>> = {
  'postcopy: destination closes after the final EOF without SHUT': {
    why: 'QEMU stays in postcopy-active; that the destination has all of RAM was never said',
    outcome: lostInPostcopy,
  },
  'precopy with return-path: closed without SHUT after the whole stream': {
    why: 'a destination has all it needs by then, and runs the guest before it says so: here it must not run again',
    outcome: lostInPostcopy,
  },
};

/** Where QEMU pauses, and waits for a recovery. */
const pauses = ({ source_status }: ObservedSource) => source_status === 'postcopy-paused';
const RECOVERY = 'recovery: ';

function wanted(known: ObservedSource): Record<string, unknown> {
  const { events: _, ...compared } = comparableSource(known);
  const outcome = own[known.case]?.outcome ?? (pauses(known) ? lostInPostcopy : {});
  // Between the stop and the last word of a precopy newer QEMUs are in this state, and so are we.
  const isDevice = known.status_before_close === 'active' ? { status_before_close: 'device' } : {};
  return { ...compared, ...outcome, ...isDevice };
}

const ranStates = ['STOP', 'RESUME'];
/** The guest's events and the migration's, each in their order; QEMU 7.2 has no state \`device\`. */
function eventsOf(events: readonly string[]) {
  return {
    guest: events.filter((event) => ranStates.includes(event)),
    statuses: events.filter((event) => !ranStates.includes(event) && event !== 'MIGRATION=device'),
  };
}

/** Those of the outcome that is wanted, where it is not QEMU's. */
function wantedEvents(known: ObservedSource) {
  const { guest, statuses } = eventsOf(known.events);
  if (own[known.case] === undefined && !pauses(known)) return { guest, statuses };
  const open = statuses.filter((status) => !/paused|failed/.test(status));
  return { guest: ['STOP'], statuses: [...open, 'MIGRATION=failed'] };
}

const tooLate = 'migrate_cancel during postcopy-active';

// Scripted destinations answer no pings, for which the source waits some seconds: all at once.
describe.concurrent('our source', { timeout: 60_000 }, () => {
  test('every case has a script, and every script a case', () => {
    expect(Object.keys(sourceCases).sort()).toEqual(observed.map((known) => known.case).sort());
  });

  // There is no recovery yet: nobody may take a source for paused that has failed.
  test.each(observed.filter(({ case: name }) => name.startsWith(RECOVERY)))(
    '$case: it has failed where QEMU pauses',
    async (known) => {
      const played = playToOurSource(machine, sourceCases[known.case]);
      await expect(played).rejects.toThrow('it is failed, and never comes to postcopy-paused');
    },
  );

  test.each(observed.filter(({ case: name }) => !name.startsWith(RECOVERY) && name !== tooLate))(
    '$case',
    async (known) => {
      const { events, ...outcome } = await playToOurSource(machine, sourceCases[known.case]);
      expect(outcome).toMatchObject(wanted(known));
      expect(eventsOf(events)).toEqual(wantedEvents(known));
    },
  );

  test(`${tooLate}: refused, where QEMU accepts it and loses the guest`, async () => {
    await expect(playToOurSource(machine, sourceCases[tooLate])).rejects.toThrow('too late to cancel');
  });
});
