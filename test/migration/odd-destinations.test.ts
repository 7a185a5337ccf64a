/**
 * Each case of observed-source.json, which tells what a real QEMU does with destinations that are odd or break the
 * protocol, played to our own source: what becomes of it is what becomes of QEMU, or stands here with the reason.
 */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { playToOurSource } from '../../testing/our-source.ts';
import { CapturedMachine } from '../../testing/qemu/captured-machine.ts';
import type { SourceOutcome } from '../../testing/qemu/captured-source.ts';
import { sourceCases } from '../../testing/qemu/source-cases.ts';

type Observed = SourceOutcome & {
  readonly case: string;
  readonly pages_around_the_request?: readonly string[];
  readonly [key: string]: unknown;
};

const file = new URL('../fixtures/observed-source.json', import.meta.url);
const observed = JSON.parse(readFileSync(file, 'utf8')) as Observed[];
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
const pauses = ({ source_status }: Observed) => source_status === 'postcopy-paused';
const RECOVERY = 'recovery: ';

/** What depends on how fast the machine was, what is QEMU's own, and what is looked at in another way. */
const notCompared = ['case', 'events', 'position_of_first_requested', 'checks_failed', 'pages_around_the_request'];

function wanted(known: Observed): Record<string, unknown> {
  const { pages_around_the_request: around, ...rest } = known;
  const compared = Object.fromEntries(Object.entries(rest).filter(([key]) => !notCompared.includes(key)));
  const outcome = own[known.case]?.outcome ?? (pauses(known) ? lostInPostcopy : {});
  const after = around === undefined ? {} : { pages_after_the_request: around.slice(around.indexOf('0x700')) };
  const { status_before_close: before } = known;
  // Between the stop and the last word of a precopy newer QEMUs are in this state, and so are we.
  const isDevice = before === 'active' ? { status_before_close: 'device' } : {};
  return { ...compared, ...outcome, ...after, ...isDevice };
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
function wantedEvents(known: Observed) {
  const { guest, statuses } = eventsOf(known.events);
  if (own[known.case] === undefined && !pauses(known)) return { guest, statuses };
  const open = statuses.filter((status) => !/paused|failed/.test(status));
  return { guest: ['STOP'], statuses: [...open, 'MIGRATION=failed'] };
}

const tooLate = 'migrate_cancel during postcopy-active';

// Scripted destinations answer no pings, for which the source waits some seconds: all at once.
describe.concurrent('our source', { timeout: 60_000 }, () => {
  test('every case is played, but for those of a recovery, which this source does not do yet', () => {
    const played = Object.keys(sourceCases);
    expect(played.sort()).toEqual(observed.map((known) => known.case).sort());
    expect(played.filter((name) => name.startsWith(RECOVERY))).toHaveLength(6);
  });

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
