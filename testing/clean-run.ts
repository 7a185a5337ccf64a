/** A run of a scenario in which nothing goes wrong: what tables of failures are made from. */
import { survives } from './failure-invariants.ts';
import type { Run, Scenario } from './failure-scenarios.ts';

/** A guest that got no processor wrote nothing in a pass: then there was nothing to switch to postcopy for. */
const TRIES = 5;

/** Runs the scenario whole, again where it did not come to its switch. `begin` is called before each of the runs. */
export async function cleanRun(scenario: Scenario, begin: () => (run: Run) => Promise<void>): Promise<void> {
  for (let attempt = 0; attempt < TRIES; attempt += 1) {
    const { where, postcopy } = await survives(scenario, {}, begin());
    if (where !== 'destination') throw new Error(`a run without a fault ended ${where}`);
    if (postcopy === (scenario.postcopyAfterPasses !== undefined)) return;
  }
  throw new Error(`${TRIES} runs of "${scenario.name}" did not come to its switch`);
}
