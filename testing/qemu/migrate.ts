/** A migration between two QEMUs, step by step, so that something of ours can take the place of either. */
import { join } from 'node:path';
import type { WaitOptions } from './heard.ts';
import type { QemuProcess } from './qemu-process.ts';

export type Transport = 'unix' | 'tcp';

export interface MigrationSettings {
  readonly transport: Transport;
  /** Where the source connects to instead, given where the destination listens. */
  readonly via?: (uri: string) => Promise<string>;
  readonly mode: 'precopy' | 'postcopy';
  /** The pass of precopy in which postcopy is started, 1 by default. The parameters must keep precopy from ending. */
  readonly postcopyInPass?: number;
  /** Capabilities to turn on at both ends, besides those that the mode needs. */
  readonly capabilities?: readonly string[];
  /** As migrate-set-parameters takes them; bytes a second, milliseconds. */
  readonly sourceParameters?: Readonly<Record<string, number>>;
  readonly destinationParameters?: Readonly<Record<string, number>>;
}

/** The parts of query-migrate that tests look at. */
export interface MigrationInfo {
  readonly status?: string;
  readonly 'error-desc'?: string;
  readonly 'socket-address'?: readonly { readonly type: string; readonly port?: string }[];
  readonly ram?: {
    readonly transferred: number;
    readonly 'postcopy-requests': number;
    readonly 'dirty-sync-count': number;
  };
}

const finalStatuses = ['completed', 'failed', 'cancelled', 'postcopy-paused'];

export async function migrationInfo(qemu: QemuProcess): Promise<MigrationInfo> {
  return qemu.qmp.execute<MigrationInfo>('query-migrate');
}

/** Turns on capabilities and sets parameters. `events` is always on: the waits below need it. */
export async function setUp(
  qemu: QemuProcess,
  capabilities: readonly string[],
  parameters: Readonly<Record<string, number>> = {},
): Promise<void> {
  const states = ['events', ...capabilities].map((capability) => ({ capability, state: true }));
  await qemu.qmp.execute('migrate-set-capabilities', { capabilities: states });
  await qemu.qmp.execute('migrate-set-parameters', parameters);
}

/** Has a QEMU that was started with `-incoming defer` listen, at a place of its own; the URI to migrate to. */
export async function listenForMigration(qemu: QemuProcess, transport: Transport): Promise<string> {
  if (transport === 'unix') {
    const uri = `unix:${join(qemu.folder, 'migration.socket')}`;
    await qemu.qmp.execute('migrate-incoming', { uri });
    return uri;
  }
  await qemu.qmp.execute('migrate-incoming', { uri: 'tcp:127.0.0.1:0' });
  const { 'socket-address': addresses } = await migrationInfo(qemu);
  return `tcp:127.0.0.1:${addresses?.[0].port}`;
}

/** Waits until the migration has that status. */
export async function migrationStatus(qemu: QemuProcess, status: string): Promise<void> {
  await qemu.qmp.event('MIGRATION', (data) => data.status === status);
}

/** Waits until the migration is over; rejects unless it is completed. */
export async function migrationCompleted(qemu: QemuProcess, options: WaitOptions = {}): Promise<MigrationInfo> {
  const { data } = await qemu.qmp.event('MIGRATION', ({ status }) => finalStatuses.includes(String(status)), options);
  const info = await migrationInfo(qemu);
  if (data.status === 'completed') return info;
  throw new Error(
    `${qemu.name}: the migration is ${data.status}: ${info['error-desc'] ?? 'no reason given'}\n${qemu.stderr}`,
  );
}

/** Moves the guest. The destination was started with `-incoming defer`. Resolves with what both ends say of it. */
export async function migrate(
  source: QemuProcess,
  destination: QemuProcess,
  settings: MigrationSettings,
): Promise<{ readonly source: MigrationInfo; readonly destination: MigrationInfo }> {
  const { transport, mode, postcopyInPass = 1, capabilities = [], sourceParameters, destinationParameters } = settings;
  const wanted = mode === 'postcopy' ? ['postcopy-ram', ...capabilities] : capabilities;
  await setUp(destination, wanted, destinationParameters);
  await setUp(source, wanted, sourceParameters);
  const uri = await listenForMigration(destination, transport);
  await source.qmp.execute('migrate', { uri: (await settings.via?.(uri)) ?? uri });
  if (mode === 'postcopy') {
    await source.qmp.event('MIGRATION_PASS', ({ pass }) => Number(pass) >= postcopyInPass);
    await source.qmp.execute('migrate-start-postcopy');
  }
  const [sourceInfo, destinationInfo] = await Promise.all([
    migrationCompleted(source),
    migrationCompleted(destination),
  ]);
  return { source: sourceInfo, destination: destinationInfo };
}
