/**
 * What a destination may answer that is legal but unusual, or not legal, as scripts: the cases of
 * test/fixtures/observed-source.json, by name, which tells what QEMU 7.2 made of each.
 *
 * A script plays a destination to any source that migrates microvm.ram, and returns what it noticed besides how
 * the migration ended, under the names that the file uses.
 */
import { encodeRecvBitmapReply, encodeResumeAck, encodeShut } from '#lib/wire/encode.js';
import { ReturnPathMessage, type ReturnPathMessageName } from '#lib/wire/protocol.js';
import { joined } from '../feed.ts';
import { PAGE_BYTES } from './captured-machine.ts';
import { type IncomingConnection, isPage, requestOf, type ScriptedDestination } from './scripted-destination.ts';

/** The source, as far as a script handles it. */
export interface PlayedSource {
  startPostcopy(): Promise<void>;
  cancel(): Promise<void>;
  resume(uri: string): Promise<void>;
  status(): Promise<string>;
  /** Waits for the migration to have that status. */
  reach(status: string): Promise<void>;
  /** Ends the limit on bandwidth. */
  hurry(): Promise<void>;
}

export type Noticed = Readonly<Record<string, unknown>>;

export interface SourceCase {
  /** Capabilities of the source. */
  readonly capabilities: readonly string[];
  readonly play: (destination: ScriptedDestination, source: PlayedSource) => Promise<Noticed>;
}

const RAM = 'microvm.ram';

/** A return-path message of any code and payload. */
function rawMessage(code: number, payload: Uint8Array): Uint8Array {
  const head = Buffer.alloc(4);
  head.writeUInt16BE(code, 0);
  head.writeUInt16BE(payload.length, 2);
  return joined([head, payload]);
}

const rawValue = (name: ReturnPathMessageName, value: number): Uint8Array => {
  const payload = Buffer.alloc(4);
  payload.writeUInt32BE(value);
  return rawMessage(ReturnPathMessage[name], payload);
};

// --- postcopy ----------------------------------------------------------------------------------------------------

type PlayPostcopy = (
  main: IncomingConnection,
  source: PlayedSource,
  destination: ScriptedDestination,
) => Promise<Noticed>;

/** A postcopy, played from where the package has come. */
const inPostcopy = (play: PlayPostcopy): SourceCase => ({
  capabilities: ['postcopy-ram'],
  play: async (destination, source) => {
    const main = await destination.connection();
    await source.reach('active');
    await source.startPostcopy();
    await main.command('POSTCOPY_RUN');
    return play(main, source, destination);
  },
});

/** Answers so that the source gives up, and closes. */
const answeredBadly = (...parts: Uint8Array[]): SourceCase =>
  inPostcopy(async (main) => {
    await main.answer(...parts);
    await main.closedBySource();
    return { source_closed_the_connection: true };
  });

const ends: Record<string, SourceCase> = {
  'postcopy: destination never answers PINGs, only SHUT 0 at the end': inPostcopy(async (main, source) => {
    await source.hurry();
    await main.eof();
    await main.answer(encodeShut(0));
    await main.closedBySource();
    return { stream_ended: true };
  }),
  'postcopy: destination closes after the final EOF without SHUT': inPostcopy(async (main, source) => {
    await source.hurry();
    await main.eof();
    const status = await source.status();
    main.close();
    return { status_before_close: status };
  }),
  'postcopy: SHUT 1 at the end': inPostcopy(async (main, source) => {
    await source.hurry();
    await main.eof();
    await main.answer(encodeShut(1));
    return {};
  }),
  'postcopy: connection lost after the package': inPostcopy(async (main) => {
    main.close();
    return {};
  }),
  'migrate_cancel during postcopy-active': inPostcopy(async (_main, source) => {
    await source.cancel();
    return { cancel_reply: 'accepted' };
  }),
};

