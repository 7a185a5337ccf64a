/** What a process holds, to show that a migration leaves nothing behind (invariant 5). */
import { readdirSync, readFileSync } from 'node:fs';
import { native } from '#lib/native.js';

/** Native objects, threads, fds and mappings of shared guest memory of this process. */
export function resources(): {
  readonly handles: Record<string, number>;
  readonly threads: number;
  readonly fds: number;
  /** Only those of memfds: the kernel joins anonymous ones to their neighbours. */
  readonly mappings: number;
} {
  return {
    handles: native().openHandles(),
    threads: readdirSync('/proc/self/task').length,
    fds: readdirSync('/proc/self/fd').length,
    mappings: readFileSync('/proc/self/maps', 'utf8').split('/memfd:postcopy-ram').length - 1,
  };
}
