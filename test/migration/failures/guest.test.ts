/** A guest that refuses, does not answer in time, never answers, or dies, at either side. */
import { describe, expect, test } from 'vitest';
import type { MigrationError } from '#lib/errors.js';
import { survives } from '../../../testing/failure-invariants.ts';
import { type Run, type Scenario, scenarios } from '../../../testing/failure-scenarios.ts';
import { until } from '../../../testing/native-thread.ts';
import type { GuestCall } from '../../../testing/observed-guest.ts';

const {
  'precopy with return path': precopy,
  'postcopy after a pass': afterPass,
  'postcopy at once': atOnce,
} = scenarios;
const ways: readonly Scenario[] = [precopy, atOnce];
/** Too slow to be through its one pass before the test has done what it wants to. */
const slow: Scenario = { ...afterPass, parameters: { maxBandwidth: 64 * 1024 } };
/** So slow after the switch that the guest surely comes to a missing page. */
const slowPages: Scenario = { ...atOnce, parameters: { maxBandwidth: 0, maxPostcopyBandwidth: 64 * 1024 } };
/** Milliseconds that a guest may take which never answers: long enough for one that does. */
const guestTimeoutMs = 500;
const DIED = 'the guest died: vCPU 0 shut down';

/** Cancelled, and where it is too late for that, the destination aborted, once the guest has been asked. */
const endIt = async ({ outgoing, incoming, source, target }: Run): Promise<void> => {
  await Promise.race([source.hangs, target.hangs]);
  if (!outgoing.cancel()) incoming.abort();
};

describe.each(ways)('$name', (scenario) => {
  test.each<GuestCall>(['stop', 'save'])('the guest at the source refuses to %s', async (call) => {
    const { where, sourceError } = await survives(scenario, { guestAtSource: [{ call, how: 'throws' }] });
    expect(where).toBe('source');
    expect(sourceError).toMatchObject({ code: 'GUEST_FAILED' });
    expect(sourceError?.message).toContain(`the guest refuses to ${call}`);
  });

  test('the guest at the source refuses to be saved, and then to start again', async () => {
    const { where, sourceError } = await survives(scenario, {
      guestAtSource: [
        { call: 'save', how: 'throws' },
        { call: 'start', how: 'throws' },
      ],
    });
    expect(where).toBe('paused');
    expect(sourceError?.message).toContain('the guest refuses to save');
    expect(sourceError?.message).toContain('the guest refuses to start');
  });

  test.each<GuestCall>(['load', 'start'])('the guest at the destination refuses to %s', async (call) => {
    const { destinationError, sourceError } = await survives(scenario, {
      guestAtDestination: [{ call, how: 'throws' }],
    });
    expect(destinationError).toMatchObject({ code: 'GUEST_FAILED' });
    expect(destinationError?.message).toContain(`the guest refuses to ${call}`);
    expect((sourceError as MigrationError).code).toBe('PEER_FAILED');
  });

  test.each<GuestCall>(['stop', 'save'])(
    'the guest at the source never answers to %s, and is cancelled',
    async (call) => {
      const { where } = await survives(scenario, { guestAtSource: [{ call, how: 'hangs' }] }, endIt);
      expect(where).toBe(call === 'stop' ? 'source' : 'paused');
    },
  );

  test.each<[GuestCall, string]>([
    ['stop', 'the guest did not stop within 0.5 s'],
    ['save', 'the guest did not save its device state within 0.5 s'],
  ])('the guest at the source does not %s in time, and runs on when it has', async (call, message) => {
    const faults = { guestAtSource: [{ call, how: 'hangs' }], guestTimeoutMs } as const;
    const { where, sourceError, warnings } = await survives(scenario, faults, async ({ outgoing, source }) => {
      await outgoing.finished.catch(() => {});
      expect(source.running).toBe(call === 'stop');
      const isStopped = call === 'stop' ? source.stopped : Promise.resolve();
      source.answer();
      await isStopped;
      await until('it runs on', () => source.running);
    });
    expect(where).toBe('source');
    expect(sourceError).toMatchObject({ code: 'GUEST_FAILED', message });
    expect(warnings).toEqual([]);
  });

  test.each<GuestCall>(['stop', 'save'])('the guest at the source dies when it is to %s', async (call) => {
    const { where, sourceError, destinationError } = await survives(
      scenario,
      { guestAtSource: [{ call, how: 'dies' }] },
      async ({ outgoing, source }) => {
        await outgoing.finished.catch(() => {});
        await source.stress.stop(); // as the dead are
      },
    );
    expect(where).toBe('paused');
    expect(sourceError).toMatchObject({ code: 'GUEST_FAILED', message: DIED });
    expect(destinationError).toMatchObject({ code: 'PEER_GONE' });
  });

  test.each<GuestCall>(['load', 'start'])('the guest at the destination never answers to %s', async (call) => {
    await survives(scenario, { guestAtDestination: [{ call, how: 'hangs' }] }, async (run) => {
      await run.target.hangs;
      run.incoming.abort();
    });
  });

  test.each<GuestCall>(['load', 'start'])('the guest at the destination dies when it is to %s', async (call) => {
    const faults = { guestAtDestination: [{ call, how: 'dies' }] } as const;
    const { where, sourceError, destinationError } = await survives(scenario, faults);
    // Started, it may have run in postcopy; in a precopy it is asked first whether it starts.
    expect(where).toBe(scenario === precopy || call === 'load' ? 'source' : 'lost');
    expect(destinationError).toMatchObject({ code: 'GUEST_FAILED', message: DIED });
    expect(sourceError).toMatchObject({ code: 'PEER_FAILED' });
  });
});

