/** The worker guest: its life, calls, stops and deaths, its moves, and what it leaves. */
import { afterEach, describe, expect, test } from 'vitest';
import { listen, MigrationError, migrate, WorkerGuest } from '#lib/index.js';
import { native } from '#lib/native.js';
import { thereAndBack } from '#lib/testing/index.js';
import { handleLeaks } from '../../../testing/lib-thread.ts';
import { MadeGuests } from '../../../testing/made-guests.ts';
import { countThreads, isInFault, until } from '../../../testing/native-thread.ts';
import {
  byData,
  ledger,
  numbersOfLedger,
  statesOf,
  stripes,
  stripesKit,
  wordsOf,
  workerProgram,
} from '../../../testing/worker-guests.ts';

const PAGE_WORDS = 1024;
const guests = new MadeGuests(WorkerGuest);

afterEach(() => guests.close());

describe('a life', () => {
  test('begins at the first start, with thread ids of its own', async () => {
    const guest = await guests.create(byData('serve', { vcpus: 2 }));
    expect(guest.running).toBe(false);
    expect(await statesOf(guest)).toEqual(['new', 'new']);
    expect(new Set([...guest.vcpuThreads, native().threadId()]).size).toBe(3);
    await guest.start();
    expect(guest.running).toBe(true);
    expect(await guest.call({ name: 'vcpu' }, 1)).toEqual({ index: 1, count: 2 });
  });

  test('stands still from a stop to a start, and goes on where it was', async () => {
    const guest = await guests.start(byData('checkpoints'));
    await guest.stop();
    expect(guest.running).toBe(false);
    const [first] = (await statesOf(guest)) as [{ turns: number }];
    await guest.stop(); // harmless
    expect(await statesOf(guest)).toEqual([first]);
    await guest.start();
    await guest.start(); // harmless
    for (let turns = first.turns; turns === first.turns; ) {
      await guest.start();
      await guest.stop();
      [{ turns }] = (await statesOf(guest)) as [{ turns: number }];
    }
  });

  test('of a loop that only looks whether it is to stop can be stopped', async () => {
    const guest = await guests.start(byData('loops', { vcpus: 2 }));
    await guest.stop();
    expect(await statesOf(guest)).toEqual([{ looped: true }, { looped: true }]);
  });

  test('that waits for messages is stopped at once, and its timers stand still with it', async () => {
    const guest = await guests.start(byData('timer'));
    await guest.call(undefined);
    await guest.stop();
    const [before] = wordsOf(guest, 0);
    await until('other work is done', () => true);
    expect(wordsOf(guest, 0)[0]).toBe(before);
    await guest.start();
    expect(await guest.call(undefined)).toBeGreaterThanOrEqual(before);
  });

  test('that is over does not keep the guest from being stopped and moved', async () => {
    const guest = await guests.start(byData('returns'));
    await expect(guest.call('anyone?')).rejects.toMatchObject({ code: 'GUEST_FAILED' });
    await guest.stop();
    expect(await statesOf(guest)).toEqual(['halted']);
    const there = await guests.create(byData('returns'));
    await there.loadDeviceState(await guest.saveDeviceState());
    await there.start();
    await expect(there.call('anyone?')).rejects.toThrow('has returned');
  });

  test('has the RAM blocks of its guest, and no others', async () => {
    const guest = await guests.start(byData('serve'));
    expect(await guest.call({ name: 'ram', idstr: 'ram' })).toBe(2 ** 20);
    await expect(guest.call({ name: 'ram', idstr: 'rom' })).rejects.toMatchObject({
      code: 'BAD_ARGUMENT',
      hint: 'its blocks are ram',
    });
  });
});

