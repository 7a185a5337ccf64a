/** The programmes in C++ that benches measure with (native/): built when they are first wanted. */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rename } from 'node:fs/promises';
import { execa } from 'execa';
import { inCheckout } from '../testing/checkout.ts';

const FLAGS = ['-std=c++20', '-O3', '-Wall', '-Wextra', '-Werror', '-pthread'];

async function build(name: string): Promise<string> {
  const source = inCheckout(`bench/native/${name}.cc`);
  const folder = inCheckout('build-bench/');
  const version = createHash('sha256')
    .update(await readFile(source))
    .update(FLAGS.join())
    .digest('hex')
    .slice(0, 16);
  const path = `${folder}${name}-${version}`;
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
