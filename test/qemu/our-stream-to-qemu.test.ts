/**
 * What our source sends and QEMU's source never does, played to a QEMU destination record by record: it must take
 * all of it, and be right about the memory afterwards. No engine takes part; what the engine sends is repeated here.
 */
import { describe, expect, test } from 'vitest';
import {
  encodeEof,
  encodeFooter,
  encodeOpenReturnPath,
  encodePackaged,
  encodePing,
  encodePostcopyAdvise,
  encodePostcopyListen,
  encodePostcopyRun,
  encodeRamDiscard,
  encodeRamEos,
  encodeSectionPart,
} from '#lib/wire/encode.js';
import type { ReturnPathMessageRecord } from '#lib/wire/messages.js';
import { Ping } from '#lib/wire/protocol.js';
import { joined } from '../../testing/feed.ts';
import { type DestinationOutcome, playToQemu } from '../../testing/qemu/captured-destination.ts';
import { CapturedMachine, PAGE_BYTES, type PageAddress } from '../../testing/qemu/captured-machine.ts';
import type { DestinationCase } from '../../testing/qemu/destination-cases.ts';
import type { ScriptedSource } from '../../testing/qemu/scripted-source.ts';

const machine = new CapturedMachine('a-precopy');
const everyPage = machine.allPages();
const RAM = 'microvm.ram';

/** The first of the pings that tell how many background pages have been placed; our source counts up from it. */
const FIRST_PLACED = 0x10000;
/** Pages between two of those pings: 128 KiB. */
const PAGES_PER_PING = 32;

async function begin(source: ScriptedSource): Promise<void> {
  await source.send(machine.header(), encodeOpenReturnPath(), encodePing(Ping.SETUP));
  await source.pong(Ping.SETUP);
  await source.send(encodePostcopyAdvise({ pageSizeSummary: PAGE_BYTES, targetPageSize: PAGE_BYTES }));
  await source.send(machine.ramStart());
}

const discardPages = (first: number, count: number): Uint8Array =>
  encodeRamDiscard(RAM, [{ start: first * PAGE_BYTES, length: count * PAGE_BYTES }]);

const discardAll = (): Uint8Array =>
  joined(machine.wholeBlocks().map(({ idstr, ranges }) => encodeRamDiscard(idstr, ranges)));

async function handOver(source: ScriptedSource, ...behindDevices: Uint8Array[]): Promise<void> {
  const inner = [encodePostcopyListen(), machine.allDevices(), encodePing(Ping.PACKAGE), ...behindDevices];
  await source.send(encodePing(Ping.STOPPED), encodePackaged(joined([...inner, encodePostcopyRun()])));
  await source.send(encodePing(Ping.AFTER_PACKAGE));
}

/** Background pages, a ping behind each 128 KiB, as our credit window sends them; returns the last ping's value. */
async function sendWithCredit(source: ScriptedSource, pages: readonly PageAddress[]): Promise<number> {
  let value = FIRST_PLACED;
  for (let at = 0; at < pages.length; at += PAGES_PER_PING, value += 1) {
    await source.send(machine.ramPart(machine.pages(pages.slice(at, at + PAGES_PER_PING))), encodePing(value));
    // Two on the way, as at the window's smallest.
    if (value > FIRST_PLACED) await source.pong(value - 1);
  }
  return value - 1;
}

const end = (source: ScriptedSource): Promise<void> => source.send(machine.ramEnd(), encodeEof());

const pongs = (outcome: DestinationOutcome): readonly number[] => [...((outcome.return_path.PONG ?? []) as number[])];

type PageRequest = Extract<ReturnPathMessageRecord, { type: 'REQ_PAGES' }>;
const isPageRequest = (message: ReturnPathMessageRecord): message is PageRequest => message.type === 'REQ_PAGES';