describe('calls', () => {
  test('are answered in order, also by handlers that give way', async () => {
    const guest = await guests.start(byData('serve'));
    const names = Array.from({ length: 100 }, (_, value) => (value % 7 === 0 ? 'slowly' : 'echo'));
    const order: unknown[] = [];
    await Promise.all(names.map(async (name, value) => order.push(await guest.call({ name, value }))));
    expect(order).toEqual(names.map((_, value) => value));
  });

  test('reject with what the program threw, or could not send, and the others are answered', async () => {
    const guest = await guests.start(byData('serve'));
    const [before, failed, uncloneable, checkpoint, after] = await Promise.allSettled([
      guest.call({ name: 'echo', value: 1 }),
      guest.call({ name: 'fail' }),
      guest.call({ name: 'uncloneable' }),
      guest.call({ name: 'checkpoint' }),
      guest.call({ name: 'echo', value: 2 }),
    ]);
    expect([before, after]).toMatchObject([{ value: 1 }, { value: 2 }]);
    expect(failed).toMatchObject({ reason: { message: 'a mistake' } });
    expect(uncloneable).toMatchObject({ reason: { message: expect.stringContaining('could not be cloned') } });
    expect(checkpoint).toMatchObject({ reason: { message: expect.stringContaining('while a message is handled') } });
  });

  test('with a message that cannot be cloned harm nobody else', async () => {
    const guest = await guests.start(byData('serve'));
    const [good, bad] = await Promise.allSettled([guest.call({ name: 'echo', value: 1 }), guest.call(() => {})]);
    expect([good.status, bad.status]).toEqual(['fulfilled', 'rejected']);
  });

  test('of a vCPU that is not there are BAD_ARGUMENT', async () => {
    const guest = await guests.create(byData('serve'));
    await expect(guest.call('', 1)).rejects.toMatchObject({ code: 'BAD_ARGUMENT' });
  });

  test('wait while the guest is stopped, and are begun once however often it stops', async () => {
    const guest = await guests.create(ledger);
    const answers = Array.from({ length: 2000 }, (_, number) => guest.call(number));
    for (let stops = 0; stops < 20; stops += 1) {
      await guest.start();
      await guest.stop();
    }
    await guest.start();
    const inOrder = answers.map((_, number) => number);
    expect(await Promise.all(answers)).toEqual(inOrder);
    expect(numbersOfLedger(guest, 0, answers.length)).toEqual(inOrder);
  });

  test('that a vCPU was sent but has not begun when it stops are begun once', async () => {
    const guest = await guests.start(byData('serve'));
    const first = guest.call({ name: 'untilStopped' });
    await until('it is handled', () => wordsOf(guest, 0)[1] === 1);
    const sent = guest.call({ name: 'count' });
    await new Promise(setImmediate); // it has gone out, and is not looked at before the stop
    const waiting = guest.call({ name: 'count' });
    await guest.stop();
    await first;
    expect(wordsOf(guest, 0)[0]).toBe(0);
    await guest.start();
    expect(await Promise.all([sent, waiting])).toEqual([1, 2]);
    expect(await guest.call({ name: 'count' })).toBe(3);
  });

  test('that were not begun are given back when the guest has moved', async () => {
    const guest = await guests.start(byData('serve', { vcpus: 2 }));
    await guest.stop();
    const calls = [guest.call('a', 1), guest.call('b', 0), guest.call('c', 1)];
    expect(guest.takeUnanswered()).toEqual([
      { vcpu: 0, message: 'b' },
      { vcpu: 1, message: 'a' },
      { vcpu: 1, message: 'c' },
    ]);
    for (const { status, reason } of (await Promise.allSettled(calls)) as PromiseRejectedResult[]) {
      expect([status, reason.code]).toEqual(['rejected', 'GUEST_MOVED']);
    }
    await expect(guest.call('late', 0)).rejects.toMatchObject({ code: 'GUEST_MOVED' });
    await guest.start(); // it had not moved
    expect(() => guest.takeUnanswered()).toThrow(MigrationError);
    expect(await guest.call({ name: 'vcpu' }, 1)).toEqual({ index: 1, count: 2 });
  });
});

describe('a program that comes to no checkpoint', () => {
  test('is not stopped, says which vCPU, and runs on whole', async () => {
    const guest = await guests.start(byData('neverStops', { vcpus: 2, stopTimeoutMs: 20 }));
    await expect(guest.stop()).rejects.toMatchObject({
      code: 'GUEST_FAILED',
      message: expect.stringContaining('vCPUs 0, 1 of the guest reached no checkpoint within 20 ms'),
    });
    expect(guest.running).toBe(true);
  });

  test('is waited for by a start', async () => {
    const guest = await guests.start(byData('checkpoints'));
    const stopping = guest.stop();
    await Promise.all([stopping, guest.start()]);
    expect(guest.running).toBe(true);
  });

  test('fails its migration, and runs on at the source', async () => {
    const guest = await guests.start(byData('neverStops', { stopTimeoutMs: 20 }));
    const there = await guests.create(byData('neverStops'));
    const { outgoing } = await move(guest, there);
    await expect(outgoing.finished).rejects.toMatchObject({ code: 'GUEST_FAILED' });
    expect(outgoing.handedOver).toBe(false);
    expect(guest.running).toBe(true);
  });
});

describe('a state that cannot be saved', () => {
  test.each(['unsaveable', 'huge'])('(%s) fails the migration, and the guest runs on at the source', async (life) => {
    const guest = await guests.start(byData(life));
    const there = await guests.create(byData(life));
    const { outgoing } = await move(guest, there);
    await expect(outgoing.finished).rejects.toMatchObject({ code: 'GUEST_FAILED' });
    expect(outgoing.handedOver).toBe(false);
    expect(guest.running).toBe(true);
    expect(there.running).toBe(false);
  });
});

