/**
 * Runs the tests and closes with one line, alone and last on stdout: `N passed, N failed, N skipped`.
 *
 *   node scripts/test.mjs [vitest arguments]
 *
 * Exit status 0 only when something passed and nothing failed: a crash of the runner, an error outside
 * any test and a file that does not load count as failed. Under CI=true a skipped test fails too.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { root } from './toolchain.mjs';

/** Runs vitest; returns whether it was content, and its JSON report if it wrote one. */
function runVitest(args) {
  const folder = mkdtempSync(join(tmpdir(), 'postcopy-test-'));
  const reportPath = join(folder, 'report.json');
  try {
    const vitest = join(root, 'node_modules', 'vitest', 'vitest.mjs');
    const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${reportPath}`];
    const { status } = spawnSync(process.execPath, [vitest, 'run', ...reporters, ...args], {
      cwd: root,
      stdio: 'inherit',
    });
    return {
      content: status === 0,
      report: existsSync(reportPath) ? JSON.parse(readFileSync(reportPath, 'utf8')) : undefined,
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Tests by how they ended; a file that failed without a failed test (it did not load) counts as one failed. */
function countTests(report) {
  const counts = { passed: 0, failed: 0, skipped: 0 };
  for (const file of report?.testResults ?? []) {
    const failedBefore = counts.failed;
    for (const { status } of file.assertionResults) {
      if (status === 'passed') counts.passed += 1;
      else if (status === 'failed') counts.failed += 1;
      else counts.skipped += 1;
    }
    if (file.status === 'failed' && counts.failed === failedBefore) counts.failed += 1;
  }
  return counts;
}

const { content, report } = runVitest(process.argv.slice(2));
const counts = countTests(report);
if (!content && counts.failed === 0) {
  console.error('The test runner failed outside any test; its message is above. Counted as one failed test.');
  counts.failed = 1;
}
const skippedIsFailure = process.env.CI === 'true' && counts.skipped > 0;
if (skippedIsFailure) console.error('Tests were skipped, which is a failure under CI=true.');
console.log(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
process.exitCode = counts.failed === 0 && counts.passed > 0 && !skippedIsFailure ? 0 : 1;
