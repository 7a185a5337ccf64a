/** What one migration of the chaos is like: all of it is drawn from its seed. Pure. */
import type { MemoryKind, StressGuestSettings } from '#lib/index.js';
import { seededRandom } from '#lib/relay/pacing.js';
import { type BreakKind, drawWeather, type Weather } from '../bad-network.ts';

export interface ChaosPlan {
  readonly seed: number;
  readonly transport: 'unix' | 'tcp';
  readonly preempt: boolean;
  /** Connections on which pages are asked for and sent; then there is no preempt channel. */
  readonly lanes: number;
  readonly guest: StressGuestSettings & { readonly memory: number; readonly kind: MemoryKind };
  readonly precopyPasses: number;
  readonly weather: Weather;
  /** Connections that break. */
  readonly cuts: number;
  readonly kinds: readonly BreakKind[];
  /** The status of the source from which on they do: before postcopy-active the guest may stay at the source. */
  readonly breaksFrom: 'postcopy-device' | 'postcopy-active';
}

export interface ChaosLimits {
  /** The most cuts of a migration. */
  readonly cuts: number;
  /** Whether guests in huge pages may be drawn. */
  readonly hugepages: boolean;
  /** Whether the preempt channel may be, and lanes. */
  readonly preempt: boolean;
}

const MIB = 2 ** 20;
const HUGEPAGE = 2 * MIB;
const CUTS_MAX = 8;
/** Bytes of the largest guest, in huge pages that of each side. */
export const MEMORY_MAX = 16 * MIB;
/** Seconds that the guest's memory takes at most on the slowest way. */
const SLOWEST_SECONDS = 4;
/** Silence costs the most time: a half-open connection is found out only by the peer's timeout. */
const KINDS: readonly BreakKind[] = ['close', 'close', 'reset', 'reset', 'half-open'];

type Random = () => number;
const pick = <T>(random: Random, from: readonly T[]): T => from[Math.floor(random() * from.length)];
const whole = (random: Random, min: number, max: number): number => min + Math.floor(random() * (max - min + 1));

/** Memory that is over in time, in whole pages of its kind. */
function memoryOf(random: Random, kind: MemoryKind, { rate }: Weather): number {
  const page = kind === 'hugetlb' ? HUGEPAGE : 4096;
  const most = rate === 0 ? MEMORY_MAX : Math.min(MEMORY_MAX, rate * SLOWEST_SECONDS);
  const bytes = MIB / 2 + random() * (most - MIB / 2);
  return Math.max(page, Math.floor(bytes / page) * page);
}

export function drawPlan(seed: number, { cuts, hugepages, preempt }: ChaosLimits): ChaosPlan {
  const random = seededRandom(seed);
  const weather = drawWeather(random);
  const isFast = weather.rate === 0 || weather.rate * SLOWEST_SECONDS >= 2 * HUGEPAGE;
  const kinds: MemoryKind[] = ['anonymous', 'memfd', ...(hugepages && isFast ? (['hugetlb'] as const) : [])];
  const kind = pick(random, kinds);
  const memory = memoryOf(random, kind, weather);
  return {
    seed,
    weather,
    transport: pick(random, ['unix', 'tcp']),
    preempt: random() < 0.5 && preempt,
    lanes: preempt ? pick(random, [0, 0, 1, 3]) : 0,
    guest: {
      memory,
      kind,
      seed,
      vcpus: whole(random, 1, 4),
      // Of huge pages each block is rounded up to a whole one.
      blocks: kind === 'hugetlb' ? 1 : whole(random, 1, 3),
      // All over, so that it comes to pages that are missing.
      workingSetShare: 7 / 8,
      writesPerSecond: whole(random, 2000, 40_000),
    },
    precopyPasses: whole(random, 0, 1),
    cuts: Math.min(cuts, whole(random, 1, CUTS_MAX)),
    kinds: KINDS,
    breaksFrom: random() < 0.2 ? 'postcopy-device' : 'postcopy-active',
  };
}

/** The seed of a campaign's migration with this number. */
export function migrationSeed(seed: number, migration: number): number {
  return (seed + Math.imul(migration, 0x9e3779b1)) >>> 0;
}

/** `preempt over tcp, 4 vCPUs, 12 MiB of memfd, 1,250,000 bytes/s, 20 ms; 5 cuts`. */
export function planText(plan: ChaosPlan): string {
  const { transport, guest, weather, cuts, breaksFrom, precopyPasses } = plan;
  const { vcpus, memory, kind, blocks } = guest;
  const way = weather.rate === 0 ? 'no limit' : `${weather.rate.toLocaleString('en')} bytes/s`;
  return (
    `${demandChannelsOf(plan)}over ${transport}, ${vcpus} vCPUs, ${(memory / MIB).toFixed(1)} MiB of ${kind} in ` +
    `${blocks} blocks, ${precopyPasses} passes, ${way}, ${weather.delayMs}+${weather.jitterMs} ms; ${cuts} cuts from ` +
    breaksFrom
  );
}

function demandChannelsOf({ lanes, preempt }: ChaosPlan): string {
  if (lanes > 0) return lanes === 1 ? '1 lane ' : `${lanes} lanes `;
  return preempt ? 'preempt ' : '';
}
