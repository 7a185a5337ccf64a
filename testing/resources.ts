/** What a process holds, to show that a migration leaves nothing behind (invariant 5). */
import { readdirSync } from 'node:fs';
import { native } from '#lib/native.js';

/** Native objects, threads and fds of this process. */
export function resources(): {
  readonly handles: Record<string, number>;
  readonly threads: number;
  readonly fds: number;
} {
  return {
    handles: native().openHandles(),
    threads: readdirSync('/proc/self/task').length,
    fds: readdirSync('/proc/self/fd').length,
  };
}
