/**
 * A QMP server: listens on a unix socket that only its user can open, or on this host's loopback, and serves several
 * clients at once in the thread of its owner.
 */
import { createServer, type Server, type Socket } from 'node:net';
import { listenError, removeIfStale } from '../channel/connect.js';
import { formatUri, parseUri } from '../channel/uri.js';
import { MigrationError } from '../errors.js';
import type { NativeError, SocketAddress } from '../native.js';
import { type ConnectionLimits, QmpConnection } from './connection.js';
import { greeting, happened, type QmpEvent, type QmpVersion } from './messages.js';
import { type QmpCommands, QmpSession } from './session.js';
import { Turns } from './turns.js';

/** Clients at once. One more has the oldest closed that has not negotiated yet, or is refused. */
const CLIENTS_MAX = 32;

export interface QmpServerOptions {
  readonly version: QmpVersion;
  readonly commands: QmpCommands;
  /** Listen also where other hosts can connect: whoever can has the guest. False when absent. */
  readonly anyHost?: boolean;
  /** Told of each client that was closed, and why. */
  readonly onClosed?: (reason: string) => void;
  readonly limits?: ConnectionLimits;
}

const loopback = /^(127(\.\d{1,3}){3}|::1|localhost)$/;

function requireLoopback(uri: string, address: SocketAddress): void {
  if (address.family === 'unix' || loopback.test(address.host)) return;
  throw new MigrationError('BAD_ARGUMENT', `${uri} is open to other hosts, and whoever connects has the guest`, {
    hint: 'listen at unix:/path or tcp:127.0.0.1:port, or say that any host may connect',
  });
}

function bound(server: Server, address: SocketAddress): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject).once('listening', () => {
      server.off('error', reject);
      resolve();
    });
    if (address.family === 'tcp') server.listen(address.port, address.host);
    else listenAlone(server, address.path);
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

async function boundAnew(server: Server, address: SocketAddress): Promise<void> {
  try {
    await bound(server, address);
  } catch (error) {
    const isTaken = (error as NativeError).code === 'EADDRINUSE';
    if (!isTaken || address.family !== 'unix' || !removeIfStale(address.path)) throw error;
    await bound(server, address);
  }
}

export class QmpServer {
  readonly #server: Server;
  readonly #options: QmpServerOptions;
  readonly #turns = new Turns();
  readonly #connections = new Set<QmpConnection>();

  /** Where it listens; the port filled in. */
  readonly uri: string;

  private constructor(server: Server, address: SocketAddress, options: QmpServerOptions) {
    const bound = server.address();
    const port = bound !== null && typeof bound === 'object' ? bound.port : 0;
    this.uri = formatUri(address.family === 'tcp' ? { ...address, port } : address);
    this.#server = server;
    this.#options = options;
    server.on('connection', (socket) => this.#accept(socket));
  }

  /**
   * Listens at `uri`: `unix:/path` or `tcp:host:port`. Rejects with BAD_URI, ADDRESS_IN_USE, LISTEN_FAILED, or
   * BAD_ARGUMENT where other hosts could connect and may not. Only in a process's main thread.
   */
  static async listen(uri: string, options: QmpServerOptions): Promise<QmpServer> {
    const address = parseUri(uri);
    if (!options.anyHost) requireLoopback(uri, address);
    const server = createServer({ allowHalfOpen: true });
    try {
      await boundAnew(server, address);
    } catch (error) {
      throw listenError(uri, error);
    }
    return new QmpServer(server, address, options);
  }

  /** Tells every client that has negotiated, with the time of now. */
  tell(event: QmpEvent): void {
    const text = happened(event, performance.timeOrigin + performance.now());
    for (const connection of this.#connections) connection.tell(text);
  }

  /** Stops listening; clients are told yet what they asked last. */
  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    await Promise.all([...this.#connections].map((connection) => connection.end()));
    await closed;
  }

  #accept(socket: Socket): void {
    if (!this.#makeRoom()) {
      socket.destroy();
      this.#options.onClosed?.(`there are ${CLIENTS_MAX} clients already`);
      return;
    }
    const { commands, version, limits, onClosed } = this.#options;
    const session = new QmpSession(commands);
    const connection = new QmpConnection(socket, session, this.#turns, greeting(version), limits);
    this.#connections.add(connection);
    void connection.closed.then((reason) => {
      this.#connections.delete(connection);
      if (reason !== undefined) onClosed?.(reason);
    });
  }

  #makeRoom(): boolean {
    if (this.#connections.size < CLIENTS_MAX) return true;
    const idler = [...this.#connections].find(({ isNegotiated }) => !isNegotiated);
    idler?.close('it has not negotiated, and others want to');
    if (idler !== undefined) this.#connections.delete(idler);
    return idler !== undefined;
  }
}
