/** The guest's device state as the FULL sections that follow RAM, or go into the package. Pure. */
import { encodeFooter, encodeSectionStart, encodeSelfSizedBody } from '../wire/encode.js';
import {
  encodeGlobalStateBody,
  GLOBAL_STATE_SECTION,
  GUEST_STATE_SECTION,
  type SectionIdentity,
} from '../wire/machine.js';

function fullSection(section: SectionIdentity, body: Uint8Array): Uint8Array[] {
  return [encodeSectionStart({ type: 'FULL', ...section }), body, encodeFooter(section.id)];
}

/** `ran`: whether the guest ran when it was stopped to be moved, and so should run at the destination. */
export function deviceSections(state: Uint8Array, ran: boolean): Uint8Array[] {
  return [
    ...fullSection(GUEST_STATE_SECTION, encodeSelfSizedBody(state)),
    ...fullSection(GLOBAL_STATE_SECTION, encodeGlobalStateBody(ran ? 'running' : 'paused')),
  ];
}
