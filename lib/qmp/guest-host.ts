/**
 * Holds a guest, or room for one that is to come, and does with it what QMP's commands say: the migration of a QEMU as
 * its clients see it. What a command does not wait for goes on here, and is told by events. Owner only.
 */
import { EventEmitter } from 'node:events';
import { parseUri } from '../channel/uri.js';
import type { GuestOrFactory, IncomingMigration } from '../destination/incoming.js';
import { type QueryIncoming, queryIncoming } from '../destination/query-migrate.js';
import { describeError, MigrationError } from '../errors.js';
import type { Guest } from '../memory/guest.js';
import { type ListenOptions, listen } from '../migration/listen.js';
import { type MigrateOptions, migrate } from '../migration/migrate.js';
import { defaultParameters, type Parameters } from '../options.js';
import { isFinal } from '../source/migration-state.js';
import type { GuestRunState, OutgoingMigration } from '../source/outgoing.js';
import { type QueryMigrate, queryMigrate } from '../source/query-migrate.js';
import { CapabilitySet, type CapabilityStatus } from './capabilities.js';
import { QmpError, type QmpEvent } from './messages.js';
import { changeParameters } from './parameters.js';
import { type GuestWatch, watched } from './watched-guest.js';

/** Under the names of QEMU's run states. */
export type RunState = GuestRunState | 'inmigrate';

export interface GuestHostOptions {
  /** The guest that it holds. Absent: it has room for one. */
  readonly guest?: Guest;
  /** What an incoming migration fills. */
  readonly room?: GuestOrFactory;
  readonly outgoing?: Pick<MigrateOptions, 'guestTimeoutMs' | 'peerTimeoutMs' | 'lanes'>;
  readonly incoming?: Pick<ListenOptions, 'guestTimeoutMs' | 'peerTimeoutMs' | 'prefetch' | 'lanes'>;
}

export interface GuestHostEvents {
  /** What QMP clients are told. */
  event: [event: QmpEvent];
  /** A migration has failed, or is not as it was asked for. */
  warning: [warning: Error];
  /** A migration away from here has begun; one to here waits for its source. */
  outgoing: [migration: OutgoingMigration];
  incoming: [migration: IncomingMigration];
  /** A client wants its end. */
  quit: [];
}

/** The last migration away from here, as far as it has come. */
type Outgoing =
  | { readonly kind: 'none' }
  | { readonly kind: 'connecting'; readonly abort: AbortController; startsPostcopy: boolean }
  | { readonly kind: 'begun'; readonly migration: OutgoingMigration }
  /** It has ended before there was a connection. */
  | { readonly kind: 'unbegun'; readonly status: 'failed' | 'cancelled'; readonly reason?: string };

export class GuestHost extends EventEmitter<GuestHostEvents> {
  readonly #options: GuestHostOptions;
  readonly #capabilities = new CapabilitySet();
  readonly #watch: GuestWatch;
  #parameters = defaultParameters;
  #guest: Guest | undefined;
  #outgoing: Outgoing = { kind: 'none' };
  #incoming: IncomingMigration | undefined;
  #incomingError: Error | undefined;
  /** It is about to listen. */
  #isOpening = false;
  /** Whether a guest that comes is to run here, where it ran at the source. */
  #runsOnArrival = true;

