/** The repository against its own rules, and each rule against files that break it and files that keep it. */
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import {
  type Breach,
  describeBreach,
  mirroring,
  readRepository,
  rules,
  type SourceFile,
} from '../testing/tidy-rules.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const repository = readRepository(root);

function ruleNamed(name: string) {
  const rule = rules.find((candidate) => candidate.name === name);
  if (rule === undefined) throw new Error(`no rule is named ${name}`);
  return rule;
}

const at = (path: string, text: string): SourceFile => ({ path, text });
const longBody = '  step();\n'.repeat(69);
const machinePath = ['', 'root', 'project'].join('/');
const registryUrl = ['https://registry', 'npmjs', 'org/'].join('.');

/** For each rule: what must be caught, with the line, and what must not. */
const examples: Record<string, { breaks: readonly [SourceFile, line: number][]; keeps: readonly SourceFile[] }> = {
  'import direction': {
    breaks: [
      [at('lib/wire/decode.ts', "// Decoder.\nimport { x } from '../errors.js';"), 2],
      [at('lib/wire/decode.ts', "import { readFile } from 'node:fs/promises';"), 1],
      [at('lib/memory/page.ts', "import { x } from '../threads/ring.js';"), 1],
      [at('lib/memory/page.ts', "import { x } from '../source/ram-save.js';"), 1],
      [at('lib/threads/ring.ts', "import { x } from '../channel/channel.js';"), 1],
      [at('lib/source/ram-save.ts', "import { x } from '../destination/place-page.js';"), 1],
      [at('lib/destination/incoming.ts', "export * from '../source/outgoing.js';"), 1],
      [at('lib/source/outgoing.ts', "const late = await import('../migration/migrate.js');"), 1],
      [at('lib/migration/migrate.ts', "import type { x } from '../cli/main.js';"), 1],
      [at('lib/guest/stress.ts', "import { x } from '../../testing/prng.js';"), 1],
      [at('lib/guest/stress.ts', "import { x } from '#lib/memory/page.js';"), 1],
      [at('lib/unlisted/file.ts', "import { x } from '../errors.js';"), 1],
    ],
    keeps: [
      at('lib/wire/decode.ts', "import { x } from './protocol.js';"),
      at('lib/source/ram-save.ts', "import { x } from '../wire/encode.js';\nimport { y } from 'node:path';"),
      at('lib/migration/migrate.ts', "import { x } from '../source/outgoing.js';"),
      at('test/source/ram-save.test.ts', "import { x } from '#lib/destination/place-page.js';"),
    ],
  },
  'one loader': {
    breaks: [
      [at('lib/memory/page.ts', "// Pages.\nimport bindings from 'bindings';"), 2],
      [at('lib/memory/page.ts', "const addon = require('../build/Release/postcopy.node');"), 1],
    ],
    keeps: [
      at('lib/native.ts', "import bindings from 'bindings';"),
      at('lib/a.ts', "import { native } from './native.js';"),
    ],
  },
  'no wire names in native/': {
    breaks: [
      [at('native/socket.cc', '// Sends.\nif (type == RAM_SAVE_FLAG_ZERO) return;'), 2],
      [at('native/socket.cc', '// answers a PING'), 1],
    ],
    keeps: [at('native/socket.cc', 'shutdown(fd, SHUT_RDWR);'), at('lib/wire/protocol.ts', "name: 'PING'")],
  },
  'opening comment': {
    breaks: [
      [at('lib/memory/page.ts', 'export const x = 1;\n// late'), 1],
      [at('native/socket.cc', '#include <napi.h>'), 1],
    ],
    keeps: [at('lib/cli/main.ts', '#!/usr/bin/env node\n/** The command line. */'), at('docs/a.md', '# A')],
  },
  'line width': {
    breaks: [
      [at('lib/memory/page.ts', `// Pages.\n//${'x'.repeat(119)}`), 2],
      [at('native/socket.cc', `//${'x'.repeat(99)}`), 1],
    ],
    keeps: [at('lib/memory/page.ts', `//${'x'.repeat(118)}`), at('native/socket.cc', `//${'é'.repeat(98)}`)],
  },
  'no leftovers': {
    breaks: [[at('lib/memory/page.ts', '// Pages.\n// TODO count them'), 2]],
    keeps: [at('lib/memory/page.ts', "const todo = 'mastodon';")],
  },
  'no timers in tests': {
    breaks: [
      [at('test/threads/ring.test.ts', 'await new Promise((done) => setTimeout(done, 50));'), 1],
      [at('test/threads/ring.test.ts', "import { setTimeout as wait } from 'node:timers/promises';"), 1],
    ],
    keeps: [at('lib/channel/connect.ts', 'setTimeout(give, 50);'), at('test/a.test.ts', 'const timeoutMs = 5;')],
  },
  'file names': {
    breaks: [
      [at('lib/memory/ramBlock.ts', ''), 1],
      [at('native/ram-block.cc', ''), 1],
      [at('scripts/Build.mjs', ''), 1],
    ],
    keeps: [at('lib/memory/ram-block.ts', ''), at('native/ram_block.cc', ''), at('test/wire/decode.test.ts', '')],
  },
  'no machine paths': {
    breaks: [
      [at('docs/guide.md', `Guide\ncd ${machinePath}`), 2],
      [at('package-lock.json', `"resolved": "${registryUrl}x.tgz"`), 1],
    ],
    keeps: [
      at('docs/guide.md', 'cd postcopy && ls docs/work/ ./work/x'),
      at('README.md', 'https://www.npmjs.com/package/x'),
    ],
  },
  'function length': {
    breaks: [
      [at('lib/memory/page.ts', `// Pages.\nfunction long() {\n${longBody}}\n`), 2],
      [at('lib/memory/page.ts', `const long = () => {\n${longBody}};\n`), 1],
      [at('native/socket.cc', `// Sends.\nnamespace a {\nint Long(\n    int x) {\n${longBody}}\n}  // namespace a`), 3],
    ],
    keeps: [
      at('lib/memory/page.ts', `function fits() {\n${longBody.slice(0, -'  step();\n'.length)}}\n`),
      at('native/socket.cc', `int a;\nint Fits() {\n  step();\n}\n\nstruct Long {\n${longBody}};\n`),
      at('test/memory/page.test.ts', `describe('page', () => {\n${longBody}});\n`),
    ],
  },
};

