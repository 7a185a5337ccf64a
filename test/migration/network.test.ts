/**
 * Source and destination on two hosts whose network fails as networks do: the cable is pulled, a peer stands still, a
 * peer is killed. The guest, which writes all the while, ends up whole at one side, or is said to be lost.
 */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { DemoSettings, SideDone } from '#lib/cli/demo-messages.js';
import { demoReport } from '#lib/cli/demo-report.js';
import { demoSettings } from '../../testing/demo-parts.ts';
import { DemoSide } from '../../testing/demo-sides.ts';
import { TwoHosts, whyNoHosts } from '../../testing/two-hosts.ts';

const PEER_TIMEOUT_MS = 900;
const settings: DemoSettings = {
  ...demoSettings,
  memory: 10 * 2 ** 20,
  vcpus: 2,
  writesPerSecond: 20_000,
  workingSetShare: 0.5,
  precopyPasses: 0,
  // Some seconds of postcopy.
  maxPostcopyBandwidth: 4 * 2 ** 20,
  recoverForMs: 60_000,
  peerTimeoutMs: PEER_TIMEOUT_MS,
};

const why = whyNoHosts();
let hosts: TwoHosts;
let sides: DemoSide[];
beforeEach(() => {
  if (why !== undefined) return;
  hosts = new TwoHosts();
  sides = [];
});
afterEach(async () => {
  if (why !== undefined) return;
  for (const side of sides) side.kill('SIGKILL');
  await Promise.all(sides.map(({ exit }) => exit));
  hosts.delete();
});

interface Run {
  readonly source: DemoSide;
  readonly destination: DemoSide;
}

async function start(changed: Partial<DemoSettings> = {}): Promise<Run> {
  const all = { ...settings, ...changed, uri: `tcp:${hosts.destination.address}:4444` };
  const destination = new DemoSide('destination', all, hosts.destination.within);
  const source = new DemoSide('source', all, hosts.source.within);
  sides = [source, destination];
  const [{ uri }] = await Promise.all([destination.heard('ready'), source.heard('ready')]);
  source.say({ kind: 'migrate', uri });
  return { source, destination };
}

/** It has said so since: statuses come again and again. */
async function is(side: DemoSide, status: string): Promise<void> {
  side.messages.length = 0;
  await side.heard('progress', ({ progress }) => progress.info.status === status);
}

/** Some pages have been faulted for at the destination, and it is far from its end. */
const inTheMiddle = ({ destination }: Run) =>
  destination.heard('progress', ({ progress }) => progress.side === 'destination' && progress.info.faults.count > 10);

async function requireWhole({ source, destination }: Run, recoveries: number): Promise<void> {
  const [sent, received] = await Promise.all([source.heard('done'), destination.heard('done')]);
  const report = demoReport(
    settings,
    sent.done as Extract<SideDone, { side: 'source' }>,
    received.done as Extract<SideDone, { side: 'destination' }>,
  );
  expect(report).toMatchObject({ status: 'completed', verified: true, lostWrites: 0 });
  expect(report.recoveries?.count ?? 0).toBe(recoveries);
}

describe.skipIf(why !== undefined)(why ?? 'two hosts', { timeout: 120_000 }, () => {
  describe.each([false, true])('preempt %s', (postcopyPreempt) => {
    test('the cable is pulled and plugged in again before a peer is missed: nothing pauses', async () => {
      const run = await start({ postcopyPreempt, peerTimeoutMs: 60_000 });
      await inTheMiddle(run);
      hosts.pullCable();
      // As much as shows that time goes by without a page.
      run.destination.messages.length = 0;
      await run.destination.heard('progress');
      hosts.plugCable();
      await requireWhole(run, 0);
    });

    test('the cable is out until both sides have missed the other: they recover once it is in', async () => {
      const run = await start({ postcopyPreempt });
      await inTheMiddle(run);
      hosts.pullCable();
      await Promise.all([is(run.source, 'postcopy-paused'), is(run.destination, 'postcopy-paused')]);
      hosts.plugCable();
      await requireWhole(run, 1);
    });
  });

  test('the destination stands still until it is missed: the source pauses, and they go on when it does', async () => {
    const run = await start();
    await inTheMiddle(run);
    run.destination.kill('SIGSTOP');
    await is(run.source, 'postcopy-paused');
    run.destination.kill('SIGCONT');
    await requireWhole(run, 1);
  });

  test('the source stands still until it is missed: the destination pauses, and they go on when it does', async () => {
    const run = await start();
    await inTheMiddle(run);
    run.source.kill('SIGSTOP');
    await is(run.destination, 'postcopy-paused');
    run.source.kill('SIGCONT');
    await requireWhole(run, 1);
  });

  describe('a peer is killed', () => {
    const RECOVER_FOR_MS = 1500;

    test.each(['source', 'destination'] as const)(
      'in postcopy, the %s: the other gives up, and says why',
      async (side) => {
        const run = await start({ recoverForMs: RECOVER_FOR_MS });
        await inTheMiddle(run);
        run[side].kill('SIGKILL');
        const other = side === 'source' ? run.destination : run.source;
        expect((await other.heard('failed')).error.code).toBe('PEER_GONE');
        expect(await other.exit).toBe(1);
      },
    );

    test.each(['source', 'destination'] as const)('while both are paused, the %s', async (side) => {
      const run = await start({ recoverForMs: 2 * RECOVER_FOR_MS });
      await inTheMiddle(run);
      hosts.pullCable();
      await Promise.all([is(run.source, 'postcopy-paused'), is(run.destination, 'postcopy-paused')]);
      run[side].kill('SIGKILL');
      hosts.plugCable();
      const other = side === 'source' ? run.destination : run.source;
      expect((await other.heard('failed')).error.code).toBe('PEER_GONE');
    });

    test('in precopy, the destination: the guest runs on at the source', async () => {
      const run = await start({ precopyPasses: 1000, maxBandwidth: 2 ** 20 });
      await is(run.source, 'active');
      run.destination.kill('SIGKILL');
      expect((await run.source.heard('failed')).error.code).toBe('PEER_GONE');
    });

    test('in precopy, the source: the destination has no guest, and says so', async () => {
      const run = await start({ precopyPasses: 1000, maxBandwidth: 2 ** 20 });
      await is(run.destination, 'active');
      run.source.kill('SIGKILL');
      expect((await run.destination.heard('failed')).error.code).toBe('PEER_GONE');
    });

    test('before a source has come, the destination; after, the source finds nobody', async () => {
      const all = { ...settings, uri: `tcp:${hosts.destination.address}:4444` };
      const destination = new DemoSide('destination', all, hosts.destination.within);
      const source = new DemoSide('source', all, hosts.source.within);
      sides = [source, destination];
      const [{ uri }] = await Promise.all([destination.heard('ready'), source.heard('ready')]);
      destination.kill('SIGKILL');
      await destination.exit;
      source.say({ kind: 'migrate', uri });
      expect((await source.heard('failed')).error.code).toBe('CONNECT_REFUSED');
    });
  });
});
