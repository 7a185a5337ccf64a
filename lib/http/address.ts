/** Where an HTTP server is asked to listen, as people write it on a command line. Pure. */
import { formatUri, parseUri } from '../channel/uri.js';
import { MigrationError } from '../errors.js';

const port = /^\d{1,5}$/;
const hostAndPort = /^(\[[^\]]+\]|[^:]+):\d{1,5}$/;

/**
 * The URI, as a migration's is written, of `9090` (a port of loopback; 0: one that is free), `host:9090`,
 * `unix:/path`, or such a URI itself. Throws BAD_URI.
 */
export function parseHttpAddress(text: string): string {
  if (port.test(text)) return formatUri(parseUri(`tcp:127.0.0.1:${text}`));
  if (text.startsWith('unix:') || text.startsWith('tcp:')) return formatUri(parseUri(text));
  if (hostAndPort.test(text)) return formatUri(parseUri(`tcp:${text}`));
  throw new MigrationError('BAD_URI', `"${text}" is nowhere to listen`, {
    hint: 'give a port, host:port, or unix:/path',
  });
}

/** What a browser, or curl, is given to reach a server that listens at `uri`. */
export function httpUrl(uri: string): string {
  const address = parseUri(uri);
  return address.family === 'unix' ? uri : `http://${uri.slice('tcp:'.length)}/`;
}
