/**
 * A whole postcopy up to the start of the guest, gone through by the main thread while no source has come: what runs
 * for the first time V8 compiles first, and the guest would stand still meanwhile. The source, the memory and the other
 * threads are made up; userfaultfd and the calls to the owner are real. Main thread only.
 */
import { MessageChannel } from 'node:worker_threads';
import { concatenate } from '../memory/bytes.js';
import { TARGET_PAGE_SIZE } from '../memory/page.js';
import { RAMBlock } from '../memory/ram-block.js';
import { type EventfdHandle, native, type SocketHandle, type UserfaultfdHandle } from '../native.js';
import { inRounds, type Pair, rehearsedContext, withPair } from '../threads/rehearsal.js';
import type { Owner, ThreadContext } from '../threads/thread.js';
import * as encode from '../wire/encode.js';
import {
  encodeGlobalStateBody,
  GLOBAL_STATE_SECTION,
  GUEST_STATE_SECTION,
  MACHINE_NAME,
  RAM_SECTION,
} from '../wire/machine.js';
import { Ping } from '../wire/protocol.js';
import { createDestinationCounters } from './destination-counters.js';
import { createDestinationSignals, FaultThreadPhase, Handed } from './destination-signals.js';
import { openForPostcopy } from './host-check.js';
import type { DestinationEvent, DestinationOwnerCalls, MainThreadData } from './main-thread.js';

const BLOCK = { idstr: 'rehearsal', usedLength: 8 * TARGET_PAGE_SIZE };
/** Each takes some milliseconds. */
const ROUNDS = 3;
/** Of the device state: as much as that of a small machine. */
const DEVICES = 16;
const DEVICE_BYTES = 512;

type Context = ThreadContext<DestinationEvent, DestinationOwnerCalls>;

/** What the thread does with a connection; to its end. */
export type Receive = (data: MainThreadData, socket: SocketHandle, thread: Context) => unknown;

/**
 * Rounds until `isWanted` says that there is something better to do. Throws where it can't be gone through, such as
 * where there is no userfaultfd to be had.
 */
export function rehearse(
  data: MainThreadData,
  owner: Owner<DestinationOwnerCalls>,
  isWanted: () => boolean,
  receive: Receive,
): void {
  inRounds(ROUNDS, isWanted, (connection, kick) => {
    withPair((listener) => goThrough(data, [connection, listener], kick, owner, receive));
  });
}

/** `pairs`: of the connection, and of what stands for a listener that nobody else comes to. */
function goThrough(
  { machine, capabilities }: MainThreadData,
  [[here, there], [listener]]: readonly [Pair, Pair],
  kick: EventfdHandle,
  owner: Owner<DestinationOwnerCalls>,
  receive: Receive,
): void {
  const isOwn = machine === 'own';
  const { socketSend, userfaultfdClose } = native();
  using block = RAMBlock.create({ idstr: BLOCK.idstr, size: BLOCK.usedLength });
  const signals = createDestinationSignals();
  signals.set('FAULT_THREAD', FaultThreadPhase.SERVING);
  signals.set('LET_GO', Handed.YES);
  const [listenWork, faultWork] = [new MessageChannel(), new MessageChannel()];
  let uffd: UserfaultfdHandle | undefined;
  const call = (name: string, argument: unknown): unknown => {
    if (name === 'ramBlocks') return [block.descriptor];
    if (name === 'openUserfaultfd') {
      uffd = openForPostcopy([block.descriptor]).handle;
      return uffd;
    }
    // The guest is asked for nothing; but the call and its answer are as they will be.
    return name === 'loadGuest' || name === 'takeOverGuest' ? owner.call('rehearse', argument) : undefined;
  };
  const stream = streamOf(isOwn);
  socketSend(there, kick, stream, 0, stream.length);
  try {
    receive(
      {
        ...{ listener, uri: 'nowhere', peerTimeoutMs: 0, demand: [], lanes: 0 },
        machine: isOwn ? machine : { like: undefined },
        capabilities: { ...capabilities, postcopyPreempt: false },
        signals: signals.buffer,
        counters: createDestinationCounters().buffer,
        listenWork: listenWork.port1,
        faultWork: faultWork.port1,
      },
      here,
      rehearsedContext(kick, { call } as Owner<DestinationOwnerCalls>),
    );
  } finally {
    for (const { port1, port2 } of [listenWork, faultWork]) {
      port1.close();
      port2.close();
    }
    if (uffd !== undefined) userfaultfdClose(uffd);
  }
}

function streamOf(isOwn: boolean): Uint8Array {
  const { id } = RAM_SECTION;
  return concatenate([
    encode.encodeHeader(),
    encode.encodeConfiguration({ machine: MACHINE_NAME }),
    encode.encodeOpenReturnPath(),
    encode.encodePing(Ping.SETUP),
    encode.encodePing(Ping.RUNS),
    encode.encodePostcopyAdvise({ pageSizeSummary: TARGET_PAGE_SIZE, targetPageSize: TARGET_PAGE_SIZE }),
    encode.encodeSectionStart({ type: 'START', ...RAM_SECTION }),
    encode.encodeRamBlockList([BLOCK]),
    encode.encodeRamEos(),
    encode.encodeFooter(id),
    encode.encodeRamDiscard(BLOCK.idstr, [{ start: 0, length: BLOCK.usedLength }]),
    encode.encodePing(Ping.STOPPED),
    encode.encodePackaged(packageOf(isOwn)),
  ]);
}

/** A machine that is none of ours has any sections, whose ends are found by what follows them. */
function packageOf(isOwn: boolean): Uint8Array {
  return concatenate([
    encode.encodePostcopyListen(),
    ...(isOwn ? ownState() : anyState()),
    ...section(GLOBAL_STATE_SECTION, encodeGlobalStateBody('running')),
    encode.encodePing(Ping.PACKAGE),
    encode.encodePing(Ping.SWITCHOVER),
    encode.encodePostcopyRun(),
  ]);
}

const ownState = () => section(GUEST_STATE_SECTION, encode.encodeSelfSizedBody(new Uint8Array(DEVICES * DEVICE_BYTES)));

function anyState(): readonly Uint8Array[] {
  const firstId = GLOBAL_STATE_SECTION.id + 1;
  return Array.from({ length: DEVICES }, (_, index) =>
    section({ ...GUEST_STATE_SECTION, id: firstId + index, idstr: `device ${index}` }, new Uint8Array(DEVICE_BYTES)),
  ).flat();
}

function section(identity: typeof RAM_SECTION, body: Uint8Array): readonly Uint8Array[] {
  return [encode.encodeSectionStart({ type: 'FULL', ...identity }), body, encode.encodeFooter(identity.id)];
}
