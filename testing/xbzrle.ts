/** Makes xbzrle deltas in the plainest way: what the decoder of lib/wire is held against. */

function leb128(length: number): number[] {
  return length < 0x80 ? [length] : [0x80 | (length & 0x7f), length >> 7];
}

/** What turns `before` into `after`, pages of the same length; nothing where they are equal. */
export function encodeXbzrle(before: Uint8Array, after: Uint8Array): Uint8Array {
  const runEnd = (from: number, changed: boolean): number => {
    let at = from;
    while (at < after.length && (before[at] !== after[at]) === changed) at += 1;
    return at;
  };
  const delta: number[] = [];
  for (let at = 0; at < after.length; ) {
    const change = runEnd(at, false);
    if (change === after.length) break;
    const end = runEnd(change, true);
    delta.push(...leb128(change - at), ...leb128(end - change), ...after.subarray(change, end));
    at = end;
  }
  return Uint8Array.from(delta);
}
