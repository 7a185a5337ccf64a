/**
 * Which requests are answered. Whatever page a browser of this host has open may have it send requests here, so only
 * those are answered that a user typed in, or that our own pages make. Pure.
 */
import { isIP } from 'node:net';
import { isLoopback } from '../channel/local-listener.js';

/** A request's head, with the names of headers in small letters as node:http has them. */
export interface RequestHead {
  readonly method: string;
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>;
}

export interface Refusal {
  readonly status: number;
  readonly reason: string;
}

/** `name:port` and `[::1]:port`. */
const hostHeader = /^(?:\[(?<v6>[0-9a-f:.]+)\]|(?<name>[^:[\]/@\s]+))(?::\d{1,5})?$/i;

/**
 * Whether this server may be addressed so. Another site's name may be made to lead to this host (DNS rebinding); an
 * address may not, nor a name of one part or in .local, which no name server out there has. So where other hosts are
 * let in they say one of these.
 */
function isOwnName(host: string, hostName: string | undefined): boolean {
  const match = hostHeader.exec(host);
  const name = (match?.groups?.v6 ?? match?.groups?.name ?? '').toLowerCase();
  if (isLoopback(name)) return true;
  if (hostName === undefined) return false;
  const own = hostName.toLowerCase();
  return isIP(name) !== 0 || name === own || name === `${own}.local`;
}

function hasBody({ headers }: RequestHead): boolean {
  return headers['transfer-encoding'] !== undefined || (headers['content-length'] ?? '0') !== '0';
}

/** Of a browser that another site had send this. Absent headers are those of curl, or of an old browser. */
function isCrossSite({ headers }: RequestHead): boolean {
  const { origin, host } = headers;
  const site = headers['sec-fetch-site'] ?? 'none';
  return (site !== 'same-origin' && site !== 'none') || (origin !== undefined && origin !== `http://${host}`);
}

/**
 * Why a request is refused; undefined where it is not. `hostName`: this host's, where others may connect; absent, it
 * has to be addressed as loopback.
 */
export function refusal(head: RequestHead, hostName: string | undefined): Refusal | undefined {
  const { host } = head.headers;
  if (typeof host !== 'string' || !isOwnName(host, hostName)) {
    return { status: 421, reason: 'this server answers to the name and addresses of its own host only' };
  }
  if (isCrossSite(head)) return { status: 403, reason: 'the request is another site’s' };
  if (head.method !== 'GET' && head.method !== 'HEAD') return { status: 405, reason: 'there is only GET and HEAD' };
  if (hasBody(head)) return { status: 413, reason: 'a request has no body here' };
  return undefined;
}
