/**
 * A small real virtual machine as a guest: vCPUs on KVM, in 32-bit protected mode, over RAM blocks. It runs one of the
 * programmes of native/kvm_guest_code.S or an image of the user's own (docs/kvm-guest.md). Owner only.
 */
import { EventEmitter } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { MigrationError } from '../../errors.js';
import { probeKvm } from '../../host/kvm.js';
import type { Guest } from '../../memory/guest.js';
import type { RAMBlock } from '../../memory/ram-block.js';
import type { WriteLogDescriptor } from '../../memory/write-log.js';
import { type KvmMachineHandle, native, type StressGuestStats, type StressGuestVerdict } from '../../native.js';
import { type BlockSettings, createBlocks } from '../guest-blocks.js';
import { cpuidOf } from './cpuid.js';
import {
  type DeviceState,
  decodeDeviceState,
  encodeDeviceState,
  type MachineShape,
  type ProgramState,
} from './device-state.js';
import { machineDifferences } from './machine-match.js';
import { HalfLoaded, readMachineState, writeMachineState } from './machine-state.js';
import { checkMemory, fillMemory } from './memory-check.js';
import { GuestMemory, IMAGE_ADDRESS, MAX_VCPUS, MEMORY_MAX, ownPageAddress } from './memory-map.js';
import { decodeProgress, encodeOwnPage, OWN_PAGE_WORDS_BYTES, type VcpuProgress } from './own-page.js';
import { isProgramWithin, type ProgramSettings, programMemory, vcpuRanges, vcpuTasks } from './program.js';
import { type TouchLatency, touchLatency } from './touch-latency.js';
import { type WriterPlace, writerPlace } from './writer-pages.js';

/** The name of its first RAM block; the others are `kvm.ram.1` and so on. */
export const KVM_IDSTR = 'kvm.ram';

/** The machine: what both sides of a migration must have the same, but for `dirtyLog`. */
export interface KvmMachineSettings extends BlockSettings {
  /** 1 to 16; 1 when absent. */
  readonly vcpus?: number;
  /** With the kernel's interrupt chips and timer; false when absent. */
  readonly irqchip?: boolean;
  /** How what it writes is found while it migrates; `wp-async` when absent. */
  readonly dirtyLog?: 'wp-async' | 'kvm';
}

export interface KvmGuestSettings extends KvmMachineSettings, ProgramSettings {
  /**
   * `writer` when absent. An image is at most 896 KiB of flat 32-bit code, entered by every vCPU at its first byte,
   * address 0x20000.
   */
  readonly program?: 'writer' | 'latency' | 'random' | Uint8Array;
}

/** What a vCPU put out at a port. */
export interface KvmGuestOutput {
  readonly vcpu: number;
  /** 0xe9 or 0x3f8. */
  readonly port: 'debug' | 'serial';
  readonly bytes: Uint8Array;
}

export interface KvmGuestEvents {
  output: [output: KvmGuestOutput];
}

const SERIAL_PORT = 0x3f8;
/** The others are only counted. */
const NAMED_DIFFERENCES = 20;
/** Milliseconds to wait for the vCPUs without giving way: they leave KVM at once. */
const STOP_AT_ONCE_MS = 5;
/** Then, as a vCPU may wait for a page from the source: milliseconds between two looks. */
const STOP_LOOK_MS = 1;

const noProgress: VcpuProgress = { done: 0, badPages: 0, lostWrites: 0, maxCycles: 0, histogram: new Uint32Array(0) };

function checkAvailable(): void {
  const { problem } = probeKvm();
  if (problem === undefined) return;
  throw new MigrationError('GUEST_UNAVAILABLE', `no KVM guest can run here: ${problem.what}`, { hint: problem.fix });
}

function checkMachine({ vcpus = 1, memory, dirtyLog = 'wp-async' }: KvmMachineSettings): void {
  const bad = (what: string, hint: string) => new MigrationError('BAD_ARGUMENT', `a KVM guest of ${what}`, { hint });
  if (!Number.isInteger(vcpus) || vcpus < 1 || vcpus > MAX_VCPUS) {
    throw bad(`${vcpus} vCPUs`, `give it 1 to ${MAX_VCPUS}`);
  }
  if (memory < IMAGE_ADDRESS || memory > MEMORY_MAX) {
    throw bad(`${memory} bytes of memory`, `give it ${IMAGE_ADDRESS} to ${MEMORY_MAX}`);
  }
  if (dirtyLog !== 'wp-async' && dirtyLog !== 'kvm') {
    throw bad(`the dirty log "${dirtyLog}"`, 'use wp-async or kvm');
  }
}

