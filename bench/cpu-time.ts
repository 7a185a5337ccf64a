/** Processor time of other processes: less disturbed by what else the host does than the time on the wall. */
import { readFileSync } from 'node:fs';

/** The kernel counts in these, whatever its own ticks are (USER_HZ, on every Linux that Node runs on). */
const MS_PER_TICK = 10;
/** Of utime and stime in /proc/PID/stat, counted from behind the command's name. */
const USER = 11;
const SYSTEM = 12;

/** Milliseconds so far, user and system, of all threads that are or were. */
export function cpuMs(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[USER]) + Number(fields[SYSTEM])) * MS_PER_TICK;
}

/** From now to when the returned function is called, by name. */
export function startCpuMeter<Name extends string>(pids: Readonly<Record<Name, number>>): () => Record<Name, number> {
  const entries = Object.entries<number>(pids);
  const before = entries.map(([, pid]) => cpuMs(pid));
  return () =>
    Object.fromEntries(entries.map(([name, pid], index) => [name, cpuMs(pid) - before[index]])) as Record<Name, number>;
}
