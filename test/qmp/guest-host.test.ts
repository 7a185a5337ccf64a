/** Two holders of a guest in one process, from one to the other and back: states, events, and what is refused when. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { StressGuest } from '#lib/index.js';
import { GuestHost, type GuestHostOptions } from '#lib/qmp/guest-host.js';
import type { QmpEvent } from '#lib/qmp/messages.js';
import { Heard } from '../../testing/qemu/heard.ts';

const MEMORY = 16 * 1024 * 1024;

let folder: string;
let uri: string;
let guests: StressGuest[] = [];
let hosts: GuestHost[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'postcopy-test-'));
  uri = `unix:${folder}/migration`;
});
afterEach(async () => {
  await Promise.all(hosts.map((host) => host.close()));
  for (const { incoming } of hosts) incoming?.abandon(); // else a lost guest would wait for its pages
  await Promise.all(guests.map((guest) => guest.stop()));
  for (const guest of guests) guest.close();
  hosts = [];
  guests = [];
  rmSync(folder, { recursive: true });
});

function host(options: GuestHostOptions): { host: GuestHost; events: Heard<QmpEvent>; warnings: Error[] } {
  const made = new GuestHost(options);
  const events = new Heard<QmpEvent>({ who: 'a host', show: (event) => JSON.stringify(event) });
  const warnings: Error[] = [];
  made.on('event', (event) => events.add(event)).on('warning', (warning) => warnings.push(warning));
  made.setCapabilities(['events', 'postcopy-ram'].map((capability) => ({ capability, state: true })));
  hosts.push(made);
  return { host: made, events, warnings };
}

async function full() {
  const guest = await StressGuest.create({ memory: MEMORY, writesPerSecond: 2000 });
  guests.push(guest);
  const holder = host({ guest });
  await holder.host.cont();
  return holder;
}

function empty() {
  const guest = StressGuest.empty({ memory: MEMORY });
  guests.push(guest);
  return { ...host({ room: guest }), stress: guest };
}

const status = (events: Heard<QmpEvent>, wanted: string, from = 0): Promise<QmpEvent> =>
  events.first(`the status ${wanted}`, ({ event, data }) => event === 'MIGRATION' && data?.status === wanted, { from });

/** Names, and statuses. */
const told = (events: Heard<QmpEvent>): unknown[] => events.all.map(({ event, data }) => data?.status ?? event);

describe('a postcopy', () => {
  test('is told by events at both ends, and moves the guest whole', async () => {
    const [source, destination] = [await full(), empty()];
    expect([source.host.runState, destination.host.runState]).toEqual(['running', 'inmigrate']);
    expect(destination.host.queryMigrate()).toEqual({});
    await destination.host.listen(uri);
    expect(destination.host.queryMigrate()).toMatchObject({ 'socket-address': [{ type: 'unix' }] });
    source.host.setParameters({ 'max-bandwidth': 4 * 1024 * 1024 });
    source.host.migrate(uri);
    expect(source.host.queryMigrate()).toEqual({ status: 'setup' });
    source.host.startPostcopy(); // before there is a connection
    await Promise.all([status(source.events, 'completed'), status(destination.events, 'completed')]);
    expect([source.host.runState, destination.host.runState]).toEqual(['postmigrate', 'running']);
    expect(source.host.queryMigrate()).toMatchObject({ status: 'completed', ram: { total: MEMORY } });
    expect(destination.host.queryMigrate()).toMatchObject({ status: 'completed' });
    expect(told(source.events)).toEqual(expect.arrayContaining(['setup', 'active', 'STOP', 'postcopy-active']));
    expect(source.events.all.find(({ event }) => event === 'MIGRATION_PASS')?.data).toEqual({ pass: 1 });
    expect(told(destination.events).sort()).toEqual(['RESUME', 'active', 'completed', 'postcopy-active', 'setup']);
    expect(() => source.host.migrate(uri)).toThrow("Can't migrate the vm that was paused due to previous migration");
    await expect(source.host.cont()).rejects.toThrow('must not run here and there');
    await destination.host.stop();
    expect((await destination.stress.verify()).lostWrites).toBe(0);
  });

  test('is paused at either end, and recovers', async () => {
    const [source, destination] = [await full(), empty()];
    source.host.setParameters({ 'max-bandwidth': 4 * 1024 * 1024, 'max-postcopy-bandwidth': 1024 * 1024 });
    await destination.host.listen(uri);
    source.host.migrate(uri);
    await status(source.events, 'active');
    expect(() => source.host.pause()).toThrow('only supported during postcopy-active state');
    source.host.startPostcopy();
    await Promise.all([status(source.events, 'postcopy-active'), status(destination.events, 'postcopy-active')]);
    expect(source.host.runState).toBe('finish-migrate');
    await expect(source.host.cont()).rejects.toThrow('Migration is not finalized yet');
    for (const [index, end] of [source, destination].entries()) {
      const from = [source.events.all.length, destination.events.all.length];
      end.host.pause();
      await Promise.all([
        status(source.events, 'postcopy-paused', from[0]),
        status(destination.events, 'postcopy-paused', from[1]),
      ]);
      expect(() => source.host.migrate(uri)).toThrow("There's a migration process in progress");
      await destination.host.recover(`${uri}${index}`);
      source.host.resume(`${uri}${index}`);
      await Promise.all([
        status(source.events, 'postcopy-active', from[0]),
        status(destination.events, 'postcopy-active', from[1]),
      ]);
    }
    source.host.setParameters({ 'max-postcopy-bandwidth': 0 });
    await Promise.all([status(source.events, 'completed'), status(destination.events, 'completed')]);
    await destination.host.stop();
    expect((await destination.stress.verify()).lostWrites).toBe(0);
  });
});

