/** Figures as people read them. Pure. */

const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const;

/** Three digits at least, and no more behind the point than that takes. */
function digits(value: number): string {
  return value >= 100 || Number.isInteger(value) ? value.toFixed(0) : value.toFixed(value >= 10 ? 1 : 2);
}

/** `1.5 MiB`. */
export function bytes(value: number): string {
  let scaled = value;
  let unit = 0;
  while (scaled >= 1024 && unit < units.length - 1) {
    scaled /= 1024;
    unit += 1;
  }
  return `${digits(scaled)} ${units[unit]}`;
}

/** `1,234`. */
export function count(value: number): string {
  return Math.round(value).toLocaleString('en-US');
}

/** `180 µs`, `2.5 ms`, `1.2 s`. */
export function us(value: number): string {
  if (value < 1000) return `${digits(Math.round(value))} µs`;
  if (value < 1_000_000) return `${digits(value / 1000)} ms`;
  return `${digits(value / 1_000_000)} s`;
}

/** `2.5 ms`, `1.2 s`, `3 min 5 s`. */
export function ms(value: number): string {
  if (value < 60_000) return us(value * 1000);
  const seconds = Math.round(value / 1000);
  return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}

export function percent(part: number, of: number): string {
  return of === 0 ? '0 %' : `${digits((part / of) * 100)} %`;
}