const badAnswers: Record<string, SourceCase> = {
  'postcopy: SHUT 0 right after the package, then a request': answeredBadly(
    encodeShut(0),
    requestOf(0, PAGE_BYTES, RAM),
  ),
  'postcopy: REQ_PAGES before any REQ_PAGES_ID': answeredBadly(requestOf(0, PAGE_BYTES)),
  'postcopy: misaligned request': answeredBadly(requestOf(1, PAGE_BYTES, RAM)),
  'postcopy: request beyond the end of the block': answeredBadly(requestOf(2 ** 30, PAGE_BYTES, RAM)),
  'postcopy: request for an unknown block': answeredBadly(requestOf(0, PAGE_BYTES, 'no-such-block')),
  'postcopy: unknown return-path message 99': answeredBadly(rawMessage(99, new Uint8Array(4))),
  'postcopy: PONG with length 8': answeredBadly(rawMessage(ReturnPathMessage.PONG, new Uint8Array(8))),
};

/** Ends a postcopy as it should be. */
async function endWell(main: IncomingConnection, source: PlayedSource): Promise<void> {
  await source.hurry();
  await main.eof();
  await main.answer(encodeShut(0));
}

const requests: Record<string, SourceCase> = {
  'postcopy: urgent request jumps the queue; len of two pages; scan goes on from there': inPostcopy(
    async (main, source) => {
      await main.answer(requestOf(0x700 * PAGE_BYTES, PAGE_BYTES, RAM), requestOf(0x500 * PAGE_BYTES, 2 * PAGE_BYTES));
      await endWell(main, source);
      const pages = main.postcopyPages.filter(({ idstr }) => idstr === RAM).map(({ page }) => page);
      const at = pages.indexOf(0x700);
      return {
        pages_after_the_request: pages.slice(at, at + 6).map((page) => `0x${page.toString(16)}`),
        each_once: new Set(pages).size === pages.length,
        decoder_ok: true,
      };
    },
  ),
  'postcopy: the same page requested four times': inPostcopy(async (main, source) => {
    const request = requestOf(0x700 * PAGE_BYTES, PAGE_BYTES, RAM);
    await main.answer(request, request, request, request);
    await endWell(main, source);
    return { times_page_sent: main.postcopyPages.filter(({ idstr, page }) => idstr === RAM && page === 0x700).length };
  }),
};

// --- precopy -----------------------------------------------------------------------------------------------------

const inPrecopy = (
  capabilities: readonly string[],
  play: (main: IncomingConnection, source: PlayedSource) => Promise<Noticed>,
): SourceCase => ({
  capabilities,
  play: async (destination, source) => {
    const main = await destination.connection();
    await main.records.first('a page', isPage);
    return play(main, source);
  },
});

/** All of the stream has come; then this is done. */
const atItsEnd = (
  capabilities: readonly string[],
  play: (main: IncomingConnection, source: PlayedSource) => Promise<Noticed>,
): SourceCase =>
  inPrecopy(capabilities, async (main, source) => {
    await source.hurry();
    await main.records.first('the VM description', ({ type }) => type === 'vmdescription');
    return play(main, source);
  });

const lost = async (main: IncomingConnection): Promise<Noticed> => {
  main.close();
  return { error_desc_present: true };
};

const precopies: Record<string, SourceCase> = {
  'precopy (postcopy-ram set): connection lost': inPrecopy(['postcopy-ram'], lost),
  'precopy without return path: connection lost': inPrecopy([], lost),
  'precopy with return-path: closed without SHUT after the whole stream': atItsEnd(
    ['return-path'],
    async (main, source) => {
      const status = await source.status();
      main.close();
      return { status_before_close: status };
    },
  ),
  'precopy with return-path: SHUT 1': atItsEnd(['return-path'], async (main) => {
    await main.answer(encodeShut(1));
    return {};
  }),
  'precopy with return-path: SHUT 0, no PONG': atItsEnd(['return-path'], async (main) => {
    await main.answer(encodeShut(0));
    return {};
  }),
  'precopy without return path: destination sends nothing at all': atItsEnd([], async () => ({})),
};

// --- recovery ----------------------------------------------------------------------------------------------------

/** A received bitmap of `pages` pages, the first `received` of which are there. */
function bitmapOf(pages: number, received: number): Uint8Array {
  const bitmap = new Uint8Array(Math.ceil(pages / 64) * 8);
  for (let page = 0; page < Math.min(pages, received); page += 1) bitmap[page >> 3] |= 1 << (page & 7);
  return bitmap;
}

function bitmaps(resumed: IncomingConnection, received: number): Uint8Array[] {
  return resumed.blocks.map(({ idstr, usedLength }) =>
    encodeRecvBitmapReply(idstr, bitmapOf(usedLength / PAGE_BYTES, received)),
  );
}

