/**
 * Our own machine as it appears on the stream: its name, its sections, and the bodies of those that
 * are not RAM; and the one section body of any other machine that matters to us. Pure.
 *
 * The name stands in the configuration section, so a peer that is no `postcopy` sees in the first
 * bytes that this is none of its machines. A guest-state body tells its own length; a globalstate body
 * is laid out as QEMU's.
 *
 * ```
 * guest-state:  u32 length | bytes of the guest's own format
 * globalstate:  u32 length of the name, its closing zero included | name, padded with zeroes to 100
 * ```
 */
import { WireError } from './errors.js';

export const MACHINE_NAME = 'postcopy';

export interface SectionIdentity {
  /** The section's number on the stream. */
  readonly id: number;
  readonly idstr: string;
  readonly instanceId: number;
  readonly versionId: number;
}

export const RAM_SECTION: SectionIdentity = { id: 2, idstr: 'ram', instanceId: 0, versionId: 4 };
export const GUEST_STATE_SECTION: SectionIdentity = { id: 3, idstr: 'guest-state', instanceId: 0, versionId: 1 };
export const GLOBAL_STATE_SECTION: SectionIdentity = { id: 4, idstr: 'globalstate', instanceId: 0, versionId: 1 };

/** Whether the guest ran when it was stopped to be moved, under QEMU's run state names. */
export type RunState = 'running' | 'paused';

const LENGTH_BYTES = 4;
const RUN_STATE_BYTES = 100;
const runStates: readonly RunState[] = ['running', 'paused'];

/** The state inside a guest-state body. `offset` is where the body began on the stream, for errors. */
export function decodeGuestStateBody(body: Uint8Array, offset: number): Uint8Array {
  const length = body.length < LENGTH_BYTES ? -1 : new DataView(body.buffer, body.byteOffset).getUint32(0);
  if (length !== body.length - LENGTH_BYTES) {
    const detail = `${body.length} bytes that say they have ${length}`;
    throw new WireError('BAD_LENGTH', detail, offset, GUEST_STATE_SECTION.idstr);
  }
  return body.subarray(LENGTH_BYTES);
}

export function encodeGlobalStateBody(state: RunState): Uint8Array {
  const body = new Uint8Array(LENGTH_BYTES + RUN_STATE_BYTES);
  new DataView(body.buffer).setUint32(0, state.length + 1);
  new TextEncoder().encodeInto(state, body.subarray(LENGTH_BYTES));
  return body;
}

/** The run state in a globalstate body. `offset` is where the body began on the stream, for errors. */
export function decodeGlobalStateBody(body: Uint8Array, offset: number): RunState {
  const padded = new TextDecoder().decode(body.subarray(LENGTH_BYTES));
  const state = runStates.find((known) => known.padEnd(RUN_STATE_BYTES, '\0') === padded);
  const length = body.length < LENGTH_BYTES ? 0 : new DataView(body.buffer, body.byteOffset).getUint32(0);
  if (state === undefined || length !== state.length + 1) {
    const detail = `${body.length} bytes that name no run state we know`;
    throw new WireError('BAD_VALUE', detail, offset, GLOBAL_STATE_SECTION.idstr);
  }
  return state;
}

/**
 * The run state, under QEMU's name, in the globalstate body of any machine, behind which newer ones have subsections.
 * `offset` is where the body began on the stream, for errors.
 */
export function decodeRunState(body: Uint8Array, offset: number): string {
  const name = body.subarray(LENGTH_BYTES, LENGTH_BYTES + RUN_STATE_BYTES);
  const length = name.indexOf(0);
  if (name.length < RUN_STATE_BYTES || length <= 0) {
    const detail = `${body.length} bytes that hold no run state`;
    throw new WireError('BAD_VALUE', detail, offset, GLOBAL_STATE_SECTION.idstr);
  }
  return new TextDecoder().decode(name.subarray(0, length));
}
