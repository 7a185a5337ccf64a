/** What the migration thread does next, over the whole small state space: each state falls under one rule. */
import { describe, expect, test } from 'vitest';
import {
  type Convergence,
  Narrowing,
  type NextStep,
  needsSync,
  nextStep,
  pendingBytes,
  ramPending,
} from '#lib/source/convergence.js';

interface Rule<Decision> {
  readonly when: string;
  readonly is: (state: Convergence) => boolean;
  readonly decision: Decision;
}

const counts = (s: Convergence): boolean => s.postcopyAfterPasses !== undefined;
const passed = (s: Convergence): boolean => counts(s) && s.passes >= (s.postcopyAfterPasses as number);
const bytes = (s: Convergence): number => s.pending.mustPrecopyBytes + s.pending.canPostcopyBytes;
/** What must go before the switch would go within the downtime. */
const maySwitch = (s: Convergence): boolean => s.pending.mustPrecopyBytes <= s.thresholdBytes;
const fits = (s: Convergence): boolean => bytes(s) < s.thresholdBytes;
/** It is no use to send it before the guest stops, or there is no time for that. */
const ends = (s: Convergence): boolean => fits(s) && (!s.narrows || s.postcopyAsked);

const stepRules: readonly Rule<NextStep>[] = [
  { when: 'the guest is being handed over', is: (s) => s.handingOver, decision: 'iterate' },
  { when: 'nothing is left', is: (s) => !s.handingOver && bytes(s) === 0, decision: 'complete' },
  { when: 'the guest runs there', is: (s) => !s.handingOver && bytes(s) > 0 && s.inPostcopy, decision: 'iterate' },
  {
    when: 'the passes asked for are done',
    is: (s) => bytes(s) > 0 && !s.inPostcopy && passed(s) && maySwitch(s),
    decision: 'start-postcopy',
  },
  {
    when: 'they are done, and too much is left that must go before the switch',
    is: (s) => bytes(s) > 0 && !s.inPostcopy && passed(s) && !maySwitch(s),
    decision: 'iterate',
  },
  {
    when: 'passes are asked for and not done, even if the rest would fit',
    is: (s) => bytes(s) > 0 && !s.inPostcopy && counts(s) && !passed(s),
    decision: 'iterate',
  },
  {
    when: 'the rest fits into the downtime, even if the switch is asked for',
    is: (s) => bytes(s) > 0 && !s.inPostcopy && !counts(s) && ends(s),
    decision: 'complete',
  },
  {
    when: 'the rest fits into the downtime, and may as well go before',
    is: (s) => bytes(s) > 0 && !s.inPostcopy && !counts(s) && fits(s) && !ends(s),
    decision: 'iterate',
  },
  {
    when: 'the rest does not fit and the switch is asked for',
    is: (s) => bytes(s) > 0 && !s.inPostcopy && !counts(s) && !fits(s) && s.postcopyAsked && maySwitch(s),
    decision: 'start-postcopy',
  },
  {
    when: 'the switch is asked for, and too much is left that must go before it',
    is: (s) => bytes(s) > 0 && !s.inPostcopy && !counts(s) && !fits(s) && s.postcopyAsked && !maySwitch(s),
    decision: 'iterate',
  },
  {
    when: 'the rest does not fit and nobody asks',
    is: (s) => bytes(s) > 0 && !s.inPostcopy && !counts(s) && !fits(s) && !s.postcopyAsked,
    decision: 'iterate',
  },
];

const syncRules: readonly Rule<boolean>[] = [
  { when: 'the guest writes elsewhere', is: (s) => s.inPostcopy, decision: false },
  { when: 'a pass is over', is: (s) => !s.inPostcopy && bytes(s) === 0, decision: true },
  {
    when: 'a pass is asked for and not over, even if the rest would fit',
    is: (s) => !s.inPostcopy && bytes(s) > 0 && counts(s),
    decision: false,
  },
  {
    when: 'the rest seems to fit',
    is: (s) => !s.inPostcopy && bytes(s) > 0 && !counts(s) && ends(s),
    decision: true,
  },
  {
    when: 'the rest seems to fit, and may as well go before',
    is: (s) => !s.inPostcopy && bytes(s) > 0 && !counts(s) && fits(s) && !ends(s),
    decision: false,
  },
  {
    when: 'there is much to do',
    is: (s) => !s.inPostcopy && bytes(s) > 0 && !counts(s) && !fits(s),
    decision: false,
  },
];

const states: Convergence[] = [];
const amounts = [0, 4096, 8192, 12288];
const pendings = amounts.flatMap((mustPrecopyBytes) =>
  amounts.map((canPostcopyBytes) => ({ mustPrecopyBytes, canPostcopyBytes })),
);
for (const pending of pendings) {
  for (const thresholdBytes of [0, 4096, 8192, 8193, 2 ** 40]) {
    for (const inPostcopy of [false, true]) {
      for (const postcopyAsked of [false, true]) {
        for (const passes of [0, 1, 2, 3]) {
          for (const postcopyAfterPasses of [undefined, 0, 1, 2]) {
            for (const handingOver of inPostcopy ? [false, true] : [false]) {
              for (const narrows of [false, true]) {
                const rest = { narrows, inPostcopy, handingOver, postcopyAsked, passes, postcopyAfterPasses };
                states.push({ pending, thresholdBytes, ...rest });
              }
            }
          }
        }
      }
    }
  }
}

describe.each<[string, (state: Convergence) => unknown, readonly Rule<unknown>[]]>([
  ['nextStep', nextStep, stepRules],
  ['needsSync', needsSync, syncRules],
])('%s', (_name, decide, rules) => {
  test('every state falls under exactly one rule', () => {
    expect(states.filter((state) => rules.filter(({ is }) => is(state)).length !== 1)).toEqual([]);
  });

  test.each(rules.map((rule) => [rule.when, rule.decision, rule] as const))('%s: %s', (_when, decision, { is }) => {
    const under = states.filter(is);
    expect(under.length).toBeGreaterThan(0);
    expect(under.filter((state) => decide(state) !== decision)).toEqual([]);
  });
});

test('RAM may go after the switch if there can be one, else it must go before', () => {
  expect(ramPending(4096, true)).toEqual({ mustPrecopyBytes: 0, canPostcopyBytes: 4096 });
  expect(ramPending(4096, false)).toEqual({ mustPrecopyBytes: 4096, canPostcopyBytes: 0 });
  expect(pendingBytes({ mustPrecopyBytes: 1, canPostcopyBytes: 2 })).toBe(3);
});

describe('passes narrow down what is to be sent', () => {
  const SECOND = 1_000_000; // bytes that go in one

  test('the first, and from then on while a sync leaves half of what the one before left, or less', () => {
    const narrowing = new Narrowing();
    expect(narrowing.isWorth(SECOND, SECOND)).toBe(true);
    const passes = [800_000, 400_000, 200_001, 100_000, 100_000].map((left) => {
      narrowing.synced(left);
      return narrowing.isWorth(left, SECOND);
    });
    expect(passes).toEqual([true, true, false, true, false]);
  });

  test('but not where the rest takes longer than a second', () => {
    const narrowing = new Narrowing();
    expect(narrowing.isWorth(SECOND + 1, SECOND)).toBe(false);
    expect(narrowing.isWorth(1, 0)).toBe(false); // nothing was measured yet
    expect(narrowing.isWorth(SECOND, SECOND)).toBe(true);
  });
});
