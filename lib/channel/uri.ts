/** Migration URIs, as QEMU writes them: `unix:/path` and `tcp:host:port`. Pure. */
import { MigrationError } from '../errors.js';
import type { SocketAddress } from '../native.js';

/** sockaddr_un's path, less the closing zero. */
const UNIX_PATH_BYTES_MAX = 107;

function bad(uri: string, why: string): MigrationError {
  return new MigrationError('BAD_URI', `bad migration URI "${uri}": ${why}`);
}

function parseUnix(uri: string, path: string): SocketAddress {
  if (path === '') throw bad(uri, 'the path is empty');
  const bytes = new TextEncoder().encode(path).length;
  if (bytes > UNIX_PATH_BYTES_MAX)
    throw bad(uri, `the path has ${bytes} bytes, a socket's may have ${UNIX_PATH_BYTES_MAX}`);
  if (path.includes('\0')) throw bad(uri, 'the path has a zero byte');
  return { family: 'unix', path };
}

function parseTcp(uri: string, rest: string): SocketAddress {
  const match = /^(?:\[(?<v6>[0-9a-fA-F:.%\w]+)\]|(?<host>[^:[\]]*)):(?<port>\d{1,5})$/.exec(rest);
  if (match?.groups === undefined) throw bad(uri, 'expected host:port, or [IPv6 address]:port');
  const port = Number(match.groups.port);
  if (port > 65535) throw bad(uri, `port ${port} is above 65535`);
  return { family: 'tcp', host: match.groups.v6 ?? (match.groups.host || '0.0.0.0'), port };
}

const parsers: Readonly<Record<string, (uri: string, rest: string) => SocketAddress>> = {
  unix: parseUnix,
  tcp: parseTcp,
};

/** The address a URI names. An empty tcp host is every address of this host. Throws BAD_URI. */
export function parseUri(uri: string): SocketAddress {
  const colon = uri.indexOf(':');
  const scheme = uri.slice(0, Math.max(colon, 0));
  const parse = Object.hasOwn(parsers, scheme) ? parsers[scheme] : undefined;
  if (parse === undefined) throw bad(uri, `the transport is none of ${Object.keys(parsers).join(', ')}`);
  return parse(uri, uri.slice(colon + 1));
}

/** The URI of an address, as {@link parseUri} reads it. */
export function formatUri(address: SocketAddress): string {
  if (address.family === 'unix') return `unix:${address.path}`;
  const host = address.host.includes(':') ? `[${address.host}]` : address.host;
  return `tcp:${host}:${address.port}`;
}
