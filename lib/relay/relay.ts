/**
 * A relay between two migration peers: listens where the source connects to, dials on to the destination, and
 * passes the bytes both ways, unchanged and in order, or with the delays and faults it is asked for.
 *
 * On the event loop of its caller; no native code, and no knowledge of the stream. Any peers will do: two
 * QEMUs, two of ours, or one of each. Each connection that comes (the main one, those of postcopy-preempt and
 * multifd, a new one in a recovery) is dialled on in the order they come, as some peers know them by it.
 */
import { EventEmitter, once } from 'node:events';
import { lstatSync, rmSync } from 'node:fs';
import { connect, createServer, type ListenOptions as NetListenOptions, type Server, type Socket } from 'node:net';
import { listenError } from '../channel/connect.js';
import { formatUri, parseUri } from '../channel/uri.js';
import { MigrationError } from '../errors.js';
import { type ConnectionEvents, type ConnectionStats, type Links, RelayConnection } from './connection.js';
import { dial, netAddress, SOCKET_BUFFER_BYTES } from './dial.js';
import { type CutHow, checkFault, concerns, type Direction, type Fault } from './faults.js';
import type { RelayObserver } from './observer.js';
import { Bandwidth, Latency, seededRandom } from './pacing.js';
import { Recorder } from './recorder.js';

export interface RelayOptions {
  /** Bytes a second, each way, over all connections; 0, no limit, by default. */
  readonly rate?: number;
  /** Milliseconds that bytes take, each way; 0 by default. */
  readonly delayMs?: number;
  /** Up to so many milliseconds more, at random; 0 by default. Nothing overtakes. */
  readonly jitterMs?: number;
  /** Seed of the jitter; 1 by default. */
  readonly seed?: number;
  /** Bytes on their way at most, each way and connection, where there is a delay; 64 MiB by default. */
  readonly bufferBytes?: number;
  readonly faults?: readonly Fault[];
  /** Where to record what passes; see `Recorder`. */
  readonly record?: string;
  /** Milliseconds that a connection waits for someone at the destination; 10 000 by default. */
  readonly connectTimeoutMs?: number;
}

const defaults = {
  rate: 0,
  delayMs: 0,
  jitterMs: 0,
  seed: 1,
  bufferBytes: 64 * 2 ** 20,
  connectTimeoutMs: 10_000,
} as const;

type Settings = Required<Pick<RelayOptions, keyof typeof defaults>>;

export interface RelayStats {
  readonly connections: readonly ConnectionStats[];
  /** Bytes passed, over all connections. */
  readonly s2d: number;
  readonly d2s: number;
  /** Faults that were asked for and have not happened; one of all connections, once for each that has come. */
  readonly faultsLeft: readonly Fault[];
}

export interface RelayEvents {
  /** Someone has connected; the destination is dialled. */
  connection: [stats: ConnectionStats];
  /** Nobody is at the destination yet; the relay goes on trying. */
  waiting: [stats: ConnectionStats];
  /** Both sides are joined. */
  open: [stats: ConnectionStats];
  fault: [stats: ConnectionStats, fault: Fault];
  closed: [stats: ConnectionStats];
  /** A connection could not be dialled on, and was let go. */
  failed: [stats: ConnectionStats, error: Error];
  /** All connections that came have ended. */
  idle: [];
  /** An observer or the recording failed, and has ended; the connections go on. */
  warning: [error: Error];
}

function resolve(options: RelayOptions): Settings {
  const names = Object.keys(defaults) as (keyof Settings)[];
  const settings = Object.fromEntries(names.map((name) => [name, options[name] ?? defaults[name]])) as Settings;
  for (const name of names) {
    if (Number.isFinite(settings[name]) && settings[name] >= 0) continue;
    throw new MigrationError('BAD_ARGUMENT', `${name} is ${settings[name]}`, { hint: 'give a number from 0' });
  }
  for (const fault of options.faults ?? []) checkFault(fault);
  return settings;
}

