/** How an incoming migration comes to stand still: paused, or at its end. */
import type { IncomingMigration, MigrationError } from '#lib/index.js';

export interface Stop {
  readonly status: 'completed' | 'failed' | 'postcopy-paused';
  /** Undefined where it has completed. */
  readonly error: MigrationError | undefined;
}

/** Resolved when it has paused or ended, whichever comes first; at once where it is so already. */
export async function stops(incoming: IncomingMigration): Promise<Stop> {
  const paused = new Promise<Stop>((resolve) => {
    const look = () => {
      const { status, pauseReason } = incoming;
      if (status === 'postcopy-paused') resolve({ status, error: pauseReason });
    };
    incoming.on('status', look);
    look();
  });
  const ended = incoming.finished.then<Stop, Stop>(
    () => ({ status: 'completed', error: undefined }),
    (error: MigrationError) => ({ status: 'failed', error }),
  );
  return Promise.race([paused, ended]);
}
