/**
 * The source against a destination that a test plays: what goes on the stream and in which order, and how a
 * migration ends that is cancelled, refused or cut at a known step. Real memory, real sockets.
 */
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { connect } from '#lib/channel/connect.js';
import { type MigrateOptions, type MigrationError, migrate, type OutgoingMigration } from '#lib/index.js';
import { native } from '#lib/native.js';
import { resolveCapabilities, resolveParameters } from '#lib/options.js';
import type { MigrationStatus } from '#lib/source/migration-state.js';
import { OutgoingMigration as Outgoing } from '#lib/source/outgoing.js';
import { resources } from '#lib/testing/resources.js';
import { createTraceWords } from '#lib/trace/trace.js';
import type { TracePointName } from '#lib/trace/trace-points.js';
import { Ping } from '#lib/wire/protocol.js';
import { Breakpoint } from '../../testing/breakpoint.ts';
import { HUGEPAGE, withHugepages } from '../../testing/hugepages.ts';
import { handleLeaks } from '../../testing/lib-thread.ts';
import { isPolling, until } from '../../testing/native-thread.ts';
import { type PatternBlock, PatternGuest, patternPage } from '../../testing/pattern-guest.ts';
import {
  type ReceivedPage,
  type ReceivedRecord,
  type Script,
  ScriptedDestination,
} from '../../testing/scripted-destination.ts';

const SEED = 5;
const PAGE = 4096;
const PER_HUGE = HUGEPAGE / PAGE;
const capabilities = { postcopyRam: true };
const parameters = { maxBandwidth: 0 };

const small: PatternBlock[] = [{ idstr: 'pc.ram', pages: 100 }];
/** More than goes in one batch, so that the rate limit can hold it back. */
const larger: PatternBlock[] = [{ idstr: 'pc.ram', pages: 2000 }];
const mixed: PatternBlock[] = [
  { idstr: 'small', pages: 300 },
  { idstr: 'huge', pages: 3 * PER_HUGE, kind: 'hugetlb' },
  { idstr: 'shared', pages: 70, kind: 'memfd' },
];

let folder: string;
const open: { close(): void }[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'postcopy-test-'));
});
afterEach(() => {
  for (const each of open.splice(0)) each.close();
  rmSync(folder, { recursive: true });
});

function keep<T extends { close(): void }>(each: T): T {
  open.push(each);
  return each;
}

/** A running guest of these blocks, filled with the pattern. */
function running(blocks: readonly PatternBlock[]): PatternGuest {
  const guest = keep(new PatternGuest(blocks)).fill(SEED);
  guest.running = true;
  return guest;
}

async function listening(script: Script = {}): Promise<ScriptedDestination> {
  return keep(await ScriptedDestination.listen(join(folder, 'm.sock'), script));
}

const start = (guest: PatternGuest, options: MigrateOptions): Promise<OutgoingMigration> =>
  migrate(guest, `unix:${join(folder, 'm.sock')}`, options);

/** The same with a breakpoint that is there before its threads are. */
async function startWithBreak(
  guest: PatternGuest,
  { capabilities, parameters, postcopyAfterPasses }: MigrateOptions,
  set: (breakpoint: Breakpoint) => void,
): Promise<{ outgoing: OutgoingMigration; breakpoint: Breakpoint }> {
  const words = createTraceWords();
  const breakpoint = new Breakpoint(words);
  set(breakpoint);
  const options = {
    capabilities: resolveCapabilities(capabilities),
    parameters: resolveParameters(parameters),
    postcopyAfterPasses,
    guestTimeoutMs: 0,
    peerTimeoutMs: 0,
    lanes: 0,
  };
  const socket = await connect(`unix:${join(folder, 'm.sock')}`);
  return { outgoing: new Outgoing(guest, socket, 'unix:tester', options, connect, words), breakpoint };
}

/** Resolved once it has that status. */
async function reaches(outgoing: OutgoingMigration, status: MigrationStatus): Promise<void> {
  while (outgoing.status !== status) await once(outgoing, 'status');
}