/** What must come of each of these. */
async function playToEnd(play: (source: ScriptedSource) => Promise<void>, runs = false): Promise<DestinationOutcome> {
  const played: DestinationCase = { postcopyRam: true, runs, play };
  const outcome = await playToQemu(machine, played, 'completed');
  expect(outcome).toMatchObject({ destination: 'completed', return_path: { SHUT: [0] } });
  // A guest that runs writes to its memory.
  if (!runs) expect(outcome.pages_differing_from_sent).toBe(0);
  return outcome;
}

describe('a QEMU destination takes from our source', { timeout: 180_000 }, () => {
  test('rounds of discards while precopy goes on, a ping behind each, and pages discarded twice', async () => {
    const outcome = await playToEnd(async (source) => {
      await begin(source);
      await source.send(machine.ramPart(machine.pages(everyPage)));
      for (let round = 1; round <= 4; round += 1) {
        await source.send(discardPages(round * 256, 512), encodePing(Ping.DISCARDED + round));
        await source.pong(Ping.DISCARDED + round);
        // Precopy goes on, with pages that have just been discarded among them.
        await source.send(machine.ramPart(machine.pages(everyPage.slice(round * 256, round * 256 + 128))));
      }
      await source.send(discardAll());
      await handOver(source);
      await source.send(machine.ramPart(machine.pages(everyPage)));
      await end(source);
    });
    expect(pongs(outcome)).toEqual(expect.arrayContaining([1, 2, 3, 4, 0x101, 0x102, 0x103, 0x104]));
  });

  test('discards before the stop and none behind it', async () => {
    await playToEnd(async (source) => {
      await begin(source);
      await source.send(discardAll(), encodePing(Ping.DISCARDED + 1));
      await source.pong(Ping.DISCARDED + 1);
      await handOver(source);
      await source.send(machine.ramPart(machine.pages(everyPage)));
      await end(source);
    });
  });

  test('a ping behind each 128 KiB of background pages, every one answered in order', async () => {
    let last = 0;
    const outcome = await playToEnd(async (source) => {
      await begin(source);
      await source.send(discardAll());
      await handOver(source);
      last = await sendWithCredit(source, everyPage);
      await source.pong(last);
      await end(source);
    });
    const placed = pongs(outcome).filter((value) => value >= FIRST_PLACED);
    expect(placed).toEqual(Array.from({ length: last - FIRST_PLACED + 1 }, (_, index) => FIRST_PLACED + index));
  });

  test('page requests served before everything else while the guest runs, with pings in between', async () => {
    const outcome = await playToEnd(async (source) => {
      await begin(source);
      await source.send(discardAll());
      await handOver(source);
      // The guest asks for what it runs on; only when it has been served does the background begin.
      const request = await source.answers.first('a page request', isPageRequest);
      const isRequested = ({ idstr, page }: PageAddress): boolean =>
        idstr === request.idstr && page === request.start / PAGE_BYTES;
      await source.send(machine.ramPart(machine.pages(everyPage.filter(isRequested))));
      await sendWithCredit(
        source,
        everyPage.filter((page) => !isRequested(page)),
      );
      await end(source);
    }, true);
    expect(outcome.events).toContain('RESUME');
    expect(outcome.runstate).toBe('running');
  });

  test('pages in the END section, and a ping 0x42 before RUN', async () => {
    const outcome = await playToEnd(async (source) => {
      await begin(source);
      await source.send(discardAll());
      await handOver(source, encodePing(Ping.SWITCHOVER));
      const { id } = machine.ramSection;
      await source.send(encodeSectionPart('END', id), machine.pages(everyPage), encodeRamEos(), encodeFooter(id));
      await source.send(encodeEof());
    });
    expect(pongs(outcome)).toContain(Ping.SWITCHOVER);
  });

  test('CONTINUE in a section for the block that the section before ended with', async () => {
    await playToEnd(async (source) => {
      await begin(source);
      await source.send(discardAll());
      await handOver(source);
      let last = '';
      for (const page of everyPage) {
        await source.send(machine.ramPart(machine.page(page, page.idstr === last)));
        last = page.idstr;
      }
      await end(source);
    });
  });
});
