/** The chaos, shortly: a network that breaks again and again costs no page; and what it would find, it does find. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { chaosCampaign } from '../testing/chaos/campaign.ts';
import { withHugepagesIfAny } from '../testing/chaos/hugepages.ts';
import { chaosMigration } from '../testing/chaos/migration.ts';
import { drawPlan, MEMORY_MAX, migrationSeed } from '../testing/chaos/plan.ts';

const all = { cuts: 100, hugepages: true, preempt: true };

test('16 cuts cost nothing', { timeout: 600_000 }, async () => {
  const figures = await withHugepagesIfAny((hugepages) => chaosCampaign({ ...all, seed: 9, cuts: 16, hugepages }));
  expect(figures.cuts).toBeGreaterThanOrEqual(16);
  expect(figures.recoveries).toBeGreaterThan(5);
  expect(figures.worstPauseMs).toBeGreaterThan(0);
});

describe('a migration is planned by its seed', () => {
  const seeds = Array.from({ length: 300 }, (_, index) => migrationSeed(1, index));

  test('always the same, and as long as it may be (property)', () => {
    fc.assert(
      fc.property(fc.nat(2 ** 32 - 1), (seed) => {
        const plan = drawPlan(seed, all);
        expect(plan).toEqual(drawPlan(seed, all));
        const { memory, kind } = plan.guest;
        expect(memory % (kind === 'hugetlb' ? 2 ** 21 : 4096)).toBe(0);
        expect(memory).toBeGreaterThan(0);
        expect(memory).toBeLessThanOrEqual(MEMORY_MAX);
        const { rate } = plan.weather;
        if (rate > 0) expect(memory / rate).toBeLessThan(6);
      }),
    );
  });

  test('all that there is comes up', () => {
    const plans = seeds.map((seed) => drawPlan(seed, all));
    const drawn = (of: (plan: (typeof plans)[number]) => unknown) => new Set(plans.map(of));
    expect(drawn(({ transport }) => transport)).toEqual(new Set(['unix', 'tcp']));
    expect(drawn(({ preempt }) => preempt)).toEqual(new Set([true, false]));
    expect(drawn(({ lanes }) => lanes)).toEqual(new Set([0, 1, 3]));
    expect(drawn(({ guest }) => guest.kind)).toEqual(new Set(['anonymous', 'memfd', 'hugetlb']));
    expect(drawn(({ guest }) => guest.vcpus)).toEqual(new Set([1, 2, 3, 4]));
    expect(drawn(({ precopyPasses }) => precopyPasses)).toEqual(new Set([0, 1]));
    expect(drawn(({ breaksFrom }) => breaksFrom).size).toBe(2);
    expect(drawn(({ cuts }) => cuts).size).toBe(8);
  });

  test('but what can not be had here', () => {
    const plans = seeds.map((seed) => drawPlan(seed, { cuts: 2, hugepages: false, preempt: false }));
    expect(
      plans.some(({ preempt, lanes, guest, cuts }) => preempt || lanes > 0 || guest.kind === 'hugetlb' || cuts > 2),
    ).toBe(false);
  });
});

test('a guest that is lost is found, with what led to it', { timeout: 120_000 }, async () => {
  const fair = { rate: 0, delayMs: 0, jitterMs: 0 };
  const drawn = drawPlan(migrationSeed(2, 0), { ...all, cuts: 8, preempt: false, hugepages: false });
  const plan = { ...drawn, weather: fair, breaksFrom: 'postcopy-active', kinds: ['close'] } as const;
  const error = await chaosMigration({ ...plan, cuts: 8, guest: { ...plan.guest, memory: MEMORY_MAX } }, 0).catch(
    (thrown) => thrown,
  );
  expect(error.message).toMatch(/^the guest is lost: the source MigrationError: /);
  expect(error.message).toMatch(/^cut 1: connection 0 close after \d+ bytes of (s2d|d2s)$/m);
  expect(error.message).toMatch(/source given up after/);
});
