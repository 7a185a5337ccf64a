/**
 * Rewrites words of its share of every RAM block at random, one in each page, and keeps as its state how often it wrote
 * each: `written[block][page]` is what the first word of that page must hold. Page p is of vCPU p modulo their number.
 */
import { setTimeout } from 'node:timers/promises';
import { defineProgram } from '#lib/guest/worker/program.js';

const PAGE_WORDS = 1024;
/** Then it rests for a millisecond: the tests' machine has other threads. */
const WRITES_BETWEEN_CHECKPOINTS = 64;

export default defineProgram({
  name: 'stripes',
  version: 1,
  async run(vcpu, state) {
    const blocks = vcpu.data.blocks.map((idstr) => new Uint32Array(vcpu.ram(idstr)));
    const { written, seed } = state ?? {
      written: blocks.map(({ length }) => new Uint32Array(length / PAGE_WORDS)),
      seed: 1 + vcpu.index,
    };
    for (let random = seed; ; await vcpu.checkpoint({ written, seed: random })) {
      for (let writes = 0; writes < WRITES_BETWEEN_CHECKPOINTS; writes += 1) {
        random = (Math.imul(random, 1664525) + 1013904223) >>> 0;
        const block = random % blocks.length;
        const own = Math.floor(written[block].length / vcpu.count);
        const page = ((random >>> 8) % own) * vcpu.count + vcpu.index;
        written[block][page] += 1;
        blocks[block][page * PAGE_WORDS] += 1;
      }
      await setTimeout(1);
    }
  },
});
