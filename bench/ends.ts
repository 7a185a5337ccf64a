/** Both kinds of end of a migration, QEMU and us, alike: any source can send to any destination. */
import type { FaultInfo } from '#lib/destination/incoming-info.js';
import type { Transport } from '../testing/qemu/migrate.ts';
import type { MemoryImage } from './memory-image.ts';
import type { ListenSettings, SendSettings } from './peer-messages.ts';
import { PeerProcess } from './peer-process.ts';
import {
  completed,
  handedOver,
  prepareToSend,
  RAM_ID,
  ramAddress,
  requireSameRam,
  type SourceFigures,
  sendFromQemu,
  startQemuDestination,
  startQemuSource,
} from './qemu-peer.ts';

export interface SourceEnd extends AsyncDisposable {
  readonly pid: number;
  /** Resolves with what it says of it when it has completed. */
  send(uri: string): Promise<SourceFigures>;
}

export interface DestinationEnd extends AsyncDisposable {
  readonly pid: number;
  readonly uri: string;
  /** In postcopy: resolves once the pages of RAM may be touched, with where it is mapped in that process. */
  handedOver(): Promise<number>;
  /** Behind {@link handedOver}. Rejects where the migration fails. A QEMU does not tell of its faults. */
  completed(): Promise<{ readonly faults?: FaultInfo }>;
  /** Throws unless the RAM is that of the image. */
  requireSameRam(): Promise<void>;
}

export async function qemuSource(image: MemoryImage, { mode, preempt }: SendSettings): Promise<SourceEnd> {
  const qemu = await startQemuSource(image);
  await prepareToSend(qemu, mode, preempt);
  return {
    pid: qemu.pid,
    send: (uri) => sendFromQemu(qemu, uri, mode),
    [Symbol.asyncDispose]: () => qemu.stop(),
  };
}

/** `us` has the guest, also when it has been sent, and is prepared, as a host is that expects migrations. */
export async function ourSource(us: PeerProcess, settings: SendSettings): Promise<SourceEnd> {
  await us.prepare();
  return { pid: us.pid, send: (uri) => us.send(uri, settings), [Symbol.asyncDispose]: async () => {} };
}

export async function qemuDestination(
  image: MemoryImage,
  transport: Transport,
  { mode, preempt }: ListenSettings,
): Promise<DestinationEnd> {
  const { qemu, uri } = await startQemuDestination(image.bytes, mode, transport, preempt);
  return {
    pid: qemu.pid,
    uri,
    handedOver: async () => {
      const address = await ramAddress(qemu);
      await handedOver(qemu);
      return address;
    },
    completed: async () => {
      await completed(qemu);
      return {};
    },
    requireSameRam: () => requireSameRam(qemu, image),
    [Symbol.asyncDispose]: () => qemu.stop(),
  };
}

export async function ourDestination(
  image: MemoryImage,
  transport: Transport,
  settings: ListenSettings,
): Promise<DestinationEnd> {
  const us = PeerProcess.start();
  return {
    pid: us.pid,
    uri: await us.listen(transport, settings),
    handedOver: () => us.handedOver(RAM_ID),
    completed: () => us.received(),
    requireSameRam: () => us.requireSameRam(RAM_ID, image.path),
    [Symbol.asyncDispose]: () => us[Symbol.asyncDispose](),
  };
}
