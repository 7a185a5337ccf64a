/** Names as QMP has them, with hyphens, and as the API has them. Pure. */

/** `postcopyRam` to `postcopy-ram`. */
export function toQmpName(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** The entries of a record with its names as QMP has them. */
export function toQmpNames<Value>(record: Readonly<Record<string, Value>>): Record<string, Value> {
  return Object.fromEntries(Object.entries(record).map(([name, value]) => [toQmpName(name), value]));
}
