/** manifest.json: read back as written, and refused with the field that is wrong. */
import { describe, expect, test } from 'vitest';
import { type Manifest, manifestText, parseManifest } from '#lib/machine/manifest.js';

const digest = 'ab'.repeat(32);
const manifest: Manifest = {
  savedAt: '2026-01-02T03:04:05.678Z',
  peer: { uri: 'unix:/run/m.sock', postcopy: true },
  configuration: {
    machine: 'pc-i440fx-7.2',
    capabilities: ['postcopy-ram'],
    targetPageBits: 12,
    uuid: '00112233-4455-6677-8899-aabbccddeeff',
  },
  ramSection: { id: 2, idstr: 'ram', instanceId: 0, versionId: 4 },
  runState: 'running',
  blocks: [
    { idstr: 'pc.ram', file: '00-pc.ram.ram', length: 8192, sha256: digest },
    { idstr: 'huge', file: '01-huge.ram', length: 2 ** 21, pageSize: 2 ** 21, sha256: digest },
  ],
  deviceState: {
    length: 10,
    sha256: digest,
    devices: [{ name: 'timer', instanceId: 0, versionId: 2, sectionId: 3, offset: 0, length: 10 }],
  },
  vmDescription: true,
};

const json = () => JSON.parse(manifestText(manifest));

test('is read back as it was written', () => {
  expect(parseManifest(manifestText(manifest), 'm')).toEqual(manifest);
});

test('what a machine need not have may be absent', () => {
  const { runState: _, ...rest } = manifest;
  const least: Manifest = { ...rest, configuration: { machine: 'none' } };
  expect(parseManifest(manifestText(least), 'm')).toEqual(least);
});

describe('is refused, with the file, the field and the reason', () => {
  const block = (changed: object) => ({ blocks: [{ ...manifest.blocks[0], ...changed }] });
  test.each<[string, object, RegExp]>([
    ['another format', { format: 'tar' }, /^dir\/m: has the format "tar", not "postcopy-machine"/],
    ['a later version', { version: 2, blocks: 'moved' }, /^dir\/m: has version 2 of the format; this reads 1/],
    ['a field that is missing', { ramSection: undefined }, /^dir\/m: ramSection: /],
    ['a field too many', { extra: 1 }, /extra/],
    ['no blocks', { blocks: [] }, /^dir\/m: blocks: /],
    ['a file in another directory', block({ file: '../x' }), /^dir\/m: blocks\[0\]\.file: a file name/],
    ['a file with a path', block({ file: '/etc/shadow' }), /^dir\/m: blocks\[0\]\.file: /],
    ['a hidden file', block({ file: '.x' }), /^dir\/m: blocks\[0\]\.file: /],
    ['part of a page', block({ length: 4097 }), /^dir\/m: blocks\[0\]\.length: /],
    ['no bytes', block({ length: 0 }), /^dir\/m: blocks\[0\]\.length: /],
    ['more bytes than a number is exact for', block({ length: 2 ** 53 }), /^dir\/m: blocks\[0\]\.length: /],
    ['an odd page size', block({ pageSize: 12288, length: 12288 }), /^dir\/m: blocks\[0\]\.pageSize: a power of two/],
    ['part of a huge page', block({ pageSize: 2 ** 21 }), /"pc\.ram" has 8192 bytes, which are not whole pages/],
    ['a digest of another kind', block({ sha256: 'ab' }), /^dir\/m: blocks\[0\]\.sha256: 64 hexadecimal/],
    ['a name that the stream cannot carry', block({ idstr: 'ä' }), /^dir\/m: blocks\[0\]\.idstr: /],
    [
      'two blocks of one name',
      { blocks: [manifest.blocks[0], { ...manifest.blocks[0], file: 'b' }] },
      /two are named "pc\.ram"/,
    ],
    [
      'one file for two blocks',
      { blocks: [manifest.blocks[0], { ...manifest.blocks[0], idstr: 'b' }] },
      /the file 00-pc\.ram\.ram is used twice/,
    ],
    ['a block in the manifest itself', block({ file: 'manifest.json' }), /the file manifest\.json is used twice/],
    [
      'too much device state',
      { deviceState: { ...manifest.deviceState, length: 2 ** 40 } },
      /^dir\/m: deviceState\.length: /,
    ],
    ['an odd UUID', { configuration: { machine: 'x', uuid: '1' } }, /^dir\/m: configuration\.uuid: a UUID/],
  ])('%s', (_what, changed, message) => {
    const text = JSON.stringify({ ...json(), ...changed });
    expect(() => parseManifest(text, 'dir/m')).toThrow(expect.objectContaining({ code: 'MACHINE_INVALID' }));
    expect(() => parseManifest(text, 'dir/m')).toThrow(message);
  });

  test.each(['', '{', 'null', '[]', '1'])('%j', (text) => {
    expect(() => parseManifest(text, 'm')).toThrow(expect.objectContaining({ code: 'MACHINE_INVALID' }));
  });
});
