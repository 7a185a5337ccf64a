/**
 * A QMP server: listens on a unix socket that only its user can open, or on this host's loopback, and serves several
 * clients at once in the thread of its owner.
 */
import { createServer, type Server, type Socket } from 'node:net';
import { listenLocally } from '../channel/local-listener.js';
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

export class QmpServer {
  readonly #server: Server;
  readonly #options: QmpServerOptions;
  readonly #turns = new Turns();
  readonly #connections = new Set<QmpConnection>();

  /** Where it listens; the port filled in. */
  readonly uri: string;

  private constructor(server: Server, uri: string, options: QmpServerOptions) {
    this.uri = uri;
    this.#server = server;
    this.#options = options;
    server.on('connection', (socket) => this.#accept(socket));
  }

  /**
   * Listens at `uri`: `unix:/path` or `tcp:host:port`. Rejects with BAD_URI, ADDRESS_IN_USE, LISTEN_FAILED, or
   * BAD_ARGUMENT where other hosts could connect and may not. Only in a process's main thread.
   */
  static async listen(uri: string, options: QmpServerOptions): Promise<QmpServer> {
    const server = createServer({ allowHalfOpen: true });
    const at = await listenLocally(server, uri, { anyHost: options.anyHost ?? false, gives: 'the guest' });
    return new QmpServer(server, at, options);
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
