/**
 * Each case of observed-destination.json played to the QEMU of this machine: our encoders against its decoder, and
 * the file against the truth. What our own destination makes of them is held against the same file.
 */
import { describe, expect, test } from 'vitest';
import { type DestinationOutcome, playToQemu } from '../../testing/qemu/captured-destination.ts';
import { CapturedMachine } from '../../testing/qemu/captured-machine.ts';
import { destinationCases } from '../../testing/qemu/destination-cases.ts';
import { observedDestinations as observed } from '../../testing/qemu/observed.ts';

const machine = new CapturedMachine('a-precopy');

const EXITED = 'process exited';

/** Cases whose outcome is a race between two of QEMU's threads: what else was seen of them on the same QEMU. */
const races: Readonly<Record<string, string>> = {
  // A bad record ends the process before RUN has been carried out, and pauses the migration afterwards.
  'postcopy: the same page twice, at once after the package (device load may still run)': EXITED,
  'postcopy: XBZRLE record after RUN': 'postcopy-paused',
};

/**
 * Two of QEMU's threads read the same stream here: it crashes, or does the right thing, or both wait for ever. There
 * is no outcome to hold it to; what our own destination makes of it is settled (test/migration/odd-sources.test.ts).
 */
const LOTTERY = 'postcopy: LISTEN and devices and RUN sent unpackaged';

/**
 * Without what depends on the timing of QEMU's threads: the order of pongs and of RESUME among the events, and
 * with which status it exits, as one that exits while its listen thread runs may crash on the way.
 */
function comparable({ destination, events, return_path: answers, ...rest }: DestinationOutcome) {
  return {
    ...rest,
    destination: destination.replace(/^process exited, .*/, EXITED),
    statuses: events?.filter((event) => event !== 'RESUME'),
    resumed: events?.includes('RESUME'),
    answers: Object.fromEntries(
      Object.entries(answers).map(([kind, values]) => [kind, typeof values === 'string' ? values : [...values].sort()]),
    ),
  };
}

/** Answers that came and are not among the known ones. */
function missingFrom(known: ReturnType<typeof comparable>['answers'], came: ReturnType<typeof comparable>['answers']) {
  return Object.entries(came).flatMap(([kind, values]) =>
    [...values].filter((value) => !(known[kind] ?? []).includes(value as never)).map((value) => `${kind} ${value}`),
  );
}

describe('a QEMU destination', { timeout: 180_000 }, () => {
  test('every case has a script, and every script a case', () => {
    expect(Object.keys(destinationCases).sort()).toEqual(observed.map(({ case: name }) => name).sort());
  });

  test.each(observed.filter(({ case: name }) => name !== LOTTERY))(
    '$case',
    async ({ case: name, stderr_lines: _, send_error: __, ...known }) => {
      const outcome = comparable(await playToQemu(machine, destinationCases[name], known.destination));
      if (outcome.destination === races[name]) return;
      const { answers, ...rest } = comparable(known);
      expect(outcome).toMatchObject(rest);
      // A process that exits for what one thread finds has mostly, not always, said what another was to say by then.
      if (outcome.destination !== EXITED) expect(outcome.answers).toEqual(answers);
      else expect(missingFrom(answers, outcome.answers)).toEqual([]);
    },
  );
});
