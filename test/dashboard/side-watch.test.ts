/** What is told of both sides of a real migration, in one process. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { watchIncoming, watchOutgoing } from '#lib/dashboard/side-watch.js';
import { StressGuest } from '#lib/guest/stress-guest.js';
import { listen } from '#lib/migration/listen.js';
import { migrate } from '#lib/migration/migrate.js';

const PAGES = 4096;

test('events in order, figures, and maps that end with every page here', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'postcopy-test-'));
  const source = await StressGuest.create({ memory: PAGES * 4096, vcpus: 1 });
  const room = StressGuest.empty({ memory: PAGES * 4096 });
  try {
    const capabilities = { postcopyRam: true };
    const incoming = await listen(`unix:${folder}/m`, {
      guest: room,
      capabilities: { ...capabilities, postcopyBlocktime: true },
    });
    const arriving = watchIncoming(incoming, () => room.stats);
    expect(arriving.look({ map: true })).toMatchObject({ side: 'destination', map: [], info: { status: 'setup' } });
    await source.start();
    const outgoing = await migrate(source, incoming.uri, { capabilities, postcopyAfterPasses: 1 });
    const leaving = watchOutgoing(outgoing);
    await Promise.all([outgoing.finished, incoming.finished]);
    const [sent, received] = [leaving.look({ map: true, isLast: true }), arriving.look({ map: true, isLast: true })];
    const told = (events: typeof sent.events) => events.map(({ kind, value }) => `${kind} ${value}`);
    expect(told(sent.events)).toEqual(
      expect.arrayContaining(['ping 1', 'pong 1', 'pass 1', 'ping 2', 'pong 66', 'ping 4', 'status completed']),
    );
    expect(told(received.events)).toEqual(expect.arrayContaining(['pong 1', 'pong 66', 'status completed']));
    for (const { events, atMs } of [sent, received]) {
      expect(events.every((event) => Math.abs(event.atMs - atMs) < 60_000)).toBe(true);
    }
    const [there] = sent.map ?? [];
    expect((there.states.sent?.pages ?? 0) + (there.states.answered?.pages ?? 0)).toBe(PAGES);
    const [here] = received.map ?? [];
    const { background, faulted, waiting } = here.states;
    expect((background?.pages ?? 0) + (faulted?.pages ?? 0)).toBe(PAGES);
    expect(waiting?.pages).toBe(0);
    if (received.side === 'destination' && sent.side === 'source') {
      expect(faulted?.pages).toBe(received.info.ram.postcopyRequests);
      expect(there.states.answered?.pages).toBe(faulted?.pages);
      const served = received.latency.total.reduce((sum, count) => sum + count, 0);
      expect(served).toBe(received.info.ram.postcopyRequestsServed);
    }
    expect(arriving.look({ map: false })).toMatchObject({ events: [], map: null });
    await room.stop();
  } finally {
    source.close();
    room.close();
    rmSync(folder, { recursive: true });
  }
});