describe('a program that ends by its own fault', () => {
  test.each([
    ['throws', 'had enough'],
    ['rejects', 'left alone'],
    ['throwsLater', 'out of the blue'],
    ['exits', 'ended with code 3'],
    ['outOfMemory', 'memory limit'],
  ])('(%s) has died, is not moved, and the process lives', async (life, words) => {
    const guest = await guests.start(byData(life, { resourceLimits: { maxOldGenerationSizeMb: 16 } }));
    const call = guest.call('anyone?').catch((error) => error);
    const reason = await guest.died;
    expect(reason).toMatchObject({ code: 'GUEST_FAILED', message: expect.stringContaining(words) });
    expect(await call).toBe(reason);
    await guest.stop();
    await expect(guest.saveDeviceState()).rejects.toBe(reason);
    await expect(guest.start()).rejects.toBe(reason);
    await expect(guest.call('anyone?')).rejects.toBe(reason);
  });

  test('in a message has answered those before', async () => {
    const guest = await guests.start(byData('serve'));
    expect(await guest.call({ name: 'echo', value: 1 })).toBe(1);
    await expect(guest.call({ name: 'exit' })).rejects.toMatchObject({ code: 'GUEST_FAILED' });
  });

  test('in its setup makes no guest, and leaves nothing', async () => {
    const leaks = handleLeaks();
    await expect(WorkerGuest.create(byData('', { data: { setup: 'throws' } }))).rejects.toThrow('no setup today');
    expect(leaks()).toEqual({});
  });

  test('by not being one makes no guest', async () => {
    await expect(WorkerGuest.create(byData('', { program: new URL(import.meta.url) }))).rejects.toThrow();
    await expect(WorkerGuest.create(byData('', { program: workerProgram('missing') }))).rejects.toThrow('missing.mjs');
  });
});

describe('settings', () => {
  test.each([
    { vcpus: 0 },
    { vcpus: 65 },
    { stopTimeoutMs: -1 },
    { stopTimeoutMs: Number.NaN },
    { blocks: [] },
    { blocks: [{ idstr: 'ram', size: 2 ** 53 }] },
    {
      blocks: [
        { idstr: 'twice', size: 4096 },
        { idstr: 'twice', size: 4096 },
      ],
    },
  ])('that cannot be (%j) are BAD_ARGUMENT', async (wrong) => {
    const leaks = handleLeaks();
    await expect(WorkerGuest.create(byData('serve', wrong))).rejects.toMatchObject({ code: 'BAD_ARGUMENT' });
    expect(leaks()).toEqual({});
  });
});

describe('a device state', () => {
  async function stateOf(guest: WorkerGuest): Promise<Uint8Array> {
    await guest.start();
    await guest.stop();
    return guest.saveDeviceState();
  }

  test.each([
    ['another program', 'program "ledger"', ledger],
    ['more vCPUs', '2 vCPUs', byData('serve', { vcpus: 2 })],
    ['other RAM', 'RAM ram of 8192 bytes', byData('serve', { blocks: [{ idstr: 'ram', size: 8192 }] })],
  ])('of %s is refused with what differs', async (_what, there, settings) => {
    const state = await stateOf(await guests.create(settings));
    const guest = await guests.create(byData('serve'));
    await expect(guest.loadDeviceState(state)).rejects.toMatchObject({
      code: 'GUEST_MISMATCH',
      message: expect.stringContaining(`comes with ${there}`),
    });
    const source = await guests.create(settings);
    expect(() => source.requireFits(structuredClone(guest.shape))).toThrow(`comes with ${there}`);
    expect(() => source.requireFits(structuredClone(source.shape))).not.toThrow();
  });

  test('is not that of a guest that runs', async () => {
    const guest = await guests.start(byData('serve'));
    await expect(guest.saveDeviceState()).rejects.toMatchObject({ code: 'GUEST_FAILED' });
  });

  test('that V8 cannot read is refused, and the guest still takes a good one', async () => {
    const state = await stateOf(await guests.create(byData('checkpoints')));
    const guest = await guests.create(byData('checkpoints'));
    const damaged = state.slice();
    damaged.fill(0xff, damaged.length - 8);
    await expect(guest.loadDeviceState(damaged)).rejects.toMatchObject({
      code: 'GUEST_FAILED',
      message: expect.stringContaining("the state of vCPU 0 can't be read"),
    });
    await guest.loadDeviceState(state);
    expect(await guest.saveDeviceState()).toEqual(state); // also of one that was never started
    await guest.start();
  });

  test('is not taken by a guest that has run', async () => {
    const guest = await guests.create(byData('serve'));
    const state = await stateOf(guest);
    await expect(guest.loadDeviceState(state)).rejects.toThrow('has run already');
  });
});

