/** The manifest of a machine that is being saved, or of a half of one. Pure. */
import { createHash } from 'node:crypto';
import type { Machine } from '../memory/guest.js';
import type { RAMBlock } from '../memory/ram-block.js';
import { blockFileNames } from './block-files.js';
import { deviceSections } from './device-sections.js';
import type { Manifest } from './manifest.js';

export interface MachineParts {
  readonly machine: Machine;
  readonly ramBlocks: readonly RAMBlock[];
  /** SHA-256 of each block's file. */
  readonly digests: readonly string[];
  readonly deviceState: Uint8Array;
  readonly peer: Manifest['peer'];
  /** Whether VM_DESCRIPTION_FILE is there. */
  readonly vmDescription: boolean;
  /** Whether it is but half of the machine. */
  readonly partial: boolean;
}

/** The names of the files that its blocks are kept in. */
export const filesOf = (ramBlocks: readonly RAMBlock[]): string[] =>
  blockFileNames(ramBlocks.map(({ idstr }) => idstr));

/** Throws STREAM_CORRUPT where the device state is none. */
export function describeMachine(parts: MachineParts): Manifest {
  const { machine, ramBlocks, digests, deviceState, peer, vmDescription, partial } = parts;
  const { capabilities, ...configuration } = machine.configuration;
  const { id, idstr, instanceId, versionId } = machine.ramSection;
  const { devices, runState } = deviceSections(deviceState);
  const files = filesOf(ramBlocks);
  return {
    savedAt: new Date().toISOString(),
    peer,
    configuration: { ...configuration, ...(capabilities === undefined ? {} : { capabilities: [...capabilities] }) },
    ramSection: { id, idstr, instanceId, versionId },
    ...(runState === undefined ? {} : { runState }),
    blocks: ramBlocks.map((block, index) => ({
      idstr: block.idstr,
      file: files[index],
      length: block.size,
      ...(block.kind === 'hugetlb' ? { pageSize: block.pageSize } : {}),
      sha256: digests[index],
    })),
    deviceState: {
      length: deviceState.length,
      sha256: createHash('sha256').update(deviceState).digest('hex'),
      devices: [...devices],
    },
    vmDescription,
    ...(partial ? { partial } : {}),
  };
}
