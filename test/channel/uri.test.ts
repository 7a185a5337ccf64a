/** Migration URIs: what is read how, what is refused, and that formatting is parsing turned round. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { formatUri, parseUri } from '#lib/channel/uri.js';
import type { SocketAddress } from '#lib/native.js';

describe('reads', () => {
  test.each<[string, SocketAddress]>([
    ['unix:/run/m.sock', { family: 'unix', path: '/run/m.sock' }],
    ['unix:relative.sock', { family: 'unix', path: 'relative.sock' }],
    ['unix:/with:colons', { family: 'unix', path: '/with:colons' }],
    [`unix:${'x'.repeat(107)}`, { family: 'unix', path: 'x'.repeat(107) }],
    ['tcp:localhost:4444', { family: 'tcp', host: 'localhost', port: 4444 }],
    ['tcp:10.0.0.1:0', { family: 'tcp', host: '10.0.0.1', port: 0 }],
    ['tcp::65535', { family: 'tcp', host: '0.0.0.0', port: 65535 }],
    ['tcp:[::1]:4444', { family: 'tcp', host: '::1', port: 4444 }],
    ['tcp:[fe80::1%eth0]:1', { family: 'tcp', host: 'fe80::1%eth0', port: 1 }],
  ])('%s', (uri, address) => {
    expect(parseUri(uri)).toEqual(address);
  });
});

describe('refuses, with a hint how to write it', () => {
  test.each([
    '',
    'unix',
    'unix:',
    `unix:${'x'.repeat(108)}`,
    `unix:${'é'.repeat(54)}`, // 108 bytes
    'unix:/a\0b',
    'tcp',
    'tcp:',
    'tcp:host',
    'tcp:host:',
    'tcp:host:65536',
    'tcp:host:123456',
    'tcp:host:-1',
    'tcp:host:0x10',
    'tcp:host:12 ',
    'tcp:host:12\n',
    'tcp:::1:4444',
    'tcp:[::1]',
    'tcp:[::1]4444',
    'TCP:host:1',
    'fd:3',
    'exec:cat',
    'rdma:host:1',
    'constructor:host:1',
    '__proto__:host:1',
    'http://host:1',
  ])('%j', (uri) => {
    expect(() => parseUri(uri)).toThrow(
      expect.objectContaining({ code: 'BAD_URI', hint: expect.stringContaining('unix:') }),
    );
  });
});

const port = fc.integer({ min: 0, max: 65535 });
const address: fc.Arbitrary<SocketAddress> = fc.oneof(
  fc.record({
    family: fc.constant('unix' as const),
    path: fc
      .string({ unit: 'grapheme', minLength: 1, maxLength: 60 })
      .filter((path) => !path.includes('\0') && new TextEncoder().encode(path).length <= 107),
  }),
  fc.record({ family: fc.constant('tcp' as const), host: fc.oneof(fc.domain(), fc.ipV4(), fc.ipV6()), port }),
);

test('what is formatted is read back as it was (property)', () => {
  fc.assert(
    fc.property(address, (given) => {
      expect(parseUri(formatUri(given))).toEqual(given);
    }),
  );
});

test('whatever is given, it is an address or BAD_URI (property)', () => {
  const text = fc.oneof(
    fc.string(),
    fc.string().map((rest) => `tcp:${rest}`),
    fc.string().map((rest) => `unix:${rest}`),
  );
  fc.assert(
    fc.property(text, (uri) => {
      try {
        const parsed = parseUri(uri);
        expect(parseUri(formatUri(parsed))).toEqual(parsed);
      } catch (error) {
        expect(error).toMatchObject({ code: 'BAD_URI' });
      }
    }),
  );
});
