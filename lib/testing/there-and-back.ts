/** A guest that moves again and again, from one set of RAM blocks to another, and is checked after each move. */
import type { IncomingInfo } from '../destination/incoming-info.js';
import type { Guest } from '../memory/guest.js';
import { listen } from '../migration/listen.js';
import { migrate } from '../migration/migrate.js';
import type { OutgoingInfo } from '../source/outgoing-info.js';
import type { GuestKit } from './guest-kit.js';

export interface ThereAndBackOptions {
  /** There and back is two moves; 10 times when absent. */
  readonly times?: number;
  /** Whole passes of precopy before the switch; 1 when absent. */
  readonly precopyPasses?: number;
  /** Where a destination listens; a port of the loopback interface when absent. */
  readonly uri?: string;
}

/** How one move went. */
export interface Move {
  readonly outgoing: OutgoingInfo;
  readonly incoming: IncomingInfo;
}

/**
 * Moves a guest of the kit there and back, by postcopy, within this process. It runs before, during and after each
 * move, and is stopped and verified after each. Rejects with the first thing that goes wrong; all guests are closed.
 */
export async function thereAndBack<G extends Guest>(
  kit: GuestKit<G>,
  { times = 10, precopyPasses = 1, uri = 'tcp:127.0.0.1:0' }: ThereAndBackOptions = {},
): Promise<readonly Move[]> {
  const moves: Move[] = [];
  let guest = await kit.create();
  try {
    await guest.start();
    for (let move = 0; move < 2 * times; move += 1) {
      await kit.progress(guest);
      const { there, ...how } = await moveOnce(kit, guest, precopyPasses, uri);
      const gone = guest;
      guest = there;
      moves.push(how);
      await kit.close(gone);
      await kit.progress(guest);
      await guest.stop();
      await kit.verify(guest);
      await guest.start();
    }
  } finally {
    await guest.stop();
    await kit.close(guest);
  }
  return moves;
}

async function moveOnce<G extends Guest>(
  kit: GuestKit<G>,
  here: G,
  precopyPasses: number,
  uri: string,
): Promise<Move & { readonly there: G }> {
  const there = await kit.empty();
  try {
    const capabilities = { postcopyRam: true };
    const incoming = await listen(uri, { guest: there, capabilities });
    const outgoing = await migrate(here, incoming.uri, {
      capabilities,
      parameters: { maxBandwidth: 0 },
      postcopyAfterPasses: precopyPasses,
    });
    const [sent, received] = await Promise.all([outgoing.finished, incoming.finished]);
    return { there, outgoing: sent, incoming: received };
  } catch (error) {
    await kit.close(there);
    throw error;
  }
}
