/**
 * What a source may do that is legal but unusual, or not legal, as scripts: the cases of
 * test/fixtures/observed-destination.json, by name, which tells what QEMU 7.2 made of each.
 *
 * A script plays a source to any destination that has the captured machine. It leaves the connection open;
 * whoever plays it says when it is over.
 */
import {
  encodeEof,
  encodeFooter,
  encodeHeader,
  encodeOpenReturnPath,
  encodePackaged,
  encodePing,
  encodePostcopyAdvise,
  encodePostcopyListen,
  encodePostcopyResume,
  encodePostcopyRun,
  encodeRamDiscard,
  encodeRecvBitmap,
  encodeSectionPart,
  encodeSectionStart,
  encodeSwitchoverStart,
  encodeVmDescription,
} from '#lib/wire/encode.js';
import { Command, Ping, RamFlag, XBZRLE_ENCODING } from '#lib/wire/protocol.js';
import { joined } from '../feed.ts';
import { type CapturedMachine, PAGE_BYTES, type PageAddress, pageRecord } from './captured-machine.ts';
import type { ScriptedSource } from './scripted-source.ts';

/**
 * Plays a source. `carriedOut` resolves when the destination has carried out what it has been sent; a pong
 * can't tell so much of the last command in a package.
 */
export type Play = (source: ScriptedSource, machine: CapturedMachine, carriedOut: () => Promise<void>) => Promise<void>;

export interface DestinationCase {
  /** Whether the destination has the capability postcopy-ram. */
  readonly postcopyRam?: boolean;
  /** Whether the guest is to run when it has arrived; otherwise the destination keeps it stopped. */
  readonly runs?: boolean;
  readonly play: Play;
}

/** The page that some cases treat unlike the others. */
export const ODD_PAGE: PageAddress = { idstr: 'microvm.ram', page: 0x300 };
const FILL = 0xaa;

const isOddPage = ({ idstr, page }: PageAddress): boolean => idstr === ODD_PAGE.idstr && page === ODD_PAGE.page;

// --- pieces that lib/wire does not encode, because nobody should send them -------------------------------------

/** A command of any code and payload. */
function rawCommand(code: number, payload: Uint8Array): Uint8Array {
  const head = Buffer.from([8, 0, 0, 0, 0]);
  head.writeUInt16BE(code, 1);
  head.writeUInt16BE(payload.length, 3);
  return joined([head, payload]);
}

/** A discard of any version and as many ranges as a command holds. */
function rawDiscard(version: number, idstr: string, ranges: readonly { start: number; length: number }[]): Uint8Array {
  const pairs = Buffer.alloc(ranges.length * 16);
  ranges.forEach(({ start, length }, index) => {
    pairs.writeBigUInt64BE(BigInt(start), index * 16);
    pairs.writeBigUInt64BE(BigInt(length), index * 16 + 8);
  });
  return rawCommand(
    Command.POSTCOPY_RAM_DISCARD,
    joined([Uint8Array.of(version, idstr.length), Buffer.from(idstr), Uint8Array.of(0), pairs]),
  );
}

const fillRecord = (address: PageAddress): Uint8Array => pageRecord(address, RamFlag.ZERO, Uint8Array.of(FILL));

// --- pieces that many cases share ------------------------------------------------------------------------------

const advise = encodePostcopyAdvise({ pageSizeSummary: PAGE_BYTES, targetPageSize: PAGE_BYTES });

/** A whole precopy, its pages as `parts` has them. */
function precopy(machine: CapturedMachine, ...parts: readonly Uint8Array[]): Uint8Array[] {
  return [machine.header(), machine.ramStart(), ...parts, machine.ramEnd(), machine.allDevices(), machine.ending()];
}

const allPagesPart = (machine: CapturedMachine): Uint8Array => machine.ramPart(machine.pages(machine.allPages()));

const precopyCase = (parts: (machine: CapturedMachine) => Uint8Array[]): DestinationCase => ({
  play: (source, machine) => source.send(...precopy(machine, ...parts(machine))),
});

/** Whatever is to stand where the pages should, in a precopy that goes no further. */
const afterBlockList = (parts: (machine: CapturedMachine) => Uint8Array[]): DestinationCase => ({
  play: (source, machine) => source.send(machine.header(), machine.ramStart(), ...parts(machine)),
});

/** Sends what stands before the block list, the return path open, and hears the answer to PING 1. */
async function begin(source: ScriptedSource, machine: CapturedMachine): Promise<void> {
  await source.send(machine.header(), encodeOpenReturnPath(), encodePing(Ping.SETUP));
  await source.pong(Ping.SETUP);
}

