/**
 * Hugepages for tests: reserved from the kernel's pool and given back. Several test processes may have some
 * at the same time, so the pool's size is only ever changed relative to what it is, by one process at a time.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Server } from 'node:net';

export const HUGEPAGE = 2 * 1024 * 1024;

/** Whoever listens here changes the pool; the port is held no longer than that takes. */
const LOCK: Pick<AddressInfo, 'address' | 'port'> = { address: '127.0.0.1', port: 47_013 };

const poolOf = (pageSize: number): string => `/sys/kernel/mm/hugepages/hugepages-${pageSize / 1024}kB/nr_hugepages`;

const sizeOf = (pageSize: number): number => Number(readFileSync(poolOf(pageSize), 'utf8'));

function tryLock(): Promise<Server | undefined> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.on('error', () => {}).unref());
    server.on('error', (error: NodeJS.ErrnoException) =>
      error.code === 'EADDRINUSE' ? resolve(undefined) : reject(error),
    );
    server.listen(LOCK.port, LOCK.address, () => resolve(server));
  });
}

/** Resolved when the process that has the lock has let go of it, or has ended. */
function lockReleased(): Promise<void> {
  return new Promise((resolve) => {
    const socket = connect(LOCK.port, LOCK.address);
    socket.on('error', () => {});
    socket.on('close', () => resolve());
    socket.resume();
  });
}

/** Changes the pool by `count` pages; returns by how many it really changed. */
async function changePool(pageSize: number, count: number): Promise<number> {
  let lock = await tryLock();
  for (; lock === undefined; lock = await tryLock()) await lockReleased();
  const waiting: { destroy(): void }[] = [];
  lock.on('connection', (socket) => waiting.push(socket));
  try {
    const before = sizeOf(pageSize);
    writeFileSync(poolOf(pageSize), String(Math.max(0, before + count)));
    return sizeOf(pageSize) - before;
  } catch (cause) {
    throw new Error(
      `this test needs hugepages and may not reserve them: run it as root, to write ${poolOf(pageSize)}`,
      {
        cause,
      },
    );
  } finally {
    await new Promise<void>((resolve) => {
      lock.close(() => resolve());
      for (const socket of waiting) socket.destroy();
      lock.on('connection', (socket) => socket.destroy());
    });
  }
}

/** Has `use` run with that many more hugepages in the pool. Rejects, saying why, where there are none to be had. */
export async function withHugepages<T>(count: number, use: () => T | Promise<T>, pageSize = HUGEPAGE): Promise<T> {
  const got = await changePool(pageSize, count);
  try {
    if (got !== count) {
      throw new Error(`this test needs ${count} hugepages of ${pageSize / 1024} KiB; the kernel had memory for ${got}`);
    }
    return await use();
  } finally {
    await changePool(pageSize, -got);
  }
}
