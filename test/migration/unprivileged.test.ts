/** Whole migrations of a user without any privilege: what a userfaultfd of user-mode faults does, and what it can't. */
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { expect, test } from 'vitest';

const script = (faultsInKernel: boolean) => `
  import { listen, migrate, StressGuest } from ${JSON.stringify(import.meta.resolve('#lib/index.js'))};
  const capabilities = { postcopyRam: true };
  const memory = 2 ** 20;
  const source = await StressGuest.create({ memory });
  await source.start();
  const target = Object.assign(StressGuest.empty({ memory }), { faultsInKernel: ${faultsInKernel} });
  const incoming = await listen('tcp:127.0.0.1:0', { guest: target, capabilities });
  const outgoing = await migrate(source, incoming.uri, { capabilities, postcopyAfterPasses: 0 });
  const [sent, received] = await Promise.allSettled([outgoing.finished, incoming.finished]);
  const codes = [sent.reason?.code, received.reason?.code];
  console.log(JSON.stringify({ codes, message: received.reason?.message, runsHere: source.running }));
  if (source.running) await source.stop();
  if (target.running) await target.stop();
`;

interface Answer {
  readonly codes: readonly (string | null)[];
  readonly message?: string;
  readonly runsHere: boolean;
}

async function asNobody(faultsInKernel: boolean): Promise<Answer> {
  const folder = await mkdtemp(join(tmpdir(), 'postcopy-unprivileged-'));
  try {
    await chmod(folder, 0o755);
    const file = join(folder, 'migration.mjs');
    await writeFile(file, script(faultsInKernel));
    const { stdout } = await execa(process.execPath, [file], { uid: 65534, gid: 65534, cwd: folder });
    return JSON.parse(stdout) as Answer;
  } finally {
    await rm(folder, { recursive: true });
  }
}

test('a guest whose RAM the kernel touches is refused before the source gives anything up', async () => {
  const { codes, message, runsHere } = await asNobody(true);
  expect(codes).toEqual(['PEER_FAILED', 'USERFAULTFD_FORBIDDEN']);
  // Why, as "postcopy probe" says it.
  expect(message).toMatch(/user mode only, .*\(.*CAP_SYS_PTRACE.*\)/);
  expect(runsHere).toBe(true);
});

test('a guest of user mode moves, or this host allows no userfaultfd at all', async () => {
  const { codes, message, runsHere } = await asNobody(false);
  if (message === undefined) expect([codes, runsHere]).toEqual([[null, null], false]);
  else expect([message, runsHere]).toEqual([expect.stringMatching(/userfaultfd .*\(.*Seccomp: 2/), true]);
});
