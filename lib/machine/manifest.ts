/**
 * manifest.json of a saved machine (docs/machines.md): what it holds, checked before anything is done with it, as
 * the directory may come from anybody. Pure.
 */
import { z } from 'zod';
import { MigrationError } from '../errors.js';
import { TARGET_PAGE_SIZE } from '../memory/page.js';

export const MANIFEST_FILE = 'manifest.json';
export const DEVICE_STATE_FILE = 'device-state.bin';
export const VM_DESCRIPTION_FILE = 'vmdescription.json';

const FORMAT = 'postcopy-machine';
const VERSION = 1;

/** What a destination takes of device state, and more than any machine has. */
export const DEVICE_STATE_BYTES_MAX = 128 * 1024 * 1024;
export const VM_DESCRIPTION_BYTES_MAX = 64 * 1024 * 1024;
const BLOCKS_MAX = 4096;
const DEVICES_MAX = 65_536;

const idstr = z.string().regex(/^[\x20-\x7e]{1,255}$/, '1 to 255 printable ASCII characters are wanted');
/** A name in the directory itself: nothing that leads out of it, and no hidden file. */
const fileName = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$/, 'a file name of letters, digits, ".", "_" and "-" is wanted');
const sha256 = z.string().regex(/^[0-9a-f]{64}$/, '64 hexadecimal digits in lower case are wanted');
const u32 = z.int().min(0).max(0xffffffff);
const ramBytes = z.int().positive().multipleOf(TARGET_PAGE_SIZE);

const block = z.strictObject({
  idstr,
  file: fileName,
  length: ramBytes,
  pageSize: z
    .int()
    .refine((size) => size >= TARGET_PAGE_SIZE && Number.isInteger(Math.log2(size)), 'a power of two is wanted')
    .exactOptional(),
  sha256,
});

const device = z.strictObject({
  name: idstr,
  instanceId: u32,
  versionId: u32,
  sectionId: u32,
  offset: z.int().min(0),
  length: z.int().positive(),
});

const schema = z.strictObject({
  format: z.literal(FORMAT),
  version: z.literal(VERSION),
  savedAt: z.iso.datetime(),
  peer: z.strictObject({ uri: z.string(), postcopy: z.boolean() }),
  configuration: z.strictObject({
    machine: idstr,
    capabilities: z.array(idstr).max(256).exactOptional(),
    targetPageBits: z.int().min(10).max(16).exactOptional(),
    uuid: z
      .string()
      .regex(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/, 'a UUID in lower case is wanted')
      .exactOptional(),
  }),
  ramSection: z.strictObject({ id: u32, idstr, instanceId: u32, versionId: u32 }),
  runState: z.string().max(100).exactOptional(),
  blocks: z.array(block).min(1).max(BLOCKS_MAX),
  deviceState: z.strictObject({
    length: z.int().min(0).max(DEVICE_STATE_BYTES_MAX),
    sha256,
    devices: z.array(device).max(DEVICES_MAX),
  }),
  vmDescription: z.boolean(),
  /** Half of a machine: some of its pages (page-marks.ts). */
  partial: z.literal(true).exactOptional(),
});

/** The manifest as it is in the file, less its format and version. */
export type Manifest = Omit<z.infer<typeof schema>, 'format' | 'version'>;
export type BlockFile = Manifest['blocks'][number];

/** Throws MACHINE_INVALID. `what` is the file or what of it, and stands first in the message. */
export function invalid(what: string, why: string, hint?: string): MigrationError {
  return new MigrationError('MACHINE_INVALID', `${what}: ${why}`, hint === undefined ? {} : { hint });
}

/** Throws MACHINE_INVALID where the file at `path` has another SHA-256 than is wanted. */
export function checkDigest(path: string, found: string, wanted: string): void {
  if (found === wanted) return;
  throw invalid(
    path,
    `has the SHA-256 ${found}, not the manifest's ${wanted}`,
    'it is not as it was saved; use a copy that is',
  );
}

function parseJson(text: string, path: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw invalid(path, `is not JSON (${(error as Error).message})`);
  }
}

/** Another version's manifest has other fields, and is not blamed for them. */
function checkVersion(value: unknown, path: string): void {
  const { format, version } = (value ?? {}) as { readonly format?: unknown; readonly version?: unknown };
  if (format !== FORMAT) {
    throw invalid(
      path,
      `has the format ${JSON.stringify(format)}, not "${FORMAT}"`,
      'give a directory that "postcopy receive --save" made',
    );
  }
  if (version !== VERSION) {
    throw invalid(
      path,
      `has version ${JSON.stringify(version)} of the format; this reads ${VERSION}`,
      'use the version of postcopy that saved it',
    );
  }
}

const fieldText = (path: readonly PropertyKey[]): string =>
  path
    .map((key) => (typeof key === 'number' ? `[${key}]` : `.${String(key)}`))
    .join('')
    .replace(/^\./, '');

function repeated(values: readonly string[]): string | undefined {
  return values.find((value, index) => values.indexOf(value) !== index);
}

/** What no field on its own can break. */
function checkBlocks({ blocks }: Manifest, path: string): void {
  const twice = repeated(blocks.map(({ idstr: name }) => name));
  if (twice !== undefined) throw invalid(path, `blocks: two are named "${twice}"`);
  const reserved = [MANIFEST_FILE, DEVICE_STATE_FILE, VM_DESCRIPTION_FILE];
  const shared = repeated([...reserved, ...blocks.map(({ file }) => file)]);
  if (shared !== undefined) throw invalid(path, `blocks: the file ${shared} is used twice`);
  const odd = blocks.find(({ length, pageSize = TARGET_PAGE_SIZE }) => length % pageSize !== 0);
  if (odd !== undefined) {
    throw invalid(path, `blocks: "${odd.idstr}" has ${odd.length} bytes, which are not whole pages of ${odd.pageSize}`);
  }
}

/** Reads a manifest; `path` is for the message. Throws MACHINE_INVALID that names the first wrong field. */
export function parseManifest(text: string, path: string): Manifest {
  const value = parseJson(text, path);
  checkVersion(value, path);
  const parsed = schema.safeParse(value);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw invalid(path, `${fieldText(issue.path) || 'the whole'}: ${issue.message}`);
  }
  const { format: _format, version: _version, ...manifest } = parsed.data;
  checkBlocks(manifest, path);
  return manifest;
}

export function manifestText(manifest: Manifest): string {
  return `${JSON.stringify({ format: FORMAT, version: VERSION, ...manifest }, undefined, 2)}\n`;
}
