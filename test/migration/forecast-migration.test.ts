/** Forecasts of guests whose writing is known, before a precopy and during it, against what the precopy then does. */
import { afterEach, describe, expect, test } from 'vitest';
import { forecastMigration, listen, measureDirtyCurve, migrate, StressGuest } from '#lib/index.js';
import { handleLeaks } from '../../testing/lib-thread.ts';

const MiB = 2 ** 20;
const memory = 64 * MiB;
const guests: StressGuest[] = [];

async function writing(writesPerSecond: number, workingSetShare: number): Promise<StressGuest> {
  const guest = await StressGuest.create({ memory, writesPerSecond, workingSetShare });
  guests.push(guest);
  await guest.start();
  return guest;
}

function emptyGuest(): StressGuest {
  const guest = StressGuest.empty({ memory });
  guests.push(guest);
  return guest;
}

afterEach(async () => {
  for (const guest of guests.splice(0)) {
    if (guest.running) await guest.stop();
    guest.close();
  }
});

test('what a guest writes is measured without a trace of it', async () => {
  const guest = await writing(20_000, 0.5);
  const leaks = handleLeaks();
  const { writesPerSecond, workingSetPages } = await measureDirtyCurve(guest, 500);
  expect(leaks()).toEqual({});
  expect(writesPerSecond).toBeGreaterThan(8000);
  expect(writesPerSecond).toBeLessThan(40_000);
  expect(workingSetPages).toBeGreaterThan(4000);
  await guest.stop();
  expect(await measureDirtyCurve(guest, 50)).toEqual({ writesPerSecond: 0, workingSetPages: 0 });
});

test.each([
  [{ bandwidth: 0 }, /bandwidth is 0/],
  [{ bandwidth: 1, sampleMs: 10 }, /sampleMs is 10/],
])('%j is refused', async (options, message) => {
  const guest = await writing(100, 0.5);
  await expect(forecastMigration(guest, options)).rejects.toMatchObject({ code: 'BAD_ARGUMENT', message });
});

describe('a guest that writes more than goes through', () => {
  test('never comes to an end of precopy, as foreseen; and does, by the remedy', async () => {
    const maxBandwidth = 40 * MiB;
    const guest = await writing(40_000, 0.5); // 156 MiB/s, to 32 MiB
    const before = await forecastMigration(guest, { bandwidth: maxBandwidth, downtimeLimit: 100 });
    expect(before).toMatchObject({ converges: false, seconds: null });
    expect(before.workingSetBytes).toBeGreaterThan(20 * MiB);
    expect(before.workingSetBytes).toBeLessThan(50 * MiB);

    const capabilities = { postcopyRam: false };
    const target = emptyGuest();
    const incoming = await listen('tcp:127.0.0.1:0', { guest: target, capabilities });
    const parameters = { maxBandwidth, downtimeLimit: 100 };
    const outgoing = await migrate(guest, incoming.uri, { capabilities, parameters });
    const passes = new Promise<void>((resolve) => outgoing.on('pass', (count) => count === 3 && resolve()));
    await passes;
    expect(outgoing.status).toBe('active');
    const during = outgoing.forecast();
    expect(during).toMatchObject({ converges: false });
    expect(during?.bandwidth).toBeLessThan(50 * MiB);
    outgoing.setParameters({ downtimeLimit: during?.remedies?.downtimeLimit ?? 0 });
    expect(outgoing.forecast()?.converges).toBe(true);
    await outgoing.finished;
    expect(outgoing.forecast()).toBeUndefined();
    await incoming.finished;
  });
});

describe('a guest that writes less', () => {
  test('comes to an end in about the time that was foreseen', async () => {
    const maxBandwidth = 40 * MiB;
    const guest = await writing(4000, 0.5); // 16 MiB/s
    const { converges, seconds } = await forecastMigration(guest, { bandwidth: maxBandwidth, sampleMs: 500 });
    expect(converges).toBe(true);
    const capabilities = { postcopyRam: false };
    const target = emptyGuest();
    const incoming = await listen('tcp:127.0.0.1:0', { guest: target, capabilities });
    const outgoing = await migrate(guest, incoming.uri, { capabilities, parameters: { maxBandwidth } });
    const { totalTime } = await outgoing.finished;
    await incoming.finished;
    // Pages that are all zero take no time on the link, and a short pass more is made for the downtime.
    const ratio = totalTime / 1000 / (seconds ?? 0);
    expect(ratio).toBeGreaterThan(0.5);
    expect(ratio).toBeLessThan(2);
  });
});
