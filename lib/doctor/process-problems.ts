/** Limits of this process and its host that a migration of any size runs into. Pure. */
import type { HostFacts } from './facts.js';
import type { Problem } from './problem.js';

/** What a migration with all its lanes has open, maps and starts, with room to spare. */
const OPEN_FILES = 256;
const MAPPINGS = 2000;
const THREADS = 64;

interface Rule {
  readonly id: string;
  /** The text of the problem where it applies. */
  readonly check: (facts: HostFacts) => Omit<Problem, 'id'> | undefined;
}

const rules: readonly Rule[] = [
  {
    id: 'limit-open-files',
    check: ({ limits: { openFiles } }) =>
      openFiles === null || openFiles >= OPEN_FILES
        ? undefined
        : {
            severity: 'warning',
            what: 'this process may have few files open',
            why: `the limit is ${openFiles}, and a migration has up to ${OPEN_FILES} open`,
            fix: `"ulimit -n ${4 * OPEN_FILES}" (LimitNOFILE= in a unit, --ulimit nofile=${4 * OPEN_FILES} of docker)`,
            effect: 'a migration with lanes may fail with EMFILE',
          },
  },
  {
    id: 'limit-mappings',
    check: ({ mappings, sysctl: { maxMapCount } }) =>
      mappings === null || maxMapCount === null || maxMapCount - mappings >= MAPPINGS
        ? undefined
        : {
            severity: 'warning',
            what: 'this process may have few memory mappings more',
            why: `it has ${mappings}, and vm.max_map_count is ${maxMapCount}`,
            fix: `"sudo sysctl -w vm.max_map_count=${Math.max(262144, 4 * maxMapCount)}"`,
            effect: 'threads or guests may fail with ENOMEM',
          },
  },
  {
    id: 'limit-threads',
    check: ({ threadsLeft }) =>
      threadsLeft === null || threadsLeft >= THREADS
        ? undefined
        : {
            severity: 'warning',
            what: 'this cgroup has few threads left',
            why: `its pids controller gives ${threadsLeft} more, and a migration may start ${THREADS}`,
            fix: '"docker run --pids-limit -1 …", "TasksMax=infinity" in a unit, or a higher pids.max',
            effect: 'threads of a migration may fail to start, with EAGAIN',
          },
  },
  {
    id: 'transparent-hugepages',
    check: ({ transparentHugepages }) =>
      transparentHugepages !== 'never'
        ? undefined
        : {
            severity: 'warning',
            what: 'transparent huge pages are switched off',
            why: '/sys/kernel/mm/transparent_hugepage/enabled says never',
            fix: '"echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled"',
            effect: 'memory is placed in pages of 4 KiB only: the same content, and more time',
          },
  },
];

export function processProblems(facts: HostFacts): readonly Problem[] {
  return rules.flatMap(({ id, check }) => {
    const problem = check(facts);
    return problem === undefined ? [] : [{ id, ...problem }];
  });
}