async function move(guest: WorkerGuest, there: WorkerGuest, passes = 0) {
  const capabilities = { postcopyRam: true };
  const incoming = await listen('tcp:127.0.0.1:0', { guest: there, capabilities });
  const outgoing = await migrate(guest, incoming.uri, {
    capabilities,
    parameters: { maxBandwidth: 0 },
    postcopyAfterPasses: passes,
  });
  return { incoming, outgoing };
}

describe('moves', () => {
  test('there and back ten times, of two vCPUs over two blocks, with real faults', async () => {
    const moves = await thereAndBack(stripesKit, { precopyPasses: 0, times: 10 });
    expect(moves).toHaveLength(20);
    const faults = moves.map(({ incoming }) => incoming.faults.count);
    expect(Math.max(...faults)).toBeGreaterThan(0);
    expect(faults.filter((count) => count > 0).length).toBeGreaterThan(moves.length / 2);
  });

  test('a check of the stripes finds a page that is not what it must be', async () => {
    const guest = await guests.start(stripes);
    await guest.stop();
    wordsOf(guest, 1)[PAGE_WORDS] += 1;
    await expect(stripesKit.verify(guest)).rejects.toThrow('page 1 holds');
  });

  test('while it is called lose no answered call, and begin none twice', async () => {
    let guest = await guests.start(ledger);
    let hasMoved = Promise.resolve();
    let calling = true;
    /** Sends numbers to a vCPU, some at a time; as many as were answered, in the order of their pages. */
    async function client(vcpu: number): Promise<number> {
      let next = 0;
      const one = async (number: number): Promise<void> => {
        try {
          expect(await guest.call(number, vcpu)).toBe(number);
        } catch (error) {
          expect(error).toMatchObject({ code: 'GUEST_MOVED' });
          await hasMoved;
          expect(await guest.call(number, vcpu)).toBe(number);
        }
      };
      while (calling) {
        await Promise.all(Array.from({ length: 4 }, () => one(next++)));
      }
      return next;
    }
    const clients = Promise.all([client(0), client(1)]);
    for (const passes of [0, 1, 0, 1]) {
      const there = await guests.create(ledger);
      const { incoming, outgoing } = await move(guest, there, passes);
      await outgoing.startPostcopy();
      const gone = guest;
      guest = there;
      gone.takeUnanswered();
      hasMoved = Promise.all([outgoing.finished, incoming.finished]).then(() => {});
      await hasMoved;
      gone.close();
    }
    calling = false;
    const counts = await clients;
    for (const [vcpu, count] of counts.entries()) {
      expect(count).toBeGreaterThan(0);
      expect(numbersOfLedger(guest, vcpu, count)).toEqual(Array.from({ length: count }, (_, number) => number));
    }
  });
});

describe('its end', () => {
  test('leaves no handle and no thread', async () => {
    const leaks = handleLeaks();
    const guest = await WorkerGuest.create(byData('checkpoints', { vcpus: 2 }));
    await guest.start();
    const call = guest.call('too late').catch((error) => error);
    guest.close();
    guest.close(); // harmless
    expect(await call).toMatchObject({ message: 'the worker guest was closed' });
    expect(leaks()).toEqual({});
    await until('its threads are gone', () => countThreads('worker-vcpu/') === 0);
    await expect(guest.start()).rejects.toThrow('was closed');
  });

  test('does not wait for a vCPU in a page fault, which ends when its page has come', async () => {
    const { constants, ...n } = native();
    const guest = await WorkerGuest.create(byData('serve'));
    const [{ handle, size }] = guest.ramBlocks;
    const uffd = n.userfaultfdOpen('syscall', 0n).handle;
    n.userfaultfdRegister(uffd, handle, 0, size, constants.UFFDIO_REGISTER_MODE_MISSING);
    await guest.start();
    const word = guest.call({ name: 'readWord', at: 5 * PAGE_WORDS });
    await until('it waits for a page', () => isInFault('worker-vcpu/0'));
    guest.close();
    await expect(word).rejects.toThrow('was closed');
    expect(isInFault('worker-vcpu/0')).toBe(true);
    n.userfaultfdClose(uffd);
    await until('its thread is gone', () => countThreads('worker-vcpu/') === 0);
  });

  test('comes for a stop that waits for it, too', async () => {
    const guest = await guests.start(byData('neverStops'));
    const stopping = guest.stop();
    guest.close();
    await stopping;
  });
});
