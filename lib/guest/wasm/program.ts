/** What a WebAssembly guest runs: a worker guest's program that instantiates modules. Types. */
import type { Program, Vcpu } from '../worker/program.js';
import type { WasmImports, WasmInstance } from './webassembly.js';

/** One vCPU, as the program in its worker has it. */
export interface WasmVcpu extends Vcpu {
  /** Bytes of each memory: the guest's setting, in whole pages of WebAssembly. What Emscripten calls INITIAL_MEMORY. */
  readonly memory: number;
  /**
   * Instantiates a module, in the setup only; both sides do it in the same order. Its memory is RAM of the guest from
   * here on, grown to {@link memory} bytes first; one that is imported has to have them. Its mutable globals move
   * with the state. The instance has exports of ours beside its own, named `postcopy:…`. Throws BAD_ARGUMENT for
   * bytes that are no module, or a memory that can't be that large; UNSUPPORTED for a module with state that can't be
   * moved (docs/wasm-guest.md); and what WebAssembly throws.
   */
  instantiate(bytes: Uint8Array, imports?: WasmImports): Promise<WasmInstance>;
}

/** The default export of a program's module. */
export interface WasmProgram<State = unknown> extends Omit<Program<State>, 'setup' | 'run'> {
  /**
   * Run once in every vCPU at each side when the guest is made: instantiates. At a destination no memory has come yet,
   * and what is written to it is lost: it has to leave behind the same tables, and the same in JavaScript, each time.
   */
  setup(vcpu: WasmVcpu): unknown;
  /** See {@link Program.run}. */
  run(vcpu: WasmVcpu, state: State | undefined): unknown;
}

/** Gives a program its types; returns it as it is. */
export function defineWasmProgram<State>(program: WasmProgram<State>): WasmProgram<State> {
  return program;
}
