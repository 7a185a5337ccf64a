/**
 * The device state of a machine that is none of ours, taken apart: its sections one behind the other, as on the
 * stream (memory/guest.ts). Pure.
 */
import { asMigrationError, MigrationError } from '../errors.js';
import { concatenate } from '../memory/bytes.js';
import { StreamDecoder } from '../wire/decode.js';
import { encodeEof } from '../wire/encode.js';
import { decodeRunState, GLOBAL_STATE_SECTION, GUEST_STATE_SECTION } from '../wire/machine.js';
import { DEFAULT_TARGET_PAGE_SIZE } from '../wire/protocol.js';

/** A device by the name of its section; `offset` and `length` in bytes of the device state, footer included. */
export interface DeviceSection {
  readonly name: string;
  readonly instanceId: number;
  readonly versionId: number;
  readonly sectionId: number;
  readonly offset: number;
  readonly length: number;
}

export interface DeviceSections {
  readonly devices: readonly DeviceSection[];
  /** Of the source when it was stopped, under QEMU's names; undefined where no section tells. */
  readonly runState: string | undefined;
}

/** A decoder that stands where the sections of a stream begin. */
function sectionDecoder(): StreamDecoder {
  const decoder = new StreamDecoder({
    selfSizedDevices: [GUEST_STATE_SECTION.idstr],
    resumed: true,
    context: {
      targetPageSize: DEFAULT_TARGET_PAGE_SIZE,
      pageSizeSummary: 0,
      ignoreShared: false,
      mayHaveRuns: false,
      sections: [],
      blocks: [],
    },
  });
  decoder.endOfInput();
  return decoder;
}

function corrupt(what: string, offset: number): MigrationError {
  const hint = 'device state is whole device sections and nothing else';
  return new MigrationError('STREAM_CORRUPT', `device state: ${what} at byte ${offset}`, { offset, hint });
}

/** Throws STREAM_CORRUPT or UNSUPPORTED where it is anything but whole sections of devices. */
export function deviceSections(state: Uint8Array): DeviceSections {
  // The end of a section is found by what follows it.
  const bytes = concatenate([state, encodeEof()]);
  const view = new DataView(bytes.buffer);
  const decoder = sectionDecoder();
  const devices: DeviceSection[] = [];
  const globalState: Uint8Array[] = [];
  let open: Omit<DeviceSection, 'length'> | undefined;
  for (let at = 0; at < state.length; at += decoder.consumed) {
    const record = asMigrationError(() => decoder.next(bytes, view, at, bytes.length));
    if (record?.type === 'section-start' && record.kind === 'FULL') {
      const { idstr: name, instanceId, versionId, id: sectionId } = record;
      open = { name, instanceId, versionId, sectionId, offset: at };
    } else if (record?.type === 'device-data') {
      const { dataStart, dataLength } = record;
      if (open?.name === GLOBAL_STATE_SECTION.idstr)
        globalState.push(bytes.subarray(dataStart, dataStart + dataLength));
    } else if (record?.type === 'section-end' && open !== undefined) {
      devices.push({ ...open, length: at + decoder.consumed - open.offset });
      open = undefined;
    } else {
      throw corrupt(record?.type ?? 'an end', at);
    }
  }
  if (open !== undefined) throw corrupt(`an end inside of ${open.name}`, state.length);
  if (globalState.length === 0) return { devices, runState: undefined };
  return { devices, runState: asMigrationError(() => decodeRunState(concatenate(globalState), 0)) };
}
