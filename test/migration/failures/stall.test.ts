/** Nothing moves any more, and no end is told that: whoever is asked to end its side is done at once. */
import { describe, expect, test } from 'vitest';
import type { Cut } from '../../../testing/cutting-relay.ts';
import { survives } from '../../../testing/failure-invariants.ts';
import { type Run, type Scenario, scenarios } from '../../../testing/failure-scenarios.ts';

type Moment = Pick<Cut, 'direction' | 'message'> & { readonly scenario: Scenario };

const { 'postcopy after a pass': afterPass, 'postcopy at once': atOnce } = scenarios;

/** Too slow to be through its one pass before the test has cancelled it. */
const slow: Scenario = { ...afterPass, parameters: { maxBandwidth: 64 * 1024 } };
/** So slow after the switch that the guest surely comes to a missing page. */
const slowPages: Scenario = { ...atOnce, parameters: { maxBandwidth: 0, maxPostcopyBandwidth: 64 * 1024 } };

/** While the source may still be cancelled. */
const early: readonly Moment[] = [
  { scenario: slow, direction: 'stream', message: 'header #1' },
  { scenario: slow, direction: 'stream', message: 'ram-blocks #1' },
  { scenario: slow, direction: 'stream', message: 'page #2 of PART ram #1' },
];
const late: readonly Moment[] = [
  { scenario: atOnce, direction: 'stream', message: 'PING of discards #1' },
  { scenario: atOnce, direction: 'stream', message: 'packaged POSTCOPY_RUN #1' },
  { scenario: atOnce, direction: 'stream', message: 'page #1 of PART ram #2' }, // the first section may have one alone
  { scenario: slowPages, direction: 'return path', message: 'REQ_PAGES_ID #1' },
  { scenario: atOnce, direction: 'return path', message: 'SHUT #1' },
];

const stalledAt = ({ direction, message }: Moment): Cut => ({ direction, message, place: 'before', kind: 'stall' });

/** Rejects with why a side failed before, or where both have completed. */
async function stalled({ relay, outgoing, incoming }: Run): Promise<void> {
  const ended = Promise.all([outgoing.finished, incoming.finished]).then(() => {
    throw new Error('the migration completed, and never came to that message');
  });
  ended.catch(() => {}); // also where it ends later
  await Promise.race([relay.broken, ended]);
}

describe.each([...early, ...late])('stalled at $message of the $direction', (moment) => {
  test('the destination is aborted, and then the source finds it gone', async () => {
    await survives(moment.scenario, { cut: stalledAt(moment) }, async (run) => {
      const { relay, incoming } = run;
      await stalled(run);
      incoming.abort();
      await incoming.finished.catch(() => {});
      await relay.close();
    });
  });
});

describe.each(early)('stalled at $message of the $direction', (moment) => {
  test('the source is cancelled, and its guest runs on', async () => {
    const { where, sourceError } = await survives(moment.scenario, { cut: stalledAt(moment) }, async (run) => {
      const { relay, outgoing, incoming } = run;
      await stalled(run);
      outgoing.cancel();
      await outgoing.finished.catch(() => {});
      await relay.close();
      await incoming.finished.catch(() => {});
    });
    expect(where).toBe('source');
    expect(sourceError).toMatchObject({ code: 'CANCELLED' });
  });
});
