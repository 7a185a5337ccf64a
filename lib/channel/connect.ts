/** Making connections: listen, accept, connect, with errors a person can act on. */
import { lookup } from 'node:dns/promises';
import { existsSync, lstatSync, rmSync } from 'node:fs';
import { isIP } from 'node:net';
import { dirname } from 'node:path';
import { type ErrorCode, MigrationError } from '../errors.js';
import {
  type EventfdHandle,
  type Native,
  type NativeError,
  native,
  type SocketAddress,
  type SocketHandle,
} from '../native.js';
import { Kicked } from '../threads/kicked.js';
import { formatUri, parseUri } from './uri.js';

/** Milliseconds a connection may take to come about. */
export const CONNECT_TIMEOUT_MS = 10_000;
/** Connections that wait to be accepted: a source may make 255 for multifd before it goes on with the first. */
const BACKLOG = 256;

const connectErrors: Readonly<Record<string, readonly [ErrorCode, string]>> = {
  ECONNREFUSED: ['CONNECT_REFUSED', 'nobody listens there'],
  ENOENT: ['CONNECT_REFUSED', 'there is no such socket'],
  ETIMEDOUT: ['TIMEOUT', 'no answer'],
  ENOTFOUND: ['CONNECT_FAILED', 'the host name is unknown'],
  EAI_AGAIN: ['CONNECT_FAILED', 'the host name could not be looked up'],
};

const listenErrors: Readonly<Record<string, readonly [ErrorCode, string]>> = {
  EADDRINUSE: ['ADDRESS_IN_USE', 'the address is taken'],
  ENOENT: ['LISTEN_FAILED', 'its folder does not exist'],
  EACCES: ['LISTEN_FAILED', 'this user may not listen there'],
  EADDRNOTAVAIL: ['LISTEN_FAILED', 'this host has no such address'],
};

async function toNumeric(address: SocketAddress): Promise<SocketAddress> {
  if (address.family === 'unix' || isIP(address.host)) return address;
  return { ...address, host: (await lookup(address.host)).address };
}

function explain(table: typeof connectErrors, fallback: ErrorCode, doing: string, error: unknown): MigrationError {
  const { code, message } = error as NativeError;
  const [errorCode, why] = table[code] ?? [fallback, message];
  return new MigrationError(errorCode, `cannot ${doing}: ${why}`, { cause: error });
}

/** What a person is told of a system error in connecting to `uri`: CONNECT_REFUSED, CONNECT_FAILED or TIMEOUT. */
export function connectError(uri: string, error: unknown): MigrationError {
  return explain(connectErrors, 'CONNECT_FAILED', `connect to ${uri}`, error);
}

/** The same in listening at `uri`: ADDRESS_IN_USE or LISTEN_FAILED. */
export function listenError(uri: string, error: unknown): MigrationError {
  const cause = hasNoFolder(uri) ? Object.assign(new Error('ENOENT', { cause: error }), { code: 'ENOENT' }) : error;
  return explain(listenErrors, 'LISTEN_FAILED', `listen at ${uri}`, cause);
}

/** Of which Node says that listening there is not allowed. */
function hasNoFolder(uri: string): boolean {
  const address = parseUri(uri);
  return address.family === 'unix' && !existsSync(dirname(address.path));
}

/** Connects to a migration URI. Rejects with BAD_URI, CONNECT_REFUSED, CONNECT_FAILED or TIMEOUT. */
export async function connect(uri: string, timeoutMs = CONNECT_TIMEOUT_MS): Promise<SocketHandle> {
  const address = parseUri(uri);
  try {
    return await native().socketConnect(await toNumeric(address), timeoutMs);
  } catch (error) {
    throw connectError(uri, error);
  }
}

export interface Listener {
  readonly socket: SocketHandle;
  /** Where it listens; names the port where the URI left it open. */
  readonly uri: string;
  /** Stops listening and removes a unix socket's file. More than once is harmless. */
  close(): void;
}

/** Removes a socket file that no process has open any more: left by one that was killed. Whether it was one. */
export function removeIfStale(path: string): boolean {
  const isStale = lstatSync(path).isSocket() && !native().unixSocketIsOpen(path);
  if (isStale) rmSync(path);
  return isStale;
}

function listenAt(address: SocketAddress): ReturnType<Native['socketListen']> {
  try {
    return native().socketListen(address, BACKLOG);
  } catch (error) {
    if ((error as NativeError).code !== 'EADDRINUSE' || address.family !== 'unix' || !removeIfStale(address.path))
      throw error;
    return native().socketListen(address, BACKLOG);
  }
}

/** Listens at a migration URI. Rejects with BAD_URI, ADDRESS_IN_USE or LISTEN_FAILED. */
export async function bind(uri: string): Promise<Listener> {
  const address = parseUri(uri);
  try {
    const { handle, port } = listenAt(await toNumeric(address));
    let open = true;
    return {
      socket: handle,
      uri: formatUri(address.family === 'tcp' ? { ...address, port } : address),
      close: () => {
        if (!open) return;
        open = false;
        native().socketClose(handle);
        if (address.family === 'unix') rmSync(address.path, { force: true });
      },
    };
  } catch (error) {
    throw listenError(uri, error);
  }
}

/** Blocks this thread until a peer connects. Throws Kicked when asked to end. */
export function accept(listener: SocketHandle, kick: EventfdHandle): SocketHandle {
  const accepted = native().socketAccept(listener, kick);
  if (accepted === native().constants.KICKED) throw new Kicked();
  return accepted as SocketHandle;
}