describe('a guest that comes', () => {
  test('stands still where it was stopped before, until it is to go on', async () => {
    const [source, destination] = [await full(), empty()];
    await destination.host.stop();
    await destination.host.listen(uri);
    source.host.migrate(uri);
    await status(destination.events, 'completed');
    expect(destination.host.runState).toBe('paused');
    expect(destination.stress.running).toBe(false);
    await destination.host.cont();
    expect(destination.host.runState).toBe('running');
    await destination.host.stop();
    expect((await destination.stress.verify()).lostWrites).toBe(0);
  });

  test('that was paused at the source is paused here', async () => {
    const [source, destination] = [await full(), empty()];
    await source.host.stop();
    await destination.host.listen(uri);
    source.host.migrate(uri);
    await status(destination.events, 'completed');
    expect(destination.host.runState).toBe('paused');
  });

  test('goes on to a third', async () => {
    const [source, destination, third] = [await full(), empty(), empty()];
    await destination.host.listen(uri);
    source.host.migrate(uri);
    await Promise.all([status(destination.events, 'completed'), status(source.events, 'completed')]);
    await third.host.listen(`${uri}2`);
    destination.host.migrate(`${uri}2`);
    await status(third.events, 'completed');
    expect(third.host.runState).toBe('running');
    await third.host.stop();
    expect((await third.stress.verify()).lostWrites).toBe(0);
  });
});

describe('a migration that comes to nothing', () => {
  test('for nobody listens, or as it has no such place', async () => {
    const source = await full();
    source.host.migrate(uri);
    await status(source.events, 'failed');
    expect(source.host.queryMigrate()).toEqual({ status: 'failed', 'error-desc': expect.stringContaining(folder) });
    expect(source.warnings).toHaveLength(1);
    expect(() => source.host.migrate('nope')).toThrow('bad migration URI');
    expect(source.host.queryMigrate()).toEqual({ status: 'failed' });
    expect(source.host.runState).toBe('running');
    expect(() => source.host.continue('active')).toThrow('Migration not in expected state: failed');
    source.host.continue('failed');
  });

  test('cancelled, the guest runs on, and the destination listens again', async () => {
    const [source, destination] = [await full(), empty()];
    await destination.host.listen(uri);
    source.host.setParameters({ 'max-bandwidth': 1024 * 1024 });
    source.host.migrate(uri);
    await status(source.events, 'active');
    expect(() => source.host.setCapabilities([])).toThrow("There's a migration process in progress");
    source.host.cancel();
    await Promise.all([status(source.events, 'cancelled'), status(destination.events, 'failed')]);
    expect(source.host.runState).toBe('running');
    source.host.setParameters({ 'max-bandwidth': 0 });
    await destination.host.listen(uri);
    source.host.migrate(uri);
    await status(destination.events, 'completed');
    await destination.host.stop();
    expect((await destination.stress.verify()).lostWrites).toBe(0);
  });
});

test('what is refused without a guest, or with one', async () => {
  const [source, destination] = [await full(), empty()];
  await expect(source.host.listen(uri)).rejects.toThrow("'-incoming' was not specified on the command line");
  await expect(source.host.recover(uri)).rejects.toThrow('Migrate recover can only be run when postcopy is paused.');
  expect(() => source.host.resume(uri)).toThrow('Cannot resume if there is no paused migration');
  expect(() => source.host.startPostcopy()).toThrow('Postcopy must be started after migration has been started');
  expect(() => destination.host.migrate(uri)).toThrow('Guest is waiting for an incoming migration');
  const [first, second] = await Promise.allSettled([destination.host.listen(uri), destination.host.listen(uri)]);
  expect([first.status, second.status]).toEqual(['fulfilled', 'rejected']);
  destination.host.setCapabilities([{ capability: 'events', state: true }]);
  expect(() => destination.host.setCapabilities([{ capability: 'events', state: false }])).toThrow(
    'set capabilities before migrate-incoming',
  );
  source.host.setCapabilities([{ capability: 'postcopy-ram', state: false }]);
  expect(() => source.host.startPostcopy()).toThrow('Enable postcopy with migrate_set_capability');
});

test('its end tells so, and ends a migration that is under way', async () => {
  const [source, destination] = [await full(), empty()];
  source.host.setParameters({ 'max-postcopy-bandwidth': 1024 * 1024, 'max-bandwidth': 1024 * 1024 });
  await destination.host.listen(uri);
  source.host.migrate(uri);
  source.host.startPostcopy();
  await status(source.events, 'postcopy-active');
  source.host.quit('host-signal');
  expect(source.events.all.at(-1)).toEqual({ event: 'SHUTDOWN', data: { guest: false, reason: 'host-signal' } });
  await source.host.close();
  expect(source.host.queryMigrate()).toMatchObject({ status: 'failed' });
  await destination.host.close();
});
