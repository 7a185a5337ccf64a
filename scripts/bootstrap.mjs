/**
 * Makes a checkout ready: dependencies installed, addon built, TypeScript compiled. `npm run build`.
 *
 *   node scripts/bootstrap.mjs           what is out of date, and nothing else
 *   node scripts/bootstrap.mjs --test    the same, and packages of Debian's for tests: QEMU, Redis clients, Chromium
 *   node scripts/bootstrap.mjs --bench   the same, with QEMU, and the benchmarks compiled
 *   node scripts/bootstrap.mjs --redis   the same, and redis-tools
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
    if (pageOutputs.includes(path)) continue;
    const stem = relative('dist', path).replace(/((\.bundle)?\.js(\.map)?|\.d\.ts)$/, '');
    if (!wanted.has(stem)) rmSync(join(root, path));
  }
}

/** Threads that a migration starts: each gets all of its modules in one file, as it loads some fifty. */
function threadEntries() {
  return ['lib/source', 'lib/destination'].flatMap((folder) => filesBelow(folder, ['-thread.ts']));
}

/** What tsc makes of `path`, with another ending. */
const compiledTo = (path, ending) => join('dist', relative('lib', path).replace(/\.ts$/, ending));

/** Beside the compiled entry, so that paths which are relative to a module stay what they are. */
async function bundleThreads() {
  const { build } = await import('esbuild');
  await build({
    absWorkingDir: root,
    entryPoints: threadEntries().map((path) => compiledTo(path, '.js')),
    outbase: 'dist',
    outdir: 'dist',
    outExtension: { '.js': '.bundle.cjs' },
    bundle: true,
    packages: 'external',
    // A thread that is CommonJS starts 14 ms of processor time sooner than one of ES modules, a sixth of all.
    format: 'cjs',
    define: { 'import.meta.url': 'moduleUrl' },
    banner: { js: "const moduleUrl = require('node:url').pathToFileURL(__filename).href;" },
    platform: 'node',
    target: 'node20',
    sourcemap: true,
    logLevel: 'warning',
  });
}

/** What runs in a browser: the page of the dashboard and of the report. */
const pageFolder = join('lib', 'dashboard', 'page');
const pageOutputs = ['page.js', 'page.css'].map((name) => join('dist', 'dashboard', name));

/** One script and one style, which hold all that they need. */
async function bundlePage() {
  const { build } = await import('esbuild');
  await build({
    absWorkingDir: root,
    entryPoints: { page: join(pageFolder, 'main.ts') },
    outdir: join('dist', 'dashboard'),
    bundle: true,
    format: 'iife',
    platform: 'browser',
    target: ['es2022'],
    minify: true,
    legalComments: 'inline',
    logLevel: 'warning',
  });
}

async function compileTypeScript() {
  const pageSources = filesBelow(pageFolder, ['.ts', '.css']);
  const sources = filesBelow('lib', ['.ts']).filter((path) => !pageSources.includes(path));
  const current = fingerprint([...sources, ...pageSources, 'tsconfig.json', 'package-lock.json']);
  const outputs = [
    ...pageOutputs,
    ...sources.map((path) => compiledTo(path, '.js')),
    ...threadEntries().map((path) => compiledTo(path, '.bundle.cjs')),
  ];
  const compiled = outputs.every((path) => existsSync(join(root, path)));
  if (compiled && stampOf('typescript') === current) return;
  removeOrphans(sources);
  await step('typescript', process.execPath, [join(root, 'node_modules', 'typescript', 'bin', 'tsc'), '-p', root], {
    cwd: root,
  });
  await bundleThreads();
  await bundlePage();
  setStamp('typescript', current);
}

/** Node 20 runs no TypeScript, and the benchmarks run in processes of their own. Types are checked by lint. */
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

/** Programs of Debian's that some commands need: the package of each, how it is known to be there, and for what. */
const qemu = { package: 'qemu-system-x86', present: () => onPath('qemu-system-x86_64'), need: 'tests and benchmarks' };
const redis = {
  package: 'redis-tools',
  present: () => onPath('redis-benchmark') && onPath('redis-cli'),
  need: 'the load of the hot-restart example and its tests',
};
const pythonRedis = {
  package: 'python3-redis',
  present: () => spawnSync('/usr/bin/python3', ['-c', 'import redis'], { stdio: 'ignore' }).status === 0,
  need: 'tests of the hot-restart example',
};
const chromium = {
  package: 'chromium',
  present: () => existsSync('/usr/bin/chromium'),
  need: "tests of the dashboard's page",
};
const groff = { package: 'groff-base', present: () => onPath('groff'), need: 'the test of the manual page' };
const zsh = { package: 'zsh', present: () => onPath('zsh'), need: 'tests of its completion' };
const fish = { package: 'fish', present: () => onPath('fish'), need: 'tests of its completion' };

/** Installs what is missing of them where this user may; elsewhere says how. An error only where it must be there. */
async function providePackages(wanted) {
  const missing = wanted.filter(({ present }) => !present());
  if (missing.length === 0) return;
  const names = missing.map((each) => each.package);
  try {
    if (process.getuid() !== 0 || !onPath('apt-get')) {
      const reasons = missing.map((each) => `"${each.package}", for ${each.need}`);
      throw new StepError(`Packages are missing: ${reasons.join('; ')}. Install them.`);
    }
    const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
    await step('package lists', 'apt-get', ['update'], { env });
    await step(names.join(', '), 'apt-get', ['install', '-y', '--no-install-recommends', ...names], { env });
  } catch (error) {
    const required = process.env.POSTCOPY_REQUIRE_QEMU === '1' || process.env.CI === 'true';
    if (required || !(error instanceof StepError)) throw error;
    process.stderr.write(`${error.message}\nContinuing without ${names.join(', ')}: what needs it will fail.\n`);
  }
}

/** What the command that this is the beginning of needs besides. */
const wantedPackages = [
  ...(process.argv.includes('--test') ? [qemu, redis, pythonRedis, chromium, groff, zsh, fish] : []),
  ...(process.argv.includes('--bench') ? [qemu] : []),
  ...(process.argv.includes('--redis') ? [redis] : []),
];

await runScript(async () => {
  checkNode();
  await installDependencies();
  await buildAddon();
  await compileTypeScript();
  if (process.argv.includes('--bench')) await compileBench();
  await providePackages(wantedPackages);
});
