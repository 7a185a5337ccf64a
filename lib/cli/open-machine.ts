/** Reading the machine that "postcopy receive --save" kept, with its progress in the live line. */
import { type OpenMachineOptions, SavedMachine } from '../machine/saved-machine.js';
import type { LiveLine } from './live-line.js';
import { RateMeter } from './progress-text.js';
import { loadLook } from './send-report.js';

/** Rejects as `SavedMachine.open` does. */
export async function openMachine(
  directory: string,
  line: LiveLine,
  options: Pick<OpenMachineOptions, 'verify' | 'signal'> = {},
): Promise<SavedMachine> {
  let done = 0;
  let total = 0;
  const meter = new RateMeter();
  line.follow(() => loadLook(done, total, meter.look(done)));
  const onProgress = (bytes: number, ofBytes: number) => {
    done = bytes;
    total = ofBytes;
  };
  return SavedMachine.open(directory, { ...options, onProgress });
}
