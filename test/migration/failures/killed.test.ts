/**
 * One of two real processes is killed when a certain message is on its way: the other ends, and says why. The
 * relay holds the message back, so the process dies right there.
 */
import { afterEach, describe, expect, test } from 'vitest';
import type { DemoSettings } from '#lib/cli/demo-messages.js';
import { type Cut, CuttingRelay } from '../../../testing/cutting-relay.ts';
import { demoSettings } from '../../../testing/demo-parts.ts';
import { DemoSide } from '../../../testing/demo-sides.ts';

const settings: DemoSettings = {
  ...demoSettings,
  memory: 2 ** 20,
  kind: 'anonymous',
  vcpus: 1,
  writesPerSecond: 20_000,
  workingSetShare: 0.5,
  precopyPasses: 0,
  // Its memory takes more than two steps of the rate limit, so it surely writes behind a pass.
  maxBandwidth: 4 * 2 ** 20,
  maxPostcopyBandwidth: 2 ** 20,
  transport: 'tcp',
  uri: 'tcp:127.0.0.1:0',
};

interface Moment extends Pick<Cut, 'direction' | 'message'> {
  readonly precopyPasses: number;
}

/** One in each state of the two sides. */
const moments: readonly Moment[] = [
  { precopyPasses: 1, direction: 'stream', message: 'header #1' },
  { precopyPasses: 1, direction: 'stream', message: 'POSTCOPY_ADVISE #1' },
  { precopyPasses: 1, direction: 'stream', message: 'page #2 of PART ram #1' },
  { precopyPasses: 0, direction: 'stream', message: 'PING of discards #1' },
  { precopyPasses: 0, direction: 'stream', message: 'packaged POSTCOPY_RUN #1' },
  { precopyPasses: 0, direction: 'return path', message: 'REQ_PAGES_ID #1' },
  // That section may have one page alone, which was asked for.
  { precopyPasses: 0, direction: 'stream', message: 'page #1 of PART ram #1' },
  { precopyPasses: 0, direction: 'stream', message: 'eof #1' },
  { precopyPasses: 0, direction: 'return path', message: 'SHUT #1' },
];

const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0)) await end();
});

/** Both processes, and a relay between them that has come to the message. */
async function heldAt({ precopyPasses, direction, message }: Moment) {
  const source = new DemoSide('source', { ...settings, precopyPasses });
  const destination = new DemoSide('destination', settings);
  for (const side of [source, destination]) ends.push(() => side.kill('SIGKILL'));
  const [{ uri }] = await Promise.all([destination.heard('ready'), source.heard('ready')]);
  const relay = await CuttingRelay.start(uri, { direction, message, place: 'before', kind: 'stall' });
  ends.push(() => relay.close());
  source.say({ kind: 'migrate', uri: relay.uri });
  const ended = source.exit.then(() => {
    throw new Error(`the source ended and never came to ${message} of the ${direction}`);
  });
  ended.catch(() => {}); // also when it is killed, later
  await Promise.race([relay.broken, ended]);
  return { source, destination, relay };
}

async function kill(side: DemoSide, relay: CuttingRelay): Promise<void> {
  side.kill('SIGKILL');
  await side.exit;
  await relay.close();
}

/** The destination has all of the guest by then, and the source knows: only the last words are missing. */
const hasAll = ({ message, precopyPasses }: Moment) =>
  message === 'SHUT #1' || (message === 'eof #1' && precopyPasses === 0);

describe.each(moments)('at $message of the $direction, $precopyPasses passes', (moment) => {
  test('the source dies', async () => {
    const { source, destination, relay } = await heldAt(moment);
    await kill(source, relay);
    if (hasAll(moment)) {
      expect((await destination.heard('done')).done).toMatchObject({ verdict: { lostWrites: 0, lostPages: 0 } });
      expect(await destination.exit).toBe(0);
      return;
    }
    expect((await destination.heard('failed')).error.code).toBe('PEER_GONE');
    expect(await destination.exit).toBe(1);
  });

  test('the destination dies', async () => {
    const { source, destination, relay } = await heldAt(moment);
    await kill(destination, relay);
    if (hasAll(moment)) {
      // It has handed over all there was; what became of the destination then is not its to tell.
      await source.heard('done');
      expect(await source.exit).toBe(0);
      return;
    }
    expect((await source.heard('failed')).error.code).toBe('PEER_GONE');
    expect(await source.exit).toBe(1);
  });
});