export class KvmGuest extends EventEmitter<KvmGuestEvents> implements Guest {
  readonly ramBlocks: readonly RAMBlock[];
  /** See {@link Guest.faultsInKernel}. */
  readonly faultsInKernel = true;
  /** See {@link Guest.writeLog}. */
  readonly writeLog: WriteLogDescriptor | undefined;
  /** Resolved with GUEST_FAILED where a vCPU can't go on: what happened, and where in the guest. */
  readonly died: Promise<Error>;
  readonly #machine: KvmMachineHandle;
  readonly #memory: GuestMemory;
  #shape: MachineShape;
  readonly #msrs = native().kvmMsrIndexes();
  /** The state of a machine that has not run yet: read when it is made, as a load is part of the downtime. */
  #untouched: DeviceState['sections'] | undefined;
  #program: ProgramState | undefined;
  /** What the programme had done when it came here. */
  #doneElsewhere = 0;
  /** The last that was seen of each vCPU. */
  #progress: VcpuProgress[];
  #tellDeath: (error: Error) => void = () => {};
  #unusable: Error | undefined;
  /** Taken, and not yet delivered. */
  readonly #output: ReturnType<ReturnType<typeof native>['kvmMachineTakeOutput']>[number][] = [];
  #running = false;
  #closed = false;

