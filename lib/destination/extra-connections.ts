/**
 * Connections that come behind the first one. A source with multifd or postcopy-preempt makes them, and is refused by
 * the capability's name where it is not on here; so does whoever else finds the port, and is turned away while the
 * migration goes on.
 *
 * Main thread only. It looks where the first connection has got to a place that a source reaches only when its
 * others are made and have said what they say by themselves, so nothing is polled and no time is waited for.
 */
import { accept } from '../channel/connect.js';
import { type EventfdHandle, native, type SocketHandle } from '../native.js';
import { Kicked } from '../threads/kicked.js';
import { capabilityOfMagic } from '../wire/capabilities.js';
import { LANE_MAGIC } from '../wire/protocol.js';
import { isHandled, refusal } from './capability-check.js';
import type { FoundChannel } from './demand-control.js';

/** Bytes that tell what a connection is: its first word. */
const MAGIC_BYTES = 4;
/** Connections that are held until they speak; further ones wait in the kernel meanwhile. */
const HELD_MAX = 16;
const SHOWN = 'a further connection';
const PREEMPT = 'postcopy-preempt';

interface Held {
  readonly socket: SocketHandle;
  readonly magic: Uint8Array;
  received: number;
  hasGreeted: boolean;
}

export class ExtraConnections {
  readonly #listener: SocketHandle;
  readonly #kick: EventfdHandle;
  readonly #takesPreempt: boolean;
  #takesLanes = false;
  #held: Held[] = [];

  /** `takesPreempt`: with the capability postcopy-preempt. */
  constructor(listener: SocketHandle, kick: EventfdHandle, takesPreempt = false) {
    this.#listener = listener;
    this.#kick = kick;
    this.#takesPreempt = takesPreempt;
  }

  /** Lanes were agreed on, which greet; and the source will not make a preempt channel. */
  expectLanes(): void {
    this.#takesLanes = true;
  }

  /**
   * Takes in what has come by now, and turns away whoever says what no channel of a source does. Throws
   * UNSUPPORTED for a multifd channel; and, where postcopy was advised, for one that says nothing, as the preempt
   * channel does, unless that is taken. `offset`: how far the first connection has got.
   */
  look(postcopyAdvised: boolean, offset: number): void {
    while (this.#held.length < HELD_MAX && native().socketReadable(this.#listener)) {
      const socket = accept(this.#listener, this.#kick);
      this.#held.push({ socket, magic: new Uint8Array(MAGIC_BYTES), received: 0, hasGreeted: false });
    }
    if (this.#held.length === 0) return;
    this.#held = this.#held.filter((held) => this.#mayStay(held, offset));
    const isSilent = this.#held.some(({ received }) => received === 0);
    if (postcopyAdvised && isSilent && !this.#takesPreempt && !this.#takesLanes) throw refusal(PREEMPT, SHOWN, offset);
  }

  /**
   * The next one for a demand channel, whose it is then: of lanes one that has greeted, or may be about to; else the
   * first that has said nothing, as a preempt channel does.
   */
  take(): FoundChannel | undefined {
    const found = this.#held.find(({ hasGreeted }) => hasGreeted) ?? this.#held.find(({ received }) => received === 0);
    this.#held = this.#held.filter((held) => held !== found);
    return found && { socket: found.socket, hasGreeted: found.hasGreeted };
  }

  close(): void {
    for (const { socket } of this.#held) native().socketClose(socket);
    this.#held = [];
  }

  /** Whether it has not said yet what it is, or is a lane. */
  #mayStay(held: Held, offset: number): boolean {
    if (held.hasGreeted) return true;
    while (held.received < MAGIC_BYTES && native().socketReadable(held.socket)) {
      const received = this.#receive(held);
      if (received === 0) return this.#turnAway(held);
      held.received += received;
    }
    if (held.received < MAGIC_BYTES) return true;
    const magic = new DataView(held.magic.buffer).getUint32(0);
    held.hasGreeted = this.#takesLanes && magic === LANE_MAGIC;
    if (held.hasGreeted) return true;
    const capability = capabilityOfMagic.get(magic);
    if (capability !== undefined && !isHandled(capability)) throw refusal(capability, SHOWN, offset);
    return this.#turnAway(held);
  }

  /** Bytes received; 0 when the peer is gone, however. */
  #receive({ socket, magic, received }: Held): number {
    const { constants, socketReceive } = native();
    try {
      const result = socketReceive(socket, this.#kick, magic, received, MAGIC_BYTES - received);
      if (result === constants.KICKED) throw new Kicked();
      return result;
    } catch (error) {
      if (error instanceof Kicked) throw error;
      return 0;
    }
  }

  #turnAway({ socket }: Held): false {
    native().socketClose(socket);
    return false;
  }
}
