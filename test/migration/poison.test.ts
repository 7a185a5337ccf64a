/** A guest that is given up with poison: who reads what never came is killed, in a process of its own, and reads no zeroes. */
import { readdirSync, readFileSync } from 'node:fs';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { listen } from '#lib/index.js';
import { native } from '#lib/native.js';
import { DoomedDestination } from '../../testing/doomed-destination.ts';
import { allPages, HandFedSource, piece } from '../../testing/hand-fed-source.ts';
import { until } from '../../testing/native-thread.ts';
import { PatternGuest } from '../../testing/pattern-guest.ts';
import { stops } from '../../testing/stops.ts';

const PAGES = 16;
const PAGE = 4096;
/** Pages that come, and what is in all of them. */
const HERE = 10;
const BYTE = 0x5c;

let destination: DoomedDestination | undefined;
afterEach(() => {
  destination?.kill();
  destination = undefined;
  vi.restoreAllMocks();
});

/** Whether a thread of that name of the process is in a page fault. */
function isInFault(pid: number | undefined, name: string): boolean {
  return readdirSync(`/proc/${pid}/task`).some((task) => {
    try {
      const path = `/proc/${pid}/task/${task}`;
      const isIt = readFileSync(`${path}/comm`, 'utf8').trim() === name;
      return isIt && readFileSync(`${path}/syscall`, 'utf8').startsWith('-1 ');
    } catch {
      return false; // it has ended
    }
  });
}

/** Paused, with the first pages there. */
async function paused(kind: string): Promise<DoomedDestination> {
  const started = new DoomedDestination(kind, PAGES);
  destination = started;
  const { uri } = await started.says('listening');
  const blocks = [{ idstr: 'ram', size: PAGES * PAGE, pageSize: PAGE }];
  const source = await HandFedSource.connect(uri);
  source.send(piece.start(), piece.advise(blocks), piece.blocks(blocks), piece.package());
  source.send(piece.part(...allPages(blocks, () => new Uint8Array(PAGE).fill(BYTE)).slice(0, HERE)));
  await source.settled();
  await started.says('status', ({ status }) => status === 'postcopy-active');
  source.close();
  await started.says('status', ({ status }) => status === 'postcopy-paused');
  return started;
}

describe.each(['anonymous', 'memfd'])('%s memory', (kind) => {
  test('who waits for a page is killed by it', async () => {
    const doomed = await paused(kind);
    doomed.tell({ kind: 'touch', page: HERE + 2, thread: 'test/waits' });
    await until('it waits', () => isInFault(doomed.child.pid, 'test/waits'));
    doomed.tell({ kind: 'give-up' });
    expect(await doomed.ended).toBe('SIGBUS');
  });

  test('what came is read, and who reads what did not, however late, is killed', async () => {
    const doomed = await paused(kind);
    doomed.tell({ kind: 'give-up' });
    expect(await doomed.says('failed')).toMatchObject({
      code: 'RECOVERY_GIVEN_UP',
      lost: { missingPages: PAGES - HERE, isPoisoned: true, hasRun: true },
    });
    for (const page of [0, HERE - 1]) {
      doomed.tell({ kind: 'touch', page, thread: 'test/reads' });
      expect(await doomed.says('touched', (answer) => answer.page === page)).toMatchObject({ byte: BYTE });
    }
    doomed.tell({ kind: 'touch', page: PAGES - 1, thread: 'test/reads' });
    expect(await doomed.ended).toBe('SIGBUS');
  });
});

test('where the kernel has no poison it says so, and the migration stays paused', async () => {
  const real = native().userfaultfdOpen;
  const { UFFD_FEATURE_POISON } = native().constants;
  vi.spyOn(native(), 'userfaultfdOpen').mockImplementation((via, features) => {
    const opened = real(via, features);
    return { ...opened, granted: opened.granted & ~UFFD_FEATURE_POISON };
  });
  const guest = new PatternGuest([{ idstr: 'ram', pages: PAGES }]);
  const incoming = await listen('tcp:127.0.0.1:0', { guest, capabilities: { postcopyRam: true } });
  const source = await HandFedSource.connect(incoming.uri);
  source.send(piece.start(), piece.advise(guest.ramBlocks), piece.blocks(guest.ramBlocks), piece.package());
  await source.settled();
  source.close();
  await stops(incoming);
  expect(() => incoming.giveUp('poison')).toThrow(
    expect.objectContaining({ code: 'KERNEL_TOO_OLD', hint: expect.stringContaining("'freeze'") }),
  );
  expect(incoming.status).toBe('postcopy-paused');
  expect(incoming.giveUp('freeze')).toBe(true);
  await expect(incoming.finished).rejects.toMatchObject({ code: 'RECOVERY_GIVEN_UP' });
  expect(incoming.info().lost).toMatchObject({ isPoisoned: false });
  incoming.abandon();
  guest.close();
});
