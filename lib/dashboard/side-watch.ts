/** What is told of one side of a migration, in the process where that is: nothing but events until it is asked. */
import { latencyStages } from '../destination/fault-latency.js';
import type { IncomingMigration } from '../destination/incoming.js';
import { describeError } from '../errors.js';
import { native } from '../native.js';
import type { OutgoingMigration } from '../source/outgoing.js';
import { type BlockMap, mapArriving, mapSent } from './page-map.js';
import { type GuestFigures, latencyBoundsUs, type SideEvent, type SideSnapshot } from './snapshot.js';

/** Events that wait to be looked at; of more the oldest are forgotten. */
const EVENTS_MAX = 1000;

export interface LookOptions {
  /** With the map of the pages, where that is due. */
  readonly map: boolean;
  /** No other look follows: the map is due. */
  readonly isLast?: boolean;
}

/** The making of maps takes a fiftieth of the time at most: that of a guest of 64 GiB takes some 20 ms. */
const MAP_PAUSES = 50;

/** Makes a map where it is wished, and not too soon after the last one. */
class MapMaker {
  #dueAt = 0;

  make({ map, isLast = false }: LookOptions, make: () => readonly BlockMap[]): readonly BlockMap[] | null {
    const began = performance.now();
    if (!map || (began < this.#dueAt && !isLast)) return null;
    const made = make();
    const ended = performance.now();
    this.#dueAt = ended + (ended - began) * MAP_PAUSES;
    return made;
  }
}

const withoutMap: ReadonlySet<string> = new Set(['setup', 'device', 'postcopy-device']);

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
  const maps = new MapMaker();
  log.add('status', migration.status);
  migration.on('status', (status) => log.add('status', status));
  migration.on('ping', (value, atUs) => log.add('ping', value, epochMs(atUs)));
  migration.on('pong', (value, atUs) => log.add('pong', value, epochMs(atUs)));
  migration.on('pass', (passes) => log.add('pass', passes));
  migration.on('throttle', (percent) => log.add('throttle', percent));
  migration.on('warning', (warning) => log.add('warning', describeError(warning)));
  migration.finished.catch((error) => log.add('error', describeError(error)));
  return {
    look: (options) => {
      const info = migration.info();
      // Nor while the guest stands still: who makes the map is who saves its state.
      const isKnown = !withoutMap.has(info.status);
      return {
        side: 'source',
        atMs: nowMs(),
        info,
        guest: guest(),
        events: log.take(),
        map: isKnown ? maps.make(options, () => mapSent(migration.watchedPages)) : null,
      };
    },
  };
}

/** @param guest asked at each look */
export function watchIncoming(migration: IncomingMigration, guest: () => GuestFigures | null = () => null): SideWatch {
  const log = new EventLog();
  const maps = new MapMaker();
  log.add('status', migration.status);
  migration.on('status', (status) => log.add('status', status));
  migration.on('pong', (value, atUs) => log.add('pong', value, epochMs(atUs)));
  migration.finished.catch((error) => log.add('error', describeError(error)));
  return {
    look: (options) => {
      const info = migration.info();
      // Nor while it takes the guest over: who makes the map is who loads its state and starts it.
      const takesOver = info.postcopy && info.status === 'active';
      return {
        side: 'destination',
        atMs: nowMs(),
        info,
        guest: guest(),
        events: log.take(),
        map: takesOver ? null : maps.make(options, () => mapArriving(migration.watchedPages)),
        latency: Object.fromEntries(
          latencyStages.map((stage) => [stage, migration.latencyCounts(stage, latencyBoundsUs)]),
        ) as Record<(typeof latencyStages)[number], number[]>,
      };
    },
  };
}
