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
const lost = { source_status: 'failed', source_runstate: 'postmigrate', postcopy_requests: null };
const paused = { source_status: 'postcopy-paused', source_runstate: 'finish-migrate' };

/** What becomes of ours where it is not what becomes of QEMU. */
const own: Readonly<Record<string, { readonly why: string; readonly outcome: Record<string, unknown> }>> = {
  'postcopy: destination closes after the final EOF without SHUT': {
    why: 'QEMU stays in postcopy-active; that the destination has all of RAM was never said',
    outcome: paused,
  },
  'precopy with return-path: closed without SHUT after the whole stream': {
    why: 'a destination has all it needs by then, and runs the guest before it says so: here it must not run again',
    outcome: lost,
  },
};

/** Where QEMU waits for ever in postcopy-recover, ours is paused again, and can be recovered anew. */
const staysInRecovery = ({ source_status }: ObservedSource) => source_status === 'postcopy-recover';

function wanted(known: ObservedSource): Record<string, unknown> {
  const { events: _, postcopy_requests: requests, ...compared } = comparableSource(known);
  const outcome: Record<string, unknown> = own[known.case]?.outcome ?? (staysInRecovery(known) ? paused : {});
  // QEMU counts a request before it has looked at all of it; ours only those that it takes.
  const ends = outcome.source_status ?? known.source_status;
  const counted = ends === 'postcopy-paused' ? {} : { postcopy_requests: requests };
  // Between the stop and the last word of a precopy newer QEMUs are in this state, and so are we.
  const isDevice = known.status_before_close === 'active' ? { status_before_close: 'device' } : {};
  return { ...compared, ...counted, ...outcome, ...isDevice };
}

const ranStates = ['STOP', 'RESUME'];
/** States that newer QEMUs have, and 7.2 has not. */
const newerStates = ['MIGRATION=device', 'MIGRATION=postcopy-recover-setup'];

/** The guest's events and the migration's, each in their order. */
function eventsOf(events: readonly string[]) {
  return {
    guest: events.filter((event) => ranStates.includes(event)),
    statuses: events.filter((event) => !ranStates.includes(event) && !newerStates.includes(event)),
  };
}

/** Those of the outcome that is wanted, where it is not QEMU's. */
function wantedEvents(known: ObservedSource) {
  const { guest, statuses } = eventsOf(known.events);
  if (staysInRecovery(known)) return { guest, statuses: [...statuses, 'MIGRATION=postcopy-paused'] };
  const outcome = own[known.case]?.outcome.source_status;
  if (outcome === undefined) return { guest, statuses };
  const open = statuses.filter((status) => !status.endsWith('failed'));
  return { guest: ['STOP'], statuses: [...open, `MIGRATION=${outcome}`] };
}

const tooLate = 'migrate_cancel during postcopy-active';

// Scripted destinations answer no pings, for which the source waits some seconds: all at once.
describe.concurrent('our source', { timeout: 60_000 }, () => {
  test('every case has a script, and every script a case', () => {
    expect(Object.keys(sourceCases).sort()).toEqual(observed.map((known) => known.case).sort());
  });

  test.each(observed.filter(({ case: name }) => name !== tooLate))('$case', async (known) => {
    const { events, ...outcome } = await playToOurSource(machine, sourceCases[known.case]);
    expect(outcome).toMatchObject(wanted(known));
    expect(eventsOf(events)).toEqual(wantedEvents(known));
  });

  test(`${tooLate}: refused, where QEMU accepts it and loses the guest`, async () => {
    await expect(playToOurSource(machine, sourceCases[tooLate])).rejects.toThrow('too late to cancel');
  });
});
