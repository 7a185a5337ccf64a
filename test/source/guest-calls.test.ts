/** What is asked of a guest: its errors with a code, and calls that never come back or come back too late. */
import { describe, expect, test } from 'vitest';
import { MigrationError } from '#lib/errors.js';
import type { Guest } from '#lib/index.js';
import { RAMBlock } from '#lib/memory/ram-block.js';
import { GuestCalls } from '#lib/source/guest-calls.js';

/** A guest of no memory that does what the test says when it is asked. */
class AskedGuest implements Guest {
  ramBlocks: readonly RAMBlock[] = [];
  running = true;
  readonly asked: string[] = [];
  doing: Partial<Record<'start' | 'stop' | 'save', () => Promise<void>>> = {};
  throttle?: (percent: number) => void;

  async start(): Promise<void> {
    this.asked.push('start');
    await this.doing.start?.();
    this.running = true;
  }

  async stop(): Promise<void> {
    this.asked.push('stop');
    await this.doing.stop?.();
    this.running = false;
  }

  async saveDeviceState(): Promise<Uint8Array> {
    this.asked.push('save');
    await this.doing.save?.();
    return Uint8Array.of(7);
  }

  async loadDeviceState(): Promise<void> {}

  die: (reason: Error) => void = () => {};
  readonly died = new Promise<Error>((resolve) => {
    this.die = resolve;
  });
}

function rig({ limitMs = 0, guest = new AskedGuest() } = {}) {
  const late: Error[] = [];
  const deaths: Error[] = [];
  const calls = new GuestCalls(guest, {
    limitMs,
    onDeath: (death) => deaths.push(death),
    onLateFailure: (error) => late.push(error),
  });
  return { guest, late, deaths, calls };
}

/** A promise and what settles it. */
function settleable() {
  let resolve = (): void => {};
  let reject = (_reason: Error): void => {};
  const promise = new Promise<void>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
}

const refuse = (message: string) => async () => {
  throw Object.assign(new Error(message), { code: 'EWHATEVER' });
};
/** Everything that is due has happened. */
const settled = () => new Promise(setImmediate);

describe('a guest that does as it is asked', () => {
  test('is stopped, saved, and runs on', async () => {
    const { guest, calls } = rig();
    expect(await calls.stop()).toBe(true);
    expect(calls.isStopped).toBe(true);
    expect([...(await calls.save())]).toEqual([7]);
    await calls.resume();
    expect(calls.isStopped).toBe(false);
    expect(guest.asked).toEqual(['stop', 'save', 'start']);
  });

  test('is not saved by one migration and started by another', async () => {
    const { guest, calls } = rig();
    await calls.stop();
    guest.doing.save = () => guest.start();
    await expect(calls.save()).rejects.toMatchObject({
      code: 'GUEST_FAILED',
      message: expect.stringContaining('it was started meanwhile'),
    });
  });

  test('does not run on if it did not run, or was never stopped', async () => {
    const { guest, calls } = rig();
    await calls.resume();
    guest.running = false;
    expect(await calls.stop()).toBe(false);
    await calls.resume();
    expect(guest.asked).toEqual(['stop']);
  });

  test('is held back as long as it runs here', async () => {
    const { guest, calls } = rig();
    const percents: number[] = [];
    guest.throttle = (percent) => percents.push(percent);
    calls.throttle(20);
    calls.throttle(20);
    calls.throttle(30);
    expect(calls.throttlePercent).toBe(30);
    await calls.stop();
    expect(calls.throttlePercent).toBe(0);
    expect(percents).toEqual([20, 30, 0]);
  });
});

describe('a guest whose RAM is other blocks than are being sent', () => {
  const block = (size: number) => RAMBlock.create({ idstr: 'ram', size });

  test('fails at its stop, by what has changed, and runs on', async () => {
    using before = block(4096);
    using after = block(8192);
    const guest = new AskedGuest();
    for (const [now, what] of [
      [[after], 'block ram has 8192 bytes now and had 4096'],
      [[], 'block ram is gone'],
    ] as const) {
      guest.ramBlocks = [before];
      const { calls } = rig({ guest });
      guest.ramBlocks = now;
      const message = `the guest changed its RAM while it was migrated: ${what}`;
      await expect(calls.stop()).rejects.toMatchObject({ code: 'GUEST_FAILED', message });
      await calls.resume();
      expect(guest.running).toBe(true);
    }
  });

  test('is as it was where the blocks are the same in another list', async () => {
    using same = block(4096);
    const guest = new AskedGuest();
    guest.ramBlocks = [same];
    const { calls } = rig({ guest });
    guest.ramBlocks = [RAMBlock.attach(same.descriptor)];
    expect(await calls.stop()).toBe(true);
  });
});

describe('what a guest throws is GUEST_FAILED with its message', () => {
  test.each([
    ['stop', 'the guest failed to stop: no', (calls: GuestCalls) => calls.stop()],
    ['save', 'the guest failed to save its device state: no', (calls: GuestCalls) => calls.save()],
  ] as const)('%s', async (what, message, ask) => {
    const { guest, calls } = rig();
    guest.doing[what] = refuse('no');
    await expect(ask(calls)).rejects.toMatchObject({ code: 'GUEST_FAILED', message });
  });

  test('start', async () => {
    const { guest, calls } = rig();
    await calls.stop();
    guest.doing.start = refuse('no');
    const message = 'the guest failed to start again at the source: no';
    await expect(calls.resume()).rejects.toMatchObject({ code: 'GUEST_FAILED', message });
  });

  test('throttle', () => {
    const { guest, calls } = rig();
    guest.throttle = () => {
      throw new Error('no');
    };
    expect(() => calls.throttle(20)).toThrow(expect.objectContaining({ code: 'GUEST_FAILED' }));
  });
});

