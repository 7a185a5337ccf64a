/** QEMU at either end: a machine that does not run, so that nothing changes while it is measured. */
import { open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import {
  listenForMigration,
  migrationCompleted,
  migrationStatus,
  setUp,
  type Transport,
} from '../testing/qemu/migrate.ts';
import { QemuProcess } from '../testing/qemu/qemu-process.ts';
import { MIB, type Mode } from './benchmark.ts';
import { findDifference, type MemoryImage } from './memory-image.ts';

/** The block that is filled; the machine's ROM is another. */
export const RAM_ID = 'ram';

/** A time out for what depends on how much memory there is. */
const PATIENCE = { timeoutMs: 600_000 };

/** As fast as it goes. 0 is no limit in postcopy, and refused in precopy. */
export const sendingParameters = { 'max-bandwidth': 2 ** 40, 'max-postcopy-bandwidth': 0 };

/** Of microvm: RAM is itself between what the ROM is laid over and the gap that devices are in. */
const ROM_END_BYTES = MIB;
const LOW_MEMORY_BYTES = 3 * 1024 ** 3;

const machineArguments = (bytes: number, backend: string): string[] => [
  ...['-S', '-M', `microvm,memory-backend=${RAM_ID}`, '-m', `${bytes / 1024}k`],
  ...['-object', `${backend},id=${RAM_ID},size=${bytes}`],
];

const capabilitiesOf = (mode: Mode, preempt: boolean): readonly string[] => [
  ...(mode === 'postcopy' ? ['postcopy-ram'] : []),
  ...(preempt ? ['postcopy-preempt'] : []),
];

/** One that has the content of `image`. */
export function startQemuSource({ path, bytes }: MemoryImage): Promise<QemuProcess> {
  return QemuProcess.start('the source', machineArguments(bytes, `memory-backend-file,mem-path=${path},share=on`));
}

/** One that listens, with memory as QEMU has it by default. */
export async function startQemuDestination(
  bytes: number,
  mode: Mode,
  transport: Transport,
  preempt = false,
): Promise<{ readonly qemu: QemuProcess; readonly uri: string }> {
  return await startListening(machineArguments(bytes, 'memory-backend-ram'), mode, transport, preempt);
}

/** A QEMU with these arguments that listens. */
export async function startListening(
  args: readonly string[],
  mode: Mode,
  transport: Transport,
  preempt = false,
): Promise<{ readonly qemu: QemuProcess; readonly uri: string }> {
  const qemu = await QemuProcess.start('the destination', [...args, '-incoming', 'defer']);
  try {
    await setUp(qemu, capabilitiesOf(mode, preempt));
    return { qemu, uri: await listenForMigration(qemu, transport) };
  } catch (error) {
    await qemu.stop();
    throw error;
  }
}

/** What a source says of a migration that has ended. */
export interface SourceFigures {
  readonly totalMs: number;
  readonly downtimeMs: number;
  /** Requests for pages that came from the destination. */
  readonly requests: number;
}

/** The parts of query-migrate that are looked at. */
interface SourceAnswer {
  readonly 'total-time': number;
  readonly downtime: number;
  readonly ram: { readonly 'postcopy-requests': number };
}

/** Has a source send; resolves with what it says once it has completed. */
export async function sendFromQemu(qemu: QemuProcess, uri: string, mode: Mode): Promise<SourceFigures> {
  await qemu.qmp.execute('migrate', { uri });
  if (mode === 'postcopy') await qemu.qmp.execute('migrate-start-postcopy');
  await completed(qemu);
  for (;;) {
    const info = await qemu.qmp.execute<SourceAnswer>('query-migrate');
    // Counted up only behind the event.
    if (info['total-time'] > 0) {
      return { totalMs: info['total-time'], downtimeMs: info.downtime, requests: info.ram['postcopy-requests'] };
    }
  }
}

/** Before {@link sendFromQemu}. */
export async function prepareToSend(qemu: QemuProcess, mode: Mode, preempt = false): Promise<void> {
  await setUp(qemu, capabilitiesOf(mode, preempt), sendingParameters);
}

/** Waits until a migration has completed at this end; rejects where it fails. */
export async function completed(qemu: QemuProcess): Promise<void> {
  await migrationCompleted(qemu, PATIENCE);
}

const hostAddressLine = /^Host virtual address for \S+ \(.*\) is (0x[0-9a-f]+)$/m;

/** Where a destination has mapped its RAM. */
export async function ramAddress(qemu: QemuProcess): Promise<number> {
  // Lower down the ROM is laid over it.
  const answer = await qemu.human(`gpa2hva ${ROM_END_BYTES}`);
  const address = hostAddressLine.exec(answer)?.[1];
  if (address === undefined) throw new Error(`${qemu.name} does not say where its RAM is: ${answer}`);
  return Number(address) - ROM_END_BYTES;
}

/** Resolves when the pages of a destination in postcopy may be touched: those missing are asked for from then on. */
export async function handedOver(qemu: QemuProcess): Promise<void> {
  await migrationStatus(qemu, 'postcopy-active');
}

/** Throws unless the RAM of a destination is that of `image`, as far as the guest would see it where it is. */
export async function requireSameRam(qemu: QemuProcess, image: MemoryImage): Promise<void> {
  const path = join(image.folder, 'saved');
  const end = Math.min(image.bytes, LOW_MEMORY_BYTES);
  try {
    const saved = { val: ROM_END_BYTES, size: end - ROM_END_BYTES, filename: path };
    await qemu.qmp.execute('pmemsave', saved, PATIENCE);
    await using file = await open(path);
    const offset = await findDifference(image.path, ROM_END_BYTES, end, (target, at) =>
      file.read(target, 0, target.length, at - ROM_END_BYTES),
    );
    if (offset >= 0) throw new Error(`the RAM of ${qemu.name} is not the source's at ${offset}`);
  } finally {
    await rm(path, { force: true });
  }
}
