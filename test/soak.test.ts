/** The double-service soak in a short form, as `npm run soak` runs it for long (testing/soak.mjs). */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const program = fileURLToPath(new URL('../testing/soak.mjs', import.meta.url));

test.each(['anonymous', 'memfd'])('25,000 faults on %s memory, each served twice, leave nobody blocked', (kind) => {
  const { status, stdout, stderr } = spawnSync(process.execPath, [program, '25000', kind], {
    encoding: 'utf8',
    timeout: 60_000,
  });
  expect(stderr).toBe('');
  expect(stdout.trimEnd().split('\n').at(-1)).toMatch(
    new RegExp(`^${kind}: faults 26,624, .* EEXIST 26,624, .* wrong 0, blocked 0$`),
  );
  expect(status).toBe(0);
});
