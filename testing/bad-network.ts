/**
 * A network between two migration peers that behaves badly, and for the same seed in the same way: slow and far, and
 * from {@link BadNetwork.begin} on each connection breaks at some byte of one of its directions, whichever it is (the
 * main one, the preempt channel, one of a recovery), until as many have broken as were asked for. Then all go through.
 */
import { type ConnectionStats, createRelay, type Direction, type Fault, type Relay } from '#lib/index.js';
import { seededRandom } from '#lib/relay/pacing.js';

/** How fast, each way over all connections, and how far. */
export interface Weather {
  /** Bytes a second; 0 is no limit. */
  readonly rate: number;
  /** Milliseconds each way, and up to so many more. */
  readonly delayMs: number;
  readonly jitterMs: number;
}

/**
 * `close`: both sides find an end, the receiver behind exactly those bytes. `reset`: a reset, and what is on its way
 * is lost (a unix socket has none, and closes). `half-open`: nothing moves any more, and nobody is told.
 */
export type BreakKind = 'close' | 'reset' | 'half-open';

/** A connection that broke. */
export interface Break {
  /** In the order they came, from 0. */
  readonly connection: number;
  readonly direction: Direction;
  /** Bytes from the connection's first. */
  readonly after: number;
  readonly kind: BreakKind;
}

export interface BadNetworkOptions {
  readonly seed: number;
  /** How many connections break. */
  readonly cuts: number;
  readonly weather?: Partial<Weather>;
  /** Kinds to draw from, one that is given twice twice as often; all three when absent. */
  readonly kinds?: readonly BreakKind[];
  /** From `begin`, or from its first byte, a connection goes on for fewer bytes than these; see {@link drawBreak}. */
  readonly spans?: Readonly<Record<Direction, number>>;
}

type Random = () => number;

const FAIR: Weather = { rate: 0, delayMs: 0, jitterMs: 0 };
const DELAY_MS_MAX = 50;
/** Bytes a second: 1 Mbit/s, and 1 Gbit/s. */
const RATE_MIN = 125_000;
const RATE_MAX = 125_000_000;
const ALL_KINDS: readonly BreakKind[] = ['close', 'reset', 'half-open'];
/** Into the bulk of the pages, and over some hundred messages of the return path. */
const SPANS: Readonly<Record<Direction, number>> = { s2d: 2 ** 20, d2s: 2 ** 11 };
/** How much of the breaks count the bytes from the source. */
const FORWARD_SHARE = 2 / 3;
/** Odd and large, so that no two connections of near seeds draw the same. */
const SEED_STEP = 0x9e3779b1;

const pick = <T>(random: Random, from: readonly T[]): T => from[Math.floor(random() * from.length)];

/** From `min` to `max`, each order of magnitude as likely as the next. */
const logUniform = (random: Random, min: number, max: number): number =>
  Math.min(max, Math.floor(min * (max / min) ** random()));

/** Half the time unlimited and near; else from `rateMin` bytes a second up, and up to 50 ms each way. */
export function drawWeather(random: Random, rateMin = RATE_MIN): Weather {
  if (random() < 0.5) return FAIR;
  const delayMs = Math.floor(random() * DELAY_MS_MAX);
  return {
    rate: logUniform(random, rateMin, RATE_MAX),
    delayMs,
    jitterMs: Math.floor(random() * (DELAY_MS_MAX - delayMs)),
  };
}

/** Where a connection breaks; short ways are as likely as long ones, so that handshakes break as well as the bulk. */
export function drawBreak(
  random: Random,
  kinds: readonly BreakKind[] = ALL_KINDS,
  spans: Readonly<Record<Direction, number>> = SPANS,
): Omit<Break, 'connection'> {
  const direction = random() < FORWARD_SHARE ? 's2d' : 'd2s';
  return { direction, after: logUniform(random, 1, spans[direction]) - 1, kind: pick(random, kinds) };
}

function faultOf({ connection, direction, after, kind }: Break): Fault {
  const place = { connection, direction, after };
  return kind === 'half-open'
    ? { kind: 'stall', ...place }
    : { kind: 'cut', how: kind === 'reset' ? 'rst' : 'fin', ...place };
}

export class BadNetwork {
  readonly #relay: Relay;
  readonly #options: BadNetworkOptions;
  readonly #planned = new Map<Fault, Break>();
  readonly #breaks: Break[] = [];
  #begun = false;

  private constructor(relay: Relay, options: BadNetworkOptions) {
    this.#relay = relay;
    this.#options = options;
    relay.on('connection', (stats) => {
      if (this.#begun) this.#plan(stats);
    });
    relay.on('fault', (_stats, fault) => {
      const happened = this.#planned.get(fault);
      if (happened !== undefined) this.#breaks.push(happened);
    });
  }

  /** Listens at `from` for the source; the destination listens at `to`, then and in each recovery. */
  static async open(from: string, to: string, options: BadNetworkOptions): Promise<BadNetwork> {
    const relay = await createRelay(from, to, { ...FAIR, ...options.weather, seed: options.seed });
    return new BadNetwork(relay, options);
  }

  /** Where the source connects to, each time. */
  get uri(): string {
    return this.#relay.uri;
  }

  /** Connections that have come. */
  get connections(): number {
    return this.#relay.stats.connections.length;
  }

  /** What has broken so far, in order. */
  get breaks(): readonly Break[] {
    return this.#breaks;
  }

  /** From now on it breaks; more than once is harmless. */
  begin(): void {
    if (this.#begun) return;
    this.#begun = true;
    for (const stats of this.#relay.stats.connections) if (stats.state === 'open') this.#plan(stats);
  }

  /** Ends all connections, also those that were left half-open. */
  async close(): Promise<void> {
    await this.#relay.close();
  }

  #plan(stats: ConnectionStats): void {
    const { seed, cuts, kinds, spans } = this.#options;
    if (this.#breaks.length >= cuts) return;
    const { connection } = stats;
    const drawn = drawBreak(seededRandom(seed + Math.imul(connection + 1, SEED_STEP)), kinds, spans);
    const planned = { connection, ...drawn, after: stats[drawn.direction] + drawn.after };
    const fault = faultOf(planned);
    this.#planned.set(fault, planned);
    this.#relay.inject(fault);
  }
}
