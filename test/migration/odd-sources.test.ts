/**
 * Each case of observed-destination.json, which tells what a real QEMU does with sources that are odd or break the
 * protocol, played to our own destination: its answer is QEMU's, or stands in a table here with the reason.
 */
import { describe, expect, test } from 'vitest';
import type { ErrorCode } from '#lib/index.js';
import { playToOurs } from '../../testing/our-destination.ts';
import type { DestinationOutcome } from '../../testing/qemu/captured-destination.ts';
import { CapturedMachine } from '../../testing/qemu/captured-machine.ts';
import { destinationCases } from '../../testing/qemu/destination-cases.ts';
import { observedDestinations as observed } from '../../testing/qemu/observed.ts';

const machine = new CapturedMachine('a-precopy');

/** Refused here as by QEMU, which exits in precopy and pauses in postcopy: with which code and what message. */
const refusals: Readonly<Record<string, readonly [ErrorCode, RegExp]>> = {
  'precopy: configuration section absent': ['ILLEGAL_COMMAND', /RAM before its machine/],
  'configuration names another machine': ['GUEST_MISMATCH', /"pc-i440fx-7.2".*"microvm"/],
  'stream version 2': ['STREAM_CORRUPT', /offset 4 .*version 2/],
  'RAM block size differs (microvm.ram 16 MiB instead of 16 MiB + 8 KiB)': [
    'GUEST_MISMATCH',
    /microvm.ram 16777216.*microvm.ram 16785408/,
  ],
  'unknown section name': ['GUEST_MISMATCH', /"no-such-device"/],
  'section version above the local one (ram v5)': ['UNSUPPORTED', /RAM in version 5/],
  'PART with a section id never announced': ['STREAM_CORRUPT', /id 99/],
  'first page record says CONTINUE': ['STREAM_CORRUPT', /CONTINUE before any block/],
  'page offset at the end of the block': ['STREAM_CORRUPT', /page 16785408 is not inside block microvm.ram/],
  'unknown RAM block in a page record': ['STREAM_CORRUPT', /not in the block list/],
  'unknown section type byte 9': ['STREAM_CORRUPT', /offset 180 .*0x9/],
  'PING with length 5': ['STREAM_CORRUPT', /PING at offset 28 .*5 bytes/],
  'PING without OPEN_RETURN_PATH': ['ILLEGAL_COMMAND', /PING at offset 20, before OPEN_RETURN_PATH/],
  '16 byte ADVISE, destination without postcopy-ram': ['UNSUPPORTED', /postcopy-ram is off/],
  '0 byte ADVISE, destination with postcopy-ram': ['UNSUPPORTED', /dirty-bitmaps/],
  'ADVISE with page size summary 0x201000': ['GUEST_MISMATCH', /2101248.*4096/],
  'ADVISE with target page size 8192': ['GUEST_MISMATCH', /8192 bytes/],
  'ADVISE twice': ['ILLEGAL_COMMAND', /POSTCOPY_ADVISE .*state advise/],
  'LISTEN without ADVISE': ['ILLEGAL_COMMAND', /POSTCOPY_LISTEN .*without both POSTCOPY_ADVISE/],
  'RUN without LISTEN': ['ILLEGAL_COMMAND', /POSTCOPY_RUN .*state discard/],
  'DISCARD without ADVISE': ['ILLEGAL_COMMAND', /POSTCOPY_RAM_DISCARD .*state none/],
  'DISCARD inside the package': ['ILLEGAL_COMMAND', /POSTCOPY_RAM_DISCARD .*inside the package/],
  'DISCARD on the stream after LISTEN and RUN': ['ILLEGAL_COMMAND', /POSTCOPY_RAM_DISCARD .*after LISTEN/],
  'DISCARD of unknown block': ['STREAM_CORRUPT', /no-such-block/],
  'DISCARD version 1': ['STREAM_CORRUPT', /version 1/],
  'DISCARD of half a page (2048 bytes)': ['STREAM_CORRUPT', /0\+2048/],
  'postcopy: LISTEN and devices and RUN sent unpackaged': ['ILLEGAL_COMMAND', /POSTCOPY_LISTEN .*state discard/],
  'postcopy: a page received in precopy, not discarded, sent again after RUN': [
    'STREAM_CORRUPT',
    /page 768 of RAM block microvm.ram comes a second time/,
  ],
  'postcopy: the same page twice, at once after the package (device load may still run)': [
    'STREAM_CORRUPT',
    /page 768 of RAM block microvm.ram comes a second time/,
  ],
  'postcopy: the same page twice, well after RUN': ['STREAM_CORRUPT', /page 768 .*a second time/],
  'postcopy: garbage section type well after RUN': ['STREAM_CORRUPT', /0x9/],
  'postcopy: connection cut in the middle of the package': ['PEER_GONE', /before its end/],
  'postcopy: connection cut after the package': ['PEER_GONE', /before its end/],
  'precopy: connection cut in the middle of RAM': ['PEER_GONE', /before its end/],
};

