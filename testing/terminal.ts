/** Runs a program with a terminal for its output, as a person has it. */
import { execa } from 'execa';

/** Copies what the terminal gets to its own stdout; with `pipe`, stdout is none, and goes to stderr instead. */
const HOLDER = `
import fcntl, os, struct, subprocess, sys, termios
master, slave = os.openpty()
fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack('HHHH', 40, 120, 0, 0))
stdout = sys.stderr if sys.argv[1] == 'pipe' else slave
child = subprocess.Popen(sys.argv[2:], stdin=slave, stdout=stdout, stderr=slave, start_new_session=True)
os.close(slave)
while True:
    try:
        data = os.read(master, 65536)
    except OSError:
        break
    if not data:
        break
    os.write(1, data)
sys.exit(child.wait())
`;

export interface TerminalRun {
  readonly exitCode: number | undefined;
  /** What the terminal was given, of both outputs or of stderr. */
  readonly terminal: string;
  /** What went to stdout, where that was no terminal. */
  readonly stdout: string;
}

/** `stdout`: whether that is the terminal too, or a pipe. */
export async function runOnTerminal(
  args: readonly string[],
  environment: Readonly<Record<string, string | undefined>> = {},
  stdout: 'terminal' | 'pipe' = 'terminal',
): Promise<TerminalRun> {
  const env = { TERM: 'xterm', NO_COLOR: undefined, FORCE_COLOR: undefined, CI: undefined, ...environment };
  const run = await execa('python3', ['-c', HOLDER, stdout, process.execPath, ...args], {
    env,
    reject: false,
    timeout: 60_000,
  });
  return { exitCode: run.exitCode, terminal: run.stdout, stdout: run.stderr };
}
