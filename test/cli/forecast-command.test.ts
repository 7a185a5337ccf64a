/** The forecast as a user asks for it. */
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { expect, test } from 'vitest';

const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));

function postcopy(...args: string[]) {
  return execa(process.execPath, [main, 'forecast', ...args], { reject: false, env: { NO_COLOR: '1' } });
}

const guest = ['--memory', '64G', '--bandwidth', '10Gbit'];

test('a precopy that ends, and one that does not', async () => {
  const ends = await postcopy(...guest, '--dirty-rate', '300M/s', '--json');
  expect(ends.exitCode).toBe(0);
  const { converges, seconds, dirtyBytesPerSecond } = JSON.parse(ends.stdout);
  expect(converges).toBe(true);
  expect(seconds).toBeGreaterThan(55);
  expect(dirtyBytesPerSecond / (300 * 2 ** 20)).toBeCloseTo(1, 2);

  const never = await postcopy(...guest, '--dirty-rate', '3G/s', '--working-set', '8G');
  expect(never.exitCode).toBe(1);
  expect(never.stdout).toMatch(/precopy never ends: .*\n {2}postcopy: everything would be moved in .*/);
});

test('a working set that is written whole in a second, and a guest that writes nothing', async () => {
  const small = await postcopy(...guest, '--dirty-rate', '1G/s', '--working-set', '100M', '--json');
  expect(JSON.parse(small.stdout)).toMatchObject({ converges: true });
  const still = await postcopy(...guest, '--dirty-rate', '0', '--json');
  expect(JSON.parse(still.stdout)).toMatchObject({ converges: true, dirtyBytesPerSecond: 0, passes: 1 });
});

test('what is needed is asked for', async () => {
  const { exitCode, stderr } = await postcopy('--memory', '1G');
  expect(exitCode).toBe(2);
  expect(stderr).toContain('--bandwidth');
});
