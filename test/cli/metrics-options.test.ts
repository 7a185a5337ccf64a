/** The options of the metrics, and a command that serves them while it runs. */
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { Command } from 'commander';
import { execa } from 'execa';
import { afterAll, expect, test } from 'vitest';
import { addMetricsOptions, openMetrics } from '#lib/cli/metrics-options.js';
import { readPrometheusText } from '../../testing/prometheus-text.ts';

const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'postcopy-test-'));
afterAll(() => rmSync(folder, { recursive: true }));

const parse = (...args: string[]) =>
  addMetricsOptions(new Command())
    .exitOverride()
    .configureOutput({ writeErr: () => {} })
    .parse(args, { from: 'user' })
    .opts();

/** Resolved when the log has a record that `isIt`. */
function logged(log: Readable, isIt: (record: Readonly<Record<string, unknown>>) => boolean): Promise<void> {
  return new Promise((resolve) => {
    createInterface({ input: log }).on('line', (line) => isIt(JSON.parse(line)) && resolve());
  });
}

async function scrape(socketPath: string) {
  const asked = request({ socketPath, path: '/metrics', headers: { host: 'localhost' } }).end();
  const [answer] = await once(asked, 'response');
  return readPrometheusText(await text(answer));
}

test('where they are to be had, as people write it', () => {
  expect(parse()).toEqual({});
  expect(parse('--metrics')).toEqual({ metrics: true });
  expect(parse('--metrics', '9000')).toEqual({ metrics: 'tcp:127.0.0.1:9000' });
  expect(parse('--metrics', 'unix:/m')).toEqual({ metrics: 'unix:/m' });
  expect(() => parse('--metrics', 'x')).toThrow('"x" is nowhere to listen: give a port, host:port, or unix:/path');
});

test('none are served where they are not asked for', async () => {
  expect(
    await openMetrics(
      {},
      () => ({}),
      () => {},
    ),
  ).toBeUndefined();
});

test('receive serves them while it waits, and no longer than it runs', async () => {
  const socket = join(folder, 'metrics.sock');
  const args = ['receive', `unix:${folder}/m.sock`, '--metrics', `unix:${socket}`, '--log-format', 'json'];
  const receive = execa(process.execPath, [main, ...args], { reject: false, timeout: 60_000 });
  await logged(receive.stderr, ({ event }) => event === 'listening');
  const families = await scrape(socket);
  const status = families.get('postcopy_migration_status')?.samples.find(({ value }) => value === 1);
  expect(status?.labels).toEqual({ side: 'destination', status: 'setup' });
  receive.kill('SIGINT');
  expect((await receive).exitCode).toBe(130);
  await expect(scrape(socket)).rejects.toThrow();
});

test('demo has those of both its sides', async () => {
  const socket = join(folder, 'demo.sock');
  const args = ['demo', '--guest', 'stress', '--memory', '32M', '--max-bandwidth', '20M/s'];
  const watching = ['--metrics', `unix:${socket}`, '--log-format', 'json'];
  const demo = execa(process.execPath, [main, ...args, ...watching], { timeout: 60_000 });
  await logged(
    demo.stderr,
    ({ event, side, status }) => event === 'status' && side === 'source' && status === 'active',
  );
  const families = await scrape(socket);
  const sides = families.get('postcopy_transferred_bytes_total')?.samples.map(({ labels }) => labels.side);
  expect(sides).toEqual(['source', 'destination']);
  expect(families.get('postcopy_fault_latency_seconds')?.samples.length).toBeGreaterThan(0);
  expect((await demo).exitCode).toBe(0);
});
