/**
 * Keeps the numbers it is sent in RAM, each in the next page, as testing/worker-guests.ts reads them, and answers with
 * how many there were before. Its state is how many there are.
 */
import { defineProgram } from '#lib/guest/worker/program.js';

const PAGE_WORDS = 1024;

export default defineProgram({
  name: 'ledger',
  version: 1,
  async run(vcpu, state = { kept: 0 }) {
    const words = new Uint32Array(vcpu.ram(`ledger.${vcpu.index}`));
    const pages = words.length / PAGE_WORDS;
    await vcpu.serve(
      (number) => {
        words[(state.kept % pages) * PAGE_WORDS + Math.floor(state.kept / pages)] = number;
        state.kept += 1;
        return state.kept - 1;
      },
      () => state,
    );
  },
});
