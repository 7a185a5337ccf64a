/**
 * The worker guest: a program of the user's own in JavaScript, over RAM that it has as ArrayBuffers.
 *
 * Each vCPU is a worker (vcpu-thread.ts) that stops at safe points of the program, and there only. Owner's thread,
 * which never touches RAM itself: at a destination that would be a thread that has a part in bringing it.
 */
import { constants as bufferLimits } from 'node:buffer';
import { setTimeout as delay } from 'node:timers/promises';
import { serialize } from 'node:v8';
import type { ResourceLimits } from 'node:worker_threads';
import { MigrationError } from '../../errors.js';
import type { Guest } from '../../memory/guest.js';
import { RAMBlock, type RAMBlockOptions } from '../../memory/ram-block.js';
import { RAMList } from '../../memory/ram-list.js';
import { checkShape, decodeDeviceState, encodeDeviceState, type GuestShape, MAX_VCPUS } from './device-state.js';
import { type Ready, WorkerVcpu } from './worker-vcpu.js';

const DEFAULT_STOP_TIMEOUT_MS = 10_000;

export interface WorkerGuestSettings {
  /** The module whose default export is the {@link Program}. */
  readonly program: URL;
  /** Its RAM; each at most as large as an ArrayBuffer may be (4 GiB with Node 20). */
  readonly blocks: readonly RAMBlockOptions[];
  /** Workers that run the program, 1 to 64; 1 when absent. */
  readonly vcpus?: number;
  /** For the program, as `vcpu.data`; whatever structured clone can carry. Stays at this side. */
  readonly data?: unknown;
  /** Milliseconds in which each vCPU has to come to a checkpoint when the guest is to stop; 10,000 when absent. */
  readonly stopTimeoutMs?: number;
  /** Of each worker; what Node sets when absent. A program that exceeds them dies, and the process does not. */
  readonly resourceLimits?: ResourceLimits;
}

/** A message that was not begun before the guest moved. */
export interface UnansweredMessage {
  readonly vcpu: number;
  readonly message: unknown;
}

function checkSettings({ blocks, vcpus = 1, stopTimeoutMs = 0 }: WorkerGuestSettings): void {
  const bad = (what: string, hint: string) => new MigrationError('BAD_ARGUMENT', `a worker guest ${what}`, { hint });
  if (!Number.isInteger(vcpus) || vcpus < 1 || vcpus > MAX_VCPUS) {
    throw bad(`of ${vcpus} vCPUs`, `use 1 to ${MAX_VCPUS}`);
  }
  if (!Number.isFinite(stopTimeoutMs) || stopTimeoutMs < 0) {
    throw bad(`with a stopTimeoutMs of ${stopTimeoutMs}`, 'give milliseconds from 0');
  }
  const large = blocks.find(({ size }) => size > bufferLimits.MAX_LENGTH);
  if (large !== undefined) {
    const most = `${bufferLimits.MAX_LENGTH} bytes, the most that an ArrayBuffer of this Node holds`;
    throw bad(`with the block "${large.idstr}" of ${large.size} bytes`, `split it into blocks of up to ${most}`);
  }
}

/** Maps the blocks; all or none. */
function createBlocks(options: readonly RAMBlockOptions[]): RAMBlock[] {
  const blocks: RAMBlock[] = [];
  try {
    for (const each of options) blocks.push(RAMBlock.create(each));
    return blocks;
  } catch (error) {
    for (const block of blocks) block.close();
    throw error;
  }
}

const moved = () => new MigrationError('GUEST_MOVED', 'the guest has moved, and the message was not begun here');

export class WorkerGuest implements Guest {
  readonly #blocks: readonly RAMBlock[];
  readonly #vcpus: readonly WorkerVcpu[];
  readonly #stopTimeoutMs: number;
  #ready: readonly Ready[] = [];
  #running = false;
  #hasMoved = false;
  #closed = false;
  #stopping: Promise<void> | undefined;

  /** See {@link Guest.died}: a vCPU's program threw, or its worker ended. */
  readonly died: Promise<Error>;

