/**
 * What the stream says of the machine besides its RAM: its configuration and its devices. Of a guest of ours the
 * device state by its name; of any other machine the sections as they stand on the stream. Main thread only.
 */
import { asMigrationError, MigrationError } from '../errors.js';
import type { Machine, MachineLike } from '../memory/guest.js';
import { TARGET_PAGE_SIZE } from '../memory/page.js';
import { encodeFooter, encodeSectionStart } from '../wire/encode.js';
import {
  decodeGlobalStateBody,
  decodeGuestStateBody,
  decodeRunState,
  GLOBAL_STATE_SECTION,
  GUEST_STATE_SECTION,
  MACHINE_NAME,
  RAM_SECTION,
} from '../wire/machine.js';
import type {
  ConfigurationRecord,
  DeviceDataRecord,
  RamBlockEntry,
  SectionEndRecord,
  SectionEntry,
  SectionStartRecord,
} from '../wire/messages.js';
import { DeviceStates } from './device-states.js';

/** `own`: a guest of ours; else any machine, or any like that one. */
export type ExpectedMachine = 'own' | { readonly like: MachineLike | undefined };

export interface IncomingDeviceState {
  /** As {@link Guest.loadDeviceState} takes it. */
  readonly state: Uint8Array;
  /** It ran when it was stopped to be moved. */
  readonly ran: boolean;
}

export interface IncomingMachine {
  /** Of a machine that is none of ours, once its RAM has been announced. */
  readonly machine: Machine | undefined;
  /** This and the next two throw GUEST_MISMATCH or UNSUPPORTED where it is not one to be taken. */
  configuration(record: ConfigurationRecord): void;
  blocks(blocks: readonly RamBlockEntry[]): void;
  sectionStart(record: SectionStartRecord): void;
  /** A piece of a section's body, which is copied. */
  deviceData(record: DeviceDataRecord, bytes: Uint8Array): void;
  sectionEnd(record: SectionEndRecord): void;
  /** All of it, once. Throws GUEST_MISMATCH where something of it is missing before stream offset `offset`. */
  take(offset: number): IncomingDeviceState;
}

export function createIncomingMachine(expected: ExpectedMachine): IncomingMachine {
  return expected === 'own' ? new OwnMachine() : new AnyMachine(expected.like);
}

class OwnMachine implements IncomingMachine {
  readonly machine = undefined;
  readonly #devices = new DeviceStates();

  configuration({ machine, targetPageBits }: ConfigurationRecord): void {
    if (machine === MACHINE_NAME) return requireTargetPageBits(targetPageBits);
    throw new MigrationError('GUEST_MISMATCH', `the source runs a machine "${machine}", this is "${MACHINE_NAME}"`, {
      hint: 'only another postcopy can send to this guest; "postcopy receive" takes any machine',
      record: 'configuration',
    });
  }

  sectionStart({ idstr }: SectionStartRecord): void {
    const known = [RAM_SECTION, GUEST_STATE_SECTION, GLOBAL_STATE_SECTION].some((section) => section.idstr === idstr);
    if (!known)
      throw new MigrationError('GUEST_MISMATCH', `the source sends a section "${idstr}" that this guest does not have`);
  }

  deviceData(record: DeviceDataRecord, bytes: Uint8Array): void {
    this.#devices.add(record.idstr, dataOf(record, bytes));
  }

  sectionEnd(): void {}

  /** They are held against the guest's own. */
  blocks(): void {}

  take(offset: number): IncomingDeviceState {
    const guestState = this.#devices.take(GUEST_STATE_SECTION.idstr, offset);
    const globalState = this.#devices.take(GLOBAL_STATE_SECTION.idstr, offset);
    return asMigrationError(() => ({
      ran: decodeGlobalStateBody(globalState, offset) === 'running',
      state: decodeGuestStateBody(guestState, offset),
    }));
  }
}

/** The sections of all devices under one name, in order, so that one limit holds for them; no section is kept by it. */
const SECTIONS = 'sections';

class AnyMachine implements IncomingMachine {
  readonly #like: MachineLike | undefined;
  readonly #devices = new DeviceStates();
  #configuration: Machine['configuration'] | undefined;
  #ramSection: Machine['ramSection'] | undefined;

  constructor(like: MachineLike | undefined) {
    this.#like = like;
  }