type PlayRecovery = (resumed: IncomingConnection, source: PlayedSource) => Promise<Noticed>;

/** A postcopy that was interrupted, played from where the source has asked for all bitmaps on its new connection. */
const inRecovery = (play: PlayRecovery): SourceCase =>
  inPostcopy(async (main, source, destination) => {
    main.close();
    await source.reach('postcopy-paused');
    await source.resume(destination.uri);
    const resumed = await destination.connection(main);
    await source.reach('postcopy-recover');
    const asked = await bitmapsAsked(resumed);
    const early = resumed.records.all.some(
      (record) => record.type === 'command' && record.command === 'POSTCOPY_RESUME',
    );
    const noticed = await play(resumed, source);
    return {
      resume_reply: {},
      source_sent_before_any_answer: asked,
      resume_command_seen_before_bitmaps: early,
      ...noticed,
    };
  });

/** Waits until the source has asked for the bitmap of every block; how many that are. */
async function bitmapsAsked(resumed: IncomingConnection): Promise<number> {
  for (const { idstr } of resumed.blocks) {
    await resumed.records.first(
      `RECV_BITMAP of ${idstr}`,
      (record) => record.type === 'command' && record.command === 'RECV_BITMAP' && record.idstr === idstr,
    );
  }
  return resumed.records.all.length;
}

const recoversFrom = (answers: (resumed: IncomingConnection) => Uint8Array[]): PlayRecovery => {
  return async (resumed, source) => {
    await resumed.answer(...answers(resumed));
    await resumed.command('POSTCOPY_RESUME');
    await resumed.answer(encodeResumeAck());
    await endWell(resumed, source);
    return { resume_command_seen: true };
  };
};

/** Answers so that recovery does not get as far as RESUME. */
const staysInRecovery = (answers: (resumed: IncomingConnection) => Uint8Array[]): SourceCase =>
  inRecovery(async (resumed) => {
    await resumed.answer(...answers(resumed));
    return { resume_command_seen: false };
  });

const RECEIVED_BEFORE = 100;

const recoveries: Record<string, SourceCase> = {
  'recovery: bitmaps claim pages 0..99 only; RESUME_ACK 1': inRecovery(async (resumed, source) => {
    const noticed = await recoversFrom(() => bitmaps(resumed, RECEIVED_BEFORE))(resumed, source);
    const missing = resumed.blocks.flatMap(({ idstr, usedLength }) =>
      Array.from({ length: usedLength / PAGE_BYTES }, (_, page) => `${idstr} ${page}`).slice(RECEIVED_BEFORE),
    );
    const sent = resumed.pages.map(({ idstr, page }) => `${idstr} ${page}`);
    return {
      ...noticed,
      pages_resent_are_exactly_the_complement_of_the_bitmap: sent.sort().join() === missing.sort().join(),
    };
  }),
  'recovery: bitmaps answered in reverse block order': inRecovery(
    recoversFrom((resumed) => bitmaps(resumed, Number.POSITIVE_INFINITY).reverse()),
  ),
  'recovery: wrong end mark': staysInRecovery((resumed) => {
    const [first] = bitmaps(resumed, RECEIVED_BEFORE);
    first[first.length - 1] ^= 1;
    return [first];
  }),
  'recovery: wrong bitmap size': staysInRecovery((resumed) => [
    encodeRecvBitmapReply(resumed.blocks[0].idstr, new Uint8Array(8)),
  ]),
  'recovery: RESUME_ACK 2': inRecovery(async (resumed) => {
    await resumed.answer(...bitmaps(resumed, RECEIVED_BEFORE));
    await resumed.command('POSTCOPY_RESUME');
    await resumed.answer(rawValue('RESUME_ACK', 2));
    return { resume_command_seen: true };
  }),
  'recovery: connection lost before any bitmap': inRecovery(async (resumed) => {
    resumed.close();
    return { resume_command_seen: false };
  }),
};

/** Every case of test/fixtures/observed-source.json. */
export const sourceCases: Readonly<Record<string, SourceCase>> = {
  ...ends,
  ...badAnswers,
  ...requests,
  ...precopies,
  ...recoveries,
};
