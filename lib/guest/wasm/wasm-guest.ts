/**
 * The WebAssembly guest: a worker guest whose RAM is the linear memories of WebAssembly modules, adopted where V8 has
 * mapped them, and whose state has their globals (docs/wasm-guest.md).
 */
import { MigrationError } from '../../errors.js';
import { WorkerGuest, type WorkerGuestSettings } from '../worker/worker-guest.js';
import type { WasmBoot } from './outer-program.js';
import { WASM_PAGE_SIZE } from './webassembly.js';

/** What an address of 32 bits reaches. */
const MEMORY_MAX = 4 * 1024 ** 3;

export interface WasmGuestSettings extends Omit<WorkerGuestSettings, 'program' | 'blocks'> {
  /** The module whose default export is the `WasmProgram`. */
  readonly program: URL;
  /**
   * Bytes of each linear memory, up to 4 GiB; rounded up to whole pages of 64 KiB. A memory is grown to them at the
   * setup. The same at both sides; where the program has grown it since, what it has grown to.
   */
  readonly memory: number;
}

export type WasmGuest = WorkerGuest;

export const WasmGuest = {
  /**
   * As `WorkerGuest.create`. Its RAM blocks are `wasm.V.N`: of each vCPU V its memories N, in the order in which its
   * program instantiated them.
   */
  async create({ program, memory, data, ...settings }: WasmGuestSettings): Promise<WasmGuest> {
    if (!(memory > 0 && memory <= MEMORY_MAX)) {
      throw new MigrationError('BAD_ARGUMENT', `a WebAssembly guest with a memory of ${memory} bytes`, {
        hint: `give a number above 0, up to ${MEMORY_MAX}`,
      });
    }
    const whole = Math.ceil(memory / WASM_PAGE_SIZE) * WASM_PAGE_SIZE;
    const boot: WasmBoot = { program: program.href, memory: whole, data };
    return WorkerGuest.create({
      ...settings,
      program: new URL('./outer-program.js', import.meta.url),
      blocks: [],
      data: boot,
    });
  },
};