  get machine(): Machine | undefined {
    if (this.#configuration === undefined || this.#ramSection === undefined) return undefined;
    return { configuration: this.#configuration, ramSection: this.#ramSection };
  }

  configuration({ type: _, ...configuration }: ConfigurationRecord): void {
    const { machine, targetPageBits } = configuration;
    if (this.#like !== undefined && machine !== this.#like.machine)
      throw mismatch(`a machine "${machine}"`, `"${this.#like.machine}"`);
    requireTargetPageBits(targetPageBits);
    this.#configuration = configuration;
  }

  sectionStart({ type: _, kind, ...section }: SectionStartRecord): void {
    if (section.idstr === RAM_SECTION.idstr) return this.#ram(section);
    if (kind === 'START') {
      throw new MigrationError('UNSUPPORTED', `the source sends a section "${section.idstr}" in parts, like RAM`, {
        hint: 'switch off at the source what sends its disks or its devices along (capabilities block, dirty-bitmaps)',
      });
    }
    this.#checkDevice(section);
    this.#devices.add(SECTIONS, encodeSectionStart({ type: kind, ...section }));
  }

  #ram(section: SectionEntry): void {
    const { versionId } = RAM_SECTION;
    if (section.versionId > versionId) {
      throw new MigrationError(
        'UNSUPPORTED',
        `the source sends RAM in version ${section.versionId}, over ${versionId}`,
      );
    }
    this.#ramSection = section;
  }

  #checkDevice({ idstr, instanceId, versionId }: SectionEntry): void {
    if (this.#like === undefined) return;
    const device = this.#like.devices.find((known) => known.idstr === idstr && known.instanceId === instanceId);
    if (device === undefined) throw mismatch(`a device "${idstr}" (instance ${instanceId})`, 'none');
    if (versionId > device.versionId) {
      throw mismatch(`device "${idstr}" in version ${versionId}`, `it in version ${device.versionId}`);
    }
  }

  blocks(blocks: readonly RamBlockEntry[]): void {
    if (this.#like === undefined) return;
    const there = describeBlocks(blocks);
    const here = describeBlocks(this.#like.blocks);
    if (there !== here) throw mismatch(`RAM blocks ${there}`, here);
  }

  deviceData(record: DeviceDataRecord, bytes: Uint8Array): void {
    const data = dataOf(record, bytes);
    this.#devices.add(SECTIONS, data);
    if (record.idstr === GLOBAL_STATE_SECTION.idstr) this.#devices.add(record.idstr, data);
  }

  sectionEnd({ id, idstr }: SectionEndRecord): void {
    if (idstr !== RAM_SECTION.idstr) this.#devices.add(SECTIONS, encodeFooter(id));
  }

  /** A machine without a global state runs, as in QEMU. */
  take(offset: number): IncomingDeviceState {
    const taken = (name: string) => (this.#devices.has(name) ? this.#devices.take(name, offset) : undefined);
    const globalState = taken(GLOBAL_STATE_SECTION.idstr);
    const runState = globalState && asMigrationError(() => decodeRunState(globalState, offset));
    return { state: taken(SECTIONS) ?? new Uint8Array(), ran: (runState ?? 'running') === 'running' };
  }
}

/** Where the stream says nothing, pages are as they are here. */
function requireTargetPageBits(bits: number | undefined): void {
  if (bits === undefined || 2 ** bits === TARGET_PAGE_SIZE) return;
  throw new MigrationError(
    'UNSUPPORTED',
    `the source has target pages of ${2 ** bits} bytes, here they have ${TARGET_PAGE_SIZE}`,
    { hint: 'move it to a QEMU of the same kind', record: 'configuration' },
  );
}

function mismatch(there: string, here: string): MigrationError {
  return new MigrationError('GUEST_MISMATCH', `the source sends ${there}; the machine expected here has ${here}`, {
    hint: 'expect another machine, or start the source as the expected one was',
  });
}

const describeBlocks = (blocks: MachineLike['blocks']): string =>
  blocks.map(({ idstr, usedLength }) => `${idstr} ${usedLength}`).join(', ');

function dataOf({ dataStart, dataLength }: DeviceDataRecord, bytes: Uint8Array): Uint8Array {
  return bytes.subarray(dataStart, dataStart + dataLength);
}
