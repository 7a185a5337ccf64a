/**
 * OpenTelemetry, where the application has it: an SDK that is registered makes itself known to whoever asks, and only
 * then is anything of it loaded. Without one a migration costs nothing more.
 */
import type { IncomingMigration } from '../destination/incoming.js';
import type { OutgoingMigration } from '../source/outgoing.js';

/** Where the API, in its first major version, keeps what is registered. */
const REGISTERED = Symbol.for('opentelemetry.js.api.1');

function hasTracing(): boolean {
  const registered = (globalThis as Record<symbol, unknown>)[REGISTERED];
  return typeof registered === 'object' && registered !== null && 'trace' in registered;
}

/** Makes spans of migrations: children of the span that was active when this was asked for. */
export interface Telemetry {
  outgoing(migration: OutgoingMigration, uri: string): void;
  incoming(migration: IncomingMigration): void;
}

/** Undefined where no SDK is registered, or the package "@opentelemetry/api" can't be found from here. */
export async function findTelemetry(): Promise<Telemetry | undefined> {
  if (!hasTracing()) return undefined;
  try {
    const [api, { createTelemetry }] = await Promise.all([
      import('@opentelemetry/api'),
      import('./migration-spans.js'),
    ]);
    return createTelemetry(api);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ERR_MODULE_NOT_FOUND') return undefined;
    throw error;
  }
}