  private constructor(blocks: readonly RAMBlock[], { vcpus = 1, irqchip = false, dirtyLog }: KvmMachineSettings) {
    super();
    const n = native();
    this.ramBlocks = blocks;
    this.#memory = new GuestMemory(blocks);
    this.#progress = Array.from({ length: vcpus }, () => noProgress);
    this.died = new Promise((resolve) => {
      this.#tellDeath = resolve;
    });
    this.#machine = n.kvmMachineCreate(
      blocks.map(({ handle }) => handle),
      vcpus,
      irqchip ? 1 : 0,
      () => this.#look(),
    );
    this.writeLog = dirtyLog === 'kvm' ? { kind: 'kvm', machine: this.#machine } : undefined;
    try {
      this.#shape = this.#setUp(vcpus, irqchip);
      this.#untouched = this.#readState();
    } catch (error) {
      n.kvmMachineClose(this.#machine);
      throw error;
    }
  }

  /**
   * Makes a guest with its programme in memory; stopped. Throws GUEST_UNAVAILABLE where this host has no KVM for it,
   * with how to allow it, and BAD_ARGUMENT.
   */
  static async create(settings: KvmGuestSettings): Promise<KvmGuest> {
    const guest = KvmGuest.empty(settings);
    try {
      await guest.#loadProgram(settings);
      return guest;
    } catch (error) {
      guest.close();
      throw error;
    }
  }

  /** A machine with nothing in it, to be filled by a migration; its programme comes with that. Throws as `create`. */
  static empty(settings: KvmMachineSettings): KvmGuest {
    checkAvailable();
    checkMachine(settings);
    const blocks = createBlocks(KVM_IDSTR, settings);
    try {
      return new KvmGuest(blocks, settings);
    } catch (error) {
      for (const block of blocks) block.close();
      throw error;
    }
  }

  get running(): boolean {
    return this.#running;
  }

  /** Throws GUEST_FAILED where it has died, or was left without a state of its own. */
  async start(): Promise<void> {
    if (this.#unusable !== undefined) throw this.#unusable;
    if (this.#program === undefined) throw this.#failed('has nothing to run yet');
    this.#untouched = undefined;
    native().kvmMachineStart(this.#machine);
    this.#running = true;
  }

  /** All that was put out until then has been delivered when it resolves. */
  async stop(): Promise<void> {
    const { kvmMachineStop } = native();
    for (let waitMs = STOP_AT_ONCE_MS; !kvmMachineStop(this.#machine, waitMs); waitMs = 0) await delay(STOP_LOOK_MS);
    this.#running = false;
    this.#look();
  }

  /** See {@link Guest.throttle}; at once, also while it is stopped. Throws a RangeError beyond 0 to 99. */
  throttle(percent: number): void {
    native().kvmMachineThrottle(this.#machine, percent);
  }

  /** See {@link Guest.vcpuThreads}; none before its first start. */
  get vcpuThreads(): readonly number[] {
    return native().kvmMachineThreads(this.#machine);
  }

  async saveDeviceState(): Promise<Uint8Array> {
    const program = this.#currentProgram();
    return encodeDeviceState({ shape: this.#shape, program, sections: this.#readState() });
  }

  /**
   * Takes over a state, or throws with all that differs, and is as it was: GUEST_MISMATCH for one of another machine or
   * version, GUEST_FAILED for bytes that are none and for what this KVM refuses.
   */
  async loadDeviceState(bytes: Uint8Array): Promise<void> {
    const state = decodeDeviceState(bytes);
    const sections = this.#untouched ?? this.#readState();
    this.#checkFits(state, machineDifferences(state, { shape: this.#shape, sections, msrs: [...this.#msrs] }));
    try {
      const { tscKhz, vcpus } = this.#shape;
      writeMachineState(this.#machine, state.sections, state.shape.tscKhz, { sections, tscKhz, vcpus });
    } catch (cause) {
      const error = this.#failed(`can't take over its device state: ${(cause as Error).message}`, cause);
      if (cause instanceof HalfLoaded) this.#unusable = error;
      throw error;
    }
    this.#untouched = undefined;
    if (this.#unusable?.cause instanceof HalfLoaded) this.#unusable = undefined;
    this.#shape = { ...this.#shape, tscKhz: native().kvmTscKhz(this.#machine, 0) }; // perhaps the source's now
    this.#program = state.program;
    this.#doneElsewhere = state.program.done.reduce((sum, done) => sum + done, 0);
    this.#progress = state.program.done.map((done) => ({ ...noProgress, done }));
  }

  /**
   * Checks every page, those of `writer` against the registers. Only while stopped, with all pages here, and of the
   * programmes that come with it. Throws BAD_ARGUMENT for an image.
   */
  async verify(): Promise<StressGuestVerdict> {
    const program = this.#currentProgram();
    if (program.kind === 'image') throw this.#noProgramme('verify');
    const places = program.kind === 'writer' ? this.#writerPlaces(program) : [];
    return checkMemory(this.#memory, program, native().kvmProgram(program.kind), places);
  }

  /**
   * Counters at this moment, of pages that the programme wrote or touched; all 0 of an image. What a vCPU has counted
   * in a page that is still to come is not waited for. `firstWriteUs` is not known: 0.
   */
  get stats(): StressGuestStats {
    this.#readProgress();
    const { startedUs, stoppedUs } = native().kvmMachineStatus(this.#machine);
    const sum = (field: 'done' | 'badPages' | 'lostWrites') =>
      this.#program?.kind === 'image' ? 0 : this.#progress.reduce((total, progress) => total + progress[field], 0);
    const writes = sum('done');
    return {
      writes,
      writesHere: Math.max(0, writes - this.#doneElsewhere),
      badPages: sum('badPages'),
      lostWrites: sum('lostWrites'),
      startedUs,
      firstWriteUs: 0,
      stoppedUs,
    };
  }

  /** Of `latency` and `random`: how long its touches took, since it was made. Throws BAD_ARGUMENT for another. */
  latency(): TouchLatency {
    if (this.#program?.kind !== 'latency' && this.#program?.kind !== 'random') throw this.#noProgramme('latency');
    this.#readProgress();
    const known = this.#progress.filter(({ histogram }) => histogram.length > 0);
    return touchLatency(
      known.map(({ histogram }) => histogram),
      known.map(({ maxCycles }) => maxCycles),
      this.#shape.tscKhz,
    );
  }

  /** Ends its vCPUs and lets go of its RAM; harmless twice. A vCPU that waits for a page stays, and keeps the RAM. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#running = false;
    this.#unusable ??= this.#failed('is closed');
    native().kvmMachineClose(this.#machine);
    for (const block of this.ramBlocks) block.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** Every vCPU's CPUID is set once, before it runs. */
  #setUp(vcpus: number, irqchip: boolean): MachineShape {
    const { kvmSetCpuid, kvmStateNames, kvmSupportedCpuid, kvmTscKhz, kvmGetState } = native();
    const supported = kvmSupportedCpuid();
    for (let vcpu = 0; vcpu < vcpus; vcpu += 1) kvmSetCpuid(this.#machine, vcpu, cpuidOf(supported, vcpu));
    const hasXsave = kvmStateNames(this.#machine).vcpu.includes('xsave');
    return {
      blocks: this.ramBlocks.map(({ size }) => size),
      vcpus,
      irqchip,
      tscKhz: kvmTscKhz(this.#machine, 0),
      xsaveBytes: hasXsave ? kvmGetState(this.#machine, 0, 'xsave', this.#msrs).length : 0,
      cpuid: cpuidOf(supported, 0),
    };
  }

  async #loadProgram({ program = 'writer', ...settings }: KvmGuestSettings): Promise<void> {
    const { kvmEnterFlat, kvmProgram } = native();
    this.#untouched = undefined;
    const { vcpus, tscKhz } = this.#shape;
    const done = Array.from({ length: vcpus }, () => 0);
    if (typeof program === 'string') {
      const memory = programMemory(this.#memory.size, vcpus, settings);
      this.#program = { kind: program, ...memory, done };
      await fillMemory(this.#memory, memory.filledEnd);
      const tasks = vcpuTasks(memory.workEnd, vcpus, tscKhz, settings);
      for (const [vcpu, task] of tasks.entries()) this.#memory.write(ownPageAddress(vcpu), encodeOwnPage(task));
    } else {
      this.#program = { kind: 'image', filledEnd: 0, workEnd: 0, done };
    }
    this.#memory.write(IMAGE_ADDRESS, typeof program === 'string' ? kvmProgram(program) : program);
    for (let vcpu = 0; vcpu < vcpus; vcpu += 1) {
      const ebp = ownPageAddress(vcpu);
      const esp = ownPageAddress(vcpu + 1);
      kvmEnterFlat(this.#machine, vcpu, { eip: IMAGE_ADDRESS, esp, ebp, eax: vcpu, ecx: vcpus });
    }
  }

  /** What has come in from the vCPUs: output, and a death. */
  #look(): void {
    if (!this.#closed) this.#output.push(...native().kvmMachineTakeOutput(this.#machine));
    try {
      // A listener that stops the guest comes here again: what is left is taken from the same queue, in order.
      for (let next = this.#output.shift(); next !== undefined; next = this.#output.shift()) {
        const { vcpu, port, bytes } = next;
        this.emit('output', { vcpu, port: port === SERIAL_PORT ? 'serial' : 'debug', bytes });
      }
    } finally {
      this.#lookForDeath();
    }
  }

  #lookForDeath(): void {
    const death = this.#closed ? undefined : native().kvmMachineStatus(this.#machine).death;
    if (death === undefined || this.#unusable !== undefined) return;
    this.#unusable = this.#failed(`died: vCPU ${death.vcpu} ${death.reason}, at 0x${death.instruction.toString(16)}`);
    this.#tellDeath(this.#unusable);
  }

  #readState(): DeviceState['sections'] {
    return readMachineState(this.#machine, this.#shape.vcpus, this.#msrs);
  }

  #writerPlaces({ workEnd }: ProgramState): WriterPlace[] {
    const ranges = vcpuRanges(workEnd, this.#shape.vcpus);
    return ranges.map(({ first }, vcpu) =>
      writerPlace(native().kvmGetState(this.#machine, vcpu, 'regs', this.#msrs), first),
    );
  }

  /** Of a guest that stands still, with its pages here. */
  #currentProgram(): ProgramState {
    if (this.#program === undefined) throw this.#failed('has nothing to run yet');
    this.#readProgress('wait');
    return { ...this.#program, done: this.#progress.map(({ done }) => done) };
  }

  /** Otherwise only from pages that are there: this thread may have a part in bringing the others. */
  #readProgress(absent: 'wait' | 'skip' = 'skip'): void {
    if (this.#closed || this.#program === undefined || this.#program.kind === 'image') return;
    this.#progress = this.#progress.map((last, vcpu) => {
      const address = ownPageAddress(vcpu);
      if (absent === 'skip' && !this.#memory.isPresent(address)) return last;
      return decodeProgress(this.#memory.read(address, OWN_PAGE_WORDS_BYTES));
    });
  }

  #checkFits({ program }: DeviceState, differences: readonly string[]): void {
    const found = isProgramWithin(program, this.#memory.size, this.#shape.vcpus)
      ? differences
      : [...differences, 'its programme has other memory'];
    if (found.length === 0) return;
    const more = found.length > NAMED_DIFFERENCES ? `; and ${found.length - NAMED_DIFFERENCES} more` : '';
    const what = found.slice(0, NAMED_DIFFERENCES).join('; ');
    throw new MigrationError('GUEST_MISMATCH', `the KVM guest comes from another machine: ${what}${more}`, {
      hint: 'give both sides the same vCPUs, RAM blocks and interrupt chips, on hosts with the same processor',
    });
  }

  #failed(what: string, cause?: unknown): MigrationError {
    return new MigrationError('GUEST_FAILED', `the KVM guest ${what}`, cause === undefined ? {} : { cause });
  }

  #noProgramme(call: string): MigrationError {
    return new MigrationError('BAD_ARGUMENT', `${call}() of a KVM guest that runs something else`, {
      hint: 'verify() is of the programmes that come with it, latency() of latency and random',
    });
  }
}
