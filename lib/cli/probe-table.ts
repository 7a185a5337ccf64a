/** The host probe as a table for people. Pure. */
import Table from 'cli-table3';
import type { Problem } from '../doctor/problem.js';
import type { HostProbe, MemoryProbe } from '../host/probe.js';
import { stdoutColours as pc } from './colours.js';
import { formatBytes } from './size.js';

const yes = (value: boolean) => (value ? pc.green('yes') : pc.red('no'));

function modes(memory: MemoryProbe): string {
  const taken = (['missing', 'wp', 'minor'] as const).filter((mode) => memory[mode]);
  return taken.length === 0 ? 'none' : taken.join(', ');
}

/** What the source needs to send a running guest's memory in rounds. */
function tracksWrites({ pagemapScan, userfaultfd }: HostProbe): boolean {
  return pagemapScan && userfaultfd.features.includes('WP_ASYNC');
}

export function probeTable(probe: HostProbe): string {
  const { userfaultfd, kvm } = probe;
  const table = new Table({ style: { head: [], border: [] }, colWidths: [22, 76], wordWrap: true });
  const ways = Object.entries(userfaultfd.ways).map(([way, errno]) => `${way}: ${errno ?? 'open'}`);
  table.push(
    ['kernel', probe.kernel],
    [
      'userfaultfd',
      `${yes(userfaultfd.available)}${userfaultfd.via === null ? '' : ` (by ${userfaultfd.via})`}; ${ways.join(', ')}`,
    ],
    ['features', userfaultfd.features.join(' ') || 'none'],
    ['anonymous memory', modes(userfaultfd.memory.anonymous)],
    ['shared memory', modes(userfaultfd.memory.shmem)],
    ['hugetlb memory', modes(userfaultfd.memory.hugetlb)],
    ['PAGEMAP_SCAN', yes(probe.pagemapScan)],
    [
      'precopy rounds',
      tracksWrites(probe)
        ? `${yes(true)} (writes are tracked by WP_ASYNC and PAGEMAP_SCAN)`
        : `${yes(false)}: a running guest is switched to postcopy at once`,
    ],
    ['KVM', kvm.available ? `${yes(true)} (API ${kvm.apiVersion})` : yes(false)],
    [
      'huge pages',
      probe.hugepages.map(({ size, total, free }) => `${formatBytes(size)}: ${free} of ${total} free`).join(', ') ||
        'none',
    ],
    ['transparent ones', probe.facts.transparentHugepages ?? 'unknown'],
    ['contained in', probe.facts.container ?? 'nothing'],
  );
  return [table.toString(), ...probe.problems.map(problemText), verdict(probe)].join('\n');
}

/** A problem as a paragraph: what, why, what it costs, and what to do. */
function problemText({ severity, what, why, fix, effect }: Problem): string {
  const mark = severity === 'error' ? pc.red('error:') : pc.yellow('warning:');
  return `\n${mark} ${what}\n  because: ${why}\n  effect:  ${effect}\n  to mend: ${fix}`;
}

function verdict({ works, problems }: HostProbe): string {
  const errors = problems.filter(({ severity }) => severity === 'error');
  const isOfSize = errors.length > 0 && errors.every(({ id }) => id.startsWith('memory-'));
  if (isOfSize) return `\n${pc.red('that guest does not fit here')}; smaller ones can be migrated`;
  if (!works) return `\n${pc.red('no migration works here')} until the errors are mended`;
  if (problems.length === 0) return `\n${pc.green('everything works here')}`;
  return `\n${pc.green('migrations work here')}, but for what is said above`;
}
