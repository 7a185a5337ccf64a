/**
 * An HTTP server for this host's own user: pages, figures and server-sent events, by a table of paths. Listens on
 * loopback or a unix socket that only its user can open, and keeps clients that mean ill from costing anything: all of
 * what a client may take, in number, size and time, has a limit.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { hostname } from 'node:os';
import { listenLocally } from '../channel/local-listener.js';
import { httpUrl } from './address.js';
import { refusal } from './admission.js';
import { EventClient } from './event-client.js';

/** Connections at once; one more has the oldest closed that is not being answered, or is refused. */
const CLIENTS_MAX = 64;
/** Of them, those of events. */
const EVENT_CLIENTS_MAX = 8;
/** Bytes of a request's head. */
const HEAD_BYTES_MAX = 8 * 1024;
/** Milliseconds for a request's head to come; for which a connection waits for another; for an answer to be read. */
const HEAD_MS = 5000;
const IDLE_MS = 5000;
const UNREAD_MS = 10_000;
/** Requests answered a second. */
const REQUESTS_PER_SECOND = 200;

export interface HttpRequest {
  readonly query: URLSearchParams;
  /** What the client would have, as its header says. */
  readonly accept: string;
}

export interface HttpAnswer {
  /** 200 when absent. */
  readonly status?: number;
  /** Such as `text/plain; charset=utf-8`. */
  readonly type: string;
  readonly body: string | Uint8Array;
}

/** Answers one request. What it throws is a 500 to the client. */
export type HttpRoute = (request: HttpRequest) => HttpAnswer | Promise<HttpAnswer>;

export interface LocalServerOptions {
  /** By path, such as `/metrics`. */
  readonly routes: Readonly<Record<string, HttpRoute>>;
  /** Paths of server-sent events: called with each client that comes. */
  readonly events?: Readonly<Record<string, (client: EventClient) => void>>;
  /** Listen also where other hosts can connect. False when absent. */
  readonly anyHost?: boolean;
  /** What whoever connects can see, for the error where that is not said, such as "the metrics". */
  readonly shows: string;
  /** Told of what a route has thrown. */
  readonly onError?: (error: unknown) => void;
}

const headers: Readonly<Record<string, string>> = {
  'Cache-Control': 'no-store',
  'Content-Security-Policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; " +
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Resource-Policy': 'same-origin',
  'Referrer-Policy': 'no-referrer',
  'X-Content-Type-Options': 'nosniff',
};

/** So many requests a second, and as many at once. */
class Allowance {
  readonly #perMs: number;
  readonly #most: number;
  #left: number;
  #at = performance.now();

  constructor(perSecond: number) {
    this.#perMs = perSecond / 1000;
    this.#most = perSecond;
    this.#left = perSecond;
  }

  take(): boolean {
    const now = performance.now();
    this.#left = Math.min(this.#most, this.#left + (now - this.#at) * this.#perMs);
    this.#at = now;
    if (this.#left < 1) return false;
    this.#left -= 1;
    return true;
  }
}

export class LocalServer {
  readonly #server: Server;
  readonly #options: LocalServerOptions;
  readonly #hostName: string | undefined;
  readonly #allowance = new Allowance(REQUESTS_PER_SECOND);
  /** By age; those that are being answered are true. */
  readonly #sockets = new Map<Socket, boolean>();
  readonly #eventClients = new Set<EventClient>();
  #isClosing = false;

  /** Where it listens, the port filled in: `unix:/path` or `tcp:host:port`. */
  readonly uri: string;
  /** The same for a browser: `http://host:port/`; of a unix socket the URI. */
  readonly url: string;

