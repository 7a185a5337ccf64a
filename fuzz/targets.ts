/** The targets by name, each over its seeds. */
import { DecodeTarget } from './decode-target.ts';
import type { Target } from './input.ts';
import { InspectTarget } from './inspect-target.ts';
import { LoadTarget } from './load-target.ts';
import { readSeeds } from './seeds.ts';

export const targetNames = ['decode', 'load', 'inspect'] as const;

export type TargetName = (typeof targetNames)[number];

export function createTarget(name: TargetName): Target {
  const seeds = readSeeds();
  switch (name) {
    case 'decode':
      return new DecodeTarget(seeds);
    case 'load':
      return new LoadTarget(seeds);
    case 'inspect':
      return new InspectTarget(seeds);
  }
}
