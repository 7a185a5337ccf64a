/**
 * The program that a WebAssembly guest's workers run: around the user's, which it has by the URL that it finds among
 * the data that the worker began with.
 */
import { workerData } from 'node:worker_threads';
import type { VcpuBoot } from '../worker/messages.js';
import { type OuterProgram, type Program, programOf } from '../worker/program.js';
import { ThreadWasmVcpu } from './wasm-vcpu.js';

/** What the guest gives its workers. */
export interface WasmBoot {
  /** URL of the user's program. */
  readonly program: string;
  /** Bytes of each memory. */
  readonly memory: number;
  /** The user's. */
  readonly data: unknown;
}

const boot = (workerData as VcpuBoot).data as WasmBoot;
/** It is given a {@link ThreadWasmVcpu}, as its own type has it. */
const inner: Program = programOf(await import(boot.program), boot.program);
let wasm: ThreadWasmVcpu;

const outer: OuterProgram = {
  name: inner.name,
  version: inner.version,
  async setup(vcpu) {
    wasm = new ThreadWasmVcpu(vcpu, boot.memory, boot.data);
    await inner.setup?.(wasm);
    wasm.endSetup();
  },
  run: (_vcpu, state) => inner.run(wasm, state),
  save: (state) => wasm.save(state),
  load: (saved) => wasm.load(saved),
};
export default outer;