  private constructor(settings: WorkerGuestSettings) {
    const { program, vcpus: count = 1, data, stopTimeoutMs = DEFAULT_STOP_TIMEOUT_MS, resourceLimits } = settings;
    this.#stopTimeoutMs = stopTimeoutMs;
    this.#blocks = createBlocks(settings.blocks);
    const blocks = this.#blocks.map(({ descriptor }) => descriptor);
    const vcpus: WorkerVcpu[] = [];
    this.#vcpus = vcpus;
    try {
      for (let index = 0; index < count; index += 1) {
        vcpus.push(new WorkerVcpu({ index, count, program: program.href, data, blocks }, resourceLimits));
      }
    } catch (error) {
      this.close();
      throw error;
    }
    this.died = new Promise((resolve) => {
      for (const { ended } of vcpus) void ended.then((error) => this.#closed || resolve(error));
    });
  }

  /**
   * Maps the RAM, starts the workers and sets the program up in each; stopped. The same makes a guest that a migration
   * is to fill, which is then not started. Rejects with BAD_ARGUMENT, with the NativeError of a block that can't be
   * mapped, or with GUEST_FAILED where the program can't be set up.
   */
  static async create(settings: WorkerGuestSettings): Promise<WorkerGuest> {
    checkSettings(settings);
    const guest = new WorkerGuest(settings);
    try {
      guest.#ready = await Promise.all(guest.#vcpus.map(({ ready }) => ready));
      new RAMList(guest.ramBlocks); // there is one at least, and their names differ
      return guest;
    } catch (error) {
      guest.close();
      throw error;
    }
  }

  /** Those it was given, and then those of its vCPUs' own, which may be others after each stop. */
  get ramBlocks(): readonly RAMBlock[] {
    return [...this.#blocks, ...this.#vcpus.flatMap(({ adopted }) => adopted)];
  }

  get running(): boolean {
    return this.#running;
  }

  /** See {@link Guest.vcpuThreads}. */
  get vcpuThreads(): readonly number[] {
    return this.#ready.map(({ thread }) => thread);
  }

  /** Waits for a stop that is under way. Rejects with GUEST_FAILED where it has died or was closed. */
  async start(): Promise<void> {
    await this.#stopping?.catch(() => {});
    this.#requireLife();
    this.#running = true;
    this.#hasMoved = false;
    for (const vcpu of this.#vcpus) vcpu.start();
  }

  /**
   * Resolved when every vCPU stands still at a checkpoint, or is no more. Rejects with GUEST_FAILED where one comes
   * to none in time: the guest runs on, as a whole.
   */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop().finally(() => {
      this.#stopping = undefined;
    });
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    const inTime = new AbortController();
    const all = Promise.all(this.#vcpus.map((vcpu) => vcpu.stop()));
    try {
      await Promise.race([all, delay(this.#stopTimeoutMs, undefined, { signal: inTime.signal })]);
    } finally {
      inTime.abort();
    }
    const late = this.#vcpus.flatMap(({ standsStill }, index) => (standsStill ? [] : [index]));
    if (late.length === 0) {
      this.#running = false;
      return;
    }
    for (const vcpu of this.#vcpus) vcpu.start();
    const which = `${late.length === 1 ? 'vCPU' : 'vCPUs'} ${late.join(', ')}`;
    const message = `${which} of the guest reached no checkpoint within ${this.#stopTimeoutMs} ms; it runs on`;
    throw new MigrationError('GUEST_FAILED', message, {
      hint: 'have its program await checkpoint() more often; where its pages come slowly, raise stopTimeoutMs',
    });
  }

  /** Rejects with GUEST_FAILED where it has died, or a vCPU gave a state that can't be saved. */
  async saveDeviceState(): Promise<Uint8Array> {
    this.#requireLife();
    return encodeDeviceState({ shape: this.shape, vcpus: this.#vcpus.map((vcpu) => vcpu.save()) });
  }

  /** Rejects with GUEST_FAILED for bytes that are no such state or where it has run, and with GUEST_MISMATCH. */
  async loadDeviceState(bytes: Uint8Array): Promise<void> {
    this.#requireLife();
    if (this.#vcpus.some(({ hasBegun }) => hasBegun)) {
      throw new MigrationError('GUEST_FAILED', 'the worker guest has run already, and takes no other state', {
        hint: 'make a new one for each migration',
      });
    }
    const { shape, vcpus } = decodeDeviceState(bytes);
    checkShape(shape, this.shape);
    const loaded = await Promise.all(this.#vcpus.map((vcpu, index) => vcpu.load(vcpus[index])));
    for (const begin of loaded) begin(); // none refuses
  }

  /**
   * Sends a message to a vCPU whose program serves; resolved with its reply, both as structured clone carries them.
   * One made while the guest is stopped waits until it runs. Rejects with what the program threw for it; with
   * GUEST_FAILED where the guest has died (it may have been begun); with GUEST_MOVED: it was not, ask the successor.
   */
  async call(message: unknown, vcpu = 0): Promise<unknown> {
    const callee = this.#vcpus[vcpu];
    if (callee !== undefined && this.#hasMoved) throw moved();
    if (callee !== undefined) return callee.call(message);
    throw new MigrationError('BAD_ARGUMENT', `a call to vCPU ${vcpu}`, {
      hint: `the guest has those from 0 to ${this.#vcpus.length - 1}`,
    });
  }

  /**
   * Once the guest has moved away: the messages that it has not begun here, in the order of each vCPU's calls, which
   * reject with GUEST_MOVED, as later calls do until it is started. Throws BAD_ARGUMENT while it runs.
   */
  takeUnanswered(): UnansweredMessage[] {
    if (this.#running) {
      throw new MigrationError('BAD_ARGUMENT', 'the unanswered messages of a guest that runs', {
        hint: 'stop it first',
      });
    }
    this.#hasMoved = true;
    return this.#vcpus.flatMap((each, vcpu) => each.takeUnanswered(moved()).map((message) => ({ vcpu, message })));
  }

  /**
   * Ends its workers and lets go of its RAM; harmless twice. Calls without an answer reject with GUEST_FAILED. A
   * worker that waits for a page ends when it has come, and keeps the RAM until then.
   */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#running = false;
    const reason = new MigrationError('GUEST_FAILED', 'the worker guest was closed', { hint: 'make a new one' });
    for (const vcpu of this.#vcpus) vcpu.close(reason);
    for (const block of this.#blocks) block.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** What another worker guest has to have alike to go on with this one. Plain data, as structured clone carries it. */
  get shape(): GuestShape {
    const [{ name, version }] = this.#ready;
    return {
      program: name,
      version,
      blocks: this.ramBlocks.map(({ idstr, size }) => ({ idstr, size })),
      vcpus: this.#vcpus.length,
      serialization: serialize(null)[1],
    };
  }

  /**
   * Whether a guest of that shape can go on with this one, which it says itself only when it has been handed over.
   * Throws GUEST_MISMATCH, naming what differs.
   */
  requireFits(successor: GuestShape): void {
    checkShape(this.shape, successor);
  }

  #requireLife(): void {
    const dead = this.#vcpus.find(({ error }) => error !== undefined);
    if (dead?.error !== undefined) throw dead.error;
  }
}
