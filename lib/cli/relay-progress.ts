/**
 * A relay while it runs: what happens to its connections, a line each, and how much passes: one live line on a
 * terminal, else a plain one each second in which something passed. Always on stderr.
 */
import type { RelayStats } from '../relay/relay.js';
import { createLiveLine, type EventDetail } from './live-line.js';
import { defaultLogOptions, type LogOptions } from './log-options.js';
import { RateMeter, waitText } from './progress-text.js';
import { formatBytes } from './size.js';

/** Bytes a second each way, since the last looks. */
export interface RelayRates {
  readonly s2d: number;
  readonly d2s: number;
}

/** `12 MiB to the destination, 4.0 MiB/s; 908 B back, 0 B/s; 2 of 3 connections open`. */
export function relayLine(stats: RelayStats, rates: RelayRates): string {
  const open = stats.connections.filter(({ state }) => ['dialling', 'open', 'stalled'].includes(state)).length;
  return (
    `${formatBytes(stats.s2d)} to the destination, ${formatBytes(rates.s2d)}/s; ` +
    `${formatBytes(stats.d2s)} back, ${formatBytes(rates.d2s)}/s; ` +
    `${open} of ${stats.connections.length} connections open`
  );
}

export interface RelayProgress {
  /** Something happened. */
  event(text: string, detail?: EventDetail): void;
  /** From now on looks at the numbers now and then, until {@link end}; `uri`: where it listens. */
  follow(uri: string, stats: () => RelayStats): void;
  end(): void;
}

export async function createRelayProgress(
  options: LogOptions = defaultLogOptions,
  stream: NodeJS.WriteStream = process.stderr,
  now: () => number = () => performance.now(),
): Promise<RelayProgress> {
  const line = await createLiveLine(options, stream);
  return {
    event: line.event,
    follow: (uri, stats) => {
      const began = now();
      const meters = { s2d: new RateMeter(now), d2s: new RateMeter(now) };
      line.follow(() => {
        const next = stats();
        const { s2d, d2s, connections } = next;
        const rates = { s2d: meters.s2d.look(s2d), d2s: meters.d2s.look(d2s) };
        const isWaiting = connections.length === 0;
        const text = isWaiting ? waitText(`waiting for a source at ${uri}`, now() - began) : relayLine(next, rates);
        return { text, mark: `${s2d} ${d2s} ${connections.length}`, fields: { s2d, d2s, rates } };
      });
    },
    end: line.end,
  };
}
