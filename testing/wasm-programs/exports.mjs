/** Calls what a module exports: `vcpu.data.module` are its bytes, and a message is a name and arguments. */
import { defineWasmProgram } from '#lib/guest/wasm/program.js';

let exports;
let vcpu;

/** Beside what the module exports. */
const own = {
  exit: () => process.exit(3),
  instantiate: () => vcpu.instantiate(vcpu.data.module),
  putInTable: () => exports.table.set(1, exports.kept),
};

const host = { call: () => void vcpu.checkpoint({ calls: 0 }) };

export default defineWasmProgram({
  name: 'exports',
  version: 1,
  async setup(given) {
    vcpu = given;
    const { module, imported } = vcpu.data;
    const memory = imported && new WebAssembly.Memory({ initial: imported });
    if (module !== undefined) ({ exports } = await vcpu.instantiate(module, { host: { ...host, memory } }));
  },
  async run(_, state = { calls: 0 }) {
    // Where a function that the module imports stands at a checkpoint, which it must not.
    while (vcpu.data.within) {
      exports.callHost();
      await new Promise(setImmediate);
    }
    await vcpu.serve(
      ({ name, with: given = [] }) => {
        state.calls += 1;
        return name === 'calls' ? state.calls : (own[name] ?? exports[name])(...given);
      },
      () => state,
    );
  },
});
