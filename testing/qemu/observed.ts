/** What a real QEMU 7.2 was seen to do with each odd peer, by the case's name. */
import { readFileSync } from 'node:fs';
import type { DestinationOutcome } from './captured-destination.ts';
import type { SourceOutcome } from './captured-source.ts';

const read = (name: string): unknown =>
  JSON.parse(readFileSync(new URL(`../../test/fixtures/observed-${name}.json`, import.meta.url), 'utf8'));

export type ObservedDestination = DestinationOutcome & {
  readonly case: string;
  readonly stderr_lines: number;
  readonly send_error?: string;
};

export type ObservedSource = SourceOutcome & {
  readonly case: string;
  readonly pages_around_the_request?: readonly string[];
  readonly [key: string]: unknown;
};

export const observedDestinations = read('destination') as readonly ObservedDestination[];
export const observedSources = read('source') as readonly ObservedSource[];

/** Keys of a source's case that depend on how fast the machine was, and what scripts do not look at. */
const notCompared = [
  'case',
  'position_of_first_requested',
  'bytes_after_resume',
  'error_desc_present',
  'checks_failed',
];

/** What a script for the case has to notice, and what becomes of the source. */
export function comparableSource(known: ObservedSource): Record<string, unknown> {
  const { pages_around_the_request: around, ...rest } = known;
  const kept = Object.entries(rest).filter(([key]) => !notCompared.includes(key));
  const after = around === undefined ? {} : { pages_after_the_request: around.slice(around.indexOf('0x700')) };
  return { ...Object.fromEntries(kept), ...after };
}
