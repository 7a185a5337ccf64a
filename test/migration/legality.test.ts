/**
 * Each command in each postcopy state, as bytes to a real destination: it goes on where that is legal, else it
 * ends with an error that names the place, and leaves nothing behind.
 */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { PostcopyState } from '#lib/destination/postcopy-state.js';
import { type IncomingMigration, listen, type MigrationError } from '#lib/index.js';
import {
  encodeEnableColo,
  encodeEof,
  encodeOpenReturnPath,
  encodePostcopyResume,
  encodeRecvBitmap,
  encodeSwitchoverStart,
  encodeVmDescription,
} from '#lib/wire/encode.js';
import { allPages, HandFedSource, piece } from '../../testing/hand-fed-source.ts';
import { handleLeaks } from '../../testing/lib-thread.ts';
import { PatternGuest, patternPage } from '../../testing/pattern-guest.ts';
import { stops } from '../../testing/stops.ts';

const SEED = 21;
const blocks = [
  { idstr: 'ram', pages: 16 },
  { idstr: 'rom', pages: 3 },
];

let guest: PatternGuest;
let incoming: IncomingMigration;
let source: HandFedSource;
let leaks: ReturnType<typeof handleLeaks>;

beforeEach(async () => {
  leaks = handleLeaks();
  guest = new PatternGuest(blocks);
  incoming = await listen('tcp:127.0.0.1:0', { guest, capabilities: { postcopyRam: true } });
  source = await HandFedSource.connect(incoming.uri);
});
afterEach(async () => {
  source.close();
  incoming.abort();
  await incoming.finished.catch(() => {});
  incoming.abandon();
  guest.close();
  expect(leaks()).toEqual({});
});

const pages = () => allPages(guest.ramBlocks, (block, page) => patternPage(block, page, SEED));
const begin = () => piece.start();
const advised = () => [begin(), piece.advise(guest.ramBlocks), piece.blocks(guest.ramBlocks)];

/** What is sent before a command, to have the destination in that state. */
const wayTo: Readonly<Record<Exclude<PostcopyState, 'listening' | 'end'>, () => Uint8Array[]>> = {
  none: () => [begin(), piece.blocks(guest.ramBlocks, false)],
  advise: advised,
  discard: () => [...advised(), piece.discard('ram', 0, 1)],
  running: () => [...advised(), piece.package()],
};
type Outside = keyof typeof wayTo;

const commands = {
  OPEN_RETURN_PATH: () => encodeOpenReturnPath(),
  PING: () => piece.ping(77),
  POSTCOPY_ADVISE: () => piece.advise(guest.ramBlocks),
  POSTCOPY_RAM_DISCARD: () => piece.discard('rom', 1, 1),
  POSTCOPY_LISTEN: () => piece.listen(),
  POSTCOPY_RUN: () => piece.run(),
  PACKAGED: () => piece.package(),
  POSTCOPY_RESUME: () => encodePostcopyResume(),
  RECV_BITMAP: () => encodeRecvBitmap('ram'),
  ENABLE_COLO: () => encodeEnableColo(),
  SWITCHOVER_START: () => encodeSwitchoverStart(),
} as const;
type Name = keyof typeof commands;

/** Outside a package. */
const legal: Readonly<Record<Outside, readonly Name[]>> = {
  none: ['OPEN_RETURN_PATH', 'PING', 'POSTCOPY_ADVISE', 'SWITCHOVER_START'],
  advise: ['OPEN_RETURN_PATH', 'PING', 'POSTCOPY_RAM_DISCARD', 'PACKAGED', 'SWITCHOVER_START'],
  discard: ['OPEN_RETURN_PATH', 'PING', 'POSTCOPY_RAM_DISCARD', 'PACKAGED', 'SWITCHOVER_START'],
  running: ['PING'],
};

