/** A real QEMU that waits for the captured machine, and what became of a source that was played to it. */
import { constants } from 'node:os';
import { type CapturedMachine, PAGE_BYTES } from './captured-machine.ts';
import { CAPTURED_RAM, startCapturedMachine } from './captured-qemu.ts';
import { type DestinationCase, ODD_PAGE } from './destination-cases.ts';
import { listenForMigration, migrationInfo, setUp } from './migrate.ts';
import type { QemuProcess } from './qemu-process.ts';
import { memfdContent } from './ram.ts';
import { ScriptedSource } from './scripted-source.ts';

/** As test/fixtures/observed-destination.json tells it. */
export interface DestinationOutcome {
  /** The migration's status, or how the process ended. */
  readonly destination: string;
  readonly runstate?: string;
  readonly events?: readonly string[];
  /** Values by kind of message; of page requests how many. */
  readonly return_path: Readonly<Record<string, readonly number[] | string>>;
  readonly pages_differing_from_sent?: number;
  readonly page_0x300_is_zero?: boolean;
  readonly page_0x300_filled_with_aa?: boolean;
}

/** Starts microvm to wait for the captured machine. */
export async function capturedDestination(
  machine: CapturedMachine,
  { postcopyRam = false, runs = false }: DestinationCase,
): Promise<QemuProcess> {
  const qemu = await startCapturedMachine('destination', machine, ['-incoming', 'defer', ...(runs ? [] : ['-S'])]);
  await setUp(qemu, postcopyRam ? ['postcopy-ram'] : []);
  return qemu;
}

/**
 * Plays the case to a QEMU of its own and tells what came of it, once it has come to the migration status
 * `wantedStatus` or to its end, whatever that is.
 */
export async function playToQemu(
  machine: CapturedMachine,
  played: DestinationCase,
  wantedStatus: string,
): Promise<DestinationOutcome> {
  await using qemu = await capturedDestination(machine, played);
  using source = await ScriptedSource.connect(await listenForMigration(qemu, 'unix'));
  // The monitor is answered by the thread that carries out the package, when it is done.
  await played.play(source, machine, async () => {
    await qemu.qmp.execute('query-status');
  });
  try {
    return await outcomeOf(qemu, source, machine, wantedStatus);
  } catch (error) {
    if (!qemu.qmp.isGone) throw error;
    return { destination: exitOf(await qemu.ended), return_path: answersOf(source) };
  }
}

/** Rejects when QEMU ends, as it does where it fails in precopy. */
async function outcomeOf(
  qemu: QemuProcess,
  source: ScriptedSource,
  machine: CapturedMachine,
  wantedStatus: string,
): Promise<DestinationOutcome> {
  const statuses = [wantedStatus, 'completed', 'postcopy-paused'];
  await qemu.qmp.event('MIGRATION', ({ status }) => statuses.includes(String(status)));
  // A source that is answered to the end sees the other side close; one that is left waiting does not.
  if (wantedStatus === 'completed') await source.answers.silence();
  const { status: destination = 'none' } = await migrationInfo(qemu);
  const { status: runstate } = await qemu.qmp.execute<{ status: string }>('query-status');
  return {
    destination,
    runstate,
    events: qemu.qmp.events.flatMap(({ event, data }) => {
      if (event === 'MIGRATION') return [`MIGRATION=${data.status}`];
      return event === 'RESUME' ? [event] : [];
    }),
    return_path: answersOf(source),
    ...comparedWithSent(await memfdContent(qemu), machine),
  };
}

function exitOf(how: number | string): string {
  return `process exited, status ${typeof how === 'number' ? how : -constants.signals[how as NodeJS.Signals]}`;
}

export function answersOf({ answers }: ScriptedSource): DestinationOutcome['return_path'] {
  const values: Record<string, number[]> = {};
  let requests = 0;
  for (const message of answers.all) {
    if (message.type === 'REQ_PAGES') requests += 1;
    if (!('value' in message)) continue;
    values[message.type] ??= [];
    values[message.type].push(message.value);
  }
  return requests === 0 ? values : { ...values, REQ_PAGES_ID: `${requests} messages` };
}

/** `memory`: of the block that the cases are about. */
export function comparedWithSent(memory: Buffer, machine: CapturedMachine) {
  const wanted = machine.memory.get(CAPTURED_RAM)!;
  const pages = Array.from({ length: memory.length / PAGE_BYTES }, (_, page) => page);
  const pageOf = (bytes: Uint8Array, page: number) =>
    Buffer.from(bytes.buffer, bytes.byteOffset + page * PAGE_BYTES, PAGE_BYTES);
  const odd = pageOf(memory, ODD_PAGE.page);
  return {
    pages_differing_from_sent: pages.filter((page) => !pageOf(memory, page).equals(pageOf(wanted, page))).length,
    page_0x300_is_zero: odd.every((byte) => byte === 0),
    page_0x300_filled_with_aa: odd.every((byte) => byte === 0xaa),
  };
}
