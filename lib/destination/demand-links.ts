/**
 * Where requests go: over the lanes that are there, else to the main connection. Each lane has its share of memory, so
 * that pages which lie beside each other are asked for together. Fault thread only.
 */
import { Channel } from '../channel/channel.js';
import { HUGE_PAGE_PAGES } from '../memory/page.js';
import type { EventfdHandle, SocketHandle } from '../native.js';
import { Kicked } from '../threads/kicked.js';
import { createDemandChannelWords, type DemandChannelWords, DemandKind, DemandPhase } from './demand-channel.js';
import type { DemandThreadHandles } from './demand-control.js';
import type { SourceLink } from './source-link.js';

/** Of the main connection, beside the indices of lanes. */
export const MAIN = -1;

class Lane {
  readonly #words: DemandChannelWords;
  readonly #kick: EventfdHandle;
  #socket = 0;
  #channel: Channel | undefined;

  constructor(words: SharedArrayBuffer, kick: EventfdHandle) {
    this.#words = createDemandChannelWords(words);
    this.#kick = kick;
  }

  /** Over a preempt channel nobody is asked. */
  get isUp(): boolean {
    const words = this.#words;
    const isGreeted = words.get('KIND') === DemandKind.LANE && words.get('GREETED') === 1;
    return isGreeted && words.get('PHASE') === DemandPhase.READING && words.get('SOCKET') !== 0;
  }

  get channel(): Channel {
    const socket = this.#words.get('SOCKET') as SocketHandle;
    if (this.#channel === undefined || socket !== this.#socket) {
      this.#socket = socket;
      this.#channel = new Channel({ socket, peer: 'the source, on a lane' }, this.#kick);
    }
    return this.#channel;
  }
}

export class DemandLinks {
  readonly #main: Pick<SourceLink, 'send' | 'break' | 'channel'>;
  readonly #lanes: readonly Lane[];

  /** `kick` is the fault thread's. */
  constructor(
    main: Pick<SourceLink, 'send' | 'break' | 'channel'>,
    lanes: readonly Pick<DemandThreadHandles, 'words'>[],
    kick: EventfdHandle,
  ) {
    this.#main = main;
    this.#lanes = lanes.map(({ words }) => new Lane(words, kick));
  }

  /** What the page is asked for over: the index of a lane, or {@link MAIN}. */
  choose(page: number): number {
    if (this.#lanes.length === 0 || this.#main.channel === undefined) return MAIN;
    const share = Math.floor(page / HUGE_PAGE_PAGES);
    const { length } = this.#lanes;
    // Its own lane, or where that is not up the next one that is.
    for (let tried = 0; tried < length; tried += 1) {
      const lane = (share + tried) % length;
      if (this.#lanes[lane].isUp) return lane;
    }
    return MAIN;
  }

  /** False where nothing goes out: the connection is down, or is lost by this, which its reader finds out. */
  send(link: number, bytes: Uint8Array, length: number): boolean {
    if (link === MAIN) return this.#main.send(bytes, length);
    try {
      this.#lanes[link].channel.send(bytes, length);
      return true;
    } catch (error) {
      if (error instanceof Kicked) throw error;
      this.#main.break();
      return false;
    }
  }
}
