/** A guest that refuses, or never answers, at either side; and a connection that stalls. */
import { describe, expect, test } from 'vitest';
import type { MigrationError } from '#lib/errors.js';
import { survives } from '../../../testing/failure-invariants.ts';
import { type Run, type Scenario, scenarios } from '../../../testing/failure-scenarios.ts';
import type { GuestCall } from '../../../testing/observed-guest.ts';

const ways: readonly Scenario[] = [scenarios['precopy with return path'], scenarios['postcopy at once']];

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

  test.each<GuestCall>(['stop', 'save'])('the guest at the source never answers to %s', async (call) => {
    const { where } = await survives(scenario, { guestAtSource: [{ call, how: 'hangs' }] }, endIt);
    expect(where).toBe(call === 'stop' ? 'source' : 'paused');
  });

  test.each<GuestCall>(['load', 'start'])('the guest at the destination never answers to %s', async (call) => {
    await survives(scenario, { guestAtDestination: [{ call, how: 'hangs' }] }, async (run) => {
      await run.target.hangs;
      run.incoming.abort();
    });
  });
});
