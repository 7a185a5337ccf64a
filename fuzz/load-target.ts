/**
 * Loading: streams are decoded and acted on as the destination's threads do it, with the real native calls into
 * real memory: pages loaded, filled, discarded and, after LISTEN, placed through a userfaultfd. What must hold,
 * whatever the bytes:
 *
 *  1. Only a WireError or a MigrationError is thrown. What native code refuses is a finding: it came from the wire
 *     and nobody in front had looked at it.
 *  2. Every page holds what an independent account says, and the memory around the blocks what it held before.
 *  3. Nothing behind the bytes is read: they end where their buffer ends, which the sanitizer watches.
 *
 * The loops of lib/destination/main-thread.ts and listen-thread.ts only run in threads of a whole migration; what
 * they do with a record is done here the same way, with the same classes.
 */
import { isHandled, requireHandled } from '#lib/destination/capability-check.js';
import { createDestinationCounters } from '#lib/destination/destination-counters.js';
import { createDestinationSignals } from '#lib/destination/destination-signals.js';
import { FaultLatency } from '#lib/destination/fault-latency.js';
import { createIncomingMachine, type IncomingMachine } from '#lib/destination/incoming-machine.js';
import { requireAllPages } from '#lib/destination/missing-pages.js';
import { PageCollector } from '#lib/destination/page-collector.js';
import { PageRequested } from '#lib/destination/page-requested.js';
import { PlacePage } from '#lib/destination/place-page.js';
import { type PostcopyState, type PostcopyStep, stepPostcopy } from '#lib/destination/postcopy-state.js';
import { RamLoad } from '#lib/destination/ram-load.js';
import { RemovedPages } from '#lib/destination/removed-pages.js';
import { decoderOptions } from '#lib/destination/stream-reader.js';
import { MigrationError } from '#lib/errors.js';
import { pageCount, pageIndexOf } from '#lib/memory/page.js';
import { openUserfaultfd } from '#lib/memory/userfaultfd.js';
import { native, type UserfaultfdHandle } from '#lib/native.js';
import { createTraceWords, Trace } from '#lib/trace/trace.js';
import { StreamDecoder } from '#lib/wire/decode.js';
import { decodeAll } from '#lib/wire/decode-all.js';
import { WireError } from '#lib/wire/errors.js';
import type { CommandRecord, PageRecord, RamBlockEntry, StreamRecord } from '#lib/wire/messages.js';
import { joined } from '../testing/feed.ts';
import { naiveXbzrle } from '../testing/naive-codec.ts';
import { type BlockSize, type GuardedBlock, GuestMemory } from './guest-memory.ts';
import { type Input, MAX_INPUT_BYTES, type Origin, type Outcome, type Target } from './input.ts';
import { Random } from './random.ts';
import { isOwnMachine } from './seeds.ts';
import { Names, Steps } from './steps.ts';

/** The blocks of one block list, and what loads into them. */
interface Guest {
  readonly blocks: readonly GuardedBlock[];
  readonly load: PageCollector;
  readonly place: PageCollector;
}

export class LoadTarget implements Target {
  readonly name = 'load';
  readonly seeds: readonly Input[];
  readonly #Decoder: typeof StreamDecoder;
  readonly #memory: GuestMemory;
  readonly #arena = new Uint8Array(MAX_INPUT_BYTES);
  readonly #view = new DataView(this.#arena.buffer);
  readonly #uffd: UserfaultfdHandle;
  readonly #latency = new FaultLatency();
  readonly #counters = createDestinationCounters();
  readonly #signals = createDestinationSignals();
  readonly #trace = new Trace({ words: createTraceWords(), ring: undefined });
  readonly #guests = new Map<string, Guest>();
  readonly #kinds = new Names();
  readonly #errors = new Names();

  constructor(seeds: readonly Input[], Decoder: typeof StreamDecoder = StreamDecoder) {
    const blocks = new Map(seeds.map((input) => [input, loadedBlocks(input)]));
    this.seeds = seeds.filter((input) => blocks.get(input) !== undefined);
    this.#memory = new GuestMemory(distinct([...blocks.values()].flatMap((list) => list ?? [])));
    this.#uffd = openUserfaultfd(0n).handle;
    this.#Decoder = Decoder;
  }

