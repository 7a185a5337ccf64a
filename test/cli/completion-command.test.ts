/** `postcopy completion` as it is called. */
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { expect, test } from 'vitest';

const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const postcopy = (...args: string[]) => execa(process.execPath, [main, ...args], { reject: false });

test('prints a script that bash can read', async () => {
  const { exitCode, stdout } = await postcopy('completion', 'bash');
  expect(exitCode).toBe(0);
  expect((await execa('bash', ['-n'], { input: stdout })).stderr).toBe('');
});

test('of another shell there is none', async () => {
  const { exitCode, stderr } = await postcopy('completion', 'tcsh');
  expect(exitCode).toBe(2);
  expect(stderr).toContain('Allowed choices are bash, zsh, fish.');
});
