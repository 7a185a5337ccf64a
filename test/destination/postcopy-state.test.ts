/** The destination's postcopy states: every step in every state. */
import { describe, expect, test } from 'vitest';
import {
  type PostcopyState,
  type PostcopyStep,
  postcopyStates,
  postcopySteps,
  stepPostcopy,
} from '#lib/destination/postcopy-state.js';

/** Every legal step; all others are illegal. */
const legal: Readonly<Record<string, PostcopyState>> = {
  'none POSTCOPY_ADVISE': 'advise',
  'advise POSTCOPY_RAM_DISCARD': 'discard',
  'discard POSTCOPY_RAM_DISCARD': 'discard',
  'advise POSTCOPY_LISTEN': 'listening',
  'discard POSTCOPY_LISTEN': 'listening',
  'listening POSTCOPY_RUN': 'running',
  'running END': 'end',
};

const steps = Object.keys(postcopySteps) as PostcopyStep[];

test('there are five steps and six states', () => {
  expect([...steps].sort()).toEqual([
    'END',
    'POSTCOPY_ADVISE',
    'POSTCOPY_LISTEN',
    'POSTCOPY_RAM_DISCARD',
    'POSTCOPY_RUN',
  ]);
  expect(postcopyStates).toEqual(['none', 'advise', 'discard', 'listening', 'running', 'end']);
});

describe.each(postcopyStates)('in state %s', (state) => {
  test.each(steps)('%s', (step) => {
    expect(stepPostcopy(state, step)).toBe(legal[`${state} ${step}`]);
  });
});
