/**
 * docs/containers.md: each situation of its last section is made, of the kernel's own parts, and what the probe prints
 * there is what stands there; a migration in it works, or fails with the same words. Needs root.
 */
import { existsSync, mkdirSync, readFileSync, rmdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { stripVTControlCharacters } from 'node:util';
import { execa } from 'execa';
import { afterAll, expect, test } from 'vitest';
import {
  asNobody,
  type Containment,
  combined,
  inCgroup,
  inUserNamespace,
  limited,
  userfaultfdNode,
  withNodevDev,
  withOwnDev,
  withoutCapabilities,
  withoutUserfaultfd,
} from '../../testing/containment.ts';

const root = new URL('../../', import.meta.url);
const main = fileURLToPath(new URL('dist/cli/main.js', root));
const doc = readFileSync(new URL('docs/containers.md', root), 'utf8');

/** Without it none of what is said of it is to be seen. */
const hasKvm = existsSync('/dev/kvm');

/** Cgroups of this test, in the hierarchies of version 1; a host that has version 2 only has no files for them. */
const cgroups = new Map<string, string>();
function cgroup(controller: string, settings: Readonly<Record<string, string>>): Containment | undefined {
  const parent = `/sys/fs/cgroup/${controller}`;
  const folder = `${parent}/postcopy-test-${process.pid}`;
  if (!existsSync(`${parent}/tasks`)) return undefined;
  if (!cgroups.has(controller)) mkdirSync(folder);
  cgroups.set(controller, folder);
  return inCgroup(folder, settings);
}
afterAll(() => {
  for (const folder of cgroups.values()) rmdirSync(folder);
});

interface Situation {
  /** Its heading in the document. */
  readonly title: string;
  /** Undefined where this host can't have it. */
  readonly contain: Containment | undefined;
  readonly args?: readonly string[];
  /** The problems that it is about; others stand under their own headings. */
  readonly ids: readonly string[];
  /** How a demo fares in it; absent: that is another situation's. */
  readonly demo?: 'works' | 'fails';
}

const denyDevices = cgroup('devices', { 'devices.deny': 'c 10:* rwm' });
const forbidden = withoutUserfaultfd('EPERM');
const wrongNode = withOwnDev('mknod /dev/userfaultfd c 1 3');

const situations: readonly Situation[] = [
  { title: 'With the device', contain: combined(forbidden, withoutCapabilities), ids: [], demo: 'works' },
  {
    title: 'A user with the device',
    contain: combined(withOwnDev(userfaultfdNode('666')), forbidden, asNobody),
    ids: [],
    demo: 'works',
  },
  {
    title: 'A user without any right',
    contain: combined(withOwnDev(userfaultfdNode(), 'mknod -m 600 /dev/kvm c 10 232'), asNobody),
    ids: ['userfaultfd-user-mode', 'kvm-group'],
    demo: 'works',
  },
  {
    title: 'Root without capabilities, and no device',
    contain: combined(withOwnDev(), withoutCapabilities),
    ids: ['userfaultfd-user-mode', 'kvm-device-absent'],
    demo: 'works',
  },
  {
    title: 'Root of a user namespace',
    contain: combined(withOwnDev(), inUserNamespace),
    ids: ['userfaultfd-user-mode'],
    demo: 'works',
  },
  {
    title: 'A seccomp filter, and no device',
    contain: combined(withOwnDev(), forbidden),
    ids: ['userfaultfd-seccomp'],
    demo: 'fails',
  },
  {
    title: 'A seccomp filter that says there is no such call',
    contain: combined(withOwnDev(), withoutUserfaultfd('ENOSYS')),
    ids: ['userfaultfd-seccomp'],
    demo: 'fails',
  },
  {
    title: 'A seccomp filter, and a device that is not this user’s',
    contain: combined(forbidden, asNobody),
    ids: ['userfaultfd-seccomp'],
  },
  {
    title: 'A device cgroup',
    contain: denyDevices && combined(denyDevices, forbidden),
    ids: ['userfaultfd-seccomp', 'kvm-cgroup'],
  },
  {
    title: 'A /dev that is mounted without devices',
    contain: combined(forbidden, withNodevDev),
    ids: ['userfaultfd-seccomp', 'kvm-nodev'],
  },
  {
    title: 'A node of another device',
    contain: combined(wrongNode, forbidden),
    ids: ['userfaultfd-seccomp'],
  },
  { title: 'Few open files', contain: limited('nofile=100'), ids: ['limit-open-files'] },
  { title: 'Few threads', contain: cgroup('pids', { 'pids.max': '40' }), ids: ['limit-threads'] },
  {
    title: 'A memory cgroup that is too small',
    contain: cgroup('memory', { 'memory.limit_in_bytes': '512M' }),
    args: ['--memory', '1G'],
    ids: ['memory-cgroup'],
  },
  {
    title: 'A host that is too small',
    contain: limited('as=2199023255552'),
    args: ['--memory', '3T'],
    ids: ['memory-available', 'memory-address-space'],
  },
  {
    title: 'A guest that locks its memory',
    contain: combined(limited('memlock=65536'), withoutCapabilities),
    args: ['--memory', '64M', '--locked'],
    ids: ['memory-locked'],
  },
  {
    title: 'No hugepages',
    contain: combined(),
    args: ['--memory', '64G', '--memory-kind', 'hugetlb'],
    ids: ['memory-hugepages'],
  },
];

/** As in a container of Docker, wherever this runs. */
async function contained(contain: Containment, ...args: readonly string[]) {
  const [command, ...rest] = contain([process.execPath, main, ...args]);
  const env = { container: 'docker', NO_COLOR: '1', KUBERNETES_SERVICE_HOST: undefined };
  return execa(command, rest, { reject: false, env, cwd: '/', timeout: 60_000 });
}

/** What differs from host to host is left out. */
const comparable = (text: string) =>
  text.replaceAll(/\d+(\.\d+)?( [KMGT]iB)?/g, 'N').replaceAll(/group \S+/g, 'group G');

/** The document's block under a heading, less what can't be had on this host. */
function documented(title: string): string {
  const section = doc.split(/^### /m).find((text) => text.startsWith(`${title}\n`)) ?? '';
  const paragraphs = /^```\n(.*?)\n```$/ms.exec(section)?.[1].split('\n\n') ?? [];
  return paragraphs.filter((text) => hasKvm || !text.includes('/dev/kvm')).join('\n\n');
}

interface Told {
  readonly id: string;
  readonly severity: string;
  readonly what: string;
  readonly why: string;
  readonly fix: string;
  readonly effect: string;
}

const paragraph = ({ severity, what, why, fix, effect }: Told) =>
  `${severity}: ${what}\n  because: ${why}\n  effect:  ${effect}\n  to mend: ${fix}`;

test('has these situations, and no other', () => {
  const [, section = ''] = doc.split('## What `postcopy probe` says, and what to do\n');
  expect([...section.matchAll(/^### (.*)$/gm)].map(([, title]) => title)).toEqual(situations.map(({ title }) => title));
});

for (const { title, contain, args = [], ids: all, demo } of situations) {
  const ids = all.filter((id) => hasKvm || !id.startsWith('kvm-'));
  test.skipIf(contain === undefined)(`${title}: the probe says what stands there`, async () => {
    const { stdout, stderr, exitCode } = await contained(contain as Containment, 'probe', '--json', ...args);
    expect(stderr).toBe('');
    const { problems, works } = JSON.parse(stdout) as { problems: readonly Told[]; works: boolean };
    const about = problems.filter(({ id }) => ids.includes(id));
    expect(about.map(({ id }) => id)).toEqual(ids);
    expect(exitCode).toBe(works ? 0 : 1);
    expect(works).toBe(problems.every(({ severity }) => severity === 'warning'));
    expect(comparable(about.map(paragraph).join('\n\n') || 'migrations work here')).toBe(comparable(documented(title)));
  });

  if (contain === undefined || demo === undefined) continue;
  test(`${title}: a migration ${demo}`, async () => {
    const guest = ['--memory', '16M', '--guest', 'stress'];
    const { stdout, stderr, exitCode } = await contained(contain, 'demo', ...guest, '--json');
    if (demo === 'works') {
      expect({ exitCode, stderr }).toMatchObject({ exitCode: 0 });
      expect(JSON.parse(stdout)).toMatchObject({ verified: true, lostWrites: 0 });
      return;
    }
    expect(exitCode).toBe(1);
    const [, what, why, fix] = /^error: (.*)\n {2}because: (.*)\n.*\n {2}to mend: (.*)$/m.exec(documented(title)) ?? [];
    const said = stripVTControlCharacters(stderr)
      .split('\n')
      .filter((line) => line.startsWith('postcopy: '))
      .at(-1);
    expect(comparable(said ?? stderr)).toBe(comparable(`postcopy: ${what} (${why}): ${fix}`));
  });
}