  constructor(options: GuestHostOptions) {
    super();
    this.#options = options;
    this.#watch = {
      mayStart: () => this.#mayStart(),
      onStart: () => this.emit('event', { event: 'RESUME' }),
      onStop: () => this.emit('event', { event: 'STOP' }),
    };
    this.#guest = options.guest === undefined ? undefined : watched(options.guest, this.#watch);
  }

  /** The guest, once it is here. It tells of its starts and stops. */
  get guest(): Guest | undefined {
    return this.#guest;
  }

  /** The migration to here, for what QMP does not tell of it. */
  get incoming(): IncomingMigration | undefined {
    return this.#incoming;
  }

  get runState(): RunState {
    if (this.#guest === undefined) return 'inmigrate';
    if (this.#outgoing.kind === 'begun') return this.#outgoing.migration.runState;
    return this.#guest.running ? 'running' : 'paused';
  }

  /** Of the last migration away from here; where there was none, of that to here. */
  queryMigrate(): QueryMigrate | QueryIncoming {
    switch (this.#outgoing.kind) {
      case 'connecting':
        return { status: 'setup' };
      case 'begun':
        return queryMigrate(this.#outgoing.migration.info());
      case 'unbegun': {
        const { status, reason } = this.#outgoing;
        return reason === undefined ? { status } : { status, 'error-desc': reason };
      }
      case 'none': {
        const incoming = this.#incoming;
        if (incoming === undefined) return {};
        return queryIncoming(incoming.info(), incoming.uri, this.#incomingError?.message);
      }
    }
  }

  get capabilities(): readonly CapabilityStatus[] {
    return this.#capabilities.list();
  }

  /** A migration takes those with which it begins. Throws a QmpError. */
  setCapabilities(changes: readonly CapabilityStatus[]): void {
    this.#requireNoMigration();
    const isListening = this.#incoming !== undefined && this.#guest === undefined && this.#incomingError === undefined;
    if (isListening && changes.some(({ capability, state }) => this.#capabilities.has(capability) !== state))
      throw new QmpError('The incoming migration has been started already: set capabilities before migrate-incoming');
    this.#capabilities.set(changes);
  }

  get parameters(): Parameters {
    return this.#parameters;
  }

  /** Under QMP's names; also of a migration that is under way. Throws a QmpError. */
  setParameters(given: Readonly<Record<string, unknown>>): void {
    this.#parameters = changeParameters(this.#parameters, given);
    if (this.#outgoing.kind === 'begun') this.#outgoing.migration.setParameters(this.#parameters);
  }

  // --- away from here ----------------------------------------------------------------------------

  /** Begins to migrate the guest to `uri`. Throws a QmpError or BAD_URI; the rest is told by events. */
  migrate(uri: string): void {
    const guest = this.#guest;
    if (guest === undefined) throw new QmpError('Guest is waiting for an incoming migration');
    this.#requireNoMigration();
    if (this.runState === 'postmigrate')
      throw new QmpError("Can't migrate the vm that was paused due to previous migration");
    this.#outgoing = { kind: 'unbegun', status: 'failed' };
    parseUri(uri);
    const connecting = { kind: 'connecting' as const, abort: new AbortController(), startsPostcopy: false };
    this.#outgoing = connecting;
    this.#announce('setup');
    void this.#send(guest, uri, connecting);
  }

  /** Goes on with one that is paused, over another connection. Throws a QmpError or BAD_URI. */
  resume(uri: string): void {
    if (this.#outgoing.kind !== 'begun' || this.#outgoing.migration.status !== 'postcopy-paused')
      throw new QmpError('Cannot resume if there is no paused migration');
    parseUri(uri);
    this.#outgoing.migration.recover(uri).catch((reason) => this.emit('warning', reason as Error));
  }

  startPostcopy(): void {
    if (!this.#capabilities.has('postcopy-ram'))
      throw new QmpError('Enable postcopy with migrate_set_capability before the start of migration');
    const outgoing = this.#outgoing;
    if (outgoing.kind === 'none') throw new QmpError('Postcopy must be started after migration has been started');
    if (outgoing.kind === 'connecting') outgoing.startsPostcopy = true;
    if (outgoing.kind === 'begun') outgoing.migration.startPostcopy().catch(() => {}); // told by its status
  }

  /** Ends a migration away from here, if it still can be. */
  cancel(): void {
    if (this.#outgoing.kind === 'connecting') this.#outgoing.abort.abort();
    if (this.#outgoing.kind === 'begun') this.#outgoing.migration.cancel();
  }

  /** There is no state in which a migration waits to be continued. Throws a QmpError in any other than `state`. */
  continue(state: string): void {
    const status = this.#outgoingStatus;
    if (status !== state) throw new QmpError(`Migration not in expected state: ${status}`);
  }

  // --- to here -----------------------------------------------------------------------------------

  /** Listens for a guest. Rejects with a QmpError, or as `listen` does. */
  async listen(uri: string): Promise<void> {
    const { room } = this.#options;
    if (room === undefined) throw new QmpError("'-incoming' was not specified on the command line");
    if (this.#isOpening || !this.#hasRoom) throw new QmpError('The incoming migration has already been started');
    this.#isOpening = true;
    try {
      const capabilities = this.#capabilities.forEngine();
      const guest = this.#watchedRoom(room);
      const incoming = await listen(uri, { ...this.#options.incoming, guest, capabilities });
      this.#incoming = incoming;
      this.#incomingError = undefined;
      this.emit('incoming', incoming);
      // Also without the capability, as QEMU does.
      this.emit('event', { event: 'MIGRATION', data: { status: 'setup' } });
      incoming.on('status', (status) => this.#onIncomingStatus(incoming, status));
      if (incoming.status !== 'setup') this.#onIncomingStatus(incoming, incoming.status); // a source was quick
      incoming.finished.catch((error) => this.#onIncomingFailure(error as Error));
    } finally {
      this.#isOpening = false;
    }
  }

  /** Listens anew while it is paused. Rejects with a QmpError, or as IncomingMigration's recover does. */
  async recover(uri: string): Promise<void> {
    if (this.#incoming?.status !== 'postcopy-paused')
      throw new QmpError('Migrate recover can only be run when postcopy is paused.');
    await this.#incoming.recover(uri);
    this.emit('event', { event: 'MIGRATION', data: { status: 'setup' } });
  }

  // --- both --------------------------------------------------------------------------------------

  /** Breaks the connection of a postcopy. */
  pause(): void {
    const outgoing = this.#outgoing.kind === 'begun' && this.#outgoing.migration.pause();
    if (outgoing || this.#incoming?.pause()) return;
    throw new QmpError('migrate-pause is currently only supported during postcopy-active state');
  }

  /** Of one that is to come: whether it is to run. Nothing where it has gone or is just going. */
  async stop(): Promise<void> {
    const { runState } = this;
    this.#requireVcpus();
    if (runState === 'inmigrate') this.#runsOnArrival = false;
    if (runState === 'running') await this.#guest?.stop();
  }

  async cont(): Promise<void> {
    this.#requireVcpus();
    switch (this.runState) {
      case 'inmigrate':
        this.#runsOnArrival = true;
        return;
      case 'finish-migrate':
        throw new QmpError('Migration is not finalized yet');
      case 'postmigrate':
        throw new QmpError('The guest has been handed over: it must not run here and there');
      case 'paused':
        await this.#guest?.start();
        return;
      case 'running':
        return;
    }
  }

  /** Tells clients that it ends, and its owner that it is to. */
  quit(reason: 'host-qmp-quit' | 'host-signal'): void {
    this.emit('event', { event: 'SHUTDOWN', data: { guest: false, reason } });
    this.emit('quit');
  }

  /**
   * Ends whatever migration is under way, and waits for that. A guest that has been handed over, to here or from here,
   * and has not come whole is lost then.
   */
  async close(): Promise<void> {
    this.cancel();
    if (this.#outgoing.kind === 'begun') await ended(this.#outgoing.migration);
    this.#incoming?.abort();
    await this.#incoming?.finished.catch(() => {});
  }

  get #outgoingStatus(): string {
    const outgoing = this.#outgoing;
    if (outgoing.kind === 'begun') return outgoing.migration.status;
    if (outgoing.kind === 'unbegun') return outgoing.status;
    return outgoing.kind === 'connecting' ? 'setup' : 'none';
  }

  /** What a machine of a QEMU does is up to whom it is sent to: its state says whether it runs there. */
  #requireVcpus(): void {
    const { room } = this.#options;
    const isMachine = this.#guest?.machine !== undefined || (room !== undefined && 'receive' in room);
    if (isMachine) throw new QmpError('The machine has no vCPUs here: whether it runs is decided where it goes');
  }

  #requireNoMigration(): void {
    const outgoing = this.#outgoing;
    const isUnderWay =
      outgoing.kind === 'connecting' || (outgoing.kind === 'begun' && !isFinal(outgoing.migration.status));
    if (isUnderWay) throw new QmpError("There's a migration process in progress");
  }

  /** Nothing has come; a migration that failed before the guest was handed over leaves room for another one. */
  get #hasRoom(): boolean {
    if (this.#guest !== undefined) return false;
    return (
      this.#incoming === undefined || (this.#incomingError !== undefined && this.#incoming.info().lost === undefined)
    );
  }

  async #send(guest: Guest, uri: string, connecting: Extract<Outgoing, { kind: 'connecting' }>): Promise<void> {
    const capabilities = this.#capabilities.forEngine();
    const { signal } = connecting.abort;
    try {
      const parameters = this.#parameters;
      const migration = await migrate(guest, uri, { ...this.#options.outgoing, capabilities, parameters, signal });
      this.#outgoing = { kind: 'begun', migration };
      this.emit('outgoing', migration);
      migration.setParameters(this.#parameters); // they may have changed while it connected
      migration.on('status', (status) => this.#onOutgoingStatus(status));
      migration.on('pass', (passes) => this.#announcePass(passes + 1));
      migration.on('warning', (warning) => this.emit('warning', warning));
      if (connecting.startsPostcopy) this.startPostcopy();
      await migration.finished;
    } catch (error) {
      this.#onOutgoingFailure(error as Error);
    }
  }

  #onOutgoingStatus(status: string): void {
    if (status === 'active') this.#announcePass(1);
    this.#announce(status);
  }

  #onOutgoingFailure(error: Error): void {
    const isCancelled = error instanceof MigrationError && error.code === 'CANCELLED';
    if (!isCancelled) this.emit('warning', error);
    if (this.#outgoing.kind !== 'connecting') return;
    const status = isCancelled ? 'cancelled' : 'failed';
    this.#outgoing = { kind: 'unbegun', status, ...(isCancelled ? {} : { reason: describeError(error) }) };
    this.#announce(status);
  }

  #watchedRoom(room: GuestOrFactory): GuestOrFactory {
    if (typeof room === 'function') return async (blocks) => watched(await room(blocks), this.#watch);
    if ('ramBlocks' in room) return watched(room, this.#watch);
    return {
      ...(room.like === undefined ? {} : { like: room.like }),
      receive: async (machine, blocks) => watched(await room.receive(machine, blocks), this.#watch),
    };
  }

  /** Asked of a guest that is to start: where it has just come, it is here from now on. */
  #mayStart(): boolean {
    if (this.#guest !== undefined) return true;
    this.#guest = this.#incoming?.guest;
    return this.#runsOnArrival;
  }

  #onIncomingStatus(incoming: IncomingMigration, status: string): void {
    if (status === 'completed') this.#guest = incoming.guest;
    this.#announce(status);
  }

  #onIncomingFailure(error: Error): void {
    this.#incomingError = error;
    this.emit('warning', error);
  }

  #announce(status: string): void {
    if (this.#capabilities.has('events')) this.emit('event', { event: 'MIGRATION', data: { status } });
  }

  #announcePass(pass: number): void {
    if (this.#capabilities.has('events')) this.emit('event', { event: 'MIGRATION_PASS', data: { pass } });
  }
}

/** Once it has ended, which in postcopy takes giving it up. */
async function ended(migration: OutgoingMigration): Promise<void> {
  const giveUp = () => void (migration.pause() || migration.giveUp());
  migration.on('status', giveUp);
  giveUp();
  await migration.finished.catch(() => {});
}
