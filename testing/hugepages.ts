/**
 * Hugepages for tests: reserved from the kernel's pool and given back. Several test processes may have some
 * at the same time, so the pool's size is only ever changed relative to what it is, by one process at a time.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Server } from 'node:net';

export const HUGEPAGE = 2 * 1024 * 1024;

/** Whoever listens here changes the pool; the port is held no longer than that takes. */
const LOCK: Pick<AddressInfo, 'address' | 'port'> = { address: '127.0.0.1', port: 47_013 };

interface Pool {
  readonly pages: number;
  /** Those of them that are to stay; the others were given back while still in use, and go when they are free. */
  readonly kept: number;
}

const KNOB = 'nr_hugepages';

const fileOf = (pageSize: number, name: string): string =>
  `/sys/kernel/mm/hugepages/hugepages-${pageSize / 1024}kB/${name}`;

function poolOf(pageSize: number): Pool {
  const read = (name: string) => Number(readFileSync(fileOf(pageSize, name), 'utf8'));
  const pages = read(KNOB);
  return { pages, kept: pages - read('surplus_hugepages') };
}

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

/** Changes the pool to as many pages as `sizeFor` says; what it was, and what it really is then. */
async function changePool(pageSize: number, sizeFor: (pool: Pool) => number): Promise<{ before: Pool; after: Pool }> {
  let lock = await tryLock();
  for (; lock === undefined; lock = await tryLock()) await lockReleased();
  const waiting: { destroy(): void }[] = [];
  lock.on('connection', (socket) => waiting.push(socket));
  try {
    const before = poolOf(pageSize);
    writeFileSync(fileOf(pageSize, KNOB), String(Math.max(0, sizeFor(before))));
    return { before, after: poolOf(pageSize) };
  } catch (cause) {
    throw new Error(
      `this test needs hugepages and may not reserve them: run it as root, to write ${fileOf(pageSize, KNOB)}`,
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
  // To be free they come on top of those that are in use, which then stay as well.
  const { before, after } = await changePool(pageSize, ({ pages }) => pages + count);
  const got = after.pages - before.pages;
  try {
    if (got !== count) {
      throw new Error(`this test needs ${count} hugepages of ${pageSize / 1024} KiB; the kernel had memory for ${got}`);
    }
    return await use();
  } finally {
    await changePool(pageSize, ({ kept }) => kept - (after.kept - before.kept));
  }
}
