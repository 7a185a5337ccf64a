/** The migrations of this process whose metrics are asked for: the last away from here, and the last to here. */
import type { IncomingMigration } from '../destination/incoming.js';
import type { OutgoingMigration } from '../source/outgoing.js';
import { countLatency } from './latency-histogram.js';
import type { MetricsLook } from './migration-metrics.js';
import { PauseCount } from './pause-count.js';

/** Counts the pauses of a migration from now on. */
function countPauses(migration: OutgoingMigration | IncomingMigration): PauseCount {
  const count = new PauseCount();
  const at = (status: string) => count.at(status);
  at(migration.status);
  (migration as { on(event: 'status', listener: (status: string) => void): unknown }).on('status', at);
  return count;
}

export class WatchedMigrations {
  #source: (() => MetricsLook['source']) | undefined;
  #destination: (() => MetricsLook['destination']) | undefined;

  outgoing(migration: OutgoingMigration): void {
    const pauses = countPauses(migration);
    this.#source = () => ({ info: migration.info(), pauses: pauses.figures });
  }

  incoming(migration: IncomingMigration): void {
    const pauses = countPauses(migration);
    this.#destination = () => ({ info: migration.info(), pauses: pauses.figures, latency: countLatency(migration) });
  }

  look(): MetricsLook {
    return { source: this.#source?.(), destination: this.#destination?.() };
  }
}
