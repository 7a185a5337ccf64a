/** The spans of real migrations, as an SDK in this process has them. */
import { AsyncLocalStorage } from 'node:async_hooks';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Context, type ContextManager, context, ROOT_CONTEXT, SpanStatusCode, trace } from '@opentelemetry/api';
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  type ReadableSpan,
  SimpleSpanProcessor,
} from '@opentelemetry/sdk-trace-base';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { listen, type MigrateOptions, migrate, StressGuest } from '#lib/index.js';
import { migrationStatuses } from '#lib/source/migration-state.js';
import { phaseOfStatus } from '#lib/telemetry/migration-spans.js';

const exporter = new InMemorySpanExporter();

/** As SDKs for Node have one. */
class Contexts implements ContextManager {
  readonly #storage = new AsyncLocalStorage<Context>();
  active = () => this.#storage.getStore() ?? ROOT_CONTEXT;
  with: ContextManager['with'] = (active, call, self, ...args) =>
    this.#storage.run(active, () => call.apply(self as never, args));
  bind = <T>(_: Context, target: T) => target;
  enable = () => this;
  disable = () => this;
}

let folder: string;
beforeAll(() => {
  trace.setGlobalTracerProvider(new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] }));
  context.setGlobalContextManager(new Contexts());
});
afterAll(() => {
  trace.disable();
  context.disable();
});
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'postcopy-test-'));
  exporter.reset();
});
afterEach(() => rmSync(folder, { recursive: true }));

async function move(options: MigrateOptions, onStatus = (_: string) => {}): Promise<void> {
  const settings = { memory: 8 * 2 ** 20, vcpus: 1 };
  const here = await StressGuest.create({ ...settings, writesPerSecond: 1000, workingSetShare: 0.5 });
  const there = StressGuest.empty(settings);
  try {
    await here.start();
    const capabilities = { postcopyRam: true };
    const incoming = await listen(`unix:${folder}/m.sock`, { guest: there, capabilities });
    const outgoing = await migrate(here, incoming.uri, { capabilities, ...options });
    outgoing.on('status', onStatus);
    await Promise.allSettled([outgoing.finished, incoming.finished]);
  } finally {
    await here.stop();
    await there.stop();
    here.close();
    there.close();
  }
}

const spansOf = (side: string): ReadableSpan[] => {
  const spans = exporter.getFinishedSpans();
  const whole = spans.find((span) => span.attributes['postcopy.side'] === side)!;
  const { traceId, spanId } = whole.spanContext();
  const phases = spans.filter((span) => span.parentSpanContext?.spanId === spanId);
  expect(phases.every((span) => span.spanContext().traceId === traceId)).toBe(true);
  return [whole, ...phases];
};
const names = (spans: readonly ReadableSpan[]) => spans.map(({ name }) => name.replace('postcopy.', ''));

test('a postcopy after one pass: a span of the whole, and one of each phase in order', async () => {
  await move({ postcopyAfterPasses: 1 });
  const source = spansOf('source');
  expect(names(source).filter((name) => name !== 'switch')).toEqual([
    ...['migration', 'setup', 'precopy', 'postcopy', 'completion'],
  ]);
  expect(names(spansOf('destination'))).toEqual(['migration', 'setup', 'precopy', 'postcopy', 'completion']);
  const [whole, ...phases] = source;
  expect(whole.attributes).toMatchObject({
    'postcopy.uri': `unix:${folder}/m.sock`,
    'postcopy.status': 'completed',
    'postcopy.ram_bytes': 8 * 2 ** 20,
    'postcopy.downtime_ms': expect.any(Number),
  });
  expect(whole.status.code).toBe(SpanStatusCode.UNSET);
  const sent = phases.map(({ attributes }) => attributes['postcopy.transferred_bytes'] as number);
  expect(sent.reduce((sum, bytes) => sum + bytes, 0)).toBeLessThanOrEqual(
    whole.attributes['postcopy.transferred_bytes'] as number,
  );
  const precopy = phases.find(({ name }) => name === 'postcopy.precopy')!;
  const passes = exporter
    .getFinishedSpans()
    .filter((span) => span.parentSpanContext?.spanId === precopy.spanContext().spanId);
  expect(passes[0]).toMatchObject({ name: 'postcopy.pass', attributes: { 'postcopy.pass': 1 } });
});

test('they are children of the span in which the migration was begun', async () => {
  const parent = trace.getTracer('test').startSpan('upgrade');
  await context.with(trace.setSpan(context.active(), parent), () => move({ postcopyAfterPasses: 0 }));
  parent.end();
  for (const side of ['source', 'destination'])
    expect(spansOf(side)[0].parentSpanContext?.spanId).toBe(parent.spanContext().spanId);
});

test('a migration that is cancelled ends with an error, its code and what to do', async () => {
  const abort = new AbortController();
  await move({ signal: abort.signal, parameters: { maxBandwidth: 100_000 } }, (status) => {
    if (status === 'active') abort.abort();
  });
  const [whole] = spansOf('source');
  expect(whole.status.code).toBe(SpanStatusCode.ERROR);
  expect(whole.attributes).toMatchObject({ 'error.type': 'CANCELLED', 'postcopy.status': 'cancelled' });
  expect(whole.events.map(({ name }) => name)).toContain('exception');
});

test('every status is of a phase, or the end', () => {
  const ends = ['none', 'cancelled', 'failed'];
  expect(Object.keys(phaseOfStatus).sort()).toEqual(migrationStatuses.filter((each) => !ends.includes(each)).sort());
});
