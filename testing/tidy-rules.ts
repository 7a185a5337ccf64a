/**
 * The repository's own rules: what lint and the compiler can't see, as functions over the files' text.
 *
 * Pure, apart from {@link readRepository}: test/tidy.test.ts holds the repository against each rule, and
 * each rule against files that break it. A rule returns where it is broken; its `mend` says what to do.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import ts from 'typescript';

/** One file, by its path from the repository's root with forward slashes. */
export interface SourceFile {
  readonly path: string;
  readonly text: string;
}

/** Where a rule is broken; `line` counts from 1. */
export interface Breach {
  readonly path: string;
  readonly line: number;
  readonly what: string;
}

export interface Rule {
  readonly name: string;
  /** What to do about a breach, as a sentence. */
  readonly mend: string;
  readonly check: (files: readonly SourceFile[]) => Breach[];
}

/** A breach as `file:line  what [rule]  mend`, the way a test failure shows it. */
export function describeBreach(rule: Rule, { path, line, what }: Breach): string {
  return `${path}:${line}  ${what} [${rule.name}]  ${rule.mend}`;
}

// --- reading ------------------------------------------------------------------------------------

/** Folders that are built or installed, never part of the repository; used where there is no git. */
const builtFolders = new Set(['node_modules', 'man', 'dist', 'build', 'build-asan', 'prebuilds', '.git', '.cache']);

function walk(root: string, folder = ''): string[] {
  return readdirSync(join(root, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = folder === '' ? entry.name : `${folder}/${entry.name}`;
    if (entry.isDirectory()) return builtFolders.has(entry.name) ? [] : walk(root, path);
    return entry.isFile() ? [path] : [];
  });
}

function listFiles(root: string): string[] {
  if (!existsSync(join(root, '.git'))) return walk(root);
  const listed = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], { cwd: root });
  return [...new Set(listed.toString().split('\0'))].filter((path) => path !== '' && existsSync(join(root, path)));
}

/** Every text file that is or would be committed. A file with a NUL byte is not text. */
export function readRepository(root: string): SourceFile[] {
  return listFiles(root)
    .map((path) => ({ path, text: readFileSync(join(root, path), 'utf8') }))
    .filter(({ text }) => !text.includes('\0'));
}

// --- tools --------------------------------------------------------------------------------------

const isScript = (path: string): boolean => /\.(ts|mjs)$/.test(path);
const isCpp = (path: string): boolean => /\.(cc|h)$/.test(path);

/** Breaches at each line of the files that pass `applies` where `find` names one. */
function perLine(
  files: readonly SourceFile[],
  applies: (path: string) => boolean,
  find: (line: string, path: string) => string | undefined,
): Breach[] {
  return files
    .filter(({ path }) => applies(path))
    .flatMap(({ path, text }) =>
      text.split('\n').flatMap((line, index) => {
        const what = find(line, path);
        return what === undefined ? [] : [{ path, line: index + 1, what }];
      }),
    );
}

interface Import {
  readonly from: string;
  readonly line: number;
}

/** Every module that a file imports, re-exports or imports dynamically. */
function importsOf({ text }: SourceFile): Import[] {
  return ts
    .preProcessFile(text, true, true)
    .importedFiles.map(({ fileName, pos }) => ({ from: fileName, line: text.slice(0, pos).split('\n').length }));
}

// --- import direction ---------------------------------------------------------------------------

const base = ['errors', 'options', 'native', 'doctor', 'memory', 'host'];
const engine = [...base, 'trace', 'wire', 'threads', 'channel'];
const sides = [...engine, 'source', 'destination'];
const outside = [...sides, 'migration', 'guest'];

/**
 * What each part of lib/ may import from lib/, itself included. A part is a folder, or a file beside the
 * folders; a part that is not listed may import nothing and be imported by nothing.
 */
