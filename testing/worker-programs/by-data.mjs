/** Lives as `vcpu.data.life` says: what a program may do wrong, and small things that it may do right. */
import { threadId } from 'node:worker_threads';
import { defineProgram } from '#lib/guest/worker/program.js';

/** Handlers of {@link lives.serve}, by the name in the message. */
const handlers = {
  echo: ({ value }) => value,
  slowly: async ({ value }) => {
    await new Promise(setImmediate);
    return value;
  },
  fail: () => {
    throw new TypeError('a mistake');
  },
  uncloneable: () => () => {},
  checkpoint: (_, vcpu) => vcpu.checkpoint(),
  ram: ({ idstr }, vcpu) => vcpu.ram(idstr).byteLength,
  vcpu: (_, { index, count }) => ({ index, count }),
  readWord: ({ at }, vcpu) => new Uint32Array(vcpu.ram('ram'))[at],
  exit: () => process.exit(3),
};

const lives = {
  serve: (vcpu) => vcpu.serve((message) => handlers[message.name](message, vcpu)),
  checkpoints: async (vcpu, state = { turns: 0 }) => {
    for (; ; state.turns += 1) {
      await vcpu.checkpoint(state);
      await new Promise(setImmediate);
    }
  },
  loops: async (vcpu) => {
    for (;;) {
      while (!vcpu.stopRequested);
      await vcpu.checkpoint({ looped: true });
    }
  },
  neverStops: async () => {
    for (;;) await new Promise(setImmediate);
  },
  unsaveable: async (vcpu) => {
    for (;;) {
      await vcpu.checkpoint(() => {});
      await new Promise(setImmediate);
    }
  },
  huge: async (vcpu) => {
    for (;;) {
      await vcpu.checkpoint(new Uint8Array(9 * 2 ** 20));
      await new Promise(setImmediate);
    }
  },
  returns: () => {},
  throws: () => {
    throw new Error('had enough');
  },
  rejects: async (vcpu) => {
    Promise.reject(new Error('left alone'));
    await lives.checkpoints(vcpu);
  },
  throwsLater: async (vcpu) => {
    setImmediate(() => {
      throw new Error('out of the blue');
    });
    await lives.checkpoints(vcpu);
  },
  exits: () => process.exit(3),
  outOfMemory: () => {
    for (const kept = []; ; ) kept.push(new Array(1e5).fill(threadId));
  },
  timer: async (vcpu) => {
    const word = new Uint32Array(vcpu.ram('ram'));
    const tick = () => {
      word[0] += 1;
      setImmediate(tick);
    };
    tick();
    await vcpu.serve(() => word[0]);
  },
};

export default defineProgram({
  name: 'by-data',
  version: 1,
  setup(vcpu) {
    if (vcpu.data.setup === 'throws') throw new Error('no setup today');
  },
  run: (vcpu, state) => lives[vcpu.data.life](vcpu, state),
});
