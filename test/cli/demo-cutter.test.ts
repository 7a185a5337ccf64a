/** The network of `demo --cut-every`: whole until postcopy, then each connection is cut when its time is over. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { DemoCutter } from '#lib/cli/demo-cutter.js';
import { Destination, pattern, source } from '../../testing/relay-peers.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'postcopy-test-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

test.each(['unix', 'tcp'])('%s', async (transport) => {
  const own = transport === 'unix' ? `unix:${folder}/m.sock` : 'tcp:127.0.0.1:0';
  const destination = await Destination.at(own);
  const uri = transport === 'unix' ? own : destination.tcpUri;
  const cutter = new DemoCutter(1);
  const relayed = await cutter.openTo(uri);
  expect(relayed).not.toBe(uri);
  cutter.sourceIs('active');
  for (let connection = 0; connection < 3; connection++) {
    const near = await source(relayed);
    const far = await destination.peer();
    await near.send([pattern(100, connection)]);
    await far.has(100);
    cutter.sourceIs('postcopy-active');
    await Promise.all([near.ended, far.ended]);
    expect(far.received).toEqual(pattern(100, connection));
    cutter.sourceIs('postcopy-paused');
  }
  cutter.sourceIs('postcopy-active');
  await cutter.close();
  destination.close();
});