/** Of a command that is not legal: COLO is a capability that is refused wherever it shows. */
const codeOf = (name: string): string => (name === 'ENABLE_COLO' ? 'UNSUPPORTED' : 'ILLEGAL_COMMAND');

/** It has ended with that error, and everybody has been told. */
async function ends(expected: object, message: RegExp): Promise<MigrationError> {
  await expect(incoming.finished).rejects.toMatchObject(expected);
  await expect(incoming.finished).rejects.toThrow(message);
  expect(incoming.status).toBe('failed');
  // Not always last: the main thread may answer a ping of the package when the listen thread has said it.
  expect(source.heard).toContainEqual({ type: 'SHUT', value: 1 });
  return incoming.finished.catch((error) => error);
}

describe.each(Object.keys(wayTo) as Outside[])('in state %s', (state) => {
  test.each(Object.keys(commands) as Name[])('%s', async (name) => {
    source.send(...wayTo[state]());
    const offset = source.sent;
    source.send(commands[name]());
    if (legal[state].includes(name)) {
      await source.settled();
      expect(incoming.status).toMatch(/active/);
      return;
    }
    // What is illegal in a package is the first record of it.
    const record = name === 'PACKAGED' && state === 'none' ? 'POSTCOPY_LISTEN' : name;
    const code = state === 'running' ? 'ILLEGAL_COMMAND' : codeOf(record);
    if (state === 'running') {
      // The guest is here and is not given up: another connection may do better.
      const { status, error } = await stops(incoming);
      expect({ status, ...error }).toMatchObject({ status: 'postcopy-paused', code, record, offset });
      return;
    }
    const error = await ends({ code, record }, new RegExp(`${record} at offset \\d+`));
    expect(error.offset).toBe(record === name ? offset : offset + 9);
    expect(incoming.info().lost).toBeUndefined();
  });
});

describe('in a package, in state listening', () => {
  /** Behind LISTEN the fault and listen threads work already. */
  test.each(Object.keys(commands) as Name[])('%s', async (name) => {
    source.send(...advised());
    const before = source.sent;
    const isLegal = name === 'PING' || name === 'POSTCOPY_RUN';
    const devices = piece.devices();
    source.send(piece.packaged(piece.listen(), devices, commands[name](), ...(name === 'PING' ? [piece.run()] : [])));
    if (isLegal) {
      await source.settled();
      return;
    }
    // The decoder itself knows no package in a package.
    const code = name === 'PACKAGED' ? 'UNSUPPORTED' : codeOf(name);
    const error = await ends({ code }, /at offset \d+/);
    // Behind the command PACKAGED (9 bytes) and LISTEN (5).
    expect(error.offset).toBe(before + 9 + 5 + devices.length);
    expect(incoming.info().lost).toMatchObject({ missingPages: 19, hasRun: false });
  });
});

