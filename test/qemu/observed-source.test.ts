/**
 * Each case of observed-source.json played to the QEMU of this machine: our decoder against its encoder, and the file
 * against the truth. What our own source makes of them is held against the same file.
 */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { CapturedMachine } from '../../testing/qemu/captured-machine.ts';
import { playToQemuSource, type SourceOutcome } from '../../testing/qemu/captured-source.ts';
import { sourceCases } from '../../testing/qemu/source-cases.ts';

type Observed = SourceOutcome & {
  readonly case: string;
  readonly pages_around_the_request?: readonly string[];
  readonly [key: string]: unknown;
};

const file = new URL('../fixtures/observed-source.json', import.meta.url);
const observed = JSON.parse(readFileSync(file, 'utf8')) as Observed[];
const machine = new CapturedMachine('b-postcopy');

/** What depends on how fast the machine was, and what the scripts do not look at. */
const notCompared = [
  'case',
  'position_of_first_requested',
  'bytes_after_resume',
  'error_desc_present',
  'checks_failed',
];

function comparable(known: Observed): Record<string, unknown> {
  const { pages_around_the_request: around, ...rest } = known;
  const kept = Object.entries(rest).filter(([key]) => !notCompared.includes(key));
  const after = around === undefined ? {} : { pages_after_the_request: around.slice(around.indexOf('0x700')) };
  return { ...Object.fromEntries(kept), ...after };
}

describe('a QEMU source', { timeout: 180_000 }, () => {
  test('every case has a script, and every script a case', () => {
    expect(Object.keys(sourceCases).sort()).toEqual(observed.map(({ case: name }) => name).sort());
  });

  test.each(observed)('$case', async (known) => {
    const outcome = await playToQemuSource(machine, sourceCases[known.case], known.events);
    expect(outcome).toMatchObject(comparable(known));
  });
});