interface OwnAnswer {
  readonly why: string;
  /** Absent: completed, with all of RAM right. */
  readonly code?: ErrorCode;
  readonly says?: RegExp;
  /** Comes to an end only when the source closes. */
  readonly waits?: boolean;
  /** The migration does not end, but pauses. */
  readonly pauses?: boolean;
}

/** Where our answer is not QEMU's. */
const ownAnswers: Readonly<Record<string, OwnAnswer>> = {
  'precopy: page never sent keeps the destination content': {
    why: 'there is no content of its own here that the page could keep: it would read as zeroes',
    code: 'PAGES_MISSING',
    says: /microvm.ram: 768/,
  },
  'postcopy: EOF although one page (0x300) was never sent': {
    why: 'whoever waits for the page would read zeroes; in a recovery it may come yet',
    code: 'PAGES_MISSING',
    says: /microvm.ram: 768/,
    pauses: true,
  },
  'precopy: connection kept open after EOF, no VM description (destination waits for one byte)': {
    why: 'it waits as QEMU does; here the source closes then',
    waits: true,
  },
  'precopy: devices without footers': {
    why: 'the body of a device is opaque here, so that a footer never comes is known at the end of the stream',
    code: 'PEER_GONE',
    waits: true,
  },
  'configuration name is a prefix of the local name (length counts)': {
    why: 'QEMU compares as much as the source sent; another name is another machine',
    code: 'GUEST_MISMATCH',
    says: /"micro"/,
  },
  'unknown command 11 (SWITCHOVER_START of newer versions)': {
    why: 'newer QEMUs send it, and take it; here the stream ends behind it',
    code: 'PEER_GONE',
    waits: true,
  },
  'RECV_BITMAP outside recovery': {
    why: 'QEMU prints an error and goes on; a source that asks for it here has lost its way',
    code: 'STREAM_CORRUPT',
    says: /RECV_BITMAP/,
  },
  'POSTCOPY_RESUME outside recovery': {
    why: 'QEMU prints an error and goes on; a source that asks for it here has lost its way',
    code: 'ILLEGAL_COMMAND',
    says: /POSTCOPY_RESUME .*state none/,
  },
  'LISTEN straight from ADVISE, no DISCARD command at all': {
    why: 'legal where nothing was sent before; QEMU 7.2 has its firmware in RAM still, and fails placing over it',
  },
  'RUN twice in the package': {
    why: 'QEMU stops reading the package and never says so',
    code: 'ILLEGAL_COMMAND',
    says: /behind POSTCOPY_RUN/,
  },
  'postcopy: XBZRLE record after RUN': {
    why: 'QEMU exits, and the guest is lost with it; over another connection it may come whole',
    code: 'ILLEGAL_COMMAND',
    says: /xbzrle .*after LISTEN/,
    pauses: true,
  },
  'postcopy: device FULL section on the stream after RUN': {
    why: 'it would change a device of a guest that runs already',
    code: 'ILLEGAL_COMMAND',
    says: /section-start .*after LISTEN/,
    pauses: true,
  },
};

/** Values by kind of message, in no order: pongs are answered by two threads. */
const sorted = (answers: DestinationOutcome['return_path']) =>
  Object.fromEntries(
    Object.entries(answers)
      .filter(([kind]) => kind !== 'REQ_PAGES_ID') // nothing runs here that would fault
      .map(([kind, values]) => [kind, [...values].sort()]),
  );

describe('our destination', () => {
  test('every case that QEMU refuses has its refusal here, and no case has two answers', () => {
    const refused = observed.filter(
      ({ destination }) => !['completed', 'active', 'postcopy-active'].includes(destination),
    );
    const own = Object.keys(ownAnswers);
    expect(Object.keys(refusals).sort()).toEqual(
      refused
        .map((known) => known.case)
        .filter((name) => !own.includes(name))
        .sort(),
    );
    expect(observed.map((known) => known.case)).toEqual(expect.arrayContaining(own));
  });

  test.each(observed)('$case', async ({ case: name, ...known }) => {
    const own = ownAnswers[name];
    const [code, says] = own === undefined ? (refusals[name] ?? []) : [own.code, own.says];
    const outcome = await playToOurs(machine, destinationCases[name], own?.waits);
    const stopped = known.destination === 'postcopy-paused' || own?.pauses ? 'postcopy-paused' : 'failed';
    expect(outcome).toMatchObject({ status: code === undefined ? 'completed' : stopped });
    if (code !== undefined) {
      expect(outcome).toMatchObject({ code, message: expect.stringMatching(says ?? '') });
      // Told once, and never that all went well; of a pause nothing is said.
      if (stopped === 'failed') expect(outcome.answers.SHUT ?? [1]).toEqual([1]);
      else expect(outcome.answers.SHUT).toBeUndefined();
      return;
    }
    if (known.destination === 'completed') expect(sorted(outcome.answers)).toEqual(sorted(known.return_path));
    const filled = known.page_0x300_filled_with_aa ?? false;
    expect(outcome.memory).toEqual({
      pages_differing_from_sent: filled ? 1 : 0,
      page_0x300_is_zero: false,
      page_0x300_filled_with_aa: filled,
    });
  });
});
