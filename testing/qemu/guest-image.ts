/**
 * The Linux guest of the tests: Debian's smallest kernel, and an initrd of Debian's busybox, our init and our
 * writer (guest_writer.cc). Made at first use and kept (kept-file.ts).
 *
 * The packages are downloaded and unpacked, not installed. Needs apt-get, dpkg-deb and g++, and Debian's
 * package lists, which only root can fetch.
 */
import { createHash } from 'node:crypto';
import { readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { inCheckout } from '../checkout.ts';
import { cpioArchive } from './cpio.ts';
import { kept } from './kept-file.ts';

export interface GuestImage {
  /** Paths of the files that QEMU's -kernel and -initrd take. */
  readonly kernel: string;
  readonly initrd: string;
}

/** Depends on the kernel package that is current; built for virtual machines, so without most drivers. */
const KERNEL_METAPACKAGE = 'linux-image-cloud-amd64';
const BUSYBOX_PACKAGE = 'busybox-static';

const writerSource = inCheckout('testing/qemu/guest_writer.cc');

/** The first process. The kernel hands it what it does not know of its command line as environment. */
const init = `#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
exec /writer "$WRITER_MIB" "$WRITER_PAGES"
`;

const folderMode = 0o40755;
const programMode = 0o100755;
const characterDeviceMode = 0o20600;

export async function guestImage(): Promise<GuestImage> {
  const [kernel, busybox] = await Promise.all([kept('kernel', fetchKernel), kept('busybox', fetchBusybox)]);
  const source = await readFile(writerSource);
  const version = createHash('sha256').update(source).update(init).digest('hex').slice(0, 16);
  const initrd = await kept(`initrd-${version}`, (file, folder) => buildInitrd(file, folder, busybox));
  return { kernel, initrd };
}

async function fetchKernel(file: string, folder: string): Promise<void> {
  const described = await debian('apt-cache', ['depends', '--important', KERNEL_METAPACKAGE], folder);
  const name = /^\s*Depends: (linux-image-\S+)$/m.exec(described)?.[1];
  if (name === undefined) throw unavailable(`"${KERNEL_METAPACKAGE}" names no kernel:\n${described}`);
  await unpack(name, folder);
  const boot = join(folder, 'root', 'boot');
  const kernel = (await readdir(boot)).find((entry) => entry.startsWith('vmlinuz-'));
  if (kernel === undefined) throw unavailable(`the package "${name}" has no vmlinuz`);
  await rename(join(boot, kernel), file);
}

async function fetchBusybox(file: string, folder: string): Promise<void> {
  await unpack(BUSYBOX_PACKAGE, folder);
  await rename(join(folder, 'root', 'bin', 'busybox'), file);
}

/** Downloads a package and unpacks it to `folder`/root. */
async function unpack(name: string, folder: string): Promise<void> {
  await debian('apt-get', ['download', name], folder);
  const archive = (await readdir(folder)).find((entry) => entry.endsWith('.deb'));
  if (archive === undefined) throw unavailable(`apt-get downloaded no file for "${name}"`);
  await debian('dpkg-deb', ['-x', archive, 'root'], folder);
}

/** Runs one of Debian's tools; where it fails, once more behind `apt-get update`. Its output. */
async function debian(command: string, args: readonly string[], cwd: string): Promise<string> {
  const run = () => execa(command, args, { cwd, env: { LC_ALL: 'C' } });
  try {
    const { stdout } = await run().catch(async () => {
      await execa('apt-get', ['update'], { cwd });
      return run();
    });
    return stdout;
  } catch (error) {
    throw unavailable(error instanceof Error ? error.message : String(error));
  }
}

function unavailable(why: string): Error {
  return new Error(
    `The Linux guest is made of Debian's packages "${KERNEL_METAPACKAGE}" and "${BUSYBOX_PACKAGE}", which were ` +
      `not to be had: run "apt-get update" as root on a Debian that has them.\n${why}`,
  );
}

async function buildInitrd(file: string, folder: string, busybox: string): Promise<void> {
  const writer = join(folder, 'writer');
  const flags = ['-std=c++20', '-O2', '-static', '-Wall', '-Wextra', '-Werror'];
  await execa('g++', [...flags, '-o', writer, writerSource]);
  const archive = cpioArchive([
    { path: 'bin', mode: folderMode },
    { path: 'dev', mode: folderMode },
    { path: 'proc', mode: folderMode },
    // What the kernel opens as the standard descriptors of the first process.
    { path: 'dev/console', mode: characterDeviceMode, device: [5, 1] },
    { path: 'bin/busybox', mode: programMode, data: await readFile(busybox) },
    { path: 'writer', mode: programMode, data: await readFile(writer) },
    { path: 'init', mode: programMode, data: Buffer.from(init) },
  ]);
  await writeFile(file, archive);
}
