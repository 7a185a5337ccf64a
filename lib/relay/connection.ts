/**
 * One connection of a relay: the socket of who came, the socket dialled on for it, and a pipe each way.
 *
 * Invariant: whatever happens to one socket is handed on to the other, but for a stall, which is just that.
 */
import type { Socket } from 'node:net';
import { type CutHow, type Direction, directions, type Fault, FaultPlan, opposite } from './faults.js';
import type { Bandwidth, Latency } from './pacing.js';
import { type Ending, Pipe } from './pipe.js';

/**
 * How a connection stands: waiting for the other side, joined, silent, or ended: by both sides, by a reset
 * of one, by the relay on purpose, or because nobody was there to be connected to.
 */
export type ConnectionState = 'dialling' | 'open' | 'stalled' | 'closed' | 'reset' | 'cut' | 'failed';

export interface ConnectionStats {
  /** In the order they came, from 0. */
  readonly connection: number;
  readonly state: ConnectionState;
  /** Bytes handed to the destination's socket. */
  readonly s2d: number;
  /** Bytes handed to the source's. */
  readonly d2s: number;
}

/** What the connections of a relay have in common. */
export interface Links {
  readonly bandwidth: Readonly<Record<Direction, Bandwidth>>;
  readonly latency: () => Latency;
  /** Bytes that may be on their way at once; 0 where they take no time. */
  readonly lineBytes: number;
  readonly now: () => number;
}

export interface ConnectionEvents {
  passed(connection: RelayConnection, direction: Direction, bytes: Uint8Array, offset: number): void;
  /** A side stopped sending, in good order or not. */
  ended(connection: RelayConnection, direction: Direction): void;
  fault(connection: RelayConnection, fault: Fault): void;
  cut(connection: RelayConnection): void;
  /** Both sockets are gone. */
  closed(connection: RelayConnection): void;
}

/** What a connection whose sockets are gone has come to, where that is another state than it was in. */
const lastStates: Partial<Record<ConnectionState, ConnectionState>> = {
  dialling: 'reset',
  open: 'closed',
  stalled: 'closed',
};

/** Milliseconds that the sides have to take in what was passed on, and to close, once the relay cuts. */
const LINGER_MS = 5000;

/** Ends a socket so that its peer finds a reset, where the transport knows one. */
function reset(socket: Socket): void {
  if (socket.destroyed) return;
  if (socket.writableEnded && !socket.writableFinished) {
    // Reset while it shuts down, Node would lose the socket and leave it open.
    socket.once('finish', () => reset(socket));
    return;
  }
  try {
    socket.resetAndDestroy();
  } catch {
    // A unix socket has none. Its peer finds one all the same if something that it sent is unread here.
    socket.destroy();
  }
}

/** Calls back once all that was written is with the kernel; at once where the socket is gone. */
function whenWritten(socket: Socket, then: () => void): void {
  if (socket.writableLength === 0 || socket.destroyed || socket.writableEnded) then();
  else socket.write(new Uint8Array(0), () => then());
}

export class RelayConnection {
  readonly index: number;
  readonly #links: Links;
  readonly #events: ConnectionEvents;
  readonly #source: Socket;
  readonly #plans: Readonly<Record<Direction, FaultPlan>>;
  #destination: Socket | undefined;
  #pipes: Readonly<Record<Direction, Pipe>> | undefined;
  #state: ConnectionState = 'dialling';
  #socketsOpen = 1;
  #linger: NodeJS.Timeout | undefined;

  /** Takes over the socket of who came, which must be paused; its faults are those that concern it. */
  constructor(
    index: number,
    source: Socket,
    faults: (direction: Direction) => readonly Fault[],
    links: Links,
    events: ConnectionEvents,
  ) {
    this.index = index;
    this.#source = source;
    this.#links = links;
    this.#events = events;
    this.#plans = { s2d: new FaultPlan(faults('s2d')), d2s: new FaultPlan(faults('d2s')) };
    this.#watch(source, 's2d');
  }

  get state(): ConnectionState {
    return this.#state;
  }

  /** Whether it has not ended yet. */
  get isOpen(): boolean {
    return this.#socketsOpen > 0;
  }