async function beginPostcopy(source: ScriptedSource, machine: CapturedMachine): Promise<void> {
  await begin(source, machine);
  await source.send(advise, machine.ramStart());
}

function discards(machine: CapturedMachine): Uint8Array {
  return joined(machine.wholeBlocks().map(({ idstr, ranges }) => encodeRamDiscard(idstr, ranges)));
}

function packaged(machine: CapturedMachine, ...behindListen: readonly Uint8Array[]): Uint8Array {
  const inner = [...behindListen, machine.allDevices(), encodePing(Ping.PACKAGE), encodePostcopyRun()];
  return encodePackaged(joined([encodePostcopyListen(), ...inner]));
}

const restOfPostcopy = (machine: CapturedMachine, pages: readonly PageAddress[]): Uint8Array[] => [
  machine.ramPart(machine.pages(pages)),
  machine.ramEnd(),
  encodeEof(),
];

/** A postcopy in which everything was discarded, up to where the guest runs; then what `rest` sends. */
const running = (rest: Play): DestinationCase => ({
  postcopyRam: true,
  play: async (source, machine, carriedOut) => {
    await beginPostcopy(source, machine);
    await source.send(discards(machine), packaged(machine));
    await rest(source, machine, carriedOut);
  },
});

/** The same, but `rest` is sent when RUN has been carried out. */
const wellAfterRun = (rest: (machine: CapturedMachine) => Uint8Array[]): DestinationCase =>
  running(async (source, machine, carriedOut) => {
    await source.pong(Ping.PACKAGE);
    await carriedOut();
    await source.send(...rest(machine));
  });

/** A postcopy told by its commands: `rest` stands behind the block list. */
const advised = (rest: (machine: CapturedMachine) => Uint8Array[]): DestinationCase => ({
  postcopyRam: true,
  play: async (source, machine) => {
    await beginPostcopy(source, machine);
    await source.send(...rest(machine));
  },
});

/** All of a postcopy with the pings that QEMU sends. */
const wholePostcopy = (pages: (machine: CapturedMachine) => PageAddress[], ...behind: Uint8Array[]): Play => {
  return async (source, machine) => {
    await beginPostcopy(source, machine);
    await source.send(discards(machine), encodePing(Ping.STOPPED), packaged(machine), encodePing(Ping.AFTER_PACKAGE));
    await source.send(...restOfPostcopy(machine, pages(machine)), ...behind);
  };
};

const everyPage = (machine: CapturedMachine): PageAddress[] => machine.allPages();
const allButOddPage = (machine: CapturedMachine): PageAddress[] =>
  machine.allPages().filter((page) => !isOddPage(page));

// --- the cases -------------------------------------------------------------------------------------------------

const legalPrecopies: Record<string, DestinationCase> = {
  'precopy: one PART with all pages, CONTINUE used, END with only EOS': precopyCase((machine) => [
    allPagesPart(machine),
  ]),
  'precopy: never CONTINUE, every page record names its block': precopyCase((machine) => [
    machine.ramPart(...machine.allPages().map((page) => machine.page(page))),
  ]),
  'precopy: no END section for ram at all': {
    play: (source, machine) =>
      source.send(
        ...[machine.header(), machine.ramStart(), allPagesPart(machine), machine.allDevices(), machine.ending()],
      ),
  },
  'precopy: one page per PART, CONTINUE refers to the block of an earlier PART': precopyCase((machine) => {
    let last = '';
    return machine.allPages().map((page) => {
      const record = machine.page(page, page.idstr === last);
      last = page.idstr;
      return machine.ramPart(record);
    });
  }),
  'precopy: the same page sent three times, last content wins': precopyCase((machine) => [
    machine.ramPart(fillRecord(ODD_PAGE), pageRecord(ODD_PAGE, RamFlag.PAGE, new Uint8Array(PAGE_BYTES).fill(1))),
    allPagesPart(machine),
  ]),
  'precopy: page never sent keeps the destination content': precopyCase((machine) => [
    machine.ramPart(machine.pages(allButOddPage(machine))),
  ]),
  'precopy: zero record with fill byte 0xAA': precopyCase((machine) => [
    machine.ramPart(machine.pages(allButOddPage(machine)), fillRecord(ODD_PAGE)),
  ]),
};

