/**
 * The spans of a migration: one of the whole, one of each of its phases beneath that, and one of each pass of a precopy
 * beneath its phase. They follow the statuses that the migration tells of, and know nothing of its threads.
 */
import type { Attributes, Context, Span } from '@opentelemetry/api';
import type { IncomingMigration } from '../destination/incoming.js';
import type { IncomingInfo } from '../destination/incoming-info.js';
import { toPlainError } from '../errors.js';
import type { OutgoingMigration } from '../source/outgoing.js';
import type { OutgoingInfo } from '../source/outgoing-info.js';
import type { Telemetry } from './telemetry.js';

type Api = typeof import('@opentelemetry/api');

/** The phase that a status is part of, by the status; after `completed` there is only tidying up. */
export const phaseOfStatus: Readonly<Record<string, string>> = {
  setup: 'setup',
  active: 'precopy',
  device: 'switch',
  'postcopy-device': 'switch',
  'postcopy-active': 'postcopy',
  'postcopy-paused': 'pause',
  'postcopy-recover-setup': 'recovery',
  'postcopy-recover': 'recovery',
  completed: 'completion',
  cancelling: 'cancellation',
};

function outgoingAttributes({ status, ram, downtime, setupTime, dirtyTracking }: OutgoingInfo): Attributes {
  return {
    'postcopy.status': status,
    'postcopy.ram_bytes': ram.total,
    'postcopy.transferred_bytes': ram.transferred,
    'postcopy.pages.normal': ram.normal,
    'postcopy.pages.zero': ram.duplicate,
    'postcopy.page_requests': ram.postcopyRequests,
    'postcopy.dirty_syncs': ram.dirtySyncCount,
    'postcopy.dirty_tracking': dirtyTracking,
    'postcopy.setup_ms': setupTime,
    'postcopy.downtime_ms': downtime,
  };
}

function incomingAttributes({ status, ram, faults, postcopy, postcopyBlocktime }: IncomingInfo): Attributes {
  return {
    'postcopy.status': status,
    'postcopy.postcopy': postcopy,
    'postcopy.transferred_bytes': ram.transferred,
    'postcopy.pages.normal': ram.normal,
    'postcopy.pages.zero': ram.duplicate,
    'postcopy.page_requests': ram.postcopyRequests,
    'postcopy.faults': faults.count,
    'postcopy.fault_p50_us': faults.p50Us,
    'postcopy.fault_p99_us': faults.p99Us,
    ...(postcopyBlocktime === undefined ? {} : { 'postcopy.blocktime_ms': postcopyBlocktime }),
  };
}

/** What is the same at both sides. */
interface Subject {
  readonly attributes: Attributes;
  /** Stream bytes so far. */
  readonly transferred: () => number;
  readonly lastAttributes: () => Attributes;
}

/** The spans of one migration, from now until its end. */
class MigrationSpans {
  readonly #api: Api;
  readonly #subject: Subject;
  readonly #whole: Span;
  readonly #context: Context;
  #phase:
    | { readonly name: string; readonly span: Span; readonly context: Context; readonly before: number }
    | undefined;
  #pass: Span | undefined;
  #passes = 0;

  constructor(api: Api, parent: Context, subject: Subject) {
    this.#api = api;
    this.#subject = subject;
    this.#whole = this.#start('postcopy.migration', parent, subject.attributes);
    this.#context = api.trace.setSpan(parent, this.#whole);
  }

  at(status: string): void {
    const name = phaseOfStatus[status];
    if (name === this.#phase?.name) return;
    this.#endPhase();
    if (name === undefined) return;
    const span = this.#start(`postcopy.${name}`, this.#context, { 'postcopy.status': status });
    const context = this.#api.trace.setSpan(this.#context, span);
    this.#phase = { name, span, context, before: this.#subject.transferred() };
  }

  /** A pass of the precopy ends, and the next begins: at first only that. */
  nextPass(): void {
    this.#pass?.end();
    this.#passes += 1;
    const attributes = { 'postcopy.pass': this.#passes };
    this.#pass = this.#phase && this.#start('postcopy.pass', this.#phase.context, attributes);
  }

  event(name: string, attributes: Attributes): void {
    this.#whole.addEvent(name, attributes);
  }

  end(error: unknown): void {
    this.#endPhase();
    this.#whole.setAttributes(this.#subject.lastAttributes());
    if (error !== undefined) {
      const { code, message, hint } = toPlainError(error);
      this.#whole.recordException(error as Error);
      this.#whole.setAttributes({ 'error.type': code, ...(hint === undefined ? {} : { 'postcopy.hint': hint }) });
      this.#whole.setStatus({ code: this.#api.SpanStatusCode.ERROR, message });
    }
    this.#whole.end();
  }

  #endPhase(): void {
    this.#pass?.end();
    this.#pass = undefined;
    if (this.#phase === undefined) return;
    const { span, before } = this.#phase;
    span.setAttribute('postcopy.transferred_bytes', this.#subject.transferred() - before);
    span.end();
    this.#phase = undefined;
  }

  #start(name: string, context: Context, attributes: Attributes): Span {
    return this.#api.trace.getTracer('postcopy').startSpan(name, { attributes }, context);
  }
}

function outgoingSpans(api: Api, parent: Context, migration: OutgoingMigration, uri: string): void {
  const spans = new MigrationSpans(api, parent, {
    attributes: { 'postcopy.side': 'source', 'postcopy.uri': uri },
    transferred: () => migration.info().ram.transferred,
    lastAttributes: () => outgoingAttributes(migration.info()),
  });
  spans.at(migration.status);
  migration.on('status', (status) => {
    spans.at(status);
    if (status === 'active') spans.nextPass();
  });
  migration.on('pass', () => {
    if (migration.status === 'active') spans.nextPass();
  });
  migration.on('throttle', (percent) => spans.event('throttle', { 'postcopy.throttle_percent': percent }));
  migration.on('warning', ({ message }) => spans.event('warning', { message }));
  migration.finished.then(
    () => spans.end(undefined),
    (error) => spans.end(error),
  );
}

function incomingSpans(api: Api, parent: Context, migration: IncomingMigration): void {
  const spans = new MigrationSpans(api, parent, {
    attributes: { 'postcopy.side': 'destination', 'postcopy.uri': migration.uri },
    transferred: () => migration.info().ram.transferred,
    lastAttributes: () => incomingAttributes(migration.info()),
  });
  spans.at(migration.status);
  migration.on('status', (status) => spans.at(status));
  migration.finished.then(
    () => spans.end(undefined),
    (error) => spans.end(error),
  );
}

export function createTelemetry(api: Api): Telemetry {
  const parent = api.context.active();
  return {
    outgoing: (migration, uri) => outgoingSpans(api, parent, migration, uri),
    incoming: (migration) => incomingSpans(api, parent, migration),
  };
}