test('a guest that fails to stop and still runs is not started; one that stood still by then is', async () => {
  const { guest, calls } = rig();
  guest.doing.stop = refuse('no');
  await expect(calls.stop()).rejects.toThrow('no');
  await calls.resume();
  expect(guest.asked).toEqual(['stop']);
  guest.doing.stop = async () => {
    guest.running = false;
    throw new Error('half done');
  };
  await expect(calls.stop()).rejects.toThrow('half done');
  await calls.resume();
  expect(guest.asked).toEqual(['stop', 'stop', 'start']);
});

describe('abandoned', () => {
  const reason = new MigrationError('CANCELLED', 'the migration was cancelled');

  test('while it stops: nobody waits, and it starts again once it has stopped', async () => {
    const { guest, calls } = rig();
    const stopping = settleable();
    guest.doing.stop = () => stopping.promise;
    const stopped = calls.stop();
    calls.abandon(reason);
    await expect(stopped).rejects.toMatchObject({ code: 'CANCELLED' });
    await calls.resume();
    expect(guest.asked).toEqual(['stop']);
    stopping.resolve();
    await settled();
    expect(guest.asked).toEqual(['stop', 'start']);
    expect(guest.running).toBe(true);
  });

  test('while it saves: it starts again once that is done, well or not', async () => {
    const { guest, calls } = rig();
    await calls.stop();
    const saving = settleable();
    guest.doing.save = () => saving.promise;
    const saved = calls.save();
    calls.abandon(reason);
    await expect(saved).rejects.toMatchObject({ code: 'CANCELLED' });
    await calls.resume();
    expect(guest.running).toBe(false);
    saving.reject(new Error('no'));
    await settled();
    expect(guest.running).toBe(true);
  });

  test('and then it fails to start: that is told', async () => {
    const { guest, calls, late } = rig();
    const stopping = settleable();
    guest.doing.stop = () => stopping.promise;
    guest.doing.start = refuse('no');
    const stopped = calls.stop();
    calls.abandon(reason);
    await expect(stopped).rejects.toMatchObject({ code: 'CANCELLED' });
    await calls.resume();
    expect(late).toEqual([]);
    stopping.resolve();
    await settled();
    expect(late).toEqual([expect.objectContaining({ code: 'GUEST_FAILED' })]);
  });

  test('before it is asked: it is not asked any more', async () => {
    const { guest, calls } = rig();
    calls.abandon(reason);
    await expect(calls.stop()).rejects.toMatchObject({ code: 'CANCELLED' });
    await expect(calls.save()).rejects.toMatchObject({ code: 'CANCELLED' });
    expect(guest.asked).toEqual([]);
    expect(calls.isStopped).toBe(false);
  });
});

describe('a guest that does not answer in time', () => {
  test.each([
    ['stop', 'the guest did not stop within 0.02 s', (calls: GuestCalls) => calls.stop()],
    ['save', 'the guest did not save its device state within 0.02 s', (calls: GuestCalls) => calls.save()],
  ] as const)('%s', async (what, message, ask) => {
    const { guest, calls } = rig({ limitMs: 20 });
    guest.doing[what] = () => new Promise(() => {});
    await expect(ask(calls)).rejects.toMatchObject({ code: 'GUEST_FAILED', message });
  });

  test('stops late: it starts again then', async () => {
    const { guest, calls } = rig({ limitMs: 20 });
    const stopping = settleable();
    guest.doing.stop = () => stopping.promise;
    await expect(calls.stop()).rejects.toMatchObject({ code: 'GUEST_FAILED' });
    await calls.resume();
    expect(guest.asked).toEqual(['stop']);
    stopping.resolve();
    await settled();
    expect(guest.asked).toEqual(['stop', 'start']);
  });

  test('start: that is told', async () => {
    const { guest, calls } = rig({ limitMs: 20 });
    await calls.stop();
    guest.doing.start = () => new Promise(() => {});
    const message = 'the guest did not start again at the source within 0.02 s';
    await expect(calls.resume()).rejects.toMatchObject({ code: 'GUEST_FAILED', message });
  });
});

describe('a guest that dies', () => {
  const message = 'the guest died: vCPU 0 shut down';

  test('while it is asked: whoever waits for it is told, and it is not started again', async () => {
    const { guest, deaths, calls } = rig();
    guest.doing.stop = async () => {
      guest.running = false;
      await new Promise(() => {});
    };
    const stopped = calls.stop();
    guest.die(new Error('vCPU 0 shut down'));
    await expect(stopped).rejects.toMatchObject({ code: 'GUEST_FAILED', message });
    expect(deaths).toEqual([calls.death]);
    await calls.resume();
    expect(guest.asked).toEqual(['stop']);
  });

  test('while it runs: it is asked nothing any more', async () => {
    const { guest, calls } = rig();
    const percents: number[] = [];
    guest.throttle = (percent) => percents.push(percent);
    guest.die(new Error('vCPU 0 shut down'));
    await settled();
    await expect(calls.stop()).rejects.toMatchObject({ message });
    calls.throttle(20);
    expect([guest.asked, percents]).toEqual([[], []]);
  });

  test('when the migration has ended: nobody is told', async () => {
    const { guest, deaths, calls } = rig();
    calls.close();
    guest.die(new Error('vCPU 0 shut down'));
    await settled();
    expect(deaths).toEqual([]);
  });
});
