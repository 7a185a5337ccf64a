/** How a guest fails: what it threw, that it took too long, that it died. */
import { describe, expect, test } from 'vitest';
import type { Guest } from '#lib/index.js';
import { guestFailed, requireAlive, watchForDeath, withinLimit } from '#lib/memory/guest-failure.js';

/** Everything that is due has happened. */
const settled = () => new Promise(setImmediate);
const never = new Promise<never>(() => {});
const guestThat = (died?: Promise<Error>) => ({ died }) as Guest;

test('what it threw is told, an Error or not', () => {
  expect(guestFailed('stop', new Error('no'))).toMatchObject({
    code: 'GUEST_FAILED',
    message: 'the guest failed to stop: no',
  });
  expect(guestFailed('stop', 'no').message).toBe('the guest failed to stop: no');
});

describe('a limit', () => {
  test('past it, what it did not do is told, and how to give it longer', async () => {
    await expect(withinLimit('stop', never, 10)).rejects.toMatchObject({
      code: 'GUEST_FAILED',
      message: 'the guest did not stop within 0.01 s',
      hint: expect.stringContaining('guestTimeoutMs'),
    });
  });

  test.each([0, 10_000])('of %i ms changes nothing about an answer', async (limitMs) => {
    await expect(withinLimit('stop', Promise.resolve(7), limitMs)).resolves.toBe(7);
    await expect(withinLimit('stop', Promise.reject(new Error('no')), limitMs)).rejects.toThrow('no');
  });

  test('counts from when it is told to', async () => {
    let begin = () => {};
    const counts = new Promise<void>((resolve) => {
      begin = resolve;
    });
    let isOver = false;
    const limited = withinLimit('load', never, 1, counts).catch(() => {
      isOver = true;
    });
    // Longer than the limit by far, in turns of the event loop: a timer of 1 ms would be due in one of them.
    const endMs = performance.now() + 30;
    while (performance.now() < endMs) await settled();
    expect(isOver).toBe(false);
    begin();
    await limited;
    expect(isOver).toBe(true);
  });

  test('an answer before it begins to count ends it', async () => {
    await expect(withinLimit('load', Promise.resolve(7), 1, Promise.resolve())).resolves.toBe(7);
    await expect(withinLimit('load', Promise.resolve(7), 1, never)).resolves.toBe(7);
  });
});

describe('a death', () => {
  test('is told to whoever watches, and to nobody who has ceased to', async () => {
    const told: string[] = [];
    let die: (reason: Error) => void = () => {};
    const guest = guestThat(
      new Promise((resolve) => {
        die = resolve;
      }),
    );
    watchForDeath(guest, ({ message }) => told.push(message));
    watchForDeath(guest, () => told.push('too late'))();
    die(new Error('vCPU 0 shut down'));
    await settled();
    expect(told).toEqual(['the guest died: vCPU 0 shut down']);
  });

  test('that is told by rejecting is one too', async () => {
    const told: string[] = [];
    watchForDeath(guestThat(Promise.reject(new Error('gone'))), ({ message }) => told.push(message));
    await settled();
    expect(told).toEqual(['the guest died: gone']);
  });

  test('is looked for in a guest that is given', async () => {
    await requireAlive(guestThat());
    await requireAlive(guestThat(never));
    await expect(requireAlive(guestThat(Promise.resolve(new Error('gone'))))).rejects.toMatchObject({
      code: 'GUEST_FAILED',
      message: 'the guest died: gone',
    });
    await expect(requireAlive(guestThat(Promise.reject(new Error('gone'))))).rejects.toThrow('the guest died: gone');
  });
});
