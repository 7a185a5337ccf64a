/**
 * `postcopy send`: sends on the machine that `postcopy receive --save` kept. Exit code 0 when the destination has
 * it, 1 when it has not, 130 when interrupted; the saved machine stays as it is in any case.
 */
import type { Command } from 'commander';
import { describeError } from '../errors.js';
import { SavedMachine } from '../machine/saved-machine.js';
import { migrate } from '../migration/migrate.js';
import { onInterrupt, printJson, sized } from './command-line.js';
import { createLiveLine, type LiveLine } from './live-line.js';
import { loadLook, sendLook, sendReport, sendText } from './send-report.js';
import { parseRate } from './size.js';

interface SendOptions {
  readonly from: string;
  readonly postcopy?: boolean;
  readonly maxBandwidth: number;
  readonly maxPostcopyBandwidth: number;
  readonly verify: boolean;
  readonly json?: boolean;
}

async function openMachine({ from, verify }: SendOptions, line: LiveLine, signal: AbortSignal): Promise<SavedMachine> {
  let done = 0;
  let total = 0;
  line.follow(() => loadLook(done, total));
  const onProgress = (bytes: number, ofBytes: number) => {
    done = bytes;
    total = ofBytes;
  };
  return SavedMachine.open(from, { verify, onProgress, signal });
}

async function runSend(uri: string, options: SendOptions): Promise<void> {
  const { postcopy = false, maxBandwidth, maxPostcopyBandwidth, json = false } = options;
  const signal = onInterrupt();
  const line = createLiveLine();
  try {
    using machine = await openMachine(options, line, signal);
    const outgoing = await migrate(machine, uri, {
      // In a precopy the destination is heard as well: what was sent may not be what it can take.
      capabilities: { postcopyRam: postcopy, returnPath: true },
      parameters: { maxBandwidth, maxPostcopyBandwidth },
      ...(postcopy ? { postcopyAfterPasses: 0 } : {}),
      signal,
    });
    outgoing.on('status', (status) => line.event(status));
    outgoing.on('warning', (warning) => line.event(describeError(warning)));
    line.follow(() => sendLook(outgoing.info()));
    const report = sendReport(await outgoing.finished, machine.manifest, postcopy);
    line.end();
    if (json) printJson(report);
    else process.stdout.write(`${sendText(report)}\n`);
  } finally {
    line.end();
  }
}

const help = `
For a QEMU as the destination: start it with the machine type, devices and RAM of the source, and let it wait

  $ qemu-system-x86_64 -M pc-i440fx-7.2 -m 98312k … -incoming unix:/run/m.sock

For postcopy use "-incoming defer", and say in its monitor before this is started (QMP: migrate-incoming)

  (qemu) migrate_set_capability postcopy-ram on
  (qemu) migrate_incoming unix:/run/m.sock`;

/** Adds the command to `program`. */
export function addSendCommand(program: Command): void {
  program
    .command('send')
    .description('send on a machine that "postcopy receive --save" kept, to a QEMU or another receive')
    .argument('<uri>', 'where the destination listens: unix:/path or tcp:host:port')
    .requiredOption('--from <dir>', 'the directory it is kept in')
    .option('--postcopy', 'let it run at the destination first, and send its RAM as it is asked for')
    .addOption(sized('--max-bandwidth <rate>', 'in precopy, such as 100M/s or 1Gbit; 0 is no limit', parseRate, '0'))
    .addOption(sized('--max-postcopy-bandwidth <rate>', 'the same for background pages in postcopy', parseRate, '0'))
    .option('--no-verify', "do not hold the files against the manifest's SHA-256")
    .option('--json', 'print one JSON object as the last line')
    .addHelpText('after', help)
    .action(runSend);
}
