/** Takes turns for ever: each adds 1 to a page somewhere and to the count of turns (testing/guest-kits.ts). */
import { setTimeout } from 'node:timers/promises';
import { defineWasmProgram } from '#lib/guest/wasm/program.js';

/** Then it rests for a millisecond: the tests' machine has other threads. */
const TURNS_BETWEEN_CHECKPOINTS = 64;

let turn;

export default defineWasmProgram({
  name: 'turns',
  version: 1,
  async setup(vcpu) {
    const { exports } = await vcpu.instantiate(vcpu.data.module);
    turn = exports.turn;
  },
  async run(vcpu) {
    for (;;) {
      for (let turns = 0; turns < TURNS_BETWEEN_CHECKPOINTS; turns += 1) turn();
      await setTimeout(1);
      await vcpu.checkpoint();
    }
  },
});