  execute(bytes: Uint8Array, length: number, origin: Origin, choice: number, outcome: Outcome): void {
    const begin = this.#arena.length - length;
    this.#arena.set(bytes.subarray(0, length), begin);
    const steps = new Steps(this.#kinds, origin.channel, outcome);
    const run = new LoadRun({
      decoder: new this.#Decoder(decoderOptions),
      arena: this.#arena,
      view: this.#view,
      uffd: this.#uffd,
      machine: createIncomingMachine(isOwnMachine(origin) ? 'own' : { like: undefined }),
      cuts: new Random(choice),
      guestOf: (entries) => this.#guestOf(entries),
      onRecord: (record, offset, packaged) => steps.step(record, offset, packaged),
    });
    try {
      run.read(begin);
    } catch (error) {
      if (!(error instanceof WireError) && !(error instanceof MigrationError)) throw error;
      steps.end(this.#errors.number(`${error.code}/${error.record ?? ''}`));
      run.flush();
    } finally {
      run.unregister();
    }
    this.#memory.check(this.#arena);
    this.#memory.reset();
  }

  close(): void {
    native().userfaultfdClose(this.#uffd);
    this.#memory.close();
  }

  /** The guest here must have the blocks of the list. */
  #guestOf(entries: readonly RamBlockEntry[]): Guest {
    const key = entries.map(({ idstr, usedLength, pageSize }) => `${idstr} ${usedLength} ${pageSize}`).join();
    let guest = this.#guests.get(key);
    if (guest === undefined) {
      const blocks = entries.map(({ idstr, usedLength }) => this.#memory.find(idstr, usedLength));
      if (blocks.includes(undefined) || entries.some(({ pageSize }) => pageSize !== undefined)) {
        throw new MigrationError('GUEST_MISMATCH', 'other RAM blocks', { record: 'ram-blocks' });
      }
      guest = this.#createGuest(blocks as GuardedBlock[]);
      this.#guests.set(key, guest);
    }
    for (const { received } of guest.blocks) received.clearRange(0, received.pageCount);
    return guest;
  }

  #createGuest(blocks: readonly GuardedBlock[]): Guest {
    const descriptors = blocks.map(({ block }) => block.descriptor);
    const received = blocks.map((block) => block.received);
    const sizes = descriptors.map(({ size }) => size);
    const place = new PlacePage({
      uffd: this.#uffd,
      blocks: descriptors,
      received,
      requested: new PageRequested(sizes),
      removed: new RemovedPages(sizes),
      arena: this.#arena,
      counters: this.#counters,
      signals: this.#signals,
      latency: this.#latency,
      blocktime: undefined,
      trace: this.#trace,
    });
    return {
      blocks,
      load: new PageCollector(new RamLoad(descriptors, received, this.#arena, this.#counters)),
      place: new PageCollector(place),
    };
  }
}

/** Of a main connection that the destination takes. Huge pages are left out: not every host has them. */
function loadedBlocks({ origin, pieces }: Input): readonly RamBlockEntry[] | undefined {
  if (origin.channel !== 'main') return undefined;
  try {
    for (const record of decodeAll(joined(pieces.map(({ bytes }) => bytes)))) {
      if (record.type === 'configuration' && record.capabilities?.some((name) => !isHandled(name))) return undefined;
      if (record.type === 'ram-blocks') {
        return record.blocks.every(({ pageSize }) => pageSize === undefined) ? record.blocks : undefined;
      }
    }
  } catch (error) {
    if (!(error instanceof WireError)) throw error;
  }
  return [];
}

function distinct(blocks: readonly RamBlockEntry[]): BlockSize[] {
  const sizes = blocks
    .filter(({ usedLength }) => usedLength % 4096 === 0)
    .map(({ idstr, usedLength }) => [`${idstr} ${usedLength}`, { idstr, size: usedLength }] as const);
  return [...new Map(sizes).values()];
}

interface LoadRunOptions {
  readonly decoder: StreamDecoder;
  readonly arena: Uint8Array;
  readonly view: DataView;
  readonly uffd: UserfaultfdHandle;
  readonly machine: IncomingMachine;
  readonly cuts: Random;
  readonly guestOf: (entries: readonly RamBlockEntry[]) => Guest;
  readonly onRecord: (record: StreamRecord, offset: number, packaged: boolean) => void;
}

/** One stream on its way into memory. */
class LoadRun {
  readonly #o: LoadRunOptions;
  #guest: Guest | undefined;
  #collector: PageCollector | undefined;
  #state: PostcopyState = 'none';
  #isListening = false;

  constructor(options: LoadRunOptions) {
    this.#o = options;
  }

  flush(): void {
    this.#collector?.flush();
  }

  /** Before anybody looks at a page that did not come: it would wait for ever. */
  unregister(): void {
    if (!this.#isListening) return;
    for (const { block } of this.#guest?.blocks ?? []) {
      native().userfaultfdUnregister(this.#o.uffd, block.handle, 0, block.size);
    }
  }

  /** Reads the arena from `begin` to its end, in pieces. */
  read(begin: number): void {
    const { decoder, arena, view, cuts } = this.#o;
    let at = begin;
    let end = begin;
    for (;;) {
      const record = decoder.next(arena, view, at, end);
      if (record === undefined) {
        this.flush();
        if (end === arena.length) break;
        end = Math.min(arena.length, end + 1 + cuts.below(cuts.once(2) ? 64 : 32768));
        continue;
      }
      this.#o.onRecord(record, decoder.recordOffset, false);
      at += decoder.consumed;
      if (record.type === 'eof') break;
      if (record.type === 'command' && record.command === 'PACKAGED') {
        this.#package(at, record.length);
        at += record.length;
        end = Math.max(at, end);
      } else this.#handle(record, arena);
    }
    this.flush();
    if (this.#guest !== undefined)
      requireAllPages(
        this.#guest.blocks.map(({ block }) => block),
        this.#received(),
      );
  }

  #received() {
    return (this.#guest as Guest).blocks.map(({ received }) => received);
  }

  #handle(record: StreamRecord, bytes: Uint8Array): void {
    if (record.type !== 'page') requireHandled(record, this.#o.decoder.recordOffset);
    switch (record.type) {
      case 'configuration':
        return this.#o.machine.configuration(record);
      case 'ram-blocks':
        this.#o.machine.blocks(record.blocks);
        this.#guest = this.#o.guestOf(record.blocks);
        this.#collector = this.#guest.load;
        return;
      case 'page':
        return this.#page(record);
      case 'ram-eos':
        return this.flush();
      case 'command':
        return this.#command(record);
      default:
        this.#section(record, bytes);
    }
  }

  #page(record: PageRecord): void {
    if (this.#guest === undefined || this.#collector === undefined) throw illegal('page');
    this.#collector.add(record, this.#o.decoder.recordOffset);
    const block = this.#guest.blocks[record.block.index];
    const page = pageIndexOf(record.offset);
    // Once the guest runs, what is there is the guest's.
    if (this.#isListening && !block.isAbsent(page)) return;
    const { arena } = this.#o;
    if (record.kind === 'zero') block.fill(page, record.fill);
    else if (record.kind === 'normal') block.load(page, record.dataStart);
    else {
      const delta = arena.subarray(record.dataStart, record.dataStart + record.dataLength);
      block.change(page, arena, (content) => naiveXbzrle(content, delta));
    }
  }

  /** Sections of devices; false for any other record. */
  #section(record: StreamRecord, bytes: Uint8Array): boolean {
    const { machine } = this.#o;
    if (record.type === 'section-start') machine.sectionStart(record);
    else if (record.type === 'device-data') machine.deviceData(record, bytes);
    else if (record.type === 'section-end') machine.sectionEnd(record);
    else return false;
    return true;
  }

  #command(record: CommandRecord): void {
    switch (record.command) {
      case 'OPEN_RETURN_PATH':
      case 'PING':
      case 'SWITCHOVER_START':
        return;
      case 'POSTCOPY_ADVISE':
        return this.#step(record.command);
      case 'POSTCOPY_RAM_DISCARD':
        this.#step(record.command);
        return this.#discard(record.idstr, record.ranges);
      default:
        throw illegal(record.command);
    }
  }

  #discard(idstr: string, ranges: readonly { readonly start: number; readonly length: number }[]): void {
    this.flush();
    const block = (this.#guest as Guest).blocks.find((each) => each.block.idstr === idstr) as GuardedBlock;
    for (const { start, length } of ranges) {
      block.received.clearRange(pageCount(start), pageCount(length));
      block.discard(start, length);
    }
    const pairs = Float64Array.from(ranges.flatMap(({ start, length }) => [start, length]));
    native().ramBlockDiscard(block.block.handle, pairs, ranges.length);
  }

  #package(at: number, length: number): void {
    const { decoder: outer, arena, onRecord } = this.#o;
    this.flush();
    if (length > arena.length - at) throw new MigrationError('PEER_GONE', 'inside the package', { record: 'PACKAGED' });
    const decoder = outer.package();
    const bytes = arena.slice(at, at + length);
    const view = new DataView(bytes.buffer);
    for (let inside = 0; inside < length; inside += decoder.consumed) {
      const record = decoder.next(bytes, view, inside, length);
      if (record === undefined) throw illegal('PACKAGED');
      onRecord(record, decoder.recordOffset, true);
      requireHandled(record, decoder.recordOffset);
      if (this.#section(record, bytes)) continue;
      if (record.type !== 'command') throw illegal(record.type);
      if (record.command === 'POSTCOPY_LISTEN') this.#listen();
      else if (record.command === 'POSTCOPY_RUN') return this.#run(length - inside - decoder.consumed);
      else if (record.command !== 'PING') throw illegal(record.command);
    }
    throw illegal('PACKAGED');
  }

  #run(bytesBehind: number): void {
    if (bytesBehind > 0) throw illegal('PACKAGED');
    this.#step('POSTCOPY_RUN');
    this.#o.machine.take(this.#o.decoder.offset);
  }

  #listen(): void {
    this.#step('POSTCOPY_LISTEN');
    if (this.#guest === undefined) throw illegal('POSTCOPY_LISTEN');
    this.#isListening = true;
    const { UFFDIO_REGISTER_MODE_MISSING } = native().constants;
    for (const { block } of this.#guest.blocks) {
      native().userfaultfdRegister(this.#o.uffd, block.handle, 0, block.size, UFFDIO_REGISTER_MODE_MISSING);
    }
    this.#collector = this.#guest.place;
  }

  #step(step: PostcopyStep): void {
    const next = stepPostcopy(this.#state, step);
    if (next === undefined) throw illegal(step);
    this.#state = next;
  }
}

function illegal(record: string): MigrationError {
  return new MigrationError('ILLEGAL_COMMAND', `${record} here`, { record });
}
