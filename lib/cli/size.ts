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

const bitMultipliers: Readonly<Record<string, number>> = { '': 1, k: 1e3, m: 1e6, g: 1e9, t: 1e12 };

/**
 * Bytes a second: a size (`100M`, `100M/s`), or bits in decimal multiples as links are sold (`1Gbit`, `800Mbit/s`,
 * `10Gbps`); 0 is no limit. Throws BAD_ARGUMENT.
 */
export function parseRate(text: string): number {
  const trimmed = text.trim();
  if (trimmed === '0') return 0;
  const bits = /^(\d+(?:\.\d+)?)\s*([kmgt]?)(?:bit|bit\/s|bps)$/i.exec(trimmed);
  try {
    if (bits === null) return parseSize(trimmed.replace(/\/s$/, ''));
    const bytes = Math.floor((Number(bits[1]) * bitMultipliers[bits[2].toLowerCase()]) / 8);
    if (Number.isSafeInteger(bytes) && bytes > 0) return bytes;
  } catch {
    // said below, with what a rate looks like
  }
  throw new MigrationError('BAD_ARGUMENT', `"${text}" is no rate`, { hint: 'write it like 100M/s, 100MiB/s or 1Gbit' });
}

/** Milliseconds. There is no `m`, which is mebibytes elsewhere. */
const timeUnits: Readonly<Record<string, number>> = { ms: 1, s: 1000, min: 60_000, h: 3_600_000 };

/** Milliseconds; undefined of what is no time. */
function readTime(text: string, unitWhereNone: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)\s*(ms|s|min|h)?$/i.exec(text.trim());
  if (match === null) return undefined;
  const ms = Math.round(Number(match[1]) * timeUnits[(match[2] ?? unitWhereNone).toLowerCase()]);
  return Number.isSafeInteger(ms) ? ms : undefined;
}

/** Milliseconds of `300`, `300ms`, `1.5s`, `2min`, `1h`. Throws BAD_ARGUMENT. */
export function parseMs(text: string): number {
  const ms = readTime(text, 'ms');
  if (ms === undefined) {
    throw new MigrationError('BAD_ARGUMENT', `"${text}" is no time`, { hint: 'write it like 300ms or 1.5s' });
  }
  return ms;
}

/** Seconds of `60`, `1.5s`, `300ms`, `5min`, to the millisecond. Throws BAD_ARGUMENT. */
export function parseSeconds(text: string): number {
  const ms = readTime(text, 's');
  if (ms !== undefined) return ms / 1000;
  throw new MigrationError('BAD_ARGUMENT', `"${text}" is no time`, { hint: 'write it like 60, 90s or 5min' });
}

/** As {@link parseMs}, of something that comes again and again: from 1 ms up. Throws BAD_ARGUMENT. */
export function parsePeriod(text: string): number {
  const ms = parseMs(text);
  if (ms > 0) return ms;
  throw new MigrationError('BAD_ARGUMENT', `"${text}" is no period`, { hint: 'write it like 50ms or 1s' });
}

const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];

/** `9.5`, `10`, `512`: one decimal below 10, none above, decided by what is shown and not by what was rounded. */
function digits(value: number): string {
  const fine = value.toFixed(1);
  return Number(fine) < 10 ? fine : String(Math.round(value));
}

/** `1.5 GiB`, `1023 KiB`, `1.0 MiB`: in the largest unit that leaves at least 1, as shown. */
export function formatBytes(bytes: number): string {
  let text = String(Math.round(bytes));
  let unit = 0;
  for (let value = bytes; Number(text) >= 1024 && unit < units.length - 1; unit += 1) {
    value /= 1024;
    text = digits(value);
  }
  return `${text} ${units[unit]}`;
}

/** `63 µs`; from 1000 µs up as {@link formatMs}. */
export function formatUs(us: number): string {
  const whole = Math.round(us);
  return whole < 1000 ? `${whole} µs` : formatMs(us / 1000);
}

/** `2.5 ms`, `37 ms`, `1.0 s`: milliseconds, or seconds from 1000 ms up. */
export function formatMs(ms: number): string {
  const text = digits(ms);
  return Number(text) < 1000 ? `${text} ms` : `${(ms / 1000).toFixed(1)} s`;
}

/** `12 s`, `2 min 05 s`, `1 h 07 min`: how long something takes, never less than it does. */
export function formatDuration(ms: number): string {
  const whole = Math.ceil(ms / 1000);
  if (whole < 60) return `${whole} s`;
  const pad = (value: number) => String(value).padStart(2, '0');
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min ${pad(whole % 60)} s`;
  return `${Math.floor(minutes / 60)} h ${pad(minutes % 60)} min`;
}

/** `12,345`. */
export function formatCount(count: number): string {
  return Math.round(count).toLocaleString('en-US');
}
