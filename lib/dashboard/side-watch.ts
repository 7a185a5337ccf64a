/** What is told of one side of a migration, in the process where that is: nothing but events until it is asked. */
import { latencyStages } from '../destination/fault-latency.js';
import type { IncomingMigration } from '../destination/incoming.js';
import { describeError } from '../errors.js';
import { native } from '../native.js';
import type { OutgoingMigration } from '../source/outgoing.js';
import { mapArriving, mapSent } from './page-map.js';
import { type GuestFigures, latencyBoundsUs, type SideEvent, type SideSnapshot } from './snapshot.js';

/** Events that wait to be looked at; of more the oldest are forgotten. */
const EVENTS_MAX = 1000;

export interface LookOptions {
  /** With the map of the pages. */
  readonly map: boolean;
}

/** One side, looked at as often as one likes. Each look takes the events since the last one. */
export interface SideWatch {
  look(options: LookOptions): SideSnapshot;
}

const nowMs = () => performance.timeOrigin + performance.now();
/** A moment of CLOCK_MONOTONIC, in milliseconds since the epoch. */
const epochMs = (atUs: number) => nowMs() - (native().monotonicUs() - atUs) / 1000;

class EventLog {
  #events: SideEvent[] = [];

  add(kind: SideEvent['kind'], value: SideEvent['value'], atMs = nowMs()): void {
    if (this.#events.length === EVENTS_MAX) this.#events.shift();
    this.#events.push({ atMs, kind, value });
  }

  take(): readonly SideEvent[] {
    return this.#events.splice(0);
  }
}

/** @param guest asked at each look */
export function watchOutgoing(migration: OutgoingMigration, guest: () => GuestFigures | null = () => null): SideWatch {
  const log = new EventLog();
  log.add('status', migration.status);
  migration.on('status', (status) => log.add('status', status));
  migration.on('ping', (value, atUs) => log.add('ping', value, epochMs(atUs)));
  migration.on('pong', (value, atUs) => log.add('pong', value, epochMs(atUs)));
  migration.on('pass', (passes) => log.add('pass', passes));
  migration.on('throttle', (percent) => log.add('throttle', percent));
  migration.on('warning', (warning) => log.add('warning', describeError(warning)));
  migration.finished.catch((error) => log.add('error', describeError(error)));
  return {
    look: ({ map }) => {
      const info = migration.info();
      const isKnown = info.status !== 'setup';
      return {
        side: 'source',
        atMs: nowMs(),
        info,
        guest: guest(),
        events: log.take(),
        map: map && isKnown ? mapSent(migration.watchedPages) : null,
      };
    },
  };
}

/** @param guest asked at each look */
export function watchIncoming(migration: IncomingMigration, guest: () => GuestFigures | null = () => null): SideWatch {
  const log = new EventLog();
  log.add('status', migration.status);
  migration.on('status', (status) => log.add('status', status));
  migration.on('pong', (value, atUs) => log.add('pong', value, epochMs(atUs)));
  migration.finished.catch((error) => log.add('error', describeError(error)));
  return {
    look: ({ map }) => ({
      side: 'destination',
      atMs: nowMs(),
      info: migration.info(),
      guest: guest(),
      events: log.take(),
      map: map ? mapArriving(migration.watchedPages) : null,
      latency: Object.fromEntries(
        latencyStages.map((stage) => [stage, migration.latencyCounts(stage, latencyBoundsUs)]),
      ) as Record<(typeof latencyStages)[number], number[]>,
    }),
  };
}
