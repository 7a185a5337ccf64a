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
}

const ownMachine: OutgoingMachine = {
  configuration: { machine: MACHINE_NAME },
  ramSection: RAM_SECTION,
  vmDescription: emptyDescription(),
  deviceSections: (state, ran) => [
    ...fullSection(GUEST_STATE_SECTION, encodeSelfSizedBody(state)),
    ...fullSection(GLOBAL_STATE_SECTION, encodeGlobalStateBody(ran ? 'running' : 'paused')),
  ],
};

/** `machine`: of a guest that is none of ours, whose device state is sections already, its run state among them. */
export function outgoingMachine(machine: Machine | undefined): OutgoingMachine {
  if (machine === undefined) return ownMachine;
  return { vmDescription: emptyDescription(), ...machine, deviceSections: (state) => [state] };
}

function fullSection(section: SectionIdentity, body: Uint8Array): Uint8Array[] {
  return [encodeSectionStart({ type: 'FULL', ...section }), body, encodeFooter(section.id)];
}

function emptyDescription(): string {
  return JSON.stringify({ page_size: TARGET_PAGE_SIZE, devices: [] });
}