const endsOfPrecopies: Record<string, DestinationCase> = {
  'precopy: connection closed right after EOF, no VM description': {
    play: async (source, machine) => {
      await source.send(machine.header(), machine.ramStart(), allPagesPart(machine), machine.ramEnd());
      await source.send(machine.allDevices(), encodeEof());
      source.close();
    },
  },
  'precopy: connection kept open after EOF, no VM description (destination waits for one byte)': {
    play: async (source, machine) => {
      await source.send(machine.header(), machine.ramStart(), allPagesPart(machine), machine.ramEnd());
      await source.send(machine.allDevices(), encodeEof());
    },
  },
  'precopy: devices without footers': {
    play: (source, machine) => {
      const bodies = machine.devices.map(({ section }) => section.subarray(0, -encodeFooter(0).length));
      return source.send(
        ...[machine.header(), machine.ramStart(), allPagesPart(machine), machine.ramEnd(), ...bodies, machine.ending()],
      );
    },
  },
  'precopy: connection cut in the middle of RAM': {
    play: async (source, machine) => {
      const part = allPagesPart(machine);
      await source.send(machine.header(), machine.ramStart(), part.subarray(0, part.length / 2));
      source.close();
    },
  },
};

const heads: Record<string, DestinationCase> = {
  'precopy: configuration section absent': {
    play: (source, machine) => source.send(encodeHeader(), ...precopy(machine, allPagesPart(machine)).slice(1)),
  },
  'configuration names another machine': {
    play: (source, machine) => source.send(machine.header({ machine: 'pc-i440fx-7.2' }), machine.ramStart()),
  },
  'configuration name is a prefix of the local name (length counts)': {
    play: (source, machine) =>
      source.send(
        machine.header({ machine: machine.machine.slice(0, -2) }),
        ...precopy(machine, allPagesPart(machine)).slice(1),
      ),
  },
  'stream version 2': {
    play: (source) => {
      const header = encodeHeader();
      header[header.length - 1] = 2;
      return source.send(header);
    },
  },
  'RAM block size differs (microvm.ram 16 MiB instead of 16 MiB + 8 KiB)': {
    play: (source, machine) => {
      const blocks = machine.blocks.map((block) =>
        block.idstr === ODD_PAGE.idstr ? { ...block, usedLength: 16 * 2 ** 20 } : block,
      );
      return source.send(machine.header(), machine.ramStart(blocks));
    },
  },
  'unknown section name': {
    play: (source, machine) =>
      source.send(
        machine.header(),
        encodeSectionStart({ type: 'FULL', id: 77, idstr: 'no-such-device', instanceId: 0, versionId: 1 }),
      ),
  },
  'section version above the local one (ram v5)': {
    play: (source, machine) => source.send(machine.header(), machine.ramStart(machine.blocks, { versionId: 5 })),
  },
};

const brokenRecords: Record<string, DestinationCase> = {
  'PART with a section id never announced': afterBlockList(() => [encodeSectionPart('PART', 99)]),
  'first page record says CONTINUE': afterBlockList((machine) => [machine.ramPart(machine.page(ODD_PAGE, true))]),
  'page offset at the end of the block': afterBlockList((machine) => {
    const { usedLength } = machine.blocks.find(({ idstr }) => idstr === ODD_PAGE.idstr)!;
    return [machine.ramPart(fillRecord({ ...ODD_PAGE, page: usedLength / PAGE_BYTES }))];
  }),
  'unknown RAM block in a page record': afterBlockList((machine) => [
    machine.ramPart(fillRecord({ idstr: 'no-such-block', page: 0 })),
  ]),
  'unknown section type byte 9': afterBlockList(() => [Uint8Array.of(9)]),
  'unknown command 11 (SWITCHOVER_START of newer versions)': afterBlockList(() => [encodeSwitchoverStart()]),
  'PING with length 5': {
    play: (source, machine) =>
      source.send(machine.header(), encodeOpenReturnPath(), rawCommand(Command.PING, new Uint8Array(5))),
  },
  'PING without OPEN_RETURN_PATH': {
    play: (source, machine) => source.send(machine.header(), encodePing(Ping.SETUP)),
  },
};

const returnPathAndRecovery: Record<string, DestinationCase> = {
  'OPEN_RETURN_PATH twice, then PINGs with odd values, then a whole precopy': {
    play: async (source, machine) => {
      const opened = [encodeOpenReturnPath(), encodeOpenReturnPath()];
      const pings = [0xdeadbeef, 7, 9, 10].map(encodePing);
      const [header, ...rest] = precopy(machine, allPagesPart(machine));
      await source.send(header, ...opened, ...pings, ...rest);
    },
  },
  'RECV_BITMAP outside recovery': {
    play: async (source, machine) => {
      await begin(source, machine);
      await source.send(encodeRecvBitmap(ODD_PAGE.idstr), ...precopy(machine, allPagesPart(machine)).slice(1));
    },
  },
  'POSTCOPY_RESUME outside recovery': {
    play: (source, machine) => {
      const [header, ...rest] = precopy(machine, allPagesPart(machine));
      return source.send(header, encodeOpenReturnPath(), encodePostcopyResume(), ...rest);
    },
  },
};

