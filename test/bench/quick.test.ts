/** The benchmarks as a person runs them, at their smallest: all of it works and all RAM arrives, however fast. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { expect, test } from 'vitest';
import type { Report } from '../../bench/report.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));

test('npm run bench -- --quick measures what it is asked for', { timeout: 120_000 }, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'postcopy-bench-test-'));
  try {
    const json = join(folder, 'report.json');
    const chosen = ['throughput', 'latency', '--mode', 'postcopy', '--transport', 'unix'];
    const args = ['run', 'bench', '--', '--quick', ...chosen, '--json', json];
    const { stdout, stderr, exitCode } = await execa('npm', args, { cwd: root, reject: false });
    expect(exitCode, `${stdout}\n${stderr}`).toBe(0);
    const { benchmarks } = JSON.parse(readFileSync(json, 'utf8')) as Report;
    const compared = benchmarks.flatMap(({ comparisons }) => comparisons.map(({ name }) => name));
    expect(compared).toEqual([
      'postcopy, unix, half-zero',
      'requests, unix, preempt, loopback',
      'requests, unix, preempt, 2.5 Gbit/s',
      'requests, unix, one connection, loopback',
      'requests, unix, one connection, 2.5 Gbit/s',
    ]);
    for (const name of compared) expect(stdout).toContain(name);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
