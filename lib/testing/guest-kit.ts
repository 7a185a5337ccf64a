/** How the test kit makes, checks and ends guests of one sort. Types only. */
import type { Guest } from '../memory/guest.js';

export interface GuestKit<G extends Guest = Guest> {
  /** A guest with something in its RAM; stopped. */
  create(): Promise<G>;
  /** One to be filled by a migration from one of {@link create}. */
  empty(): Promise<G>;
  /** Throws where its RAM or device state is not what it must be. The guest is stopped, and all its pages are here. */
  verify(guest: G): Promise<void>;
  /** Resolved when it has run so far that {@link verify} would notice writes that are lost. The guest runs. */
  progress(guest: G): Promise<void>;
  /** Ends it and lets go of its RAM; harmless twice. */
  close(guest: G): Promise<void> | void;
  /**
   * Of a guest with `throttle`: how much it has done so far, in whatever unit, so that the kit sees whether it does
   * less.
   */
  work?(guest: G): number;
  /** Device states, made from one that is good, which it must refuse too: such as that of another version. */
  foreignStates?(state: Uint8Array): readonly Uint8Array[];
}
