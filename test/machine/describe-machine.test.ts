/** The manifest of a machine: what stands in it of the machine, and that it is one. */
import { createHash } from 'node:crypto';
import { expect, test } from 'vitest';
import { describeMachine, filesOf } from '#lib/machine/describe-machine.js';
import { manifestText, parseManifest } from '#lib/machine/manifest.js';
import { peer, SmallMachine } from '../../testing/half-machines.ts';

test.each([false, true])('is a manifest with all of it, partial: %s', (partial) => {
  using small = new SmallMachine(() => 'zero');
  const { machine, ramBlocks, deviceState } = small;
  const digests = ramBlocks.map((_, index) => String(index).repeat(64));
  const manifest = describeMachine({
    ...{ ramBlocks, digests, deviceState, peer, partial, vmDescription: !partial },
    machine: { ...machine, configuration: { ...machine.configuration, capabilities: ['postcopy-ram'] } },
  });
  expect(parseManifest(manifestText(manifest), 'm')).toEqual(manifest);
  expect(manifest).toMatchObject({
    peer,
    configuration: { machine: machine.configuration.machine, capabilities: ['postcopy-ram'] },
    ramSection: machine.ramSection,
    runState: 'running',
    vmDescription: !partial,
    deviceState: { length: deviceState.length, sha256: createHash('sha256').update(deviceState).digest('hex') },
  });
  expect(manifest.partial).toBe(partial || undefined);
  expect(manifest.blocks).toEqual(
    ramBlocks.map(({ idstr, size: length }, index) => ({
      ...{ idstr, length, sha256: digests[index] },
      file: filesOf(ramBlocks)[index],
    })),
  );
});
