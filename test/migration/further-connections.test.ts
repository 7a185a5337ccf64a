/**
 * Connections that come behind the first while a migration goes on: those of capabilities that are refused fail it,
 * whoever else comes is turned away and changes nothing. Nothing of them is left behind.
 */
import { once } from 'node:events';
import { createConnection, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type IncomingMigration, listen } from '#lib/index.js';
import { allPages, HandFedSource, piece } from '../../testing/hand-fed-source.ts';
import { handleLeaks } from '../../testing/lib-thread.ts';
import { PatternGuest, patternPage } from '../../testing/pattern-guest.ts';

const SEED = 9;
const MULTIFD = Uint8Array.of(0x11, 0x22, 0x33, 0x44, 0, 0, 0, 1);

let guest: PatternGuest;
let incoming: IncomingMigration;
let source: HandFedSource;
let others: Socket[];
let leaks: ReturnType<typeof handleLeaks>;

beforeEach(async () => {
  leaks = handleLeaks();
  others = [];
  guest = new PatternGuest([{ idstr: 'ram', pages: 16 }]);
  incoming = await listen('tcp:127.0.0.1:0', { guest, capabilities: { postcopyRam: true } });
  source = await HandFedSource.connect(incoming.uri);
});
afterEach(async () => {
  source.close();
  for (const other of others) other.destroy();
  incoming.abort();
  await incoming.finished.catch(() => {});
  incoming.abandon();
  guest.close();
  expect(leaks()).toEqual({});
});

/** Another connection to where the destination listens, which says that. */
async function come(says?: Uint8Array): Promise<Socket> {
  const other = createConnection({ host: '127.0.0.1', port: Number(incoming.uri.split(':')[2]) });
  others.push(other);
  other.on('error', () => {});
  other.resume();
  await once(other, 'connect');
  if (says !== undefined) await new Promise((sent) => other.write(says, sent));
  return other;
}

/** Whether nobody listens there any more. */
const isRefused = (): Promise<boolean> =>
  come().then(
    () => false,
    (error: NodeJS.ErrnoException) => error.code === 'ECONNREFUSED',
  );

const pages = () => allPages(guest.ramBlocks, (block, page) => patternPage(block, page, SEED));
const advised = () => [piece.start(), piece.advise(guest.ramBlocks), piece.blocks(guest.ramBlocks)];

/** It fails, naming the capability, and the source is told. */
async function refused(capability: string): Promise<void> {
  await expect(incoming.finished).rejects.toMatchObject({
    code: 'UNSUPPORTED',
    message: expect.stringContaining(`capability ${capability} on, as a further connection at offset`),
  });
  expect(source.heard.at(-1)).toEqual({ type: 'SHUT', value: 1 });
}

async function completes(...end: Uint8Array[]): Promise<void> {
  source.send(...end);
  source.end();
  expect(await source.hears('SHUT')).toEqual({ type: 'SHUT', value: 0 });
  source.close();
  await incoming.finished;
  expect(guest.wrongPages(SEED)).toEqual([]);
}

const precopyEnd = () => [piece.end(...pages()), piece.devices(), piece.eof()];

describe('in precopy', () => {
  test('a channel of multifd fails it', async () => {
    source.send(piece.start());
    await come(MULTIFD);
    source.send(piece.blocks(guest.ramBlocks, false), piece.part(), piece.part());
    await refused('multifd');
  });

  test('whoever is no channel is turned away, and a silent one is borne', async () => {
    source.send(piece.start());
    const silent = await come();
    const garbage = await come(Buffer.from('GET / HTTP/1.1\r\n\r\n'));
    const secondSource = await come(piece.start());
    source.send(piece.blocks(guest.ramBlocks, false));
    for (const other of [garbage, secondSource]) {
      while (!other.closed) {
        source.send(piece.part());
        await source.settled();
      }
    }
    expect(silent.closed).toBe(false);
    await completes(...precopyEnd());
    if (!silent.closed) await once(silent, 'close');
  });

  test('the first connection is a channel of multifd itself: refused by name', async () => {
    source.send(MULTIFD);
    await expect(incoming.finished).rejects.toMatchObject({
      code: 'UNSUPPORTED',
      message: expect.stringContaining('multifd'),
      offset: 0,
    });
  });
});

describe('with postcopy advised', () => {
  test('a silent connection, made in set-up, fails it as postcopy-preempt', async () => {
    source.send(piece.start());
    await come();
    source.send(...advised().slice(1));
    await refused('postcopy-preempt');
  });

  test('a silent connection, made at the switch as newer sources do, fails it before the package', async () => {
    source.send(...advised());
    await source.settled();
    await come();
    source.send(piece.discard('ram', 0, 1));
    await refused('postcopy-preempt');
    expect(incoming.info().lost).toBeUndefined();
  });

  test('without discards it fails at the package, and the guest does not start here', async () => {
    source.send(...advised());
    await source.settled();
    await come();
    source.send(piece.package());
    await refused('postcopy-preempt');
    expect(guest.asked).toEqual([]);
  });

  test('from LISTEN on nobody is let in any more', async () => {
    source.send(...advised(), piece.package());
    await source.settled();
    while (!(await isRefused())) await source.settled();
    await completes(piece.part(...pages()), piece.end(), piece.eof());
  });
});