const failureOf = (outgoing: OutgoingMigration): Promise<MigrationError> =>
  outgoing.finished.then(
    () => {
      throw new Error('the migration completed');
    },
    (error) => error,
  );

/** The blocks of a guest and what the destination made of the stream, where they differ. */
function differences(guest: PatternGuest, { memory }: ScriptedDestination): string[] {
  return guest.ramBlocks.flatMap(({ idstr, size }, index) => {
    const there = memory.get(idstr) as Uint8Array;
    return Array.from({ length: size / PAGE }, (_, page) => page)
      .filter((page) => {
        const expected = patternPage(index, page, SEED);
        return Buffer.compare(there.subarray(page * PAGE, (page + 1) * PAGE), expected) !== 0;
      })
      .map((page) => `${idstr}:${page}`);
  });
}

const settled = (): Promise<void> => new Promise(setImmediate);

describe('blocks of hugepages beside others', () => {
  test('say their page size only behind an advise', async () => {
    await withHugepages(3, async () => {
      const guest = running(mixed);
      for (const [postcopyRam, expected] of [
        [false, undefined],
        [true, HUGEPAGE],
      ] as const) {
        const destination = await listening();
        const outgoing = await start(guest, { capabilities: { postcopyRam }, parameters });
        await outgoing.finished;
        const list = destination.records.find(({ type }) => type === 'ram-blocks');
        expect(list).toMatchObject({ blocks: [{ idstr: 'small' }, { idstr: 'huge' }, { idstr: 'shared' }] });
        const sizes = list?.type === 'ram-blocks' ? list.blocks.map(({ pageSize }) => pageSize) : [];
        expect(sizes).toEqual([undefined, expected, undefined]);
        expect(differences(guest, destination)).toEqual([]);
        destination.close();
        await destination.closed();
        guest.running = true;
      }
      for (const each of open.splice(0)) each.close();
    });
  });

  /** Where a host page is left before its end, or begun elsewhere than at its start, or in another section. */
  function gaps(pages: readonly ReceivedPage[]): ReceivedPage[] {
    return pages.filter(({ block, page, section }, at) => {
      const perHost = block === 'huge' ? PER_HUGE : 1;
      const before = pages.at(at - 1);
      const follows = at > 0 && before?.block === block && before.page === page - 1 && before.section === section;
      return page % perHost !== 0 && !follows;
    });
  }

  test('go whole in postcopy, whatever is asked for meanwhile, and are discarded whole', async () => {
    await withHugepages(3, async () => {
      const guest = running(mixed);
      let asked = false;
      let pagesBefore = 0;
      const destination = await listening({
        onRecord: (record, self) => {
          if (record.type === 'command' && record.command === 'POSTCOPY_RUN') pagesBefore = self.pages.length;
          // With the first pages after the switch: hugepages, one of which may be on its way, and small pages.
          if (asked || record.type !== 'section-part' || pagesBefore === 0) return;
          asked = true;
          self.request('huge', 2 * PER_HUGE, PER_HUGE);
          self.request('small', 299, 1);
          self.request('huge', 0, PER_HUGE);
          self.request('shared', 69, 1);
        },
      });
      const outgoing = await start(guest, {
        capabilities,
        // So slow in precopy that the switch comes inside a hugepage, and slow enough after it for requests to matter.
        parameters: { maxBandwidth: 8 * 2 ** 20, maxPostcopyBandwidth: 64 * 2 ** 20 },
      });
      await destination.hears((record) => record.type === 'section-part');
      await outgoing.startPostcopy();
      const info = await outgoing.finished;
      expect(info.ram.postcopyRequests).toBe(4);
      expect(differences(guest, destination)).toEqual([]);
      const after = destination.pages.slice(pagesBefore);
      expect(after.length).toBeGreaterThan(PER_HUGE);
      expect(gaps(after)).toEqual([]);
      const discards = destination.records.flatMap((record) =>
        record.type === 'command' && record.command === 'POSTCOPY_RAM_DISCARD' && record.idstr === 'huge'
          ? record.ranges
          : [],
      );
      expect(discards.length).toBeGreaterThan(0);
      expect(discards.filter(({ start, length }) => start % HUGEPAGE !== 0 || length % HUGEPAGE !== 0)).toEqual([]);
      const zeroes = after.filter(({ block, kind }) => block === 'huge' && kind === 'zero');
      expect(zeroes.length).toBeGreaterThan(0);
      for (const each of open.splice(0)) each.close();
    });
  });
});

