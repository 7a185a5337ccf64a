/** Where servers for this host's own users listen: unix sockets that only their user can open, and loopback. */
import { chmodSync, existsSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import type { Server } from 'node:net';
import { dirname, join } from 'node:path';
import { isMainThread } from 'node:worker_threads';
import { MigrationError } from '../errors.js';
import type { NativeError, SocketAddress } from '../native.js';
import { listenError, removeIfStale } from './connect.js';
import { formatUri, parseUri } from './uri.js';

const loopback = /^(127(\.\d{1,3}){3}|::1|localhost)$/;

/** Whether `host`, a name or an address without brackets, is this host itself for whoever connects to it. */
export function isLoopback(host: string): boolean {
  return loopback.test(host);
}

function bound(server: Server, address: SocketAddress): Promise<void> {
  return new Promise((resolve, reject) => {
    if (address.family === 'tcp') server.listen(address.port, address.host);
    else if (isMainThread) listenAlone(server, address.path);
    else listenInFolder(server, address.path);
    server.once('error', reject).once('listening', () => {
      server.off('error', reject);
      resolve();
    });
  });
}

/** The file is this user's from its first moment: binding is done when this returns. */
function listenAlone(server: Server, path: string): void {
  const before = process.umask(0o177);
  try {
    server.listen(path);
  } finally {
    process.umask(before);
  }
}

/**
 * The same in a thread, which has no umask of its own: the file is made where nobody else comes, and goes to its place
 * when it is this user's. What is there already stays.
 */
function listenInFolder(server: Server, path: string): void {
  if (existsSync(path)) throw Object.assign(new Error(`${path} is taken`), { code: 'EADDRINUSE' });
  const folder = mkdtempSync(join(dirname(path), '.'));
  server.once('listening', () => {
    try {
      chmodSync(join(folder, 's'), 0o600);
      renameSync(join(folder, 's'), path);
      server.once('close', () => rmSync(path, { force: true }));
      rmSync(folder, { recursive: true });
    } catch (error) {
      server.close();
      server.emit('error', error);
    }
  });
  server.once('error', () => rmSync(folder, { recursive: true, force: true }));
  server.listen(join(folder, 's'));
}

async function boundAnew(server: Server, address: SocketAddress): Promise<void> {
  try {
    await bound(server, address);
  } catch (error) {
    const isTaken = (error as NativeError).code === 'EADDRINUSE';
    if (!isTaken || address.family !== 'unix' || !removeIfStale(address.path)) throw error;
    await bound(server, address);
  }
}

export interface LocalListenerOptions {
  /** Listen also where other hosts can connect. */
  readonly anyHost: boolean;
  /** What whoever connects has by it, such as "the guest". */
  readonly gives: string;
}

/**
 * Has `server` listen at `uri`: `unix:/path` or `tcp:host:port`; resolved with that, the port filled in. Rejects with
 * BAD_URI, ADDRESS_IN_USE, LISTEN_FAILED, or BAD_ARGUMENT where other hosts could connect and may not.
 */
export async function listenLocally(
  server: Server,
  uri: string,
  { anyHost, gives }: LocalListenerOptions,
): Promise<string> {
  const address = parseUri(uri);
  if (!anyHost && address.family === 'tcp' && !isLoopback(address.host)) {
    throw new MigrationError('BAD_ARGUMENT', `${uri} is open to other hosts, and whoever connects has ${gives}`, {
      hint: 'listen at unix:/path or tcp:127.0.0.1:port, or say that any host may connect (an option …-any-host)',
    });
  }
  try {
    await boundAnew(server, address);
  } catch (error) {
    throw listenError(uri, error);
  }
  const at = server.address();
  const port = at !== null && typeof at === 'object' ? at.port : 0;
  return formatUri(address.family === 'tcp' ? { ...address, port } : address);
}
