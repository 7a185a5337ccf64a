/** How a migration stands, in a few words for a line on a terminal. Pure. */
import type { LatencySummary } from '../destination/fault-latency.js';
import type { IncomingInfo } from '../destination/incoming-info.js';
import type { OutgoingInfo } from '../source/outgoing-info.js';
import type { Recoveries } from './auto-recovery.js';
import { leftText } from './progress-text.js';
import { formatBytes, formatCount, formatMs, formatUs } from './size.js';

/**
 * `1,234 pages sent (4.8 MiB, 12 MiB/s), 91 MiB to go, 8 s left`: at `steadyRate`, of some seconds, as the present one
 * may be that of a moment in which nothing is sent; at that where the other is 0.
 */
export function outgoingText({ ram }: OutgoingInfo, steadyRate = 0): string {
  const rate = (ram.mbps * 1e6) / 8;
  return (
    `${formatCount(ram.normal + ram.duplicate)} pages sent ` +
    `(${formatBytes(ram.transferred)}, ${formatBytes(rate)}/s), ` +
    `${formatBytes(ram.remaining)} to go${leftText(ram.remaining, steadyRate || rate)}`
  );
}

/** `1,234 pages received (4.8 MiB); 12 faults, 1 waiting, p50 180 µs, p99 2.5 ms`. */
export function incomingText({ ram, faults }: IncomingInfo): string {
  const waiting = Math.max(0, ram.postcopyRequests - ram.postcopyRequestsServed);
  return (
    `${formatCount(ram.normal + ram.duplicate)} pages received ` +
    `(${formatBytes(ram.transferred)}); ${formatCount(faults.count)} faults, ${waiting} waiting, ` +
    `p50 ${formatUs(faults.p50Us)}, p99 ${formatUs(faults.p99Us)}`
  );
}

/** `2 times, paused for 1.2 s in all`. */
export function recoveriesText({ count, pausedMs }: Pick<Recoveries, 'count' | 'pausedMs'>): string {
  return `${formatCount(count)} ${count === 1 ? 'time' : 'times'}, paused for ${formatMs(pausedMs)} in all`;
}

export function latencyText({ p50Us, p99Us, maxUs }: LatencySummary): string {
  return `p50 ${formatUs(p50Us)}, p99 ${formatUs(p99Us)}, max ${formatUs(maxUs)}`;
}
