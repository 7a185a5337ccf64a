/**
 * A relay while it runs: what happens to its connections, a line each, and how much passes: one live line on a
 * terminal, else a plain one each second in which something passed. Always on stderr.
 */
import type { RelayStats } from '../relay/relay.js';
import { createLiveLine } from './live-line.js';
import { formatBytes } from './size.js';

/** `12 MiB to the destination, 4.0 MiB/s; 908 B back, 0 B/s; 2 of 3 connections open`. */
export function relayLine(stats: RelayStats, before: RelayStats | undefined, ms: number): string {
  const rate = (direction: 's2d' | 'd2s') =>
    formatBytes(ms > 0 ? ((stats[direction] - (before?.[direction] ?? 0)) / ms) * 1000 : 0);
  const open = stats.connections.filter(({ state }) => ['dialling', 'open', 'stalled'].includes(state)).length;
  return (
    `${formatBytes(stats.s2d)} to the destination, ${rate('s2d')}/s; ` +
    `${formatBytes(stats.d2s)} back, ${rate('d2s')}/s; ` +
    `${open} of ${stats.connections.length} connections open`
  );
}

export interface RelayProgress {
  /** Something happened. */
  event(text: string): void;
  /** From now on looks at the numbers now and then, until {@link end}. */
  follow(stats: () => RelayStats): void;
  end(): void;
}

export async function createRelayProgress(
  stream: NodeJS.WriteStream = process.stderr,
  now: () => number = () => performance.now(),
): Promise<RelayProgress> {
  const line = await createLiveLine(stream);
  return {
    event: line.event,
    follow: (stats) => {
      let last = { at: now(), stats: stats() };
      line.follow(() => {
        const next = { at: now(), stats: stats() };
        const text = relayLine(next.stats, last.stats, next.at - last.at);
        last = next;
        return { text, mark: `${next.stats.s2d} ${next.stats.d2s}` };
      });
    },
    end: line.end,
  };
}
