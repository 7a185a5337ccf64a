/**
 * The answer to QMP's query-migrate of a destination, from its info: QEMU's names, whole milliseconds, and
 * which fields there are in which status. Pure.
 */
import type { IncomingInfo } from './incoming-info.js';

/** QMP's SocketAddress, as far as a destination can listen there. */
export type QmpSocketAddress =
  | { readonly type: 'unix'; readonly path: string }
  | { readonly type: 'inet'; readonly host: string; readonly port: string };

export interface QueryIncoming {
  readonly status?: string;
  readonly 'error-desc'?: string;
  readonly 'socket-address'?: readonly QmpSocketAddress[];
  readonly 'postcopy-blocktime'?: number;
  readonly 'postcopy-vcpu-blocktime'?: readonly number[];
}

/** The URI as the command line has it: `unix:PATH`, `tcp:HOST:PORT`. */
function socketAddress(uri: string): QmpSocketAddress {
  if (uri.startsWith('unix:')) return { type: 'unix', path: uri.slice('unix:'.length) };
  const at = uri.lastIndexOf(':');
  return { type: 'inet', host: uri.slice('tcp:'.length, at).replace(/^\[|\]$/g, ''), port: uri.slice(at + 1) };
}

function blocktimeFields({ postcopyBlocktime, postcopyVcpuBlocktime }: IncomingInfo): QueryIncoming {
  if (postcopyBlocktime === undefined) return {};
  return {
    'postcopy-blocktime': Math.trunc(postcopyBlocktime),
    'postcopy-vcpu-blocktime': postcopyVcpuBlocktime?.map(Math.trunc) ?? [],
  };
}

/** `uri` is where it listens; `errorDesc` why it failed. */
export function queryIncoming(info: IncomingInfo, uri: string, errorDesc?: string): QueryIncoming {
  const { status } = info;
  const listening = { 'socket-address': [socketAddress(uri)] };
  switch (status) {
    case 'none':
      return {};
    case 'setup':
      return listening;
    case 'active':
      return { status, ...listening };
    case 'postcopy-active':
    case 'postcopy-paused':
    case 'postcopy-recover':
      return { status, ...listening, ...blocktimeFields(info) };
    case 'completed':
      return { status, ...(info.postcopy ? blocktimeFields(info) : {}) };
    case 'failed':
      return errorDesc === undefined ? { status } : { status, 'error-desc': errorDesc };
  }
}
