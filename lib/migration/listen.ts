/** Receiving a guest: the public entry of the destination. */
import { bind } from '../channel/connect.js';
import { type GuestOrFactory, IncomingMigration } from '../destination/incoming.js';
import { MigrationError } from '../errors.js';
import { type Capabilities, resolveCapabilities } from '../options.js';

export interface ListenOptions {
  /**
   * The guest to fill, stopped; or what makes one to fit the blocks the source announces. Only with a
   * `MachineReceiver` may the source be another than ours, such as QEMU.
   */
  readonly guest: GuestOrFactory;
  readonly capabilities?: Partial<Capabilities>;
  /** Aborted: the migration is ended here. */
  readonly signal?: AbortSignal;
}

/**
 * Listens at `uri` for one migration. Resolved once it listens and its threads, which take tens of milliseconds
 * to start, wait for a source: it may connect from then on.
 * Rejects with BAD_ARGUMENT, BAD_URI, ADDRESS_IN_USE or LISTEN_FAILED; what goes wrong later is in the
 * returned migration's `finished`.
 */
export async function listen(uri: string, options: ListenOptions): Promise<IncomingMigration> {
  const capabilities = resolveCapabilities(options.capabilities);
  const { guest, signal } = options;
  if ('machine' in guest && guest.machine !== undefined) {
    throw new MigrationError('BAD_ARGUMENT', 'the guest to fill is a machine that is none of ours', {
      hint: 'give listen() a MachineReceiver, which makes such a guest from what the source says of it',
    });
  }
  if (signal?.aborted) throw new MigrationError('CANCELLED', 'the incoming migration was ended before it began');
  const incoming = new IncomingMigration(await bind(uri), guest, capabilities);
  const abort = () => incoming.abort();
  signal?.addEventListener('abort', abort);
  if (signal?.aborted) abort();
  void incoming.finished.catch(() => {}).finally(() => signal?.removeEventListener('abort', abort));
  await incoming.ready();
  return incoming;
}
