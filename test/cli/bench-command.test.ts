/** `postcopy bench` as a user runs it. */
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { expect, test } from 'vitest';
import { type BenchReport, benchWays } from '#lib/cli/bench-report.js';

const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const run = (...args: string[]) =>
  execa(process.execPath, [main, 'bench', ...args], { reject: false, env: { NO_COLOR: '1' }, timeout: 60_000 });

test('moves a guest by each way, and tells how fast', { timeout: 60_000 }, async () => {
  const { exitCode, stdout, stderr } = await run('--memory', '8M', '--rounds', '1', '--json');
  expect(exitCode, stderr).toBe(0);
  const report = JSON.parse(stdout) as BenchReport;
  expect(report).toMatchObject({ memoryBytes: 8 * 1024 * 1024, transport: 'unix', rounds: 1 });
  expect(report.ways.map(({ way }) => way)).toEqual(benchWays.map(({ name }) => name));
  for (const { bytesPerSecond } of report.ways) expect(bytesPerSecond.median).toBeGreaterThan(0);
  expect(report.placementBytesPerSecond).toBeGreaterThan(0);
});

test('a command line that it does not understand', async () => {
  const { exitCode, stderr } = await run('--rounds', '0');
  expect(exitCode).toBe(2);
  expect(stderr).toContain('Give a whole number from 1 to 1000.');
});
