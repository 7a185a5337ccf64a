/**
 * A vCPU of a WebAssembly guest, in its thread: the worker guest's, which also instantiates modules, has their memories
 * adopted as RAM, and adds their globals to the state.
 */
import { z } from 'zod';
import { MigrationError } from '../../errors.js';
import type { AdoptingVcpu } from '../worker/program.js';
import { InstanceState, savedInstance } from './instance-state.js';
import type { StateMemory } from './module-binary.js';
import type { WasmVcpu } from './program.js';
import { isInWebAssembly } from './safe-point.js';
import { WASM_PAGE_SIZE, type WasmImports, type WasmInstance, type WasmMemory } from './webassembly.js';

/** What a vCPU says of itself as structured clone carries it: its instances, and what its program gave. */
const savedVcpu = z.object({ instances: z.array(savedInstance), state: z.unknown() });

interface AdoptedMemory {
  readonly idstr: string;
  readonly memory: WasmMemory;
  /** As it was adopted. */
  size: number;
}

function badMemory(what: string, hint: string, cause?: unknown): MigrationError {
  return new MigrationError('BAD_ARGUMENT', `the memory of the WebAssembly module ${what}`, { hint, cause });
}

/** Has it be of `size` bytes. Growing by nothing would still take its buffer from under who has views of it. */
function grow(memory: WasmMemory, size: number, isImported: boolean): void {
  const missing = size - memory.buffer.byteLength;
  if (missing === 0) return;
  const has = `has ${memory.buffer.byteLength} bytes`;
  if (missing < 0) throw badMemory(`${has}, and the guest ${size}`, 'give the guest a larger memory');
  if (isImported) {
    throw badMemory(`is imported and ${has}`, `make it of vcpu.memory, ${size} bytes (Emscripten: INITIAL_MEMORY)`);
  }
  try {
    memory.grow(missing / WASM_PAGE_SIZE);
  } catch (cause) {
    throw badMemory(`can't have ${size} bytes`, "give the guest a memory within the module's maximum", cause);
  }
}

export class ThreadWasmVcpu implements WasmVcpu {
  readonly index: number;
  readonly count: number;
  readonly data: unknown;
  readonly memory: number;
  readonly #vcpu: AdoptingVcpu;
  readonly #instances: InstanceState[] = [];
  readonly #memories: AdoptedMemory[] = [];
  #isSetUp = false;
  /** Settled when the last module is instantiated. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(vcpu: AdoptingVcpu, memory: number, data: unknown) {
    this.index = vcpu.index;
    this.count = vcpu.count;
    this.data = data;
    this.memory = memory;
    this.#vcpu = vcpu;
  }

  get stopRequested(): boolean {
    return this.#vcpu.stopRequested;
  }

  ram(idstr: string): ArrayBuffer {
    return this.#vcpu.ram(idstr);
  }

  checkpoint(state?: unknown): Promise<void> {
    this.#adoptGrown();
    return this.#vcpu.checkpoint(state);
  }

  serve<Message, Reply>(handle: (message: Message) => Reply | Promise<Reply>, state?: () => unknown): Promise<never> {
    const handleAndLook = (message: Message): Reply | Promise<Reply> => {
      try {
        return handle(message);
      } finally {
        this.#adoptGrown();
      }
    };
    return this.#vcpu.serve(handleAndLook, state);
  }

  async instantiate(bytes: Uint8Array, imports: WasmImports = {}): Promise<WasmInstance> {
    if (this.#isSetUp) {
      throw new MigrationError('BAD_ARGUMENT', 'a WebAssembly module was instantiated after the setup', {
        hint: "do it in the program's setup: the other side has to have it before the guest comes",
      });
    }
    // One after the other: their order, by which the other side knows them, must not hang on how long each takes.
    const before = this.#last;
    const instantiated = before.then(() => InstanceState.instantiate(bytes, imports));
    this.#last = instantiated.catch(() => {});
    const state = await instantiated;
    this.#instances.push(state);
    for (const memory of state.found.memories) this.#adopt(state.instance, memory);
    return state.instance;
  }

  /** Throws BAD_ARGUMENT where nothing was instantiated. */
  endSetup(): void {
    this.#isSetUp = true;
    for (const instance of this.#instances) instance.holdTables();
    if (this.#memories.length > 0) return;
    throw new MigrationError('BAD_ARGUMENT', 'the program has set up no WebAssembly module with a memory', {
      hint: 'await vcpu.instantiate(bytes, imports) in its setup',
    });
  }

  /** Throws GUEST_FAILED where that is no safe point, and as {@link InstanceState.save}. */
  save(state: unknown): z.infer<typeof savedVcpu> {
    if (isInWebAssembly()) {
      throw new MigrationError('GUEST_FAILED', `vCPU ${this.index} stands at a checkpoint within a WebAssembly call`, {
        hint: 'await checkpoint() between calls of the module, not in a function that it imports',
      });
    }
    this.#adoptGrown();
    return { instances: this.#instances.map((instance) => instance.save()), state };
  }

  /** What the program gave. Throws GUEST_FAILED for what {@link save} does not give, and GUEST_MISMATCH. */
  load(saved: unknown): unknown {
    const read = savedVcpu.safeParse(saved);
    if (!read.success) {
      throw new MigrationError('GUEST_FAILED', `the state of vCPU ${this.index} is none of a WebAssembly guest`, {
        hint: 'give both sides a WebAssembly guest of the same version of postcopy',
        cause: read.error,
      });
    }
    const { instances, state } = read.data;
    if (instances.length !== this.#instances.length) {
      const modules = `${instances.length} WebAssembly modules, and here are ${this.#instances.length}`;
      throw new MigrationError('GUEST_MISMATCH', `vCPU ${this.index} comes with ${modules}`, {
        hint: 'give both sides the same program',
      });
    }
    for (const [index, instance] of this.#instances.entries()) instance.load(instances[index]);
    return state;
  }

  #adopt(instance: WasmInstance, { name, isImported }: StateMemory): void {
    const memory = instance.exports[name] as WasmMemory;
    if (this.#memories.some((known) => known.memory === memory)) return; // two instances may have one
    grow(memory, this.memory, isImported);
    const idstr = `wasm.${this.index}.${this.#memories.length}`;
    this.#vcpu.adopt(idstr, memory);
    this.#memories.push({ idstr, memory, size: memory.buffer.byteLength });
  }

  /** A memory that the program has grown is RAM as a whole, for the next migration. */
  #adoptGrown(): void {
    for (const adopted of this.#memories) {
      const { idstr, memory, size } = adopted;
      if (memory.buffer.byteLength === size) continue;
      this.#vcpu.adopt(idstr, memory);
      adopted.size = memory.buffer.byteLength;
    }
  }
}
