/** A machine out of a recorded stream, saved in a directory as `postcopy receive --save` would. */
import { MachineSaver, type ReceivedMachineInfo } from '#lib/machine/machine-saver.js';
import type { Machine } from '#lib/memory/guest.js';
import type { RAMBlock } from '#lib/memory/ram-block.js';
import { native } from '#lib/native.js';
import type { RamBlockEntry } from '#lib/wire/messages.js';
import { CapturedMachine } from './qemu/captured-machine.ts';

export const capturedMachine = () => new CapturedMachine('a2-precopy-return-path');

export function machineOf({ machine, ramSection }: CapturedMachine): Machine {
  const { id, idstr, instanceId, versionId } = ramSection;
  return { configuration: { machine }, ramSection: { id, idstr, instanceId, versionId } };
}

export const entriesOf = ({ blocks }: CapturedMachine): RamBlockEntry[] =>
  blocks.map((block, index) => ({ ...block, index }));

/** Fills each block with what the recording has of it. */
export function fillBlocks(blocks: readonly RAMBlock[], { memory }: CapturedMachine): void {
  for (const { handle, idstr } of blocks) native().ramBlockWrite(handle, 0, memory.get(idstr) as Uint8Array);
}

/** Saves the recorded machine in `directory`. */
export async function saveCaptured(directory: string, captured = capturedMachine()): Promise<ReceivedMachineInfo> {
  const saver = await MachineSaver.create({ directory });
  try {
    const guest = await saver.receive(machineOf(captured), entriesOf(captured));
    fillBlocks(guest.ramBlocks, captured);
    await guest.loadDeviceState(captured.allDevices(), captured.vmDescription);
    return await saver.finish({ uri: 'unix:/run/m.sock', postcopy: false });
  } finally {
    await saver.close();
  }
}
