/** README.md: what it links to and types is there, the session is one of the demo, and its code is typed right. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { expect, test } from 'vitest';
import { commands } from '#lib/cli/program.js';

const root = new URL('../../', import.meta.url);
const readme = readFileSync(new URL('README.md', root), 'utf8');
const { scripts } = JSON.parse(readFileSync(new URL('package.json', root), 'utf8'));

test('what it links to is there', () => {
  const links = [...readme.matchAll(/\]\((?!https:)([^)#]+)/g)].map(([, path]) => path);
  expect(links.length).toBeGreaterThan(10);
  expect(links.filter((path) => !existsSync(new URL(path, root)))).toEqual([]);
});

test('what it types is there', () => {
  for (const [, script] of readme.matchAll(/^npm run (\S+)/gm)) expect(scripts[script]).toBeDefined();
  const table = [...readme.matchAll(/^\| ((?:`\w+`(?:, )?)+) \|/gm)].flatMap(([, cell]) => cell.match(/\w+/g) ?? []);
  expect([...table].sort()).toEqual(commands.map(({ name }) => name).sort());
});

test('the session is what the demo prints now', async () => {
  const [, session = ''] = /^## A session\n.*?^```console\n(.*?)^```/ms.exec(readme) ?? [];
  const main = fileURLToPath(new URL('dist/cli/main.js', root));
  const demo = await execa(process.execPath, [main, 'demo', '--memory', '32M'], { env: { NO_COLOR: '1' } });
  const rowsOf = (text: string) => [...text.matchAll(/^│ (\S.*?) +│/gm)].map(([, name]) => name);
  expect(rowsOf(session)).toEqual(rowsOf(demo.stdout));
  expect(session).toMatch(/^\$ npm run demo -- --memory 1G$/m);
});

test('the code of "As a library" is typed right', async () => {
  const [, section = ''] = /^## As a library\n(.*?)^## /ms.exec(readme) ?? [];
  const blocks = [...section.matchAll(/^```ts\n(.*?)^```/gms)].map(([, code]) => code);
  expect(blocks.length).toBe(3);
  // A reader's blocks are of one program, but for what the last two take from their surroundings.
  const [first, prepared, contract] = blocks;
  const program = [
    "import { prepareMigration } from 'postcopy';",
    "import { test } from 'vitest';",
    "import type { GuestKit } from 'postcopy/testing';",
    first,
    'declare const kit: GuestKit;',
    `{ ${prepared} }`,
    contract,
  ].join('\n');
  const folder = mkdtempSync(join(fileURLToPath(root), 'node_modules', '.readme-'));
  try {
    writeFileSync(join(folder, 'readme.mts'), program);
    const compilerOptions = {
      ...{ module: 'nodenext', moduleResolution: 'nodenext', target: 'es2022', strict: true, noEmit: true },
      ...{ lib: ['es2022', 'esnext.disposable'], types: ['node'], skipLibCheck: true },
      paths: { postcopy: ['../../dist/index.d.ts'], 'postcopy/testing': ['../../dist/testing/index.d.ts'] },
    };
    writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, include: ['*.mts'] }));
    const tsc = fileURLToPath(new URL('node_modules/typescript/bin/tsc', root));
    const { stdout } = await execa(process.execPath, [tsc, '-p', folder], { reject: false });
    expect(stdout).toBe('');
  } finally {
    rmSync(folder, { recursive: true });
  }
});