export const mayImport: Readonly<Record<string, readonly string[]>> = {
  wire: ['wire'],
  errors: [],
  options: ['errors'],
  native: [],
  doctor: ['doctor'],
  memory: ['errors', 'options', 'native', 'wire', 'doctor', 'memory'],
  host: base,
  trace: ['native', 'trace'],
  threads: [...base, 'trace', 'threads'],
  channel: [...base, 'trace', 'threads', 'channel'],
  source: [...engine, 'source'],
  destination: [...engine, 'destination'],
  telemetry: [...sides, 'telemetry'],
  migration: [...sides, 'telemetry', 'migration'],
  guest: outside,
  machine: [...outside, 'machine'],
  inspect: ['errors', 'wire', 'inspect'],
  relay: ['errors', 'channel', 'wire', 'inspect', 'relay'],
  testing: [...outside, 'relay', 'testing'],
  qmp: [...outside, 'qmp'],
  logs: [...sides, 'logs'],
  http: ['errors', 'native', 'threads', 'channel', 'http'],
  metrics: [...sides, 'http', 'metrics'],
  dashboard: [...outside, 'http', 'dashboard'],
  cli: [...outside, 'inspect', 'relay', 'machine', 'qmp', 'http', 'logs', 'metrics', 'dashboard', 'cli', 'index'],
  index: [...outside, 'relay', 'machine', 'qmp'],
};

/** The part of lib/ that a path from lib/ belongs to: `memory/page.ts` is `memory`, `errors.js` is `errors`. */
function partOf(pathInLib: string): string {
  return pathInLib.includes('/') ? pathInLib.slice(0, pathInLib.indexOf('/')) : pathInLib.replace(/\.(ts|js)$/, '');
}

/** The target of a relative import as a path from lib/, or undefined where it leaves lib/. */
function resolveInLib(importer: string, from: string): string | undefined {
  const segments = importer.split('/').slice(0, -1);
  for (const segment of from.split('/')) {
    if (segment === '..') segments.pop();
    else if (segment !== '.') segments.push(segment);
  }
  return segments[0] === 'lib' ? segments.slice(1).join('/') : undefined;
}

function importDirection(files: readonly SourceFile[]): Breach[] {
  return files
    .filter(({ path }) => /^lib\/.*\.ts$/.test(path))
    .flatMap((file) =>
      importsOf(file).flatMap(({ from, line }) => {
        const part = partOf(file.path.slice('lib/'.length));
        const breach = (what: string): Breach[] => [{ path: file.path, line, what }];
        if (!from.startsWith('.')) {
          return part === 'wire' || from.startsWith('#') ? breach(`lib/${part} imports ${from}`) : [];
        }
        const target = resolveInLib(file.path, from);
        if (target === undefined) return breach(`import of ${from}, outside lib/`);
        const allowed = mayImport[part]?.includes(partOf(target)) ?? false;
        return allowed ? [] : breach(`lib/${part} imports lib/${target}`);
      }),
    );
}

