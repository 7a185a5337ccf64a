/** What a log record tells of a migration: how it stands, in few figures. Bytes, milliseconds, microseconds. Pure. */
import type { IncomingInfo } from '../destination/incoming-info.js';
import { toPlainError } from '../errors.js';
import type { OutgoingInfo } from '../source/outgoing-info.js';
import type { LogFields } from './log.js';

export function outgoingFields({ status, totalTime, downtime, ram }: OutgoingInfo): LogFields {
  return {
    side: 'source',
    status,
    totalTimeMs: totalTime,
    downtimeMs: downtime,
    transferred: ram.transferred,
    remaining: ram.remaining,
    total: ram.total,
    mbps: ram.mbps,
    dirtySyncCount: ram.dirtySyncCount,
    dirtyPagesRate: ram.dirtyPagesRate,
    postcopyRequests: ram.postcopyRequests,
  };
}

export function incomingFields({ status, ram, faults }: IncomingInfo): LogFields {
  return {
    side: 'destination',
    status,
    transferred: ram.transferred,
    postcopyRequests: ram.postcopyRequests,
    postcopyRequestsServed: ram.postcopyRequestsServed,
    faults: faults.count,
    faultP50Us: faults.p50Us,
    faultP99Us: faults.p99Us,
  };
}

/** Of what went wrong: its code, and what to do about it. */
export function errorFields(thrown: unknown): LogFields {
  const { code, message, hint, offset, record } = toPlainError(thrown);
  const of = { code, message, ...(hint === undefined ? {} : { hint }) };
  return { error: { ...of, ...(offset === undefined ? {} : { offset }), ...(record === undefined ? {} : { record }) } };
}
