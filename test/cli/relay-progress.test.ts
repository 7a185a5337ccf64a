/** What a relay says while it runs. */
import { describe, expect, test, vi } from 'vitest';
import { createRelayProgress, relayLine } from '#lib/cli/relay-progress.js';
import type { ConnectionState, RelayStats } from '#lib/index.js';

function stats(s2d: number, d2s: number, states: ConnectionState[] = ['open']): RelayStats {
  const connections = states.map((state, connection) => ({ connection, state, s2d, d2s }));
  return { connections, s2d, d2s, faultsLeft: [] };
}

test('the line: how much, how fast since the last look, how many are open', () => {
  const now = stats(3 * 2 ** 20, 100, ['open', 'closed', 'stalled', 'cut', 'dialling']);
  expect(relayLine(now, { s2d: 4 * 2 ** 20, d2s: 0 })).toBe(
    '3.0 MiB to the destination, 4.0 MiB/s; 100 B back, 0 B/s; 3 of 5 connections open',
  );
});

describe('without a terminal', () => {
  test('a plain line for each second in which something passed, and for what happens', async () => {
    vi.useFakeTimers();
    try {
      const written: string[] = [];
      const stream = { isTTY: false, write: (text: string) => written.push(text) } as unknown as NodeJS.WriteStream;
      const progress = await createRelayProgress(undefined, stream, () => Date.now());
      let current = stats(0, 0, []);
      progress.event('listening');
      progress.follow('unix:/in', () => current);
      vi.advanceTimersByTime(1000);
      expect(written).toEqual(['listening\n', 'waiting for a source at unix:/in for 1 s\n']);
      current = stats(2048, 0);
      vi.advanceTimersByTime(1000);
      expect(written.slice(2)).toEqual([
        '2.0 KiB to the destination, 1.0 KiB/s; 0 B back, 0 B/s; 1 of 1 connections open\n',
      ]);
      progress.end();
      current = stats(9999, 0);
      vi.advanceTimersByTime(5000);
      expect(written).toHaveLength(3);
    } finally {
      vi.useRealTimers();
    }
  });
});
