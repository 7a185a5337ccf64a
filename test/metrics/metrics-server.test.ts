/** The server of metrics: what it answers, to whom, and how often its owner is asked. */
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { serveMetrics } from '#lib/metrics/metrics-server.js';
import { sourceDone } from '../../testing/demo-parts.ts';
import { readPrometheusText } from '../../testing/prometheus-text.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'postcopy-test-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

async function get(socketPath: string, path: string) {
  const [answer] = await once(request({ socketPath, path, headers: { host: 'localhost' } }).end(), 'response');
  return { status: answer.statusCode, type: answer.headers['content-type'], body: await text(answer) };
}

test('the metrics are looked at when somebody asks, and not more often than is of use', async () => {
  const socket = join(folder, 'metrics.sock');
  let looks = 0;
  const server = await serveMetrics({ uri: `unix:${socket}`, anyHost: false }, () => {
    looks += 1;
    return { source: { info: sourceDone.info, pauses: { pauses: looks, recoveries: 0, pausedMs: 0 } } };
  });
  expect(looks).toBe(0);
  const { status, type, body } = await get(socket, '/metrics');
  expect([status, type]).toEqual([200, 'text/plain; version=0.0.4; charset=utf-8']);
  expect(readPrometheusText(body).get('postcopy_pages_total')?.type).toBe('counter');
  expect(readPrometheusText(body).get('postcopy_pauses_total')?.samples[0].value).toBe(1);
  expect(looks).toBe(1);
  const began = performance.now();
  await Promise.all(Array.from({ length: 50 }, () => get(socket, '/metrics')));
  expect(looks).toBeLessThanOrEqual(2 + (performance.now() - began) / 100);
  await server.close();
});

test('its first page says where they are', async () => {
  const socket = join(folder, 'metrics.sock');
  const server = await serveMetrics({ uri: `unix:${socket}`, anyHost: false }, () => ({}));
  expect((await get(socket, '/')).body).toContain('/metrics');
  await server.close();
});

test('other hosts are let in only where that is asked for', async () => {
  await expect(serveMetrics({ uri: 'tcp:0.0.0.0:0', anyHost: false }, () => ({}))).rejects.toMatchObject({
    code: 'BAD_ARGUMENT',
  });
});
