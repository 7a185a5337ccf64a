/** Fault plans: each fault happens once, at its very byte, however the bytes are cut. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { checkFault, concerns, type Fault, FaultPlan } from '#lib/relay/faults.js';

interface Played {
  readonly passed: Uint8Array;
  /** What happened, after how many bytes had passed. */
  readonly happened: [Fault, number][];
}

/** Passes `bytes` in pieces of these sizes, going on behind stalls; ends at a cut. */
function play(plan: FaultPlan, bytes: Uint8Array, sizes: readonly number[]): Played {
  const passed: number[] = [];
  const happened: [Fault, number][] = [];
  /** Whether a cut is due now. */
  const isCut = (): boolean => {
    for (let due = plan.due(passed.length); due !== undefined; due = plan.due(passed.length)) {
      happened.push([due, passed.length]);
      if (due.kind === 'cut') return true;
    }
    return false;
  };
  if (isCut()) return { passed: Uint8Array.from(passed), happened };
  let at = 0;
  for (let i = 0; at < bytes.length; i++) {
    let piece = bytes.slice(at, at + sizes[i % sizes.length]);
    at += piece.length;
    while (piece.length > 0) {
      const count = plan.admit(piece, passed.length, (fault) => happened.push([fault, fault.after]));
      passed.push(...piece.subarray(0, count));
      piece = piece.subarray(count);
      if (isCut()) return { passed: Uint8Array.from(passed), happened };
    }
  }
  return { passed: Uint8Array.from(passed), happened };
}

const fault = fc.oneof(
  fc.record({ kind: fc.constant('cut' as const), after: fc.nat(300) }),
  fc.record({ kind: fc.constant('stall' as const), after: fc.nat(300) }),
  fc.record({ kind: fc.constant('corrupt' as const), after: fc.nat(300), xor: fc.integer({ min: 1, max: 255 }) }),
);

test('what passes is a prefix up to the first cut, changed where it was to be (property)', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 300 }),
      fc.array(fault, { maxLength: 6 }),
      fc.array(fc.integer({ min: 1, max: 90 }), { minLength: 1, maxLength: 5 }),
      (bytes, faults, sizes) => {
        const plan = new FaultPlan(faults);
        const { passed, happened } = play(plan, bytes, sizes);

        const cut = Math.min(...faults.filter(({ kind }) => kind === 'cut').map(({ after }) => after), bytes.length);
        const expected = bytes.slice(0, cut);
        for (const each of faults) {
          if (each.kind === 'corrupt' && each.after < cut) expected[each.after] ^= each.xor;
        }
        expect(passed).toEqual(expected);
        for (const [each, at] of happened) expect(at).toBe(each.after);
        expect([...happened.map(([each]) => each), ...plan.left]).toHaveLength(faults.length);
        expect(new Set([...happened.map(([each]) => each), ...plan.left])).toEqual(new Set(faults));
        for (const left of plan.left) expect(left.after).toBeGreaterThanOrEqual(cut);
      },
    ),
    { numRuns: 500 },
  );
});

test('added behind its byte, a cut happens at the next one, and a corruption never', () => {
  const late = { kind: 'cut', after: 10 } as const;
  const plan = new FaultPlan([]);
  plan.add({ kind: 'corrupt', after: 5 });
  plan.add(late);
  const bytes = new Uint8Array(8);
  expect(plan.admit(bytes, 20, () => expect.unreachable())).toBe(0);
  expect(bytes).toEqual(new Uint8Array(8));
  expect(plan.due(20)).toBe(late);
  expect(plan.admit(bytes, 20, () => expect.unreachable())).toBe(8);
  expect(plan.left).toEqual([]);
});

describe('which connection a fault concerns', () => {
  const cut = { kind: 'cut', after: 1 } as const;

  test.each<[string, Fault, number, 's2d' | 'd2s', boolean]>([
    ['the first, from the source, when nothing is said', cut, 0, 's2d', true],
    ['not the second', cut, 1, 's2d', false],
    ['not the way back', cut, 0, 'd2s', false],
    ['the one named', { ...cut, connection: 1 }, 1, 's2d', true],
    ['and no other', { ...cut, connection: 1 }, 0, 's2d', false],
    ['all', { ...cut, connection: 'all' }, 7, 's2d', true],
    ['the direction named', { ...cut, direction: 'd2s' }, 0, 'd2s', true],
  ])('%s', (_name, given, connection, direction, expected) => {
    expect(concerns(given, connection, direction)).toBe(expected);
  });
});

test.each<[string, object]>([
  ['an offset below 0', { kind: 'cut', after: -1 }],
  ['half a byte', { kind: 'stall', after: 0.5 }],
  ['no offset', { kind: 'stall' }],
  ['connection -1', { kind: 'cut', after: 0, connection: -1 }],
  ['an unknown direction', { kind: 'cut', after: 0, direction: 'up' }],
  ['an unknown end', { kind: 'cut', after: 0, how: 'bang' }],
  ['xor 0, which changes nothing', { kind: 'corrupt', after: 0, xor: 0 }],
  ['xor 256', { kind: 'corrupt', after: 0, xor: 256 }],
])('refused: %s', (_name, given) => {
  expect(() => checkFault(given as Fault)).toThrow(expect.objectContaining({ code: 'BAD_ARGUMENT' }));
});

test('taken: all that is in range', () => {
  checkFault({ kind: 'cut', after: 0, connection: 'all', direction: 'd2s', how: 'rst' });
  checkFault({ kind: 'corrupt', after: 2 ** 50, xor: 255, connection: 3 });
  checkFault({ kind: 'stall', after: 1 });
});
