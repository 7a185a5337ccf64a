/**
 * The directory that a machine is saved in: it has a manifest only once all else is on disk, and nothing at all
 * where the machine did not come whole.
 */
import { mkdir, open, readdir, rename, rm, rmdir, statfs } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { MigrationError } from '../errors.js';
import { MANIFEST_FILE } from './manifest.js';

/** It holds a guest's memory, keys and passwords included: nobody else may read it. */
const DIRECTORY_MODE = 0o700;
export const FILE_MODE = 0o600;

/** Beside the RAM itself: device state, descriptions and the file system's own. */
const SPARE_BYTES = 4 * 1024 * 1024;

const hints: Readonly<Record<string, string>> = {
  ENOENT: 'make the directory that it is to be in',
  ENOTDIR: 'choose the path of a directory',
  EACCES: 'choose a directory that this user may write to',
  EPERM: 'choose a directory that this user may write to',
  EROFS: 'choose a file system that can be written to',
  ENOSPC: 'make room there, or choose another file system',
  EDQUOT: 'make room there, or choose another file system',
};

/** SAVE_FAILED for what a call of the file system threw. */
export function saveFailed(path: string, cause: unknown): MigrationError {
  if (cause instanceof MigrationError) return cause;
  const { code, message } = cause as NodeJS.ErrnoException;
  const hint = hints[code ?? ''];
  return new MigrationError('SAVE_FAILED', `the machine can't be saved in ${path}: ${message}`, {
    cause,
    ...(hint === undefined ? {} : { hint }),
  });
}

export class SaveDirectory {
  readonly path: string;
  /** Whether the directory itself is new. */
  readonly #isOurs: boolean;
  readonly #written = new Set<string>();

  private constructor(path: string, isOurs: boolean) {
    this.path = path;
    this.#isOurs = isOurs;
  }

  /** Makes the directory, or takes one that is empty. Rejects with SAVE_FAILED where it can't be written to. */
  static async create(path: string): Promise<SaveDirectory> {
    const whole = resolve(path);
    try {
      const isOurs = await makeDirectory(whole);
      const directory = new SaveDirectory(whole, isOurs);
      await directory.#tryOut();
      return directory;
    } catch (cause) {
      throw saveFailed(whole, cause);
    }
  }

  /** Rejects with SAVE_FAILED where there is less room than for so many bytes of RAM without a single zero page. */
  async requireRoom(bytes: number): Promise<void> {
    const { bavail, bsize } = await statfs(this.path);
    if (bavail * bsize >= bytes + SPARE_BYTES) return;
    throw new MigrationError(
      'SAVE_FAILED',
      `the machine has ${bytes} bytes of RAM, and ${this.path} has room for ${bavail * bsize}`,
      { hint: hints.ENOSPC },
    );
  }

  /** Makes a folder in it, to be removed likewise. */
  async makeFolder(name: string): Promise<void> {
    await mkdir(this.pathFor(name), { mode: DIRECTORY_MODE });
  }

  /** The path of a file that is to be made here, to be removed where the machine does not come whole. */
  pathFor(file: string): string {
    this.#written.add(file);
    return join(this.path, file);
  }

  /** Writes a file that must not be there, to the disk. */
  async write(file: string, content: string | Uint8Array): Promise<void> {
    try {
      await using handle = await openNew(this.pathFor(file));
      await handle.writeFile(content);
      await handle.sync();
    } catch (cause) {
      throw saveFailed(this.path, cause);
    }
  }

  /** Writes the manifest, with which the machine is saved; all other files are on disk. */
  async publish(manifest: string): Promise<void> {
    const unfinished = `${MANIFEST_FILE}.unfinished`;
    await this.write(unfinished, manifest);
    try {
      await rename(join(this.path, unfinished), join(this.path, MANIFEST_FILE));
      this.#written.clear();
      await syncDirectory(this.path);
    } catch (cause) {
      throw saveFailed(this.path, cause);
    }
  }

  /** Once published: gives a directory that was made here another name. Where it can't be, nothing is left of it. */
  async moveTo(path: string): Promise<void> {
    try {
      await rename(this.path, path);
      await syncDirectory(dirname(path));
    } catch (cause) {
      await rm(this.path, { recursive: true, force: true });
      throw saveFailed(path, cause);
    }
  }

  /** Removes what was written, if it was not published. Rejects with SAVE_FAILED where something stays. */
  async remove(): Promise<void> {
    try {
      for (const file of this.#written) await rm(join(this.path, file), { recursive: true, force: true });
      if (this.#isOurs && (await readdir(this.path)).length === 0) await rmdir(this.path);
      this.#written.clear();
    } catch (cause) {
      const { message } = cause as Error;
      const hint = `remove ${this.path} yourself`;
      throw new MigrationError('SAVE_FAILED', `what was written of the machine stays: ${message}`, { cause, hint });
    }
  }

  /** Makes and removes a file, as that is the only sure sign that it can be done. */
  async #tryOut(): Promise<void> {
    const file = this.pathFor(`${MANIFEST_FILE}.unfinished`);
    await using _handle = await openNew(file);
    await rm(file);
  }
}

const openNew = (path: string) => open(path, 'wx', FILE_MODE);

async function syncDirectory(path: string): Promise<void> {
  await using directory = await open(path);
  await directory.sync();
}

/** True where the directory is new; one that is there must be empty. */
async function makeDirectory(path: string): Promise<boolean> {
  try {
    await mkdir(path, { mode: DIRECTORY_MODE });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
  if ((await readdir(path)).length === 0) return false;
  throw new MigrationError('SAVE_FAILED', `${path} is not empty`, { hint: 'choose a directory that is new or empty' });
}
