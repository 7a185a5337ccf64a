/** What the doctor says of a host: one problem, its evidence, its cure and what it costs. Types only. */

export interface Problem {
  /** The cause by a name that does not change between versions, such as `userfaultfd-seccomp`. */
  readonly id: string;
  /** `error`: no migration works until it is mended. `warning`: something does not, and the rest does. */
  readonly severity: 'error' | 'warning';
  readonly what: string;
  /** The evidence, as it was found on this host. */
  readonly why: string;
  /** What to do in this situation, with its commands. */
  readonly fix: string;
  /** What does not work without it. */
  readonly effect: string;
}
