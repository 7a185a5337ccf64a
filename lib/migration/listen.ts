/** Receiving a guest: the public entry of the destination. */
import { bind } from '../channel/connect.js';
import { type GuestOrFactory, IncomingMigration } from '../destination/incoming.js';
import { MigrationError } from '../errors.js';
import { requireAlive } from '../memory/guest-failure.js';
import {
  type Capabilities,
  type PrefetchPolicy,
  resolveCapabilities,
  resolveGuestTimeout,
  resolveLanes,
  resolvePeerTimeout,
  resolvePrefetch,
} from '../options.js';
import { findTelemetry } from '../telemetry/telemetry.js';
import { MAX_LANES } from '../wire/protocol.js';

export interface ListenOptions {
  /**
   * The guest to fill, stopped; or what makes one to fit the blocks the source announces. Only with a
   * `MachineReceiver` may the source be another than ours, such as QEMU.
   */
  readonly guest: GuestOrFactory;
  readonly capabilities?: Partial<Capabilities>;
  /**
   * Milliseconds that the guest may take to be made, to load its device state, or to start; past that the migration
   * fails with GUEST_FAILED. While pages are still to come in postcopy, for which it may have to wait, no time counts.
   * 10,000 when absent, and no limit for a `MachineReceiver`, which may have much to do; 0 is no limit.
   */
  readonly guestTimeoutMs?: number;
  /**
   * Milliseconds for which the source may give no sign of life in postcopy; past that the migration pauses. Of another
   * source than ours it is the kernel at its host that gives them, over tcp. 30,000 when absent; 0 is no limit.
   */
  readonly peerTimeoutMs?: number;
  /** Which pages are asked for in postcopy beside one that a fault was for; `none` when absent. */
  readonly prefetch?: PrefetchPolicy;
  /**
   * The most lanes that are taken from a source of ours: connections of their own, each with threads of its own at both
   * ends, on which pages are asked for and sent in postcopy. 0, which is none, when absent; at most 16.
   */
  readonly lanes?: number;
  /** Aborted: the migration is ended here. */
  readonly signal?: AbortSignal;
}

/**
 * Listens at `uri` for one migration. Resolved once it listens and its threads, which take tens of milliseconds
 * to start, wait for a source: it may connect from then on.
 * Rejects with BAD_ARGUMENT, GUEST_FAILED (it has died), BAD_URI, ADDRESS_IN_USE or LISTEN_FAILED; what goes wrong
 * later is in the returned migration's `finished`.
 */
export async function listen(uri: string, options: ListenOptions): Promise<IncomingMigration> {
  const capabilities = resolveCapabilities(options.capabilities);
  const { guest, signal } = options;
  const guestTimeoutMs = resolveGuestTimeout(options.guestTimeoutMs ?? ('receive' in guest ? 0 : undefined));
  const peerTimeoutMs = resolvePeerTimeout(options.peerTimeoutMs);
  const prefetch = resolvePrefetch(options.prefetch);
  const lanes = resolveLanes(MAX_LANES, capabilities, options.lanes);
  if ('machine' in guest && guest.machine !== undefined) {
    throw new MigrationError('BAD_ARGUMENT', 'the guest to fill is a machine that is none of ours', {
      hint: 'give listen() a MachineReceiver, which makes such a guest from what the source says of it',
    });
  }
  if ('ramBlocks' in guest) await requireAlive(guest);
  if (signal?.aborted) throw new MigrationError('CANCELLED', 'the incoming migration was ended before it began');
  const telemetry = await findTelemetry();
  const chosen = { capabilities, guestTimeoutMs, peerTimeoutMs, prefetch, lanes };
  const incoming = new IncomingMigration(await bind(uri), guest, chosen);
  telemetry?.incoming(incoming);
  const abort = () => incoming.abort();
  signal?.addEventListener('abort', abort);
  if (signal?.aborted) abort();
  void incoming.finished.catch(() => {}).finally(() => signal?.removeEventListener('abort', abort));
  await incoming.ready();
  return incoming;
}
