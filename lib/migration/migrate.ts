/** Sending a guest: the public entry of the source. */
import { connect } from '../channel/connect.js';
import { MigrationError } from '../errors.js';
import type { Guest } from '../memory/guest.js';
import { requireAlive } from '../memory/guest-failure.js';
import { RAMList } from '../memory/ram-list.js';
import {
  type Capabilities,
  type Parameters,
  resolveCapabilities,
  resolveGuestTimeout,
  resolveLanes,
  resolveParameters,
  resolvePeerTimeout,
} from '../options.js';
import { OutgoingMigration } from '../source/outgoing.js';
import { SourceThreads } from '../source/source-threads.js';
import { findTelemetry } from '../telemetry/telemetry.js';
import { MAX_LANES } from '../wire/protocol.js';
import type { PreparedMigration } from './prepare-migration.js';

export interface MigrateOptions {
  readonly capabilities?: Partial<Capabilities>;
  readonly parameters?: Partial<Parameters>;
  /**
   * Switch to postcopy after so many whole passes of precopy, even where the rest would fit into the downtime
   * limit; where nothing at all is left by then, the precopy ends. 0 switches at once, and needs no dirty
   * tracking. Absent: only when `startPostcopy` is called.
   */
  readonly postcopyAfterPasses?: number;
  /**
   * Milliseconds that the guest may take to stop, to save its device state, or to run on here; past that the
   * migration fails with GUEST_FAILED, and the guest runs on here once it has answered. 10,000 when absent; 0 is no
   * limit.
   */
  readonly guestTimeoutMs?: number;
  /**
   * Milliseconds in postcopy without a sign of life of the destination, after which it is taken to be gone and the
   * migration pauses; 30,000 when absent, 0 is never. From 3,000 on also in precopy, by tcp's own keepalive.
   */
  readonly peerTimeoutMs?: number;
  /**
   * When the second connection of the capability `postcopyPreempt` is made: in the set-up, as a QEMU up to 7.2
   * expects it, or at the switch, as later ones do. When absent, as a QEMU of the machine's release does; of a guest of
   * ours, in the set-up. A destination of ours takes both.
   */
  readonly preemptChannel?: 'setup' | 'switch';
  /**
   * The most lanes that a destination of ours is asked to take, with postcopyRam: connections of their own, each with a
   * thread of its own at either end, on which pages are asked for and sent in postcopy. With lanes there is no preempt
   * channel; one that has to be made in the set-up comes in place of lanes. 0, which is none, when absent; at most 16.
   */
  readonly lanes?: number;
  /**
   * What {@link prepareMigration} made: the migration begins a good hundred milliseconds sooner. Taken where this
   * resolves; where it rejects it can be given again.
   */
  readonly prepared?: PreparedMigration;
  /** Aborted: the migration is cancelled, if it still can be; one that is paused is given up. */
  readonly signal?: AbortSignal;
}

function check(guest: Guest, { postcopyAfterPasses: passes }: MigrateOptions, capabilities: Capabilities): void {
  const ram = new RAMList(guest.ramBlocks);
  if (capabilities.postcopyRam) ram.requirePostcopyPageSizes();
  if (capabilities.autoConverge && guest.throttle === undefined) {
    throw new MigrationError('BAD_ARGUMENT', 'the capability autoConverge with a guest that cannot be slowed down', {
      hint: 'give the guest a throttle(percent) method, or leave autoConverge off',
    });
  }
  if (capabilities.postcopyPreempt && !capabilities.postcopyRam) {
    throw new MigrationError('BAD_ARGUMENT', 'the capability postcopyPreempt without postcopyRam', {
      hint: 'start both sides with capabilities: { postcopyRam: true, postcopyPreempt: true }',
    });
  }
  if (passes === undefined) return;
  if (!Number.isSafeInteger(passes) || passes < 0) {
    throw new MigrationError('BAD_ARGUMENT', `postcopyAfterPasses is ${passes}`, {
      hint: 'give a whole number from 0',
    });
  }
  if (!capabilities.postcopyRam) {
    throw new MigrationError('BAD_ARGUMENT', 'postcopyAfterPasses without the capability postcopyRam', {
      hint: 'start both sides with capabilities: { postcopyRam: true }',
    });
  }
}

/**
 * Connects to the destination at `uri` and begins to send the guest, which runs on meanwhile.
 * Rejects, with the guest untouched, with BAD_ARGUMENT, GUEST_FAILED (it has died), UNSUPPORTED, BAD_URI,
 * CONNECT_REFUSED, CONNECT_FAILED, TIMEOUT or CANCELLED; what goes wrong later is in the returned migration's
 * `finished`.
 */
export async function migrate(guest: Guest, uri: string, options: MigrateOptions = {}): Promise<OutgoingMigration> {
  const capabilities = resolveCapabilities(options.capabilities);
  const parameters = resolveParameters(options.parameters);
  const guestTimeoutMs = resolveGuestTimeout(options.guestTimeoutMs);
  const peerTimeoutMs = resolvePeerTimeout(options.peerTimeoutMs);
  const lanes = resolveLanes(MAX_LANES, capabilities, options.lanes);
  const { signal, postcopyAfterPasses, preemptChannel, prepared } = options;
  check(guest, options, capabilities);
  await requireAlive(guest);
  if (signal?.aborted) throw new MigrationError('CANCELLED', 'the migration was cancelled before it began');
  const telemetry = await findTelemetry();
  const threads = prepared?.take() ?? SourceThreads.start(); // which takes longer than to connect
  const socket = await connect(uri).catch(async (error) => {
    await (prepared?.giveBack(threads) ?? threads.close());
    throw error;
  });
  const chosen = {
    ...{ capabilities, parameters, postcopyAfterPasses },
    ...{ guestTimeoutMs, peerTimeoutMs, preemptChannel, lanes },
  };
  const outgoing = new OutgoingMigration(guest, socket, uri, chosen, connect, undefined, threads);
  telemetry?.outgoing(outgoing, uri);
  const cancel = () => void (outgoing.cancel() || outgoing.giveUp());
  signal?.addEventListener('abort', cancel);
  if (signal?.aborted) cancel();
  void outgoing.finished.catch(() => {}).finally(() => signal?.removeEventListener('abort', cancel));
  return outgoing;
}
