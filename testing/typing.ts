/** A shell on a terminal into which somebody types. */
import { execa } from 'execa';

/** Types each line at a prompt READY1>, READY2> … that has not been there, and tells all that was shown. */
const TYPIST = `
import fcntl, json, os, re, struct, subprocess, sys, termios
lines = json.loads(sys.argv[1])
master, slave = os.openpty()
fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack('HHHH', 40, 200, 0, 0))
child = subprocess.Popen(sys.argv[2:], stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
                         preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
os.close(slave)
seen, prompts = b'', set()
while True:
    try:
        data = os.read(master, 65536)
    except OSError:
        break
    if not data:
        break
    seen += data
    now = set(re.findall(rb'READY[0-9]+>', seen))
    if lines and now - prompts:
        prompts = now
        os.write(master, lines.pop(0).encode())
sys.stdout.buffer.write(seen)
child.wait()
`;

/**
 * Resolves with all that the terminal showed; the last line has to end the shell, which has to number its prompts as
 * above.
 */
export async function typeInto(
  shell: readonly string[],
  lines: readonly string[],
  environment: Readonly<Record<string, string>> = {},
): Promise<string> {
  const { stdout } = await execa('python3', ['-c', TYPIST, JSON.stringify(lines), ...shell], {
    env: { TERM: 'xterm', ...environment },
    timeout: 30_000,
    reject: false,
  });
  return stdout;
}
