/** The archive format of an initrd (cpio, "newc"). Pure. */

export interface CpioEntry {
  readonly path: string;
  /** File type and permissions, as in st_mode. */
  readonly mode: number;
  readonly data?: Uint8Array;
  /** Major and minor number of a device node. */
  readonly device?: readonly [major: number, minor: number];
}

const TRAILER = 'TRAILER!!!';
const ALIGNMENT = 4;

/** The archive of `entries`, folders before what is in them. */
export function cpioArchive(entries: readonly CpioEntry[]): Uint8Array {
  const parts = [...entries, { path: TRAILER, mode: 0 }].flatMap((entry, index) => {
    const data = Buffer.from(entry.data ?? []);
    return [padded(header(entry, index + 1, data.length)), padded(data)];
  });
  return Buffer.concat(parts);
}

function header({ path, mode, device = [0, 0] }: CpioEntry, inode: number, size: number): Buffer {
  const name = Buffer.from(`${path}\0`);
  const [uid, gid, links, time, checksum] = [0, 0, 1, 0, 0];
  const fields = [inode, mode, uid, gid, links, time, size, 0, 0, ...device, name.length, checksum];
  const text = fields.map((field) => field.toString(16).padStart(8, '0')).join('');
  return Buffer.concat([Buffer.from(`070701${text}`), name]);
}

function padded(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc((ALIGNMENT - (bytes.length % ALIGNMENT)) % ALIGNMENT)]);
}