/** Whether the path is a socket that nobody has open any more. */
async function isStale(path: string): Promise<boolean> {
  if (!lstatSync(path).isSocket()) return false;
  const probe = connect(path);
  try {
    await once(probe, 'connect');
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ECONNREFUSED';
  } finally {
    probe.destroy();
  }
}

async function bindServer(server: Server, uri: string): Promise<void> {
  const address = netAddress(uri) as NetListenOptions;
  const attempt = async (): Promise<void> => {
    server.listen(address);
    await once(server, 'listening');
  };
  try {
    await attempt();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const { path } = address;
    if (code !== 'EADDRINUSE' || path === undefined || !(await isStale(path))) throw listenError(uri, error);
    rmSync(path);
    await attempt().catch((again) => {
      throw listenError(uri, again);
    });
  }
}

/** Where a server listens, the port filled in. */
function boundUri(server: Server, uri: string): string {
  const address = parseUri(uri);
  const bound = server.address();
  if (address.family === 'unix' || bound === null || typeof bound === 'string') return uri;
  return formatUri({ ...address, port: bound.port });
}

export class Relay extends EventEmitter<RelayEvents> {
  readonly #server: Server;
  readonly #to: string;
  readonly #settings: Settings;
  #faults: readonly Fault[];
  readonly #links: Links;
  readonly #connections: RelayConnection[] = [];
  readonly #ending = new AbortController();
  #observers: readonly RelayObserver[] = [];
  /** The dialling of the connections before. */
  #dialled: Promise<void> = Promise.resolve();
  #uri = '';
  #recordedAt: string | undefined;

