/**
 * Inspecting, as `postcopy inspect` reads a recording. What must hold, whatever the bytes: there is a verdict, the
 * same however the recording is read, and it can be written as JSON.
 */
import { inspect } from '#lib/inspect/inspect.js';
import { memorySource } from '../testing/memory-source.ts';
import { Broken, type Input, type Origin, type Outcome, type Target } from './input.ts';
import { Random } from './random.ts';
import { Names } from './steps.ts';

export class InspectTarget implements Target {
  readonly name = 'inspect';
  readonly seeds: readonly Input[];
  readonly #ends = new Names();

  constructor(seeds: readonly Input[]) {
    this.seeds = seeds;
  }

  async execute(bytes: Uint8Array, length: number, origin: Origin, choice: number, outcome: Outcome): Promise<void> {
    const { context } = origin;
    const options = context === undefined ? {} : { context };
    const recording = bytes.subarray(0, length);
    const whole = await inspect(memorySource(recording, length), options);
    const random = new Random(choice);
    const pieces = await inspect(
      memorySource(recording, () => 1 + random.below(random.pick([16, 512, 8192]))),
      { ...options, onRecord: () => {} },
    );
    const text = JSON.stringify(whole);
    if (text !== JSON.stringify(pieces))
      throw new Broken(`whole: ${text.slice(0, 2000)}; in pieces: ${JSON.stringify(pieces)}`);
    if (whole.bytes > length) throw new Broken(`${whole.bytes} bytes of ${length}`);
    const { verdict, code, record } = whole.end;
    outcome.features.push(this.#ends.number(`${whole.kind} ${verdict} ${code} ${record} ${firstProblem(whole)}`));
  }

  close(): void {}
}

/** What the VM description and a device's state do not agree on, without its numbers. */
function firstProblem(inspection: Awaited<ReturnType<typeof inspect>>): string {
  if (inspection.content !== 'stream') return '';
  const problem = inspection.devices.find((device) => device.problem !== null)?.problem ?? '';
  return problem.replace(/\d+/g, '').replace(/(sub)?field \S+|subsection \S+/, '');
}
