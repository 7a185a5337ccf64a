/** Both kinds of end of a migration, QEMU and us, alike: any source can send to any destination. */
import type { Transport } from '../testing/qemu/migrate.ts';
import type { Mode } from './benchmark.ts';
import type { MemoryImage } from './memory-image.ts';
import { PeerProcess } from './peer-process.ts';
import {
  completed,
  prepareToSend,
  RAM_ID,
  requireSameRam,
  type SourceTimes,
  sendFromQemu,
  startQemuDestination,
  startQemuSource,
} from './qemu-peer.ts';

export interface SourceEnd extends AsyncDisposable {
  readonly pid: number;
  /** Resolves with what it says of it when it has completed. */
  send(uri: string): Promise<SourceTimes>;
}

export interface DestinationEnd extends AsyncDisposable {
  readonly pid: number;
  readonly uri: string;
  /** Rejects where the migration fails. */
  completed(): Promise<unknown>;
  /** Throws unless the RAM is that of the image. */
  requireSameRam(): Promise<void>;
}

export async function qemuSource(image: MemoryImage, mode: Mode): Promise<SourceEnd> {
  const qemu = await startQemuSource(image);
  await prepareToSend(qemu, mode);
  return {
    pid: qemu.pid,
    send: (uri) => sendFromQemu(qemu, uri, mode),
    [Symbol.asyncDispose]: () => qemu.stop(),
  };
}

/** `us` has the guest, also when it has been sent: it is left as it is. */
export function ourSource(us: PeerProcess, mode: Mode): SourceEnd {
  return { pid: us.pid, send: (uri) => us.send(uri, { mode }), [Symbol.asyncDispose]: async () => {} };
}

export async function qemuDestination(image: MemoryImage, mode: Mode, transport: Transport): Promise<DestinationEnd> {
  const { qemu, uri } = await startQemuDestination(image.bytes, mode, transport);
  return {
    pid: qemu.pid,
    uri,
    completed: () => completed(qemu),
    requireSameRam: () => requireSameRam(qemu, image),
    [Symbol.asyncDispose]: () => qemu.stop(),
  };
}

export async function ourDestination(image: MemoryImage, mode: Mode, transport: Transport): Promise<DestinationEnd> {
  const us = PeerProcess.start();
  const uri = await us.listen(transport, { mode });
  return {
    pid: us.pid,
    uri,
    completed: () => us.received(),
    requireSameRam: () => us.requireSameRam(RAM_ID, image.path),
    [Symbol.asyncDispose]: () => us[Symbol.asyncDispose](),
  };
}
