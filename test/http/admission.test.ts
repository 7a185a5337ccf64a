/** Which requests are answered: those of a user and of our own pages, and of no other site. */
import { describe, expect, test } from 'vitest';
import { refusal } from '#lib/http/admission.js';

const get = (headers: Record<string, string>, method = 'GET') => ({
  method,
  headers: { host: 'localhost', ...headers },
});
const statusOf = (headers: Record<string, string>, hostName?: string) => refusal(get(headers), hostName)?.status;

describe('how this server is addressed', () => {
  test.each(['localhost', 'LOCALHOST:1', '127.0.0.1:9090', '127.1.2.3', '[::1]:80', '[::1]'])('as %s', (host) => {
    expect(statusOf({ host })).toBeUndefined();
  });

  test.each([
    'evil.example',
    'evil.example:9090',
    '127.0.0.1.evil.example',
    'localhost.evil.example',
    'evil.example/127.0.0.1',
    'a@localhost',
    '192.0.2.1',
    '0.0.0.0',
    '[::]:80',
    '[::1',
    'localhost:999999',
    '',
  ])('not as %j', (host) => {
    expect(statusOf({ host })).toBe(421);
  });

  test('not without a name', () => {
    expect(refusal({ method: 'GET', headers: {} }, undefined)?.status).toBe(421);
  });

  test('where other hosts may connect also by an address, or this host’s name, and by no other', () => {
    for (const host of ['192.0.2.1:80', '[2001:db8::1]', 'Here', 'here.local:80', 'localhost']) {
      expect(statusOf({ host }, 'here')).toBeUndefined();
    }
    for (const host of [
      'evil.example',
      'nothere',
      'here-not',
      'here.evil.example',
      'here.local.evil.example',
      '192.0.2.1.evil.example',
    ]) {
      expect(statusOf({ host }, 'here')).toBe(421);
    }
  });
});

describe('whose request it is', () => {
  test.each([[{ 'sec-fetch-site': 'none' }], [{ 'sec-fetch-site': 'same-origin' }], [{ origin: 'http://localhost' }]])(
    '%j is answered',
    (headers) => {
      expect(statusOf(headers)).toBeUndefined();
    },
  );

  test.each([
    [{ 'sec-fetch-site': 'cross-site' }],
    [{ 'sec-fetch-site': 'same-site' }],
    [{ 'sec-fetch-site': 'anything' }],
    [{ origin: 'http://evil.example' }],
    [{ origin: 'http://localhost:81' }],
    [{ origin: 'https://localhost' }],
    [{ origin: 'null' }],
  ])('%j is not', (headers) => {
    expect(statusOf(headers)).toBe(403);
  });
});

describe('what it asks for', () => {
  test.each(['POST', 'PUT', 'DELETE', 'OPTIONS', 'TRACE', 'PATCH'])('%s is refused', (method) => {
    expect(refusal(get({}, method), undefined)?.status).toBe(405);
  });

  test('HEAD is not; a body is', () => {
    expect(refusal(get({ 'content-length': '0' }, 'HEAD'), undefined)).toBeUndefined();
    expect(statusOf({ 'content-length': '1' })).toBe(413);
    expect(statusOf({ 'transfer-encoding': 'chunked' })).toBe(413);
  });
});
