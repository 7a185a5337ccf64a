/** Files that take long to make and stay the same: made at first use, kept under node_modules/.cache/postcopy. */
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { inCheckout } from '../checkout.ts';

const cache = inCheckout('node_modules/.cache/postcopy/guest/');

/**
 * The path of the file of that name in the cache, made by `make` if it is not there. `make` writes to the path
 * it is given and has a folder to work in. Two processes may make the same file; the last one there wins.
 */
export async function kept(name: string, make: (file: string, folder: string) => Promise<void>): Promise<string> {
  const path = join(cache, name);
  if (existsSync(path)) return path;
  await mkdir(cache, { recursive: true });
  const folder = await mkdtemp(join(cache, 'making-'));
  try {
    const made = join(folder, name);
    await make(made, folder);
    await rename(made, path);
    return path;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
