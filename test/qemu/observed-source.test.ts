/**
 * Each case of observed-source.json played to the QEMU of this machine: our decoder against its encoder, and the file
 * against the truth. What our own source makes of them is held against the same file.
 */
import { describe, expect, test } from 'vitest';
import { CapturedMachine } from '../../testing/qemu/captured-machine.ts';
import { playToQemuSource } from '../../testing/qemu/captured-source.ts';
import { comparableSource, observedSources as observed } from '../../testing/qemu/observed.ts';
import { sourceCases } from '../../testing/qemu/source-cases.ts';

const machine = new CapturedMachine('b-postcopy');

describe('a QEMU source', { timeout: 180_000 }, () => {
  test('every case has a script, and every script a case', () => {
    expect(Object.keys(sourceCases).sort()).toEqual(observed.map(({ case: name }) => name).sort());
  });

  test.each(observed)('$case', async (known) => {
    const outcome = await playToQemuSource(machine, sourceCases[known.case], known.events, known.source_runstate);
    expect(outcome).toMatchObject(comparableSource(known));
  });
});