  private constructor(server: Server, uri: string, options: LocalServerOptions) {
    this.uri = uri;
    this.url = httpUrl(uri);
    this.#server = server;
    this.#options = options;
    this.#hostName = options.anyHost ? hostname() : undefined;
    server.on('connection', (socket) => this.#accept(socket));
    server.on('request', (request, response) => this.#serve(request, response));
    server.on('clientError', (_error, socket) => socket.destroy());
  }

  /**
   * Listens at `uri`: `unix:/path` or `tcp:host:port`. Rejects with BAD_URI, ADDRESS_IN_USE, LISTEN_FAILED, or
   * BAD_ARGUMENT where other hosts could connect and may not.
   */
  static async listen(uri: string, options: LocalServerOptions): Promise<LocalServer> {
    const server = createServer({
      maxHeaderSize: HEAD_BYTES_MAX,
      headersTimeout: HEAD_MS,
      requestTimeout: HEAD_MS,
      keepAliveTimeout: IDLE_MS,
      connectionsCheckingInterval: 1000,
    });
    const at = await listenLocally(server, uri, { anyHost: options.anyHost ?? false, gives: options.shows });
    return new LocalServer(server, at, options);
  }

  /** Stops listening, and closes what is connected: clients of events behind what they were sent. */
  async close(): Promise<void> {
    this.#isClosing = true;
    const closed = new Promise((resolve) => this.#server.close(resolve));
    for (const client of this.#eventClients) client.end();
    for (const [socket, isAnswered] of this.#sockets) if (!isAnswered) socket.destroy();
    await closed;
  }

  #accept(socket: Socket): void {
    if (!this.#makeRoom()) {
      socket.destroy();
      return;
    }
    this.#sockets.set(socket, false);
    socket.on('close', () => this.#sockets.delete(socket));
  }

  #makeRoom(): boolean {
    if (this.#sockets.size < CLIENTS_MAX) return true;
    for (const [socket, isAnswered] of this.#sockets) {
      if (isAnswered) continue;
      socket.destroy();
      this.#sockets.delete(socket);
      return true;
    }
    return false;
  }

  #serve(request: IncomingMessage, response: ServerResponse): void {
    const { socket } = request;
    // One that is sent before the last was answered would not be told when the client goes: browsers don't do that.
    if (this.#sockets.get(socket)) return void socket.destroy();
    this.#sockets.set(socket, true);
    response.on('close', () => {
      if (this.#isClosing) socket.destroySoon();
      else if (this.#sockets.has(socket)) this.#sockets.set(socket, false);
    });
    for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
    if (!this.#allowance.take()) return refuse(response, 429, 'too many requests');
    const refused = refusal({ method: request.method ?? '', headers: request.headers }, this.#hostName);
    if (refused !== undefined) return refuse(response, refused.status, refused.reason);
    const [path, query] = splitTarget(request.url ?? '/');
    const { routes, events = {} } = this.#options;
    if (Object.hasOwn(events, path)) return this.#serveEvents(response, events[path]);
    if (!Object.hasOwn(routes, path)) return refuse(response, 404, 'there is no such page');
    void this.#answer(response, routes[path], { query, accept: request.headers.accept ?? '*/*' });
  }

  async #answer(response: ServerResponse, route: HttpRoute, request: HttpRequest): Promise<void> {
    try {
      const { status = 200, type, body } = await route(request);
      if (response.destroyed) return; // the client has gone meanwhile
      const unread = setTimeout(() => response.destroy(), UNREAD_MS);
      response.on('close', () => clearTimeout(unread));
      response.writeHead(status, { 'Content-Type': type, 'Content-Length': Buffer.byteLength(body) });
      response.end(body);
    } catch (error) {
      refuse(response, 500, 'this failed at the server');
      this.#options.onError?.(error);
    }
  }

  #serveEvents(response: ServerResponse, onClient: (client: EventClient) => void): void {
    if (this.#eventClients.size >= EVENT_CLIENTS_MAX) return refuse(response, 503, 'too many watch already');
    const client = new EventClient(response);
    this.#eventClients.add(client);
    void client.closed.then(() => this.#eventClients.delete(client));
    onClient(client);
  }
}

/** The path, as it was sent, and what is asked of it. */
function splitTarget(target: string): readonly [path: string, query: URLSearchParams] {
  const mark = target.indexOf('?');
  return mark < 0
    ? [target, new URLSearchParams()]
    : [target.slice(0, mark), new URLSearchParams(target.slice(mark + 1))];
}

/** Says why in a line, and closes: whatever else comes of that connection is not read. */
function refuse(response: ServerResponse, status: number, reason: string): void {
  if (response.headersSent) {
    response.destroy();
    return;
  }
  response.writeHead(status, { 'Content-Type': 'text/plain; charset=utf-8', Connection: 'close' });
  response.end(`${reason}\n`);
}
