/**
 * Somebody who recovers both sides of a migration whenever they have paused, and gives up only where there is nobody
 * left at the other side: what a lost connection costs is then nothing but time.
 */
import { once } from 'node:events';
import type { IncomingMigration } from '#lib/destination/incoming.js';
import type { OutgoingMigration } from '#lib/source/outgoing.js';

export interface Recovering {
  /** How often a source has gone on after a pause. */
  readonly recoveries: number;
  /** Why each side has paused, each time. */
  readonly reasons: readonly Error[];
  /** Resolved once both sides have ended; never rejects. */
  readonly ended: Promise<void>;
}

export interface RecoveringOptions {
  /** Where the source connects to instead, given where the destination listens: over a relay. */
  readonly via?: (uri: string) => string;
}

const hasEnded = (status: string): boolean => /^(completed|failed|cancelled)$/.test(status);

/** From now until both have ended. */
export function keepRecovering(
  outgoing: OutgoingMigration,
  incoming: IncomingMigration,
  { via = (uri) => uri }: RecoveringOptions = {},
): Recovering {
  const state = { recoveries: 0 };
  const reasons: Error[] = [];
  /** Where the destination listens, from a pause until it has gone on. */
  let listening: Promise<string> | undefined;
  /** Statuses that were heard; a step may go through several and end where it began. */
  let changes = 0;
  for (const side of [outgoing, incoming]) {
    const note = (status: string) => {
      changes += 1;
      if (side === incoming && status === 'postcopy-active') listening = undefined;
      if (status === 'postcopy-paused') reasons.push(side.pauseReason as Error);
    };
    // The two have their own types of events, with this one in both.
    (side as { on(event: 'status', listener: typeof note): unknown }).on('status', note);
  }

  const step = async (): Promise<void> => {
    const [source, destination] = [outgoing.status, incoming.status];
    if (destination === 'postcopy-paused') listening ??= incoming.recover();
    listening?.catch(() => {}); // it is failing
    if (source === 'postcopy-paused' && hasEnded(destination)) outgoing.giveUp();
    if (destination === 'postcopy-paused' && hasEnded(source)) incoming.giveUp('freeze');
    if (source !== 'postcopy-paused' || listening === undefined) return;
    try {
      await outgoing.recover(via(await listening));
      state.recoveries += 1;
    } catch {
      // It is paused as before, or has ended: the next step sees which.
    }
  };

  const run = async (): Promise<void> => {
    while (!hasEnded(outgoing.status) || !hasEnded(incoming.status)) {
      const before = changes;
      await step();
      if (changes === before) await statusOfEither(outgoing, incoming);
    }
  };
  return Object.defineProperty({ ended: run(), reasons } as unknown as Recovering, 'recoveries', {
    get: () => state.recoveries,
  });
}

/** The next status of either. */
async function statusOfEither(outgoing: OutgoingMigration, incoming: IncomingMigration): Promise<void> {
  const heard = new AbortController();
  const { signal } = heard;
  const events = [once(outgoing, 'status', { signal }), once(incoming, 'status', { signal })];
  for (const event of events) event.catch(() => {}); // the one that came later
  await Promise.race(events);
  heard.abort();
}
