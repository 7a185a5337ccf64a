/** When there is telemetry: only where an SDK is registered, and in the command too. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { trace } from '@opentelemetry/api';
import { BasicTracerProvider } from '@opentelemetry/sdk-trace-base';
import { execa } from 'execa';
import { afterAll, expect, test } from 'vitest';
import { findTelemetry } from '#lib/telemetry/telemetry.js';

const here = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'postcopy-test-'));
afterAll(() => rmSync(folder, { recursive: true }));

test('there is none but where an SDK is registered', async () => {
  expect(await findTelemetry()).toBeUndefined();
  trace.setGlobalTracerProvider(new BasicTracerProvider());
  try {
    expect(await findTelemetry()).toBeDefined();
  } finally {
    trace.disable();
  }
  expect(await findTelemetry()).toBeUndefined();
});

test('a package without the API is as one without an SDK', async () => {
  // What Node loads in its place is told apart by the name alone.
  const loader = `export async function resolve(name, context, next) {
    if (name === '@opentelemetry/api') throw Object.assign(new Error(name), { code: 'ERR_MODULE_NOT_FOUND' });
    return next(name, context);
  }`;
  const script = `import { register } from 'node:module';
    register('data:text/javascript,' + encodeURIComponent(${JSON.stringify(loader)}));
    globalThis[Symbol.for('opentelemetry.js.api.1')] = { trace: {} };
    const { findTelemetry } = await import(${JSON.stringify(pathToFileURL(here('dist/telemetry/telemetry.js')).href)});
    console.log(await findTelemetry());`;
  const { stdout } = await execa(process.execPath, ['--input-type=module', '-e', script]);
  expect(stdout).toBe('undefined');
});

test('the command makes spans with an SDK that is given to Node, as the example does', async () => {
  const args = ['--import', here('examples/otel.mjs'), here('dist/cli/main.js'), 'receive', `unix:${folder}/m.sock`];
  const receive = execa(process.execPath, args, { reject: false, timeout: 60_000 });
  await new Promise<void>((resolve) => {
    createInterface({ input: receive.stderr }).on('line', (line) => line.startsWith('listening') && resolve());
  });
  receive.kill('SIGINT');
  const { exitCode, stdout } = await receive;
  expect(exitCode).toBe(130);
  expect(stdout).toMatch(/name: 'postcopy\.setup'/);
  expect(stdout).toMatch(/name: 'postcopy\.migration'/);
  expect(stdout).toContain("'error.type': 'CANCELLED'");
});
