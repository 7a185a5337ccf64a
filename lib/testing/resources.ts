/** What a process holds, to show that a migration leaves nothing behind (invariant 5). */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { native } from '../native.js';

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

/** The threads by name and the fds by what they are, to tell which of them is one too many. */
export function threadsAndFds(): string[] {
  const look = (path: string, entry: string, read: (path: string) => string): string[] => {
    try {
      return [read(`${path}/${entry}`).trim()];
    } catch {
      return []; // it has gone meanwhile
    }
  };
  const tasks = readdirSync('/proc/self/task');
  return [
    ...tasks.flatMap((task) => look('/proc/self/task', `${task}/comm`, (path) => readFileSync(path, 'utf8'))),
    ...readdirSync('/proc/self/fd').flatMap((fd) => look('/proc/self/fd', fd, (path) => readlinkSync(path))),
  ];
}