  get stats(): ConnectionStats {
    const { s2d, d2s } = this.#pipes ?? { s2d: { passed: 0 }, d2s: { passed: 0 } };
    return { connection: this.index, state: this.#state, s2d: s2d.passed, d2s: d2s.passed };
  }

  /** The faults that have not happened. */
  get faultsLeft(): readonly Fault[] {
    return directions.flatMap((direction) => this.#plans[direction].left);
  }

  /** One more fault of this connection; its bytes are counted from the connection's first. */
  inject(fault: Fault): void {
    this.#plans[fault.direction ?? 's2d'].add(fault);
  }

  /** The other side is there, its socket paused: bytes pass from now on. */
  join(destination: Socket): void {
    this.#destination = destination;
    if (this.#state !== 'dialling') {
      destination.destroy();
      return;
    }
    this.#state = 'open';
    this.#socketsOpen++;
    this.#watch(destination, 'd2s');
    this.#pipes = {
      s2d: this.#pipe('s2d', this.#source, destination),
      d2s: this.#pipe('d2s', destination, this.#source),
    };
    for (const direction of directions) this.#pipes[direction].start();
  }

  /** There is no other side: who came is let go. */
  fail(): void {
    if (this.#state !== 'dialling') return;
    this.#state = 'failed';
    reset(this.#source);
  }

  /** Breaks it. With `fin` the side that `direction` leads to still gets all that was passed on. */
  cut(how: CutHow, direction: Direction = 's2d'): void {
    if (!this.isOpen || this.#state === 'cut') return;
    this.#state = 'cut';
    for (const each of directions) this.#pipes?.[each].abandon();
    this.#events.cut(this);
    this.#linger = setTimeout(() => this.destroy(), LINGER_MS);
    const sockets = [this.#source, this.#destination].filter((socket) => socket !== undefined);
    if (how === 'rst') {
      for (const socket of sockets) whenWritten(socket, () => reset(socket));
      return;
    }
    const receiver = direction === 's2d' ? this.#destination : this.#source;
    for (const socket of sockets) {
      if (socket !== receiver) socket.end(() => socket.destroy());
    }
    // Closed with something unread, a socket resets and loses what it still had to send: read to the end.
    receiver?.end();
    receiver?.resume();
  }

  stall(): void {
    if (this.#state !== 'open') return;
    this.#state = 'stalled';
    for (const direction of directions) this.#pipes?.[direction].stall();
  }

  resume(): void {
    if (this.#state !== 'stalled') return;
    this.#state = 'open';
    for (const direction of directions) this.#pipes?.[direction].resume();
  }

  /** Ends it at once, as the relay ends. */
  destroy(): void {
    for (const direction of directions) this.#pipes?.[direction].abandon();
    this.#source.destroy();
    this.#destination?.destroy();
  }

  #pipe(direction: Direction, from: Socket, to: Socket): Pipe {
    const { bandwidth, latency, lineBytes, now } = this.#links;
    return new Pipe({
      from,
      to,
      bandwidth: bandwidth[direction],
      latency: latency(),
      lineBytes,
      faults: this.#plans[direction],
      now,
      events: {
        passed: (bytes, offset) => this.#events.passed(this, direction, bytes, offset),
        fault: (fault) => this.#fault(fault, direction),
        ended: (how) => this.#ended(direction, to, how),
      },
    });
  }

  #fault(fault: Fault, direction: Direction): void {
    this.#events.fault(this, fault);
    if (fault.kind === 'stall') this.stall();
    if (fault.kind === 'cut') this.cut(fault.how ?? 'fin', direction);
  }

  #ended(direction: Direction, to: Socket, how: Ending): void {
    this.#events.ended(this, direction);
    if (how === 'end') to.end();
    else this.#reset(to);
  }

  #reset(socket: Socket): void {
    if (this.#state !== 'cut') this.#state = 'reset';
    reset(socket);
  }

  /** Hands on that a socket, which sends in this direction, has failed, and counts those still open. */
  #watch(socket: Socket, direction: Direction): void {
    socket.setNoDelay(true);
    socket.on('error', () => {
      const pipes = this.#pipes;
      if (pipes === undefined || this.#state === 'cut') return;
      this.#state = 'reset';
      pipes[opposite(direction)].abandon();
      const to = direction === 's2d' ? this.#destination : this.#source;
      if (!pipes[direction].over) pipes[direction].failed();
      else if (to !== undefined) this.#reset(to);
    });
    socket.on('close', () => {
      this.#socketsOpen--;
      if (this.#socketsOpen > 0) return;
      clearTimeout(this.#linger);
      this.#state = lastStates[this.#state] ?? this.#state;
      this.#events.closed(this);
    });
  }
}
