/** Where an HTTP server is asked to listen. */
import { describe, expect, test } from 'vitest';
import { httpUrl, parseHttpAddress } from '#lib/http/address.js';

describe('what people write', () => {
  test.each([
    ['0', 'tcp:127.0.0.1:0'],
    ['9090', 'tcp:127.0.0.1:9090'],
    ['localhost:9090', 'tcp:localhost:9090'],
    ['0.0.0.0:80', 'tcp:0.0.0.0:80'],
    ['[::1]:80', 'tcp:[::1]:80'],
    ['tcp:127.0.0.1:1', 'tcp:127.0.0.1:1'],
    ['unix:/run/d.sock', 'unix:/run/d.sock'],
  ])('%s', (text, uri) => {
    expect(parseHttpAddress(text)).toBe(uri);
  });

  test.each(['', 'port', '65536', '123456', ':80', '1:2:3', 'http://localhost:80', 'unix:'])(
    '%j is nowhere',
    (text) => {
      expect(() => parseHttpAddress(text)).toThrow(expect.objectContaining({ code: 'BAD_URI' }));
    },
  );
});

test('what a browser is given', () => {
  expect(httpUrl('tcp:127.0.0.1:9090')).toBe('http://127.0.0.1:9090/');
  expect(httpUrl('tcp:[::1]:80')).toBe('http://[::1]:80/');
  expect(httpUrl('unix:/run/d.sock')).toBe('unix:/run/d.sock');
});
