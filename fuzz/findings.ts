/** Inputs that broke something, as files: one line of JSON that runs it again. */
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Finding } from './campaign.ts';
import { MAX_INPUT_BYTES, Outcome, type Target } from './input.ts';

export const findingsFolder = fileURLToPath(new URL('./findings', import.meta.url));

/** Returns the path. */
export function writeFinding(finding: Finding, folder = findingsFolder): string {
  const bytes = Buffer.from(finding.bytes);
  const name = createHash('sha256').update(bytes).update(finding.what).digest('hex').slice(0, 12);
  const path = join(folder, `${finding.target}-${name}.json`);
  mkdirSync(folder, { recursive: true });
  writeFileSync(path, `${JSON.stringify({ ...finding, bytes: bytes.toString('base64') })}\n`);
  return path;
}

export function readFinding(path: string): Finding {
  const { bytes, ...finding } = JSON.parse(readFileSync(path, 'utf8'));
  return { ...finding, bytes: new Uint8Array(Buffer.from(bytes, 'base64')) };
}

/** Runs it as it was run; throws what it broke, if it still does. */
export async function replay(target: Target, { origin: name, choice, bytes }: Finding): Promise<void> {
  const origin = target.seeds.find((seed) => seed.origin.name === name)?.origin;
  if (origin === undefined) throw new Error(`there is no seed ${name} any more`);
  const room = new Uint8Array(MAX_INPUT_BYTES);
  room.set(bytes);
  await target.execute(room, bytes.length, origin, choice, new Outcome());
}