describe('what cannot be tracked', () => {
  const untracked = (guest: PatternGuest, options: MigrateOptions) =>
    startWithBreak(guest, options, (breakpoint) => breakpoint.failAt('memory_global_dirty_log_start'));

  test('with postcopy-ram: the switch comes at once, with a warning', async () => {
    const guest = running(small);
    const destination = await listening();
    const { outgoing } = await untracked(guest, { capabilities, parameters });
    const warnings: Error[] = [];
    outgoing.on('warning', (warning) => warnings.push(warning));
    const info = await outgoing.finished;
    expect(warnings).toEqual([
      expect.objectContaining({
        code: 'PRECOPY_UNAVAILABLE',
        message: expect.stringMatching(/can't be tracked here .*, so there is no precopy/),
        hint: expect.stringContaining('postcopy probe'),
      }),
    ]);
    expect(info).toMatchObject({ dirtyTracking: 'none', ram: { precopyBytes: 0, dirtySyncCount: 0 } });
    expect(differences(guest, destination)).toEqual([]);
  });

  test('without: a running guest is not moved, and nothing is sent', async () => {
    const guest = running(small);
    const destination = await listening();
    const { outgoing } = await untracked(guest, { parameters });
    expect(await failureOf(outgoing)).toMatchObject({
      code: 'PRECOPY_UNAVAILABLE',
      hint: expect.stringContaining('postcopyRam'),
    });
    await destination.closed();
    expect(destination.received).toBe(0);
    expect(guest.asked).toEqual([]);
    expect(outgoing.runState).toBe('running');
  });

  test('without: a stopped guest is moved', async () => {
    const guest = keep(new PatternGuest(small)).fill(SEED);
    const destination = await listening();
    const { outgoing } = await untracked(guest, { parameters });
    expect(await outgoing.finished).toMatchObject({ dirtyTracking: 'none' });
    expect(differences(guest, destination)).toEqual([]);
  });

  test('without: one that is started meanwhile is not handed over', async () => {
    const guest = keep(new PatternGuest(small)).fill(SEED);
    await listening();
    let outgoing: OutgoingMigration | undefined;
    Object.defineProperty(guest, 'running', { get: () => outgoing?.status === 'active', set: () => {} });
    ({ outgoing } = await untracked(guest, { parameters }));
    expect(await failureOf(outgoing)).toMatchObject({ code: 'PRECOPY_UNAVAILABLE' });
    expect(guest.asked).toEqual(['stop', 'start']);
    expect(outgoing.handedOver).toBe(false);
  });

  test('tracking is said to be there where it is', async () => {
    await listening();
    const outgoing = await start(running(small), { parameters });
    expect(await outgoing.finished).toMatchObject({ dirtyTracking: 'wp-async' });
  });
});

test('pages that the guest discards in precopy arrive as zeroes', async () => {
  await withHugepages(2, async () => {
    const blocks: PatternBlock[] = [
      { idstr: 'anonymous', pages: 600 },
      { idstr: 'shared', pages: 600, kind: 'memfd' },
      { idstr: 'huge', pages: 2 * PER_HUGE, kind: 'hugetlb' },
    ];
    for (const postcopyAfterPasses of [undefined, 1]) {
      const guest = running(blocks);
      const destination = await listening();
      const postcopy = postcopyAfterPasses === undefined ? { parameters } : { capabilities, postcopyAfterPasses };
      const { outgoing, breakpoint } = await startWithBreak(guest, { parameters, ...postcopy }, (point) =>
        point.waitAt('migration_bitmap_sync_start'),
      );
      await breakpoint.reached(); // all was sent once
      for (const block of guest.ramBlocks) {
        native().ramBlockDiscard(block.handle, Float64Array.of(0, block.pageSize), 1);
      }
      breakpoint.release();
      await outgoing.finished;
      const wrong = differences(guest, destination);
      const discarded = guest.ramBlocks.flatMap(({ idstr, pageSize }) =>
        Array.from({ length: pageSize / PAGE }, (_, page) => page)
          .filter((page) => page % 5 !== 4) // those were zero before
          .map((page) => `${idstr}:${page}`),
      );
      expect(wrong).toEqual(discarded);
      for (const { idstr, pageSize } of guest.ramBlocks) {
        expect(
          destination.memory
            .get(idstr)
            ?.subarray(0, pageSize)
            .every((byte) => byte === 0),
        ).toBe(true);
      }
      for (const each of open.splice(0)) each.close();
      await destination.closed();
    }
  });
});

describe('auto-converge', () => {
  test('slows the guest down step by step, says so, and stops at the stop', async () => {
    const guest = running(larger);
    const bytes = guest.ramBlocks[0].bytes();
    const percents: number[] = [];
    const told: number[] = [];
    guest.throttle = (percent) => percents.push(percent);
    await listening({
      // It writes to every page while each section of them is on its way.
      onRecord: (record) => {
        if (record.type !== 'section-part' || !guest.running) return;
        for (let at = 1; at < bytes.length; at += PAGE) bytes[at] += 1;
      },
    });
    const outgoing = await start(guest, {
      capabilities: { ...capabilities, autoConverge: true },
      // A pass takes a third of a second, and finds all written again; nothing fits into the downtime.
      parameters: { maxBandwidth: 24 * 2 ** 20, downtimeLimit: 0, cpuThrottleInitial: 20 },
    });
    outgoing.on('throttle', (percent) => {
      told.push(percent);
      expect(outgoing.info().cpuThrottlePercentage).toBe(percent);
      if (percent === 30) void outgoing.startPostcopy();
    });
    const info = await outgoing.finished;
    expect(percents).toEqual([20, 30, 0]);
    expect(told).toEqual([20, 30]);
    expect(info.cpuThrottlePercentage).toBeUndefined();
    expect(info.ram.dirtyPagesRate).toBeGreaterThan(0);
  });

  test('is refused for a guest that cannot be slowed down', async () => {
    const guest = running(small);
    await expect(start(guest, { capabilities: { autoConverge: true } })).rejects.toMatchObject({
      code: 'BAD_ARGUMENT',
      hint: expect.stringContaining('throttle(percent)'),
    });
  });
});

describe('a cancel', () => {
  /** A migration that has come to this point and waits there, and what it is to be after it was cancelled there. */
  const points: readonly [TracePointName, MigrateOptions, boolean][] = [
    ['savevm_state_header', { capabilities, parameters }, false],
    ['migration_thread_setup_complete', { capabilities, parameters }, false],
    ['migrate_pending', { capabilities, parameters }, false],
    ['savevm_send_postcopy_ram_discard', { capabilities, parameters: { maxBandwidth: 2 ** 16 } }, false],
    ['migration_rate_limit', { capabilities, parameters: { maxBandwidth: 2 ** 16 } }, false],
    ['migration_guest_stopped', { parameters }, true],
  ];

  test.each(points)('at %s leaves the guest as it was', async (point, options, stopped) => {
    const leaks = handleLeaks();
    const guest = running(larger);
    const destination = await listening();
    const { outgoing, breakpoint } = await startWithBreak(guest, options, (each) => each.waitAt(point));
    if (point === 'savevm_send_postcopy_ram_discard') void outgoing.startPostcopy().catch(() => {});
    await breakpoint.reached();
    const statuses: string[] = [];
    outgoing.on('status', (status) => statuses.push(status));
    expect(outgoing.cancel()).toBe(true);
    expect(outgoing.status).toBe('cancelling');
    expect(outgoing.cancel()).toBe(true); // it is being cancelled
    breakpoint.release();
    expect(await failureOf(outgoing)).toMatchObject({ code: 'CANCELLED' });
    expect(outgoing.cancel()).toBe(false);
    expect(statuses.filter((status) => status.startsWith('cancel'))).toEqual(['cancelling', 'cancelled']);
    expect(outgoing.handedOver).toBe(false);
    expect(outgoing.runState).toBe('running');
    expect(guest.asked).toEqual(stopped ? ['stop', 'start'] : []);
    await destination.closed();
    for (const each of open.splice(0)) each.close();
    expect(leaks()).toEqual({});
  });

  test('before there are threads', async () => {
    const guest = running(small);
    await listening();
    const { outgoing } = await startWithBreak(guest, { capabilities, parameters }, () => {});
    expect(outgoing.cancel()).toBe(true);
    expect(await failureOf(outgoing)).toMatchObject({ code: 'CANCELLED' });
    expect(outgoing.status).toBe('cancelled');
    expect(guest.asked).toEqual([]);
  });

  test('while it waits for a pong that does not come', async () => {
    const guest = running(larger);
    const destination = await listening({ answers: (ping) => ping < 0x100 });
    const outgoing = await start(guest, { capabilities, parameters: { maxBandwidth: 2 ** 16 } });
    await destination.hears((record) => record.type === 'section-part');
    void outgoing.startPostcopy().catch(() => {});
    await destination.hears((record) => record.type === 'command' && record.command === 'POSTCOPY_RAM_DISCARD');
    expect(outgoing.status).toBe('active');
    expect(outgoing.cancel()).toBe(true);
    expect(await failureOf(outgoing)).toMatchObject({ code: 'CANCELLED' });
    expect(guest.asked).toEqual([]);
  });

  test('in a send that blocks', async () => {
    const guest = running([{ idstr: 'pc.ram', pages: 20_000 }]);
    const destination = await listening({ onRecord: (record, self) => record.type === 'ram-blocks' && self.pause() });
    const outgoing = await start(guest, { parameters });
    await destination.hears((record) => record.type === 'ram-blocks');
    const { ram } = outgoing.info();
    expect(ram.remaining).toBeGreaterThan(0);
    expect(outgoing.cancel()).toBe(true);
    expect(await failureOf(outgoing)).toMatchObject({ code: 'CANCELLED' });
    expect(guest.asked).toEqual([]);
  });

  test.each(['stop', 'save'] as const)('does not wait for a guest that does not %s', async (what) => {
    const guest = running(small);
    let asked = (): void => {};
    const reached = new Promise<void>((resolve) => {
      asked = resolve;
    });
    let settle = (): void => {};
    const never = new Promise<void>((resolve) => {
      settle = resolve;
    });
    const [stop, save] = [guest.stop.bind(guest), guest.saveDeviceState.bind(guest)];
    guest.stop = async () => {
      if (what === 'stop') {
        asked();
        await never;
      }
      await stop();
    };
    guest.saveDeviceState = async () => {
      if (what === 'save') {
        asked();
        await never;
      }
      return save();
    };
    await listening();
    const outgoing = await start(guest, { parameters });
    await reached;
    expect(outgoing.runState).toBe('finish-migrate');
    expect(outgoing.cancel()).toBe(true);
    expect(await failureOf(outgoing)).toMatchObject({ code: 'CANCELLED' });
    expect(outgoing.status).toBe('cancelled');
    expect(guest.asked).toEqual(what === 'stop' ? [] : ['stop']);
    settle();
    await settled();
    expect(guest.running).toBe(true);
    expect(guest.asked.at(-1)).toBe('start');
  });

  test.each<[TracePointName, MigrateOptions]>([
    ['postcopy_start_end', { capabilities, parameters, postcopyAfterPasses: 0 }],
    ['savevm_state_complete_precopy', { parameters }],
  ])('comes too late at %s', async (point, options) => {
    const guest = running(small);
    const destination = await listening();
    const { outgoing, breakpoint } = await startWithBreak(guest, options, (each) => each.waitAt(point));
    await breakpoint.reached();
    expect(outgoing.cancel()).toBe(false);
    breakpoint.release();
    expect(await outgoing.finished).toMatchObject({ status: 'completed' });
    expect(outgoing.cancel()).toBe(false);
    expect([outgoing.handedOver, outgoing.runState]).toEqual([true, 'postmigrate']);
    expect(differences(guest, destination)).toEqual([]);
  });
});

describe('while the destination loads the device state', () => {
  const postcopy: MigrateOptions = { capabilities, parameters, postcopyAfterPasses: 0 };
  const answers = (ping: number) => ping !== Ping.SWITCHOVER;
  const isPackage = (record: ReceivedRecord) => record.type === 'command' && record.command === 'POSTCOPY_RUN';

  test.each<[string, (outgoing: OutgoingMigration, destination: ScriptedDestination) => void, object]>([
    ['a cancel', (outgoing) => expect(outgoing.cancel()).toBe(true), { code: 'CANCELLED' }],
    ['a lost connection', (_, destination) => destination.close(), { code: 'PEER_GONE' }],
    ['its failure', (_, destination) => destination.shut(1), { code: 'PEER_FAILED' }],
  ])('%s leaves the guest running here', async (_what, happen, error) => {
    const guest = running(small);
    const destination = await listening({ answers });
    const outgoing = await start(guest, postcopy);
    await destination.hears(isPackage);
    await reaches(outgoing, 'postcopy-device');
    expect(guest.running).toBe(false);
    happen(outgoing, destination);
    expect(await failureOf(outgoing)).toMatchObject(error);
    expect([guest.running, outgoing.handedOver]).toEqual([true, false]);
  });

  /** Asks for a page at the package: what has come by when a section has, and how long after the package that is. */
  async function askAtPackage() {
    const guest = running(larger);
    let packageUs = Number.NaN;
    const destination = await listening({
      // That its devices are loaded it would say by the pong of PACKAGE, and other pages go from then on.
      answers: (ping) => answers(ping) && ping !== Ping.PACKAGE,
      onRecord: (record, self) => {
        if (!isPackage(record)) return;
        packageUs = native().monotonicUs();
        self.request('pc.ram', 1000, 1);
      },
    });
    const outgoing = await start(guest, postcopy);
    await destination.hears(({ type }) => type === 'section-part');
    const pages = destination.pages.map(({ page }) => page);
    expect(outgoing.status).toBe('postcopy-device');
    expect(destination.records.filter(isLastPing)).toEqual([]);
    const waitedMs = (native().monotonicUs() - packageUs) / 1000;
    destination.pong(Ping.SWITCHOVER);
    await outgoing.finished;
    expect(destination.records.filter(isLastPing)).toHaveLength(1);
    expect(differences(guest, destination)).toEqual([]);
    expect([guest.running, outgoing.handedOver]).toEqual([false, true]);
    return { pages, waitedMs };
  }

  test('what it asks for goes, and nothing else; its answer hands the guest over', async () => {
    let asked = await askAtPackage();
    // After 100 ms without an answer other pages go too, which on a busy machine is before they are looked at.
    for (let tries = 1; asked.waitedMs > 90 && tries < 5; tries += 1) asked = await askAtPackage();
    expect(asked.pages).toEqual([1000]);
  });

  const isLastPing = (record: ReceivedRecord) =>
    record.type === 'command' && record.command === 'PING' && record.value === Ping.AFTER_PACKAGE;
});

describe('a failure', () => {
  const postcopy: MigrateOptions = { capabilities, parameters, postcopyAfterPasses: 0 };

  /** Before the package, or the last byte of a precopy, the guest is still the source's; after it, never. */
  const points: readonly [TracePointName, MigrateOptions, 'untouched' | 'resumed' | 'handed over'][] = [
    ['open_return_path_on_source', postcopy, 'untouched'],
    ['source_return_path_thread_entry', postcopy, 'untouched'],
    ['open_return_path_on_source_continue', postcopy, 'untouched'],
    ['migrate_fd_connect', postcopy, 'untouched'],
    ['savevm_state_header', postcopy, 'untouched'],
    ['savevm_send_postcopy_advise', postcopy, 'untouched'],
    ['savevm_state_setup', postcopy, 'untouched'],
    ['migrate_set_state', postcopy, 'untouched'],
    ['postcopy_start_set_run', postcopy, 'untouched'],
    ['migration_guest_stopped', postcopy, 'resumed'],
    ['ram_postcopy_send_discard_bitmap', postcopy, 'resumed'],
    ['savevm_state_complete_precopy', postcopy, 'resumed'],
    ['savevm_send_packaged', postcopy, 'resumed'],
    ['migration_downtime_end', postcopy, 'handed over'],
    ['postcopy_start_end', postcopy, 'handed over'],
    ['savevm_section_end', { ...postcopy, parameters }, 'untouched'],
    ['migration_completion_postcopy_end', postcopy, 'handed over'],
    ['migration_completion_precopy', { parameters }, 'untouched'],
    ['migration_guest_stopped', { parameters }, 'resumed'],
    ['savevm_state_complete_precopy', { parameters }, 'resumed'],
    ['migration_downtime_end', { parameters }, 'handed over'],
    ['await_return_path_close_on_source_joining', { capabilities, parameters }, 'handed over'],
  ];

  test.each(points)('at %s of %j: the guest is %s', async (point, options, expected) => {
    const guest = running(small);
    await listening();
    const { outgoing } = await startWithBreak(guest, options, (each) => each.failAt(point));
    const statuses: string[] = [];
    outgoing.on('status', (status) => statuses.push(status));
    expect((await failureOf(outgoing)).message).toBe(`made to fail at ${point}`);
    expect(outgoing.status).toBe('failed');
    expect(statuses.at(-1)).toBe('failed');
    expect(outgoing.info().errorDesc).toBe(`made to fail at ${point}`);
    expect(outgoing.handedOver).toBe(expected === 'handed over');
    expect(guest.running).toBe(expected !== 'handed over');
    expect(guest.asked.includes('stop')).toBe(expected !== 'untouched');
    expect(outgoing.runState).toBe(expected === 'handed over' ? 'postmigrate' : 'running');
  });

  test.each([
    ['stop', 'the guest failed to stop: the guest refuses to stop'],
    ['save', 'the guest failed to save its device state: the guest refuses to save'],
  ] as const)('of the guest to %s is GUEST_FAILED', async (failing, message) => {
    const guest = running(small);
    guest.failing = failing;
    await listening();
    const outgoing = await start(guest, postcopy);
    expect(await failureOf(outgoing)).toMatchObject({ code: 'GUEST_FAILED', message });
    expect(guest.running).toBe(true);
  });

  test('of the guest to run on says so, and what came before', async () => {
    const guest = running(small);
    const save = guest.saveDeviceState.bind(guest);
    guest.saveDeviceState = () => {
      guest.failing = 'start';
      return save().then(() => {
        throw new Error('half saved');
      });
    };
    await listening();
    const outgoing = await start(guest, postcopy);
    expect((await failureOf(outgoing)).message).toMatch(
      /^the guest failed to start again at the source: .*; the migration had ended before: .*half saved$/,
    );
  });

  test('of the connection says at which offset of the stream', async () => {
    const guest = running([{ idstr: 'pc.ram', pages: 5000 }]);
    const destination = await listening();
    const outgoing = await start(guest, { parameters: { maxBandwidth: 2 ** 20 } });
    await destination.hears((record) => record.type === 'section-part');
    destination.close();
    const error = await failureOf(outgoing);
    expect(error).toMatchObject({ code: 'PEER_GONE', offset: outgoing.info().ram.transferred });
    expect(error.message).toContain(`at offset ${error.offset} of the stream`);
    expect(guest.asked).toEqual([]);
  });

  test('of the destination at the end of a precopy gives the guest back', async () => {
    const guest = running(small);
    await listening({ shut: 1 });
    const outgoing = await start(guest, { capabilities, parameters });
    expect(await failureOf(outgoing)).toMatchObject({ code: 'PEER_FAILED' });
    expect([outgoing.handedOver, guest.running]).toEqual([false, true]);
  });

  test('leaves no thread, fd or native object', async () => {
    const guest = running(small);
    const once = async (): Promise<void> => {
      const destination = await ScriptedDestination.listen(join(folder, 'm.sock'));
      const { outgoing } = await startWithBreak(guest, postcopy, (each) => each.failAt('savevm_send_packaged'));
      await failureOf(outgoing);
      destination.close();
      await destination.closed();
    };
    await once();
    const before = resources();
    for (let i = 0; i < 3; i += 1) await once();
    expect(resources()).toEqual(before);
  });
});

describe('page requests', () => {
  test.each([
    ['of an unknown block', 'nosuch', 0, 1, 'STREAM_CORRUPT'],
    ['beyond the block', 'pc.ram', 99, 2, 'STREAM_CORRUPT'],
    ['of nothing', 'pc.ram', 5, 0, 'STREAM_CORRUPT'],
    ['of half a page', 'pc.ram', 0.5, 1, 'STREAM_CORRUPT'],
  ])('%s pause the migration with a typed error', async (_what, block, page, count, code) => {
    const guest = running(small);
    await listening({
      onRecord: (record, self) => {
        if (record.type === 'command' && record.command === 'POSTCOPY_RUN') self.request(block, page, count);
      },
      // Keeps the source in postcopy until it has seen the request.
      answers: (ping) => ping < 0x10000,
    });
    const outgoing = await start(guest, {
      capabilities,
      parameters: { maxPostcopyBandwidth: 2 ** 16 },
      postcopyAfterPasses: 0,
    });
    await reaches(outgoing, 'postcopy-paused');
    expect(outgoing.pauseReason).toMatchObject({ code, record: expect.stringMatching(/^REQ_PAGES/) });
    expect(outgoing.giveUp()).toBe(true);
    expect(await failureOf(outgoing)).toMatchObject({ code: 'RECOVERY_GIVEN_UP' });
    expect(outgoing.handedOver).toBe(true);
  });

  test('before the switch are illegal', async () => {
    const guest = running(small);
    await listening({
      onRecord: (record, self) => {
        if (record.type === 'ram-blocks') self.request('pc.ram', 0, 1);
      },
    });
    const outgoing = await start(guest, { capabilities, parameters: { maxBandwidth: 2 ** 16 } });
    expect(await failureOf(outgoing)).toMatchObject({ code: 'ILLEGAL_COMMAND' });
    expect(guest.running).toBe(true);
  });
});

test('a destination that reads no more, and closes its direction, is lost, though a send waits for it', async () => {
  const destination = await listening({
    onRecord: (record, self) => {
      if (record.type !== 'command' || record.command !== 'POSTCOPY_RUN') return;
      self.request('pc.ram', 0, 5000); // which nothing holds back
      self.pause();
    },
  });
  const options = { capabilities, postcopyAfterPasses: 0, peerTimeoutMs: 0 };
  const outgoing = await start(running([{ idstr: 'pc.ram', pages: 5000 }]), options);
  await destination.hears((record) => record.type === 'command' && record.command === 'POSTCOPY_RUN');
  await until('a send waits', () => isPolling('mig/src/main'));
  destination.end();
  await reaches(outgoing, 'postcopy-paused');
  expect(outgoing.pauseReason).toMatchObject({ code: 'PEER_GONE' });
  expect(outgoing.giveUp()).toBe(true);
  await failureOf(outgoing);
});

test.each<[string, MigrateOptions, boolean]>([
  ['a precopy ends with a VM description', { capabilities, parameters }, true],
  ['a postcopy ends without one', { capabilities, parameters, postcopyAfterPasses: 0 }, false],
])('%s', async (_what, options, described) => {
  const destination = await listening();
  await (await start(running(small), options)).finished;
  await destination.closed();
  const types = destination.records.map(({ type }) => type);
  expect(types).toContain('eof');
  expect(types.includes('vmdescription')).toBe(described);
});