describe('the guest at the destination does not answer in time', () => {
  test('to its device state, at the end of a precopy: it runs on at the source', async () => {
    const faults = { guestAtDestination: [{ call: 'load', how: 'hangs' }], guestTimeoutMs } as const;
    const { where, sourceError, destinationError } = await survives(precopy, faults);
    expect(where).toBe('source');
    expect(destinationError).toMatchObject({
      code: 'GUEST_FAILED',
      message: 'the guest did not take over its device state within 0.5 s',
    });
    expect(sourceError).toMatchObject({ code: 'PEER_FAILED' });
  });

  test('to its start, at the end of a precopy: as it may start yet, the source must not run it', async () => {
    const faults = { guestAtDestination: [{ call: 'start', how: 'hangs' }], guestTimeoutMs } as const;
    const { where, sourceError, destinationError } = await survives(precopy, faults, async ({ incoming, target }) => {
      await incoming.finished.catch(() => {});
      target.answer();
      await until('it starts all the same', () => target.running);
      await target.stress.stop();
    });
    expect(where).toBe('lost');
    expect(destinationError?.message).toBe('the guest did not start within 0.5 s');
    expect(sourceError).toMatchObject({ code: 'PEER_GONE' });
  });

  test.each<GuestCall>(['load', 'start'])(
    'to its %s in postcopy: its time counts once all pages are here',
    async (call) => {
      let missing = Number.NaN;
      const faults = { guestAtDestination: [{ call, how: 'hangs' }], guestTimeoutAtDestinationMs: 1 } as const;
      const { where, destinationError } = await survives(atOnce, faults, async ({ incoming }) => {
        await incoming.finished.catch(() => {});
        missing = incoming.info().lost?.missingPages ?? Number.NaN;
      });
      // Before it has loaded its state the source has not let go of it; that is looked at when both have ended.
      expect(where).toBe(call === 'start' ? 'lost' : 'source');
      expect(missing).toBe(call === 'start' ? 0 : Number.NaN);
      expect(destinationError).toMatchObject({
        code: 'GUEST_FAILED',
        message: expect.stringMatching(/did not (take over its device state|start) within 0.001 s/),
      });
    },
  );
});

describe('the guest dies', () => {
  test('at the source, in the precopy: at once it has failed, and is not started again', async () => {
    const { where, sourceError, destinationError } = await survives(
      slow,
      { guestAtSource: [] },
      async ({ outgoing, source }) => {
        await until('pages are sent', () => outgoing.status === 'active');
        source.die();
        await outgoing.finished.catch(() => {});
        expect(outgoing.status).toBe('failed');
        await source.stress.stop();
      },
    );
    expect(where).toBe('paused');
    expect(sourceError).toMatchObject({ code: 'GUEST_FAILED', message: DIED });
    expect(destinationError).toMatchObject({ code: 'PEER_GONE' });
  });

  test('at the source, once it was handed over: nothing comes of it', async () => {
    const { where } = await survives(slowPages, {}, async ({ incoming, source }) => {
      await until('it runs at the destination', () => incoming.status === 'postcopy-active');
      source.die();
    });
    expect(where).toBe('destination');
  });

  test('at the destination, while it is empty: the source is told, and keeps it', async () => {
    const { where, sourceError, destinationError } = await survives(
      slow,
      {},
      async ({ incoming, target, outgoing }) => {
        await until('pages come', () => incoming.guest !== undefined && outgoing.status === 'active');
        target.die();
      },
    );
    expect(where).toBe('source');
    expect(destinationError).toMatchObject({ code: 'GUEST_FAILED', message: DIED });
    expect(sourceError).toMatchObject({ code: 'PEER_FAILED' });
  });

  test('at the destination, where it waits for a page: its memory comes whole all the same', async () => {
    const { where, sourceError, destinationError } = await survives(slowPages, {}, async ({ incoming, target }) => {
      await until('it runs', () => incoming.status === 'postcopy-active');
      await until('it has come to a missing page', () => incoming.info().faults.count > 0);
      target.die();
      await until('that is told', () => incoming.info().guestDied !== undefined);
      await incoming.finished.catch(() => {});
      expect(incoming.info()).toMatchObject({
        status: 'failed',
        guestDied: DIED,
        lost: { missingPages: 0, hasRun: true },
      });
      await target.stress.stop();
      const { lostPages, tornPages, stalePages, lostWrites } = await target.stress.verify();
      expect({ lostPages, tornPages, stalePages, lostWrites }).toEqual({
        lostPages: 0,
        tornPages: 0,
        stalePages: 0,
        lostWrites: 0,
      });
    });
    expect(where).toBe('lost');
    expect(sourceError).toBeUndefined();
    expect(destinationError).toMatchObject({
      code: 'GUEST_FAILED',
      message: `${DIED}, here at the destination; its memory is whole`,
    });
  });
});
