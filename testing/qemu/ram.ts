/** The RAM of a QEMU as the truth that a migration is held against: its blocks, and what is in them. */
import { open, readdir, readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { QemuProcess } from './qemu-process.ts';

export interface QemuRamBlock {
  readonly idstr: string;
  /** Bytes in use, which is what is migrated; and bytes reserved. */
  readonly usedLength: number;
  readonly totalLength: number;
}

const blockLine = /^\s*(\S+)\s+\d+ \wiB\s+0x[0-9a-f]+\s+(0x[0-9a-f]+)\s+(0x[0-9a-f]+)/;

/** Every block of RAM, in QEMU's order. */
export async function ramBlocks(qemu: QemuProcess): Promise<QemuRamBlock[]> {
  const table = await qemu.human('info ramblock');
  return table.split('\n').flatMap((line) => {
    const match = blockLine.exec(line);
    return match === null ? [] : [{ idstr: match[1], usedLength: Number(match[2]), totalLength: Number(match[3]) }];
  });
}

/** What the guest would read at these addresses of its physical memory. */
export async function savedMemory(qemu: QemuProcess, address: number, length: number): Promise<Buffer> {
  const file = join(qemu.folder, 'memory');
  await qemu.qmp.execute('pmemsave', { val: address, size: length, filename: file });
  return readFile(file);
}

/** The content of the only block that is a memory-backend-memfd, read from outside without QEMU's help. */
export async function memfdContent(qemu: QemuProcess): Promise<Buffer> {
  return readFile(await memfdPath(qemu));
}

/** Writes to that block behind the back of QEMU and the guest. */
export async function corruptMemfd(qemu: QemuProcess, offset: number, bytes: Uint8Array): Promise<void> {
  await using file = await open(await memfdPath(qemu), 'r+');
  await file.write(bytes, 0, bytes.length, offset);
}

async function memfdPath(qemu: QemuProcess): Promise<string> {
  const folder = `/proc/${qemu.pid}/fd`;
  for (const fd of await readdir(folder)) {
    const path = join(folder, fd);
    // A descriptor may be closed meanwhile.
    const target = await readlink(path).catch(() => '');
    if (target.startsWith('/memfd:memory-backend-memfd')) return path;
  }
  throw new Error(`${qemu.name}: no RAM block is a memory-backend-memfd`);
}