describe('the order of postcopy', () => {
  test('the whole of it, discards and pages before the switch included, arrives', async () => {
    const all = pages();
    source.send(...advised(), piece.part(...all.slice(0, 10)), piece.discard('ram', 4, 2), piece.package());
    await source.settled();
    source.send(piece.part(...all.slice(4, 6)), piece.end(...all.slice(10)), encodeEof());
    await incoming.finished;
    expect(guest.wrongPages(SEED)).toEqual([]);
    expect(incoming.info()).toMatchObject({ status: 'completed', postcopy: true, lost: undefined });
  });

  test.each<[string, () => Uint8Array[], object, RegExp]>([
    [
      'LISTEN without ADVISE',
      () => [begin(), piece.blocks(guest.ramBlocks, false), piece.package()],
      { code: 'ILLEGAL_COMMAND', record: 'POSTCOPY_LISTEN' },
      /without both POSTCOPY_ADVISE and a block list/,
    ],
    [
      'LISTEN with ADVISE behind the block list',
      () => [begin(), piece.blocks(guest.ramBlocks, false), piece.advise(guest.ramBlocks), piece.package()],
      { code: 'ILLEGAL_COMMAND', record: 'POSTCOPY_LISTEN' },
      /without both POSTCOPY_ADVISE and a block list/,
    ],
    [
      'RUN without LISTEN',
      () => [...advised(), piece.packaged(piece.devices(), piece.run())],
      { code: 'ILLEGAL_COMMAND', record: 'POSTCOPY_RUN' },
      /in postcopy state advise/,
    ],
    [
      'a package without RUN',
      () => [...advised(), piece.packaged(piece.listen(), piece.devices())],
      { code: 'ILLEGAL_COMMAND', record: 'PACKAGED' },
      /without POSTCOPY_RUN/,
    ],
    [
      'bytes behind RUN',
      () => [...advised(), piece.packaged(piece.listen(), piece.devices(), piece.run(), piece.ping(1))],
      { code: 'ILLEGAL_COMMAND', record: 'PACKAGED' },
      /9 bytes behind POSTCOPY_RUN/,
    ],
    [
      'a package cut in a record',
      () => [...advised(), piece.packaged(piece.listen(), piece.devices(), piece.run().subarray(0, 3))],
      {},
      /at offset \d+/,
    ],
    [
      'RUN without device state',
      () => [...advised(), piece.packaged(piece.listen(), piece.run())],
      { code: 'GUEST_MISMATCH' },
      /sent no section "guest-state"/,
    ],
    [
      'a discard of an unknown block',
      () => [...advised(), piece.discard('vga', 0, 1)],
      { code: 'STREAM_CORRUPT', record: 'POSTCOPY_RAM_DISCARD' },
      /vga/,
    ],
    [
      'a discard that reaches past its block',
      () => [...advised(), piece.discard('rom', 2, 2)],
      { code: 'STREAM_CORRUPT', record: 'POSTCOPY_RAM_DISCARD' },
      /rom/,
    ],
    [
      'a page of an unknown block',
      () => [...advised(), piece.part({ block: 'vga', page: 0, content: 0 })],
      { code: 'STREAM_CORRUPT' },
      /page at offset \d+ .* not in the block list/,
    ],
    [
      'a page past its block',
      () => [...advised(), piece.part({ block: 'rom', page: 3, content: 0 })],
      { code: 'STREAM_CORRUPT' },
      /rom/,
    ],
    [
      'other target pages',
      () => [begin(), piece.advise(guest.ramBlocks, 16384), piece.blocks(guest.ramBlocks)],
      { code: 'GUEST_MISMATCH' },
      /16384/,
    ],
    [
      'the VM description before EOF',
      () => [...advised(), encodeVmDescription('{}')],
      { code: 'STREAM_CORRUPT' },
      /offset/,
    ],
  ])('%s', async (_what, pieces, expected, message) => {
    source.send(...pieces());
    await ends(expected, message);
  });

  test('a page before the block list', async () => {
    source.send(begin(), piece.part({ block: 'ram', page: 0, content: 0 }));
    await ends({ code: 'STREAM_CORRUPT' }, /./);
  });

  test('the end of the stream with pages missing names the ranges, pauses, and can be given up', async () => {
    source.send(...advised(), piece.package());
    await source.settled();
    const all = pages();
    source.send(piece.end(...all.slice(0, 3), ...all.slice(5, 6), ...all.slice(8, 18)), encodeEof());
    const { status, error } = await stops(incoming);
    expect({ status, code: error?.code }).toEqual({ status: 'postcopy-paused', code: 'PAGES_MISSING' });
    expect(error?.message).toMatch(/4 of RAM block ram: 3-4, 6-7; 1 of RAM block rom: 2/);
    incoming.giveUp('freeze');
    await expect(incoming.finished).rejects.toMatchObject({ code: 'RECOVERY_GIVEN_UP' });
    const { lost } = incoming.info();
    expect(lost).toMatchObject({ missingPages: 5, hasRun: true, reason: expect.stringContaining('ram: 3-4') });
  });
});
