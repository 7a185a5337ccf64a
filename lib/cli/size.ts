/** Sizes and times as people write and read them. Pure. */
import { MigrationError } from '../errors.js';

const multipliers: Readonly<Record<string, number>> = { '': 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30, t: 2 ** 40 };

/** Bytes of `64M`, `1G`, `1.5GiB`, `4096`: binary multiples, as QEMU reads them. Throws BAD_ARGUMENT. */
export function parseSize(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?$/i.exec(text.trim());
  const bytes = match === null ? Number.NaN : Math.round(Number(match[1]) * multipliers[match[2].toLowerCase()]);
  if (!Number.isSafeInteger(bytes) || bytes <= 0) {
    throw new MigrationError('BAD_ARGUMENT', `"${text}" is no size`, { hint: 'write it like 256M or 1G' });
  }
  return bytes;
}

const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];

/** `1.5 GiB`: three digits at most, in the largest unit that leaves at least 1. */
export function formatBytes(bytes: number): string {
  const unit = bytes < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(bytes) / 10));
  const value = bytes / 2 ** (10 * unit);
  return `${value < 10 && unit > 0 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

/** Microseconds, or milliseconds from 1000 µs up. */
export function formatUs(us: number): string {
  return us < 1000 ? `${Math.round(us)} µs` : `${(us / 1000).toFixed(us < 10_000 ? 1 : 0)} ms`;
}

/** Milliseconds, or seconds from 1000 ms up. */
export function formatMs(ms: number): string {
  return ms < 1000 ? `${ms.toFixed(ms < 10 ? 1 : 0)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

/** `12,345`. */
export function formatCount(count: number): string {
  return Math.round(count).toLocaleString('en-US');
}
