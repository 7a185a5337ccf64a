/**
 * Two real processes, and what is left when one of them dies: nobody hangs, and the other says why.
 * The page stream is slowed so that the moment of death lies surely inside the phase it should.
 */
import { existsSync, readFileSync } from 'node:fs';
import { afterEach, describe, expect, test } from 'vitest';
import type { DemoSettings } from '#lib/cli/demo-messages.js';
import { demoSettings } from '../../testing/demo-parts.ts';
import { DemoSide } from '../../testing/demo-sides.ts';

const settings: DemoSettings = {
  ...demoSettings,
  memory: 64 * 2 ** 20,
  kind: 'anonymous',
  vcpus: 1,
  writesPerSecond: 20_000,
  workingSetShare: 0.25,
  precopyPasses: 0,
  maxBandwidth: 0,
  maxPostcopyBandwidth: 4 * 2 ** 20,
  transport: 'tcp',
  uri: 'tcp:127.0.0.1:0',
};

let sides: DemoSide[] = [];
afterEach(() => {
  for (const side of sides) side.kill('SIGKILL');
});

async function start(changed: Partial<DemoSettings>): Promise<{ source: DemoSide; destination: DemoSide }> {
  const destination = new DemoSide('destination', { ...settings, ...changed });
  const source = new DemoSide('source', { ...settings, ...changed });
  sides = [source, destination];
  const [{ uri }] = await Promise.all([destination.heard('ready'), source.heard('ready')]);
  source.say({ kind: 'migrate', uri });
  return { source, destination };
}

describe('one process dies in postcopy', () => {
  test('the source: the destination reports the loss, and ends although its vCPU waits for a page', async () => {
    const { source, destination } = await start({});
    await destination.heard(
      'progress',
      ({ progress }) => progress.side === 'destination' && progress.info.faults.count > 10,
    );
    source.kill('SIGKILL');
    const { error } = await destination.heard('failed');
    expect(error.code).toBe('PEER_GONE');
    expect(error.message).toMatch(/closed the stream at offset \d+, before its end|lost the source/);
    expect(await destination.exit).toBe(1);
  });

  test('the destination: the source reports it, and does not run the guest again', async () => {
    const { source, destination } = await start({});
    await destination.heard(
      'progress',
      ({ progress }) => progress.side === 'destination' && progress.info.faults.count > 10,
    );
    destination.kill('SIGKILL');
    const { error } = await source.heard('failed');
    expect(error.code).toBe('PEER_GONE');
    expect(await source.exit).toBe(1);
  });
});

describe('one process dies in precopy', () => {
  const slow = { precopyPasses: 1, maxBandwidth: 4 * 2 ** 20 };

  test('the source: the destination ends with an error', async () => {
    const { source, destination } = await start(slow);
    await destination.heard('progress', ({ progress }) => progress.info.ram.normal > 0);
    source.kill('SIGKILL');
    expect((await destination.heard('failed')).error.code).toBe('PEER_GONE');
    expect(await destination.exit).toBe(1);
  });

  test('the destination: the guest goes on writing at the source until it is ended', async () => {
    const { source, destination } = await start(slow);
    await destination.heard('progress', ({ progress }) => progress.info.ram.normal > 0);
    destination.kill('SIGKILL');
    expect((await source.heard('failed')).error.code).toBe('PEER_GONE');
    expect(await source.exit).toBe(1);
  });
});

test('asked to end in precopy, both end', async () => {
  const { source, destination } = await start({ precopyPasses: 1, maxBandwidth: 4 * 2 ** 20 });
  await destination.heard('progress', ({ progress }) => progress.info.ram.normal > 0);
  for (const side of sides) side.say({ kind: 'cancel' });
  expect((await source.heard('failed')).error.code).toBe('CANCELLED');
  expect(await Promise.all([source.exit, destination.exit])).toEqual([1, 1]);
});

describe('memory beyond the guest’s own', () => {
  /** MiB of anonymous memory now: all but the guest, as that is shared memory here, and the files that are mapped. */
  function anonymousMiB(side: DemoSide): number {
    const path = `/proc/${side.child.pid}/status`;
    if (!existsSync(path)) return 0; // its last message came after its end
    return Number(/RssAnon:\s+(\d+)/.exec(readFileSync(path, 'utf8'))?.[1] ?? 0) / 1024;
  }

  test.each([64, 512])('stays under 64 MiB a side, Node included, with a guest of %i MiB', async (mebibytes) => {
    const { source, destination } = await start({
      memory: mebibytes * 2 ** 20,
      kind: 'memfd',
      precopyPasses: 1,
      maxPostcopyBandwidth: 64 * 2 ** 20,
    });
    const peaks = sides.map(() => 0);
    for (const side of sides) {
      side.child.on('message', () => {
        for (const [index, each] of sides.entries()) peaks[index] = Math.max(peaks[index], anonymousMiB(each));
      });
    }
    await Promise.all([source.heard('done'), destination.heard('done')]);
    for (const peak of peaks) {
      expect(peak).toBeGreaterThan(5);
      expect(peak).toBeLessThan(64);
    }
  });
});