/** An ADVISE on its own, behind what may stand before it. */
const advising = (...commands: Uint8Array[]): Play => {
  return (source, machine) => source.send(machine.header(), ...commands, machine.ramStart());
};

const advises: Record<string, DestinationCase> = {
  '16 byte ADVISE, destination without postcopy-ram': {
    play: async (source, machine) => {
      await begin(source, machine);
      await source.send(advise);
    },
  },
  '0 byte ADVISE, destination with postcopy-ram': { postcopyRam: true, play: advising(encodePostcopyAdvise()) },
  'ADVISE with page size summary 0x201000': {
    postcopyRam: true,
    play: advising(encodePostcopyAdvise({ pageSizeSummary: 0x201000, targetPageSize: PAGE_BYTES })),
  },
  'ADVISE with target page size 8192': {
    postcopyRam: true,
    play: advising(encodePostcopyAdvise({ pageSizeSummary: PAGE_BYTES, targetPageSize: 8192 })),
  },
  'ADVISE twice': {
    postcopyRam: true,
    play: async (source, machine) => {
      await begin(source, machine);
      await source.send(advise, advise);
    },
  },
  'no ADVISE although the destination has postcopy-ram, plain precopy': {
    postcopyRam: true,
    play: (source, machine) => source.send(...precopy(machine, allPagesPart(machine))),
  },
  'postcopy-ram destination, ADVISE, plain precopy to the end': {
    postcopyRam: true,
    play: async (source, machine) => {
      await begin(source, machine);
      await source.send(advise, ...precopy(machine, allPagesPart(machine)).slice(1));
    },
  },
};

const ordersOfCommands: Record<string, DestinationCase> = {
  'LISTEN without ADVISE': {
    postcopyRam: true,
    play: (source, machine) => source.send(machine.header(), machine.ramStart(), packaged(machine)),
  },
  'RUN without LISTEN': advised((machine) => [
    discards(machine),
    encodePackaged(joined([machine.allDevices(), encodePing(Ping.PACKAGE), encodePostcopyRun()])),
  ]),
  'DISCARD without ADVISE': {
    postcopyRam: true,
    play: (source, machine) => source.send(machine.header(), machine.ramStart(), discards(machine)),
  },
  'LISTEN straight from ADVISE, no DISCARD command at all': advised((machine) => [
    packaged(machine),
    ...restOfPostcopy(machine, machine.allPages()),
  ]),
  'DISCARD inside the package': advised((machine) => [discards(machine), packaged(machine, discards(machine))]),
  'DISCARD on the stream after LISTEN and RUN': wellAfterRun((machine) => [discards(machine)]),
  'RUN twice in the package': advised((machine) => [
    discards(machine),
    encodePackaged(
      joined([
        ...[encodePostcopyListen(), machine.allDevices(), encodePing(Ping.PACKAGE)],
        ...[encodePostcopyRun(), encodePostcopyRun()],
      ]),
    ),
  ]),
};

const discardCases: Record<string, DestinationCase> = {
  'DISCARD of unknown block': advised(() => [encodeRamDiscard('no-such-block', [{ start: 0, length: PAGE_BYTES }])]),
  'DISCARD with 200 ranges in one command': advised((machine) => {
    const ranges = Array.from({ length: 200 }, (_, i) => ({ start: 2 * i * PAGE_BYTES, length: PAGE_BYTES }));
    return [rawDiscard(0, ODD_PAGE.idstr, ranges), packaged(machine), ...restOfPostcopy(machine, machine.allPages())];
  }),
  'DISCARD version 1': advised(() => [rawDiscard(1, ODD_PAGE.idstr, [{ start: 0, length: PAGE_BYTES }])]),
  'DISCARD of half a page (2048 bytes)': advised(() => [
    rawDiscard(0, ODD_PAGE.idstr, [{ start: 0, length: PAGE_BYTES / 2 }]),
  ]),
  'postcopy: only one page discarded although nothing was sent before': advised((machine) => [
    encodeRamDiscard(ODD_PAGE.idstr, [{ start: ODD_PAGE.page * PAGE_BYTES, length: PAGE_BYTES }]),
    packaged(machine),
    ...restOfPostcopy(machine, machine.allPages()),
  ]),
  'postcopy: 2000 pages sent in precopy and kept, everything else discarded and sent later': advised((machine) => {
    const [ram, ...others] = machine.wholeBlocks();
    const kept = 2000;
    const rest = { start: kept * PAGE_BYTES, length: ram.ranges[0].length - kept * PAGE_BYTES };
    return [
      machine.ramPart(machine.pages(machine.allPages().slice(0, kept))),
      encodeRamDiscard(ram.idstr, [rest]),
      ...others.map(({ idstr, ranges }) => encodeRamDiscard(idstr, ranges)),
      packaged(machine),
      ...restOfPostcopy(machine, machine.allPages().slice(kept)),
    ];
  }),
};

