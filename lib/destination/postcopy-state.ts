/**
 * The destination's postcopy states and which command is legal in which: a table and a pure step.
 * D4 … D10 are the steps of docs/architecture.md.
 */

/** In the order of the numbers in the shared word. */
export const postcopyStates = ['none', 'advise', 'discard', 'listening', 'running', 'end'] as const;

export type PostcopyState = (typeof postcopyStates)[number];

/** What moves the state: the commands, and the end of the stream. */
export type PostcopyStep = 'POSTCOPY_ADVISE' | 'POSTCOPY_RAM_DISCARD' | 'POSTCOPY_LISTEN' | 'POSTCOPY_RUN' | 'END';

/** Step → the states it is legal in, and the state it leads to. */
export const postcopySteps: Readonly<
  Record<PostcopyStep, { readonly from: readonly PostcopyState[]; readonly to: PostcopyState }>
> = {
  POSTCOPY_ADVISE: { from: ['none'], to: 'advise' },
  POSTCOPY_RAM_DISCARD: { from: ['advise', 'discard'], to: 'discard' },
  POSTCOPY_LISTEN: { from: ['advise', 'discard'], to: 'listening' },
  POSTCOPY_RUN: { from: ['listening'], to: 'running' },
  END: { from: ['running'], to: 'end' },
};

/** The state after a step, or undefined where the step is illegal. */
export function stepPostcopy(state: PostcopyState, step: PostcopyStep): PostcopyState | undefined {
  const { from, to } = postcopySteps[step];
  return from.includes(state) ? to : undefined;
}