  private constructor(to: string, options: RelayOptions) {
    super();
    this.#to = to;
    this.#settings = resolve(options);
    this.#faults = options.faults ?? [];
    const { rate, delayMs, jitterMs, bufferBytes, seed } = this.#settings;
    const random = seededRandom(seed);
    this.#links = {
      bandwidth: { s2d: new Bandwidth(rate), d2s: new Bandwidth(rate) },
      latency: () => new Latency(delayMs, jitterMs, random),
      lineBytes: delayMs + jitterMs > 0 ? bufferBytes : 0,
      now: () => performance.now(),
    };
    this.#server = createServer({ allowHalfOpen: true, pauseOnConnect: true, highWaterMark: SOCKET_BUFFER_BYTES });
    this.#server.on('connection', (socket) => this.#came(socket));
  }

  /** @see createRelay */
  static async create(from: string, to: string, options: RelayOptions): Promise<Relay> {
    if (formatUri(parseUri(to)) === formatUri(parseUri(from))) {
      throw new MigrationError('BAD_ARGUMENT', `a relay from ${from} to itself`, {
        hint: 'the second address is where the destination listens, the first where the source will connect',
      });
    }
    const relay = new Relay(to, options);
    await bindServer(relay.#server, from);
    relay.#uri = boundUri(relay.#server, from);
    try {
      if (options.record !== undefined) relay.#record(options.record);
    } catch (error) {
      await relay.close();
      throw error;
    }
    return relay;
  }

  /** Where it listens, the port filled in. */
  get uri(): string {
    return this.#uri;
  }

  get stats(): RelayStats {
    const connections = this.#connections.map((connection) => connection.stats);
    const sum = (direction: Direction): number => connections.reduce((total, each) => total + each[direction], 0);
    return {
      connections,
      s2d: sum('s2d'),
      d2s: sum('d2s'),
      faultsLeft: [
        ...this.#connections.flatMap((connection) => connection.faultsLeft),
        ...this.#faults.filter(({ connection = 0 }) => connection !== 'all' && connection >= connections.length),
      ],
    };
  }

  /** What the names of the recorded files begin with, if it records. */
  get recordedAt(): string | undefined {
    return this.#recordedAt;
  }

  /** Shows the observer all that passes from now on. */
  observe(observer: RelayObserver): void {
    this.#observers = [...this.#observers, observer];
  }

  /**
   * One more fault, as those of the options: of a connection that is there, or of one that is to come. Where its byte
   * has passed, a cut or stall happens at the next one. Throws BAD_ARGUMENT.
   */
  inject(fault: Fault): void {
    checkFault(fault);
    this.#faults = [...this.#faults, fault];
    const { connection = 0, direction = 's2d' } = fault;
    const named = this.#named(connection === 'all' ? undefined : connection);
    for (const each of named) if (concerns(fault, each.index, direction)) each.inject(fault);
  }

  /** Breaks the connection of this number, or all that are open. */
  cut(how: CutHow = 'fin', connection?: number): void {
    for (const each of this.#named(connection)) each.cut(how);
  }

  /** From now on nothing moves, and nobody is told. */
  stall(connection?: number): void {
    for (const each of this.#named(connection)) each.stall();
  }

  /** The end of a stall: what was held back comes. */
  resume(connection?: number): void {
    for (const each of this.#named(connection)) each.resume();
  }

  /** Stops listening and ends all connections; resolved when nothing is left. More than once is harmless. */
  async close(): Promise<void> {
    const closed = new Promise<void>((done) => this.#server.close(() => done()));
    this.#ending.abort();
    for (const connection of this.#connections) connection.destroy();
    await Promise.all([closed, this.#dialled]);
    for (const observer of this.#observers) this.#tell(observer, () => observer.close());
    this.#observers = [];
  }

  #record(path: string): void {
    const recorder = new Recorder(path);
    this.#recordedAt = recorder.prefix;
    this.observe(recorder);
  }

  #named(connection: number | undefined): readonly RelayConnection[] {
    return connection === undefined ? this.#connections : this.#connections.slice(connection, connection + 1);
  }

  #came(socket: Socket): void {
    const index = this.#connections.length;
    const faults = (direction: Direction) => this.#faults.filter((fault) => concerns(fault, index, direction));
    const connection = new RelayConnection(index, socket, faults, this.#links, this.#connectionEvents);
    this.#connections.push(connection);
    this.emit('connection', connection.stats);
    this.#dialled = this.#dialled.then(() => this.#dial(connection));
  }

  async #dial(connection: RelayConnection): Promise<void> {
    const { signal } = this.#ending;
    try {
      const socket = await dial(this.#to, {
        timeoutMs: this.#settings.connectTimeoutMs,
        waiting: () => this.emit('waiting', connection.stats),
        signal,
      });
      for (const observer of this.#observers) this.#tell(observer, () => observer.opened(connection.index));
      connection.join(socket);
      this.emit('open', connection.stats);
    } catch (error) {
      connection.fail();
      if (!signal.aborted) this.emit('failed', connection.stats, error as Error);
    }
  }

  readonly #connectionEvents: ConnectionEvents = {
    passed: ({ index }, direction, bytes, offset) => {
      for (const observer of this.#observers) {
        this.#tell(observer, () => observer.passed(index, direction, bytes, offset));
      }
    },
    ended: ({ index, stats }, direction) => {
      for (const observer of this.#observers) {
        this.#tell(observer, () => observer.ended(index, direction, stats[direction]));
      }
    },
    fault: (connection, fault) => this.emit('fault', connection.stats, fault),
    cut: ({ index }) => {
      for (const observer of this.#observers) this.#tell(observer, () => observer.cut(index));
    },
    closed: (connection) => {
      this.emit('closed', connection.stats);
      if (!this.#connections.some(({ isOpen }) => isOpen)) this.emit('idle');
    },
  };

  /** Calls an observer, and no more once it has failed. */
  #tell(observer: RelayObserver, call: () => void): void {
    try {
      call();
    } catch (error) {
      this.#observers = this.#observers.filter((each) => each !== observer);
      this.emit('warning', error as Error);
    }
  }
}

/**
 * Relays between whoever connects to `from` and who listens at `to`, both migration URIs. Resolved once it
 * listens. Rejects with BAD_ARGUMENT, BAD_URI, ADDRESS_IN_USE or LISTEN_FAILED.
 */
export async function createRelay(from: string, to: string, options: RelayOptions = {}): Promise<Relay> {
  return Relay.create(from, to, options);
}
