/**
 * What the stream says of the guest besides its RAM: which machine it is, and its device state as the FULL
 * sections that follow RAM, or go into the package. Pure.
 */
import type { Machine } from '../memory/guest.js';
import { TARGET_PAGE_SIZE } from '../memory/page.js';
import { encodeFooter, encodeSectionStart, encodeSelfSizedBody } from '../wire/encode.js';
import {
  encodeGlobalStateBody,
  GLOBAL_STATE_SECTION,
  GUEST_STATE_SECTION,
  MACHINE_NAME,
  RAM_SECTION,
  type SectionIdentity,
} from '../wire/machine.js';

export interface OutgoingMachine extends Required<Machine> {
  /** `ran`: whether the guest ran when it was stopped to be moved, and so should run at the destination. */
  deviceSections(state: Uint8Array, ran: boolean): readonly Uint8Array[];
  /**
   * Whether the destination is asked before it runs the guest: one of ours, and a QEMU new enough to do the same as a
   * source. Any QEMU would answer; but one whose answer is lost runs the guest all the same.
   */
  readonly answersBeforeRun: boolean;
  /** Whether the preempt channel is opened at the switch, as QEMU 8.0 and later do, or in the set-up. */
  readonly preemptsAtSwitch: boolean;
}

/** The releases of QEMU from which a source does so; machine types have the release in their name. */
const ASKS_BEFORE_RUN = [10, 2];
const PREEMPTS_AT_SWITCH = [8, 0];

const ownMachine: OutgoingMachine = {
  configuration: { machine: MACHINE_NAME },
  ramSection: RAM_SECTION,
  vmDescription: emptyDescription(),
  answersBeforeRun: true,
  preemptsAtSwitch: false,
  deviceSections: (state, ran) => [
    ...fullSection(GUEST_STATE_SECTION, encodeSelfSizedBody(state)),
    ...fullSection(GLOBAL_STATE_SECTION, encodeGlobalStateBody(ran ? 'running' : 'paused')),
  ],
};

/** `machine`: of a guest that is none of ours, whose device state is sections already, its run state among them. */
export function outgoingMachine(machine: Machine | undefined): OutgoingMachine {
  if (machine === undefined) return ownMachine;
  const { machine: type } = machine.configuration;
  return {
    vmDescription: emptyDescription(),
    ...machine,
    answersBeforeRun: isSince(type, ASKS_BEFORE_RUN),
    preemptsAtSwitch: isSince(type, PREEMPTS_AT_SWITCH),
    deviceSections: (state) => [state],
  };
}

/** Whether a machine type such as pc-q35-10.2 is of that release or a later one; false for one that tells none. */
function isSince(machineType: string, [major, minor]: readonly number[]): boolean {
  const release = /-(\d+)\.(\d+)$/.exec(machineType)?.slice(1).map(Number);
  return release !== undefined && (release[0] > major || (release[0] === major && release[1] >= minor));
}

function fullSection(section: SectionIdentity, body: Uint8Array): Uint8Array[] {
  return [encodeSectionStart({ type: 'FULL', ...section }), body, encodeFooter(section.id)];
}

function emptyDescription(): string {
  return JSON.stringify({ page_size: TARGET_PAGE_SIZE, devices: [] });
}
