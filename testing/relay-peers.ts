/** Two peers that talk through a relay, as bytes: who connects to it, and who it dials. */
import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { netAddress } from '#lib/relay/dial.js';
import { joined } from './feed.ts';

/** One end of a connection, which keeps what it is sent. */
export class Peer {
  readonly socket: Socket;
  readonly #pieces: Uint8Array[] = [];
  #count = 0;
  #wanted = Number.POSITIVE_INFINITY;
  #enough: () => void = () => {};
  /** How it found its end: `end` in good order, else the errno of what it met. */
  readonly ended: Promise<string>;

  constructor(socket: Socket) {
    this.socket = socket;
    this.ended = new Promise((resolve) => {
      socket.once('end', () => resolve('end'));
      socket.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
      socket.once('close', () => resolve('close'));
    });
    socket.on('data', (piece: Buffer) => {
      this.#pieces.push(Uint8Array.from(piece));
      this.#count += piece.length;
      if (this.#count >= this.#wanted) this.#enough();
    });
  }

  get received(): Uint8Array {
    return joined(this.#pieces);
  }

  /** Resolved when at least so many bytes have come. */
  has(count: number): Promise<void> {
    return new Promise((resolve) => {
      this.#wanted = count;
      this.#enough = resolve;
      if (this.#count >= count) resolve();
    });
  }

  /** Writes the pieces one after the other, each once the one before is with the kernel, and ends if asked to. */
  async send(pieces: readonly Uint8Array[], ends = false): Promise<void> {
    for (const piece of pieces) {
      if (this.socket.destroyed) return;
      await new Promise<void>((written) => this.socket.write(piece, () => written()));
    }
    if (ends) this.socket.end();
  }
}

/** Connects to a relay. */
export async function source(uri: string): Promise<Peer> {
  const socket = connect({ ...netAddress(uri), allowHalfOpen: true });
  await once(socket, 'connect');
  return new Peer(socket);
}

/** Who listens where a relay dials to. */
export class Destination {
  readonly #server: Server;
  readonly #came: Peer[] = [];
  readonly #waiting: ((peer: Peer) => void)[] = [];

  private constructor(server: Server) {
    this.#server = server;
    server.on('connection', (socket) => {
      const peer = new Peer(socket);
      const next = this.#waiting.shift();
      if (next === undefined) this.#came.push(peer);
      else next(peer);
    });
  }

  static async at(uri: string): Promise<Destination> {
    const server = createServer({ allowHalfOpen: true });
    const destination = new Destination(server);
    server.listen(netAddress(uri));
    await once(server, 'listening');
    return destination;
  }

  /** As a migration URI, for tcp. */
  get tcpUri(): string {
    const address = this.#server.address();
    if (address === null || typeof address === 'string') throw new Error('not a tcp server');
    return `tcp:127.0.0.1:${address.port}`;
  }

  /** The next connection, in the order they come. */
  peer(): Promise<Peer> {
    const came = this.#came.shift();
    return came === undefined ? new Promise((resolve) => this.#waiting.push(resolve)) : Promise.resolve(came);
  }

  close(): void {
    this.#server.close();
  }
}

/** Bytes of which each place is known: a wrong order or a gap can't go unseen. */
export function pattern(length: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let i = 0, state = seed; i < length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[i] = state >>> 24;
  }
  return bytes;
}

/** The bytes in pieces of these sizes, repeated. */
export function cutInto(bytes: Uint8Array, sizes: readonly number[]): Uint8Array[] {
  const pieces: Uint8Array[] = [];
  for (let at = 0, i = 0; at < bytes.length; at += sizes[i++ % sizes.length]) {
    pieces.push(bytes.subarray(at, at + sizes[i % sizes.length]));
  }
  return pieces;
}
