/** The benchmarks as a person runs them, at their smallest: all of it works and all RAM arrives, however fast. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { expect, test } from 'vitest';
import type { Report } from '../../bench/report.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** Not all, which takes two minutes: some of each that needs no guest to be booted. */
const benchmarks = ['limits', 'throughput', 'dirty', 'faults', 'latency'];
const comparisons = [
  'a page fault, from touch to going on',
  'postcopy, unix, half-zero',
  'a round, 10 % written',
  'faults, idle, unix, random, 4 threads',
  'requests, unix, preempt, 2.5 Gbit/s',
];

test('npm run bench -- --quick measures what it is asked for', { timeout: 120_000 }, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'postcopy-bench-test-'));
  try {
    const report = (extension: string) => join(folder, `report.${extension}`);
    const only = ['--mode', 'postcopy', '--transport', 'unix', '--only', ...comparisons];
    const files = ['--json', report('json'), '--html', report('html')];
    const args = ['run', 'bench', '--', '--quick', ...benchmarks, ...only, ...files];
    const { stdout, stderr, exitCode } = await execa('npm', args, { cwd: root, reject: false });
    expect(exitCode, `${stdout}\n${stderr}`).toBe(0);
    const measured = (JSON.parse(readFileSync(report('json'), 'utf8')) as Report).benchmarks;
    const compared = measured.flatMap(({ comparisons: each }) => each.map(({ name }) => name));
    expect(compared).toEqual(comparisons);
    const page = readFileSync(report('html'), 'utf8');
    for (const { title } of measured) expect(page).toContain(title);
    for (const name of compared) expect(stdout).toContain(name);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