const postcopies: Record<string, DestinationCase> = {
  'postcopy by a source that ignores page requests and just streams everything in address order': {
    postcopyRam: true,
    runs: true,
    play: wholePostcopy(everyPage),
  },
  'the same with destination -S, memory compared': { postcopyRam: true, play: wholePostcopy(everyPage) },
  'postcopy: package without PINGs': advised((machine) => [
    discards(machine),
    encodePackaged(joined([encodePostcopyListen(), machine.allDevices(), encodePostcopyRun()])),
    ...restOfPostcopy(machine, machine.allPages()),
  ]),
  'postcopy: LISTEN and devices and RUN sent unpackaged': advised((machine) => [
    discards(machine),
    ...[encodePostcopyListen(), machine.allDevices(), encodePing(Ping.PACKAGE), encodePostcopyRun()],
    ...restOfPostcopy(machine, machine.allPages()),
  ]),
  'postcopy: EOF although one page (0x300) was never sent': {
    postcopyRam: true,
    play: wholePostcopy(allButOddPage),
  },
  'postcopy: VM description after the final EOF': {
    postcopyRam: true,
    play: wholePostcopy(everyPage, encodeVmDescription('{}')),
  },
};

const pagesAfterRun: Record<string, DestinationCase> = {
  'postcopy: a page received in precopy, not discarded, sent again after RUN': advised((machine) => {
    const ranges = [
      { start: 0, length: ODD_PAGE.page * PAGE_BYTES },
      { start: (ODD_PAGE.page + 1) * PAGE_BYTES, length: PAGE_BYTES },
    ];
    return [
      machine.ramPart(machine.page(ODD_PAGE)),
      encodeRamDiscard(ODD_PAGE.idstr, ranges),
      packaged(machine),
      ...restOfPostcopy(machine, machine.allPages()),
    ];
  }),
  'postcopy: the same page twice, at once after the package (device load may still run)': running((source, machine) =>
    source.send(machine.ramPart(machine.page(ODD_PAGE), machine.page(ODD_PAGE))),
  ),
  'postcopy: the same page twice, well after RUN': wellAfterRun((machine) => [
    machine.ramPart(machine.page(ODD_PAGE), machine.page(ODD_PAGE)),
  ]),
  'postcopy: garbage section type well after RUN': wellAfterRun(() => [Uint8Array.of(9)]),
  'postcopy: XBZRLE record after RUN': running((source, machine) =>
    source.send(machine.ramPart(pageRecord(ODD_PAGE, RamFlag.XBZRLE, Uint8Array.of(XBZRLE_ENCODING, 0, 3, 0, 1, 1)))),
  ),
  'postcopy: zero record with fill byte 0xAA after RUN': wellAfterRun((machine) => [
    machine.ramPart(fillRecord(ODD_PAGE)),
    ...restOfPostcopy(machine, allButOddPage(machine)),
  ]),
  'postcopy: device FULL section on the stream after RUN': wellAfterRun((machine) => [
    machine.devices[0].section,
    ...restOfPostcopy(machine, machine.allPages()),
  ]),
};

const cuts: Record<string, DestinationCase> = {
  'postcopy: connection cut in the middle of the package': {
    postcopyRam: true,
    play: async (source, machine) => {
      await beginPostcopy(source, machine);
      const whole = packaged(machine);
      await source.send(discards(machine), whole.subarray(0, whole.length / 2));
      source.close();
    },
  },
  'postcopy: connection cut after the package': running(async (source, _machine, carriedOut) => {
    await source.pong(Ping.PACKAGE);
    await carriedOut();
    source.close();
  }),
};

/** Every case of test/fixtures/observed-destination.json. */
export const destinationCases: Readonly<Record<string, DestinationCase>> = {
  ...legalPrecopies,
  ...endsOfPrecopies,
  ...heads,
  ...brokenRecords,
  ...returnPathAndRecovery,
  ...advises,
  ...ordersOfCommands,
  ...discardCases,
  ...postcopies,
  ...pagesAfterRun,
  ...cuts,
};