const addonLoads = /from 'bindings'|require\('bindings'\)|process\.dlopen|createRequire|\.node['"`]/;

// --- tests beside their subject -----------------------------------------------------------------

const workerEntry = 'the loop of a worker, which only runs in a whole migration: test/migration/';

const workerStep = 'a part of the migration thread, which only runs in a whole migration: test/migration/';
const owner = 'what holds the threads of one side together, which only runs in a whole migration: test/migration/';
const demoProcess =
  'a process of the demo, driven whole by test/cli/demo-command.test.ts and test/migration/two-processes.test.ts';
const ofTheContract =
  'a part of the contract, which test/testing/guest-contract.test.ts holds against good and bad guests';
const wasmThread = "in a vCPU's thread, which test/guest/wasm/wasm-guest.test.ts has through its owner";
const inBrowser = 'a part of the page, which test/dashboard/page.test.ts has in a real browser';
const typesOnly = 'types, which the compiler checks';

/** Files of lib/ without a mirrored test, each with the reason. */
export const withoutOwnTest: Readonly<Record<string, string>> = {
  'lib/source/migration-thread.ts': workerEntry,
  'lib/source/return-path-thread.ts': workerEntry,
  'lib/source/lane-thread.ts': workerEntry,
  'lib/source/source-context.ts': workerStep,
  'lib/source/ram-state.ts': workerStep,
  'lib/source/postcopy-start.ts': workerStep,
  'lib/source/completion.ts': workerStep,
  'lib/source/recovery.ts': workerStep,
  'lib/source/urgent-pages.ts': workerStep,
  'lib/source/source-connection.ts': owner,
  'lib/destination/main-thread.ts': workerEntry,
  'lib/destination/listen-thread.ts': workerEntry,
  'lib/destination/fault-thread.ts': workerEntry,
  'lib/destination/demand-thread.ts': workerEntry,
  'lib/source/outgoing.ts': owner,
  'lib/destination/incoming.ts': owner,
  'lib/migration/listen.ts': 'the other half of what test/migration/migrate.test.ts is about',
  'lib/cli/demo.ts': demoProcess,
  'lib/cli/demo-side.ts': demoProcess,
  'lib/cli/demo-source.ts': demoProcess,
  'lib/cli/demo-destination.ts': demoProcess,
  'lib/testing/guest-kit.ts': typesOnly,
  'lib/testing/contract-run.ts': ofTheContract,
  'lib/testing/running-rules.ts': ofTheContract,
  'lib/testing/state-rules.ts': ofTheContract,
  'lib/testing/move-rules.ts': ofTheContract,
  'lib/testing/resource-rules.ts': ofTheContract,
  'lib/testing/written-pages.ts': ofTheContract,
  'lib/testing/slow-link.ts': ofTheContract,
  'lib/testing/slow-link-thread.ts': ofTheContract,
  'lib/testing/resources.ts': 'figures of the process, which every test of leaks goes by',
  'lib/cli/demo-messages.ts': typesOnly,
  'lib/qmp/types.ts': typesOnly,
  'lib/machine/ram-reader-thread.ts':
    "the reader's thread, which test/machine/ram-reader.test.ts has through its owner",
  'lib/guest/wasm/program.ts': typesOnly,
  'lib/guest/wasm/webassembly.ts': typesOnly,
  'lib/guest/wasm/outer-program.ts': wasmThread,
  'lib/guest/wasm/wasm-vcpu.ts': wasmThread,
  'lib/guest/worker/messages.ts': typesOnly,
  'lib/guest/worker/vcpu-thread.ts':
    "a vCPU's thread, which test/guest/worker/worker-guest.test.ts has through its owner",
  'lib/guest/worker/worker-vcpu.ts':
    'one vCPU of a guest, which test/guest/worker/worker-guest.test.ts has through one',
  'lib/doctor/problem.ts': typesOnly,
  'lib/memory/guest.ts': typesOnly,
  'lib/relay/observer.ts': typesOnly,
  'lib/relay/connection.ts': 'one connection of a relay, which test/relay/relay.test.ts has through one',
  'lib/wire/messages.ts': typesOnly,
  'lib/dashboard/model.ts': typesOnly,
  'lib/dashboard/dashboard-thread.ts':
    "the dashboard's thread, which test/dashboard/dashboard.test.ts has through its owner",
  'lib/metrics/metrics-thread.ts':
    "the metrics' thread, which test/metrics/metrics-server.test.ts has through its owner",
  'lib/http/serving-thread.ts':
    'test/dashboard/dashboard.test.ts and test/metrics/metrics-server.test.ts have one each',
  'lib/http/serve-in-thread.ts': 'the other side of serving-thread.ts',
  'lib/dashboard/snapshot.ts': 'types, and bounds that test/dashboard/recorder.test.ts counts by',
  'lib/dashboard/page/main.ts': inBrowser,
  'lib/dashboard/page/dom.ts': inBrowser,
  'lib/dashboard/page/charts.ts': inBrowser,
  'lib/dashboard/page/figures-view.ts': inBrowser,
  'lib/dashboard/page/map-view.ts': inBrowser,
  'lib/dashboard/page/plots-view.ts': inBrowser,
  'lib/dashboard/page/timeline-view.ts': inBrowser,
  'lib/dashboard/page/style.d.ts': typesOnly,
};

/** Tests of no single file of lib/, each with what they are about. */
export const withoutOwnSubject: Readonly<Record<string, string>> = {
  'test/tidy.test.ts': "the repository's rules",
  'test/examples.test.ts': 'the programs in examples/',
  'test/cli/errors.test.ts': 'what all commands say when they cannot be done',
  'test/examples/hot-restart.test.ts': 'examples/hot-restart/',
  'test/docs/tracing.test.ts': 'docs/tracing.md',
  'test/docs/containers.test.ts': 'docs/containers.md',
  'test/docs/convergence.test.ts': 'docs/convergence.md',
  'test/docs/man-page.test.ts': 'scripts/man-page.mjs, the manual page',
  'test/docs/dockerfile.test.ts': 'Dockerfile',
  'test/docs/tutorial.test.ts': 'docs/tutorial.md',
  'test/docs/readme.test.ts': 'README.md',
  'test/docs/qmp.test.ts': 'docs/qmp.md',
  'test/docs/postcopy-series.test.ts': 'docs/postcopy-series.md',
  'test/bench/statistics.test.ts': 'bench/statistics.ts',
  'test/bench/rounds.test.ts': 'bench/rounds.ts',
  'test/bench/dirtied-memory.test.ts': 'bench/dirtied-memory.ts',
  'test/bench/resident-memory.test.ts': 'bench/resident-memory.ts',
  'test/bench/html.test.ts': 'bench/html.ts',
  'test/bench/limits-program.test.ts': 'bench/limits-program.ts',
  'test/bench/syscall-counter.test.ts': 'bench/syscall-counter.ts',
  'test/bench/memory-image.test.ts': 'bench/memory-image.ts',
  'test/bench/toucher.test.ts': 'bench/toucher.ts',
  'test/bench/throughput-limit.test.ts': 'bench/throughput-limit.ts',
  'test/bench/quick.test.ts': 'npm run bench -- --quick',
  'test/package.test.ts': 'the package as its users install it',
  'test/traps.test.ts': 'the known traps of userfaultfd, and where each is shown',
  'test/chaos.test.ts': 'testing/chaos/, migrations over a network that breaks',
  'test/fuzz.test.ts': 'fuzz/, the fuzz of the decoders and of loading',
  'test/guest/contract.test.ts': 'the contract of docs/guests.md, which lib/testing/ checks',
  'test/guest/wasm/sqlite.test.ts': 'a real program as a WebAssembly guest',
  'test/soak.test.ts': 'testing/soak.mjs, the soak of many faults',
  'test/dashboard/page.test.ts': 'lib/dashboard/page/, as a browser shows it',
  'test/dashboard/hostile-clients.test.ts': 'clients of a dashboard that mean ill, during a migration',
  'test/relay/bad-network.test.ts': 'testing/bad-network.ts, the network of the chaos tests',
};

const testOf = (path: string): string => path.replace(/^lib\//, 'test/').replace(/\.ts$/, '.test.ts');

/** What a test is about: the file of lib/ at the same place, or for test/native/ the C++ file of that name. */
function subjectOf(path: string): string {
  const stem = path.replace(/^test\//, '').replace(/\.test\.ts$/, '');
  return stem.startsWith('native/') ? `${stem.replaceAll('-', '_')}.cc` : `lib/${stem}.ts`;
}

/** Checks against the two tables; both are arguments so that the check itself can be tested. */
export function mirroring(
  files: readonly SourceFile[],
  untested: Readonly<Record<string, string>>,
  unmirrored: Readonly<Record<string, string>>,
): Breach[] {
  const paths = new Set(files.map(({ path }) => path));
  const breaches: Breach[] = [];
  const report = (path: string, what: string): void => {
    breaches.push({ path, line: 1, what });
  };
  for (const path of paths) {
    if (/^lib\/.*\.ts$/.test(path) && !path.endsWith('/index.ts')) {
      const tested = paths.has(testOf(path));
      if (!tested && untested[path] === undefined) report(path, `no ${testOf(path)}`);
      if (tested && untested[path] !== undefined) report(path, 'has a test and is still in withoutOwnTest');
    }
    // Tests of whole migrations, in several processes or with a QEMU, have no single subject.
    if (/^test\/(?!(?:migration|qemu)\/).*\.test\.ts$/.test(path) && !paths.has(subjectOf(path))) {
      if (unmirrored[path] === undefined) report(path, `no ${subjectOf(path)}`);
    }
    if (/^test\/.*\.ts$/.test(path) && !path.endsWith('.test.ts')) report(path, 'a helper among the tests');
  }
  for (const path of [...Object.keys(untested), ...Object.keys(unmirrored)]) {
    if (!paths.has(path)) report(path, 'in an exempt table, but there is no such file');
  }
  return breaches;
}

// --- native/ ------------------------------------------------------------------------------------

/** Names of the migration stream, which C++ must not learn. SHUT_RDWR and its like are the kernel's. */
const wireNames = new RegExp(
  [
    '\\b(MIG_CMD\\w*|MIG_RP\\w*|RAM_SAVE\\w*|QEMU_VM\\w*|QEVM|REQ_PAGES\\w*|RECV_BITMAP',
    'POSTCOPY_(ADVISE|LISTEN|RUN|RAM_DISCARD|RESUME)|OPEN_RETURN_PATH|RESUME_ACK|SWITCHOVER_ACK',
    'CMD_PACKAGED|PING|PONG|idstr|vmdesc|xbzrle)\\b',
  ].join('|'),
  'i',
);

// --- function length ----------------------------------------------------------------------------

/** Lines from a function's first to its last, its parameters included and its comment not. */
const FUNCTION_LINES_MAX = 70;

function longScriptFunctions({ path, text }: SourceFile): Breach[] {
  const parsed = ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true);
  const breaches: Breach[] = [];
  const lineAt = (position: number): number => parsed.getLineAndCharacterOfPosition(position).line + 1;
  const visit = (node: ts.Node): void => {
    if (ts.isFunctionLike(node)) {
      const first = lineAt(node.getStart());
      const count = lineAt(node.end) - first + 1;
      if (count > FUNCTION_LINES_MAX) breaches.push({ path, line: first, what: `a function of ${count} lines` });
    }
    ts.forEachChild(node, visit);
  };
  visit(parsed);
  return breaches;
}

/**
 * Crude, and enough for code in the format that lint enforces: a function starts at an unindented line and
 * ends at a line that is one brace. A type ends in `};` and a namespace in a comment, so neither counts.
 */
function longCppFunctions({ path, text }: SourceFile): Breach[] {
  const breaches: Breach[] = [];
  let first = -1;
  text.split('\n').forEach((line, index) => {
    if (first < 0 && /^[A-Za-z~]/.test(line)) first = index;
    const count = index - first + 1;
    if (line === '}' && first >= 0 && count > FUNCTION_LINES_MAX) {
      breaches.push({ path, line: first + 1, what: `a function of ${count} lines` });
    }
    if (/^\}|^\S.*;$|^namespace\b.*\{$/.test(line)) first = -1;
  });
  return breaches;
}

// --- the rules ----------------------------------------------------------------------------------

const TS_COLUMNS_MAX = 120;
const CPP_COLUMNS_MAX = 100;

const scriptName = /^[a-z0-9]+(-[a-z0-9]+)*(\.test|\.config|\.d)?\.(ts|mjs)$/;
const cppName = /^[a-z0-9]+(_[a-z0-9]+)*\.(cc|h)$/;

/** The files that spell out what they forbid. */
const ownFiles = new Set(['testing/tidy-rules.ts', 'test/tidy.test.ts']);

/** Tests that may use timers, each with the reason why that is no synchronisation. */
export const timersInTests: Readonly<Record<string, string>> = {};

const timers = /\b(setTimeout|setInterval)\s*\(|timers\/promises|\bsleep\s*\(/;

/** Folders and hosts that exist on one machine only; written so that this line does not match itself. */
const machinePaths = /(?<![\w.$}/-])\/(?:work|root|home\/\w+)\/|(?:\.\.\/)(?:shared)\/|\.(?:library)\//;
const registryHosts =
  /\b(?:registry|npm|nexus|artifactory|pypi|mirror)[\w-]*\.[\w.-]+\.(?:org|com|net|io|dev|internal)\b/;

export const rules: readonly Rule[] = [
  {
    name: 'import direction',
    mend: 'Move the code to the layer that owns it, or hand it over as an argument (see mayImport).',
    check: importDirection,
  },
  {
    name: 'one loader',
    mend: 'Call native() of lib/native.ts, the only file that loads the addon.',
    check: (files) =>
      perLine(
        files,
        (path) => /^lib\/.*\.ts$/.test(path) && path !== 'lib/native.ts',
        (line) => (addonLoads.test(line) ? 'loads a native module' : undefined),
      ),
  },
  {
    name: 'mirrored tests',
    mend: 'Add or move the test, or name the file with a reason in testing/tidy-rules.ts; helpers go in testing/.',
    check: (files) => mirroring(files, withoutOwnTest, withoutOwnSubject),
  },
  {
    name: 'no wire names in native/',
    mend: 'C++ must not learn the protocol: pass block, page and buffer arguments from TypeScript.',
    check: (files) =>
      perLine(
        files,
        (path) => path.startsWith('native/') && isCpp(path),
        (line) => wireNames.exec(line)?.[0],
      ),
  },
  {
    name: 'opening comment',
    mend: 'Start the file with what it is, which thread runs it, and its invariants.',
    check: (files) =>
      files.flatMap(({ path, text }) => {
        const opensWithComment = /^(#!.*\n)?\s*(\/\*|\/\/)/.test(text);
        return (isScript(path) || isCpp(path)) && !opensWithComment ? [{ path, line: 1, what: 'no comment' }] : [];
      }),
  },
  {
    name: 'line width',
    mend: 'Break the line; `npm run format` does most of it.',
    check: (files) =>
      perLine(
        files,
        (path) => isScript(path) || isCpp(path),
        (line, path) => {
          const limit = isCpp(path) ? CPP_COLUMNS_MAX : TS_COLUMNS_MAX;
          const columns = [...line].length;
          return columns > limit ? `${columns} columns, over ${limit}` : undefined;
        },
      ),
  },
  {
    name: 'no leftovers',
    mend: 'Do it now, or write it down as an issue.',
    check: (files) =>
      perLine(
        files,
        (path) => (isScript(path) || isCpp(path)) && !ownFiles.has(path),
        (line) => /\b(TODO|FIXME|XXX|HACK)\b/.exec(line)?.[0],
      ),
  },
  {
    name: 'no timers in tests',
    mend: 'Wait for the event itself (a promise, an eventfd), or name the file in timersInTests with a reason.',
    check: (files) =>
      perLine(
        files,
        (path) => path.endsWith('.test.ts') && !ownFiles.has(path) && timersInTests[path] === undefined,
        (line) => timers.exec(line)?.[0],
      ),
  },
  {
    name: 'file names',
    mend: 'Name the file for its noun: kebab-case.ts and .mjs, snake_case.cc and .h.',
    check: (files) =>
      files.flatMap(({ path }) => {
        const name = path.slice(path.lastIndexOf('/') + 1);
        const isBad = (isScript(path) && !scriptName.test(name)) || (isCpp(path) && !cppName.test(name));
        return isBad ? [{ path, line: 1, what: `the name ${name}` }] : [];
      }),
  },
  {
    name: 'no machine paths',
    mend: 'Use a path from the file itself, a temporary folder, or the project name; leave the registry to npm.',
    check: (files) =>
      perLine(
        files,
        (path) => path !== 'LICENSE',
        (line) => machinePaths.exec(line)?.[0] ?? registryHosts.exec(line)?.[0],
      ),
  },
  {
    name: 'function length',
    mend: 'Split it at the step that has a name of its own.',
    check: (files) =>
      files.flatMap((file) => {
        if (isCpp(file.path)) return longCppFunctions(file);
        return isScript(file.path) && !file.path.startsWith('test/') ? longScriptFunctions(file) : [];
      }),
  },
  {
    name: 'documents',
    mend: 'Restore it: readers and the package rely on it.',
    check: (files) =>
      ['README.md', 'CHANGELOG.md', 'CONTRIBUTING.md', 'LICENSE', 'docs/architecture.md', 'docs/protocol.md']
        .filter((wanted) => !files.some(({ path, text }) => path === wanted && text.trim() !== ''))
        .map((path) => ({ path, line: 1, what: 'missing or empty' })),
  },
];
