/** The files of a saved machine as they are opened for reading: what is in the directory may come from anybody. */
import { constants, type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import type { MachineLike } from '../memory/guest.js';
import { invalid, MANIFEST_FILE, type Manifest, parseManifest } from './manifest.js';

const MANIFEST_BYTES_MAX = 64 * 1024 * 1024;

/** Opens a plain file of at most `bytesMax`: a link could lead out of the directory, and a FIFO would be waited for. */
export async function openFile(path: string, bytesMax: number): Promise<{ handle: FileHandle; size: number }> {
  let handle: FileHandle;
  try {
    handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    const reasons: Readonly<Record<string, string>> = { ENOENT: 'is missing', ELOOP: 'is a symbolic link' };
    throw invalid(path, reasons[code ?? ''] ?? `can't be opened (${code})`);
  }
  const stat = await handle.stat();
  if (stat.isFile() && stat.size <= bytesMax) return { handle, size: stat.size };
  await handle.close();
  throw invalid(path, stat.isFile() ? `has ${stat.size} bytes, more than ${bytesMax}` : 'is no plain file');
}

/** All of a file of at most `bytesMax` bytes. Rejects with MACHINE_INVALID. */
export async function readWhole(path: string, bytesMax: number): Promise<Buffer> {
  const { handle } = await openFile(path, bytesMax);
  try {
    return await handle.readFile();
  } finally {
    await handle.close();
  }
}

/** Fills `chunk` from `position`, as a read may give less than it is asked for. Rejects with MACHINE_INVALID. */
export async function readExactly(handle: FileHandle, path: string, chunk: Buffer, position: number): Promise<void> {
  for (let done = 0; done < chunk.length; ) {
    const { bytesRead } = await handle.read(chunk, done, chunk.length - done, position + done);
    if (bytesRead === 0) throw invalid(path, `ends at byte ${position + done}`, 'use a copy that is whole');
    done += bytesRead;
  }
}

/** The manifest of the machine in `directory`. Rejects with MACHINE_INVALID. */
export async function readManifest(directory: string): Promise<Manifest> {
  const path = join(directory, MANIFEST_FILE);
  return parseManifest((await readWhole(path, MANIFEST_BYTES_MAX)).toString('utf8'), path);
}

/** What a machine has to be like to take the place of the one in `directory`. Rejects with MACHINE_INVALID. */
export async function readMachineLike(directory: string): Promise<MachineLike> {
  const { configuration, blocks, deviceState } = await readManifest(directory);
  return {
    machine: configuration.machine,
    blocks: blocks.map(({ idstr, length }) => ({ idstr, usedLength: length })),
    devices: deviceState.devices.map(({ name: idstr, instanceId, versionId }) => ({ idstr, instanceId, versionId })),
  };
}
