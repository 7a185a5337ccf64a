/** The programmes in C++ that benches measure with (native/): built when they are first wanted. */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rename } from 'node:fs/promises';
import { execa } from 'execa';
import { inCheckout } from '../testing/checkout.ts';

const FLAGS = ['-std=c++20', '-O3', '-Wall', '-Wextra', '-Werror', '-pthread'];

const SOURCES = inCheckout('bench/native/');

/** Of all that it is made of. */
async function versionOf(name: string): Promise<string> {
  const hash = createHash('sha256').update(FLAGS.join());
  const files = (await readdir(SOURCES)).filter((file) => file === `${name}.cc` || file.endsWith('.h'));
  for (const file of files.sort()) hash.update(await readFile(SOURCES + file));
  return hash.digest('hex').slice(0, 16);
}

async function build(name: string): Promise<string> {
  const source = `${SOURCES}${name}.cc`;
  const folder = inCheckout('build-bench/');
  const path = `${folder}${name}-${await versionOf(name)}`;
  if (existsSync(path)) return path;
  await mkdir(folder, { recursive: true });
  const made = `${path}.${process.pid}`;
  await execa('g++', [...FLAGS, '-o', made, source]);
  await rename(made, path);
  return path;
}

const built = new Map<string, Promise<string>>();

/** The path of the programme that native/`name`.cc makes. */
export function nativeProgram(name: string): Promise<string> {
  const path = built.get(name) ?? build(name);
  built.set(name, path);
  return path;
}
