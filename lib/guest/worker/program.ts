/**
 * What a worker guest runs: a program of the user's, in one worker for each vCPU. Types, and the check that a module
 * has one.
 */
import { MigrationError } from '../../errors.js';
import type { AdoptableMemory } from '../../memory/ram-block.js';

/** One vCPU, as the program in its worker has it. */
export interface Vcpu {
  /** Which one this is, from 0. */
  readonly index: number;
  /** How many there are. */
  readonly count: number;
  /** What the guest was given for its program at this side (`data`), as a copy. Not migrated. */
  readonly data: unknown;
  /**
   * The RAM block of that name as it is mapped, the same memory in every vCPU (use Atomics where two write). After a
   * move, touching a page that has not come blocks this thread until it has. Throws BAD_ARGUMENT for any other name.
   */
  ram(idstr: string): ArrayBuffer;
  /** Whether the guest is to stop: for a loop that looks more often than it can await {@link checkpoint}. */
  readonly stopRequested: boolean;
  /**
   * A point at which the guest may stop: what {@link Program.run} is given at the other side is this `state`.
   * Costs next to nothing while nobody asks. Else the thread stands still in here, timers and all, until the guest
   * runs on; where that is elsewhere, this never returns. Throws while a message is handled.
   */
  checkpoint(state?: unknown): Promise<void>;
  /**
   * Answers the messages of `guest.call()`, one after the other, for good: each is answered with what `handle` returns
   * or throws. The guest may stop between two, also while it waits for one; `state` is then asked for the state that
   * the other side gets. A message is handled at one side only, and its answer is given before the guest moves.
   */
  serve<Message, Reply>(handle: (message: Message) => Reply | Promise<Reply>, state?: () => unknown): Promise<never>;
}

/** The default export of a program's module. */
export interface Program<State = unknown> {
  /** 1 to 255 printable ASCII characters. */
  readonly name: string;
  /** A whole number from 0, raised when the layout of RAM or state changes: the other side must have the same. */
  readonly version: number;
  /**
   * Run once in every vCPU at each side when the guest is made: what needs no RAM, such as compiling. At a
   * destination RAM has not come yet, and what is written to it is lost.
   */
  setup?(vcpu: Vcpu): unknown;
  /**
   * The life of a vCPU. `state` is undefined at the first start, and after a move what the vCPU said at the checkpoint
   * where it stopped, as structured clone carries it. A vCPU whose `run` has returned stands still for good; one whose
   * `run` throws ends the guest.
   */
  run(vcpu: Vcpu, state: State | undefined): unknown;
}

/** A vCPU for a guest that is built on this one and brings its own RAM, such as that of WebAssembly. */
export interface AdoptingVcpu extends Vcpu {
  /**
   * Takes memory that the thread's runtime has mapped for the guest's block of that name, in place of the one before.
   * Throws as `RAMBlock.adopt`.
   */
  adopt(idstr: string, memory: AdoptableMemory): void;
}

/** The program of such a guest around the user's: it adds to the state. */
export interface OuterProgram extends Program {
  setup(vcpu: AdoptingVcpu): unknown;
  /** What is saved for `state`; that is undefined before the first start. Throws where it can't be saved. */
  save(state: unknown): unknown;
  /** What `run` gets for what {@link save} gave at the other side, a peer's word. Throws where that is refused. */
  load(saved: unknown): unknown;
}

/** Gives a program its types; returns it as it is. */
export function defineProgram<State>(program: Program<State>): Program<State> {
  return program;
}

/** What the stream can carry. */
const NAME = /^[\x20-\x7e]{1,255}$/;

function isProgram(value: unknown): value is Program {
  const { name, version, setup, run } = (value ?? {}) as Partial<Record<keyof Program, unknown>>;
  const isNamed = typeof name === 'string' && NAME.test(name);
  const isVersioned = typeof version === 'number' && version >>> 0 === version;
  return isNamed && isVersioned && typeof run === 'function' && (setup === undefined || typeof setup === 'function');
}

/** The program that a module exports as its default. Throws BAD_ARGUMENT where there is none. */
export function programOf(module: { readonly default?: unknown }, url: string): Program & Partial<OuterProgram> {
  if (isProgram(module.default)) return module.default;
  throw new MigrationError('BAD_ARGUMENT', `the module ${url} has no program as its default export`, {
    hint: 'export default defineProgram({ name, version, run }): a name of printable ASCII, a version of 32 bits',
  });
}
