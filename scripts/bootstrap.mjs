/**
 * Makes a checkout ready: dependencies installed, addon built, TypeScript compiled. `npm run build`.
 *
 *   node scripts/bootstrap.mjs           what is out of date, and nothing else
 *   node scripts/bootstrap.mjs --test    the same, and QEMU for the tests that talk to one
 *   node scripts/bootstrap.mjs --bench   the same, and the benchmarks compiled
 *
 * Plain Node without dependencies, as it runs before there are any. A part is up to date when the
 * fingerprint of its inputs is the one its last successful build left behind and its outputs exist.
 * With nothing to do it prints nothing and takes well under 300 ms.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { runScript, StepError, step } from './step.mjs';
import { builtAddon, missingTools, nodeGyp, root } from './toolchain.mjs';

const stampFolder = join(root, 'node_modules', '.cache', 'postcopy');

function readJson(path) {
  return existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')) : undefined;
}

/** Every file below `folder` whose name ends in one of `endings`, sorted; none where there is no folder. */
function filesBelow(folder, endings) {
  if (!existsSync(join(root, folder))) return [];
  return readdirSync(join(root, folder), { recursive: true })
    .filter((path) => endings.some((ending) => path.endsWith(ending)))
    .map((path) => join(folder, path))
    .sort();
}

/** A digest over names, sizes and modification times: changes when a file is added, removed or written. */
function fingerprint(paths) {
  const digest = createHash('sha256');
  for (const path of paths) {
    const { size, mtimeMs } = statSync(join(root, path));
    digest.update(`${path}\0${size}\0${mtimeMs}\n`);
  }
  return digest.digest('hex');
}

function stampOf(part) {
  const path = join(stampFolder, `${part}.stamp`);
  return existsSync(path) ? readFileSync(path, 'utf8') : undefined;
}

function setStamp(part, value) {
  mkdirSync(stampFolder, { recursive: true });
  writeFileSync(join(stampFolder, `${part}.stamp`), value);
}

function checkNode() {
  const wanted = readJson(join(root, 'package.json')).engines.node.replace('>=', '');
  const order = wanted.localeCompare(process.versions.node, undefined, { numeric: true });
  if (order > 0) {
    throw new StepError(
      `Node ${wanted} or newer is needed and this is ${process.versions.node}: install a newer one from nodejs.org.`,
    );
  }
}

/** Whether node_modules holds what package-lock.json asks for, whoever installed it. */
function dependenciesAreInstalled() {
  const wanted = readJson(join(root, 'package-lock.json')).packages;
  const installed = readJson(join(root, 'node_modules', '.package-lock.json'))?.packages;
  if (installed === undefined) return false;
  return Object.entries(wanted).every(([path, entry]) => {
    if (path === '' || entry.optional || entry.peer) return true;
    return installed[path]?.version === entry.version && existsSync(join(root, path));
  });
}

async function installDependencies() {
  if (dependenciesAreInstalled()) return;
  // The package's own install script would build the addon; that is the next step here, with its own line.
  await step('install', 'npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], { cwd: root });
}

async function buildAddon() {
  const inputs = [...filesBelow('native', ['.cc', '.h', '.S']), 'binding.gyp', 'package-lock.json'];
  const current = fingerprint(inputs);
  if (existsSync(builtAddon) && stampOf('addon') === current) return;
  const missing = missingTools();
  if (missing.length > 0) throw new StepError(missing.join('\n'));
  const [command, args] = nodeGyp('configure', 'build');
  await step('addon', command, args, { cwd: root });
  setStamp('addon', current);
}

/** Removes compiled files whose source is gone, which an import would still find. */
function removeOrphans(sources) {
  const wanted = new Set(sources.map((path) => relative('lib', path).replace(/\.ts$/, '')));
  for (const path of filesBelow('dist', ['.js', '.js.map', '.d.ts'])) {
    const stem = relative('dist', path).replace(/(\.js|\.js\.map|\.d\.ts)$/, '');
    if (!wanted.has(stem)) rmSync(join(root, path));
  }
}

async function compileTypeScript() {
  const sources = filesBelow('lib', ['.ts']);
  const current = fingerprint([...sources, 'tsconfig.json', 'package-lock.json']);
  const compiled = sources.every((path) =>
    existsSync(join(root, 'dist', relative('lib', path).replace(/\.ts$/, '.js'))),
  );
  if (compiled && stampOf('typescript') === current) return;
  removeOrphans(sources);
  await step('typescript', process.execPath, [join(root, 'node_modules', 'typescript', 'bin', 'tsc'), '-p', root], {
    cwd: root,
  });
  setStamp('typescript', current);
}

/** Node 20 runs no TypeScript, and the benchmarks run in processes of their own. */
async function compileBench() {
  const sources = ['bench', 'testing'].flatMap((folder) => filesBelow(folder, ['.ts']));
  const configurations = ['tsconfig.json', 'tsconfig.test.json', 'tsconfig.bench.json'];
  const current = fingerprint([...sources, ...configurations, 'package-lock.json']) + stampOf('typescript');
  if (existsSync(join(root, 'build-bench')) && stampOf('bench') === current) return;
  const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
  await step('bench', process.execPath, [tsc, '-p', 'tsconfig.bench.json'], { cwd: root });
  setStamp('bench', current);
}

function onPath(command) {
  return spawnSync(command, ['--version'], { stdio: 'ignore' }).status === 0;
}

/** Installs QEMU where this user may; elsewhere says how. An error only where the tests must have it. */
async function provideQemu() {
  if (onPath('qemu-system-x86_64')) return;
  try {
    if (process.getuid() !== 0 || !onPath('apt-get')) {
      throw new StepError(
        'qemu-system-x86_64 is missing, which tests and benchmarks need: install the package "qemu-system-x86".',
      );
    }
    const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
    await step('package lists', 'apt-get', ['update'], { env });
    await step('qemu', 'apt-get', ['install', '-y', '--no-install-recommends', 'qemu-system-x86'], { env });
  } catch (error) {
    const required = process.env.POSTCOPY_REQUIRE_QEMU === '1' || process.env.CI === 'true';
    if (required || !(error instanceof StepError)) throw error;
    process.stderr.write(`${error.message}\nContinuing without QEMU: what needs it will fail.\n`);
  }
}

await runScript(async () => {
  checkNode();
  await installDependencies();
  await buildAddon();
  await compileTypeScript();
  if (process.argv.includes('--bench')) await compileBench();
  if (process.argv.includes('--test') || process.argv.includes('--bench')) await provideQemu();
});