const places = (breaches: readonly Breach[]): string[] => breaches.map(({ path, line }) => `${path}:${line}`);

describe('the repository', () => {
  it('was read', () => {
    const paths = repository.map(({ path }) => path);
    expect(paths).toContain('package.json');
    expect(paths).toContain('lib/native.ts');
    expect(paths.filter((path) => /^(node_modules|dist|build)\//.test(path))).toEqual([]);
  });

  it.each(rules)('keeps the rule: $name', (rule) => {
    const breaches = rule.check(repository).map((breach) => describeBreach(rule, breach));
    expect(breaches.join('\n')).toBe('');
  });
});

describe('the rules', () => {
  it('all have examples, or a test of their own below', () => {
    const covered = [...Object.keys(examples), 'mirrored tests', 'documents'];
    expect(rules.map(({ name }) => name).sort()).toEqual(covered.sort());
  });

  describe.each(Object.entries(examples))('%s', (name, { breaks, keeps }) => {
    it.each(breaks)('finds the breach in $path', (file, line) => {
      expect(places(ruleNamed(name).check([file]))).toEqual([`${file.path}:${line}`]);
    });

    it.each(keeps)('accepts $path', (file) => {
      expect(ruleNamed(name).check([file])).toEqual([]);
    });
  });

  it('mirrored tests: finds missing tests, missing subjects, helpers and stale exemptions', () => {
    const files = [
      'lib/index.ts',
      'lib/a/tested.ts',
      'lib/a/untested.ts',
      'lib/a/exempt.ts',
      'lib/a/no-longer-exempt.ts',
      'test/a/tested.test.ts',
      'test/a/no-longer-exempt.test.ts',
      'test/a/orphan.test.ts',
      'test/a/helper.ts',
      'native/ram_block.cc',
      'test/native/ram-block.test.ts',
      'test/native/no-such-file.test.ts',
      'test/migration/precopy-then-postcopy.test.ts',
      'test/qemu/qemu-to-qemu.test.ts',
    ].map((path) => at(path, ''));
    const exempt = { 'lib/a/exempt.ts': 'r', 'lib/a/no-longer-exempt.ts': 'r', 'lib/a/gone.ts': 'r' };
    expect(mirroring(files, exempt, {}).map(({ path, what }) => `${path}: ${what}`)).toEqual([
      'lib/a/untested.ts: no test/a/untested.test.ts',
      'lib/a/no-longer-exempt.ts: has a test and is still in withoutOwnTest',
      'test/a/orphan.test.ts: no lib/a/orphan.ts',
      'test/a/helper.ts: a helper among the tests',
      'test/native/no-such-file.test.ts: no native/no_such_file.cc',
      'lib/a/gone.ts: in an exempt table, but there is no such file',
    ]);
  });

  it('documents: finds a missing and an empty one', () => {
    const files = ['README.md', 'LICENSE', 'CHANGELOG.md', 'docs/architecture.md'].map((path) => at(path, 'text'));
    expect(places(ruleNamed('documents').check([...files, at('docs/protocol.md', '\n')]))).toEqual([
      'CONTRIBUTING.md:1',
      'docs/protocol.md:1',
    ]);
  });

  it('say where, what, which rule and the mend', () => {
    const rule = ruleNamed('file names');
    const [breach] = rule.check([at('lib/Bad.ts', '')]);
    expect(describeBreach(rule, breach)).toBe(`lib/Bad.ts:1  the name Bad.ts [file names]  ${rule.mend}`);
  });
});
