/** The host probe: what it says of this host is what can be done here, to a user without rights too. */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { release } from 'node:os';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { type HostProbe, probeHost } from '#lib/host/probe.js';
import { RAMBlock } from '#lib/memory/ram-block.js';
import { openUserfaultfd } from '#lib/memory/userfaultfd.js';
import { native, type UserfaultfdVia } from '#lib/native.js';
import { handleLeaks } from '../../testing/lib-thread.ts';

afterEach(() => {
  vi.restoreAllMocks();
});

test('leaves nothing open, and can be sent as JSON', () => {
  const leaks = handleLeaks();
  const probe = probeHost();
  expect(leaks()).toEqual({});
  expect(JSON.parse(JSON.stringify(probe))).toEqual(probe);
});

test('says the way the engine takes, and features that can be had', () => {
  const n = native();
  const { userfaultfd, kernel, pagemapScan } = probeHost();
  expect(kernel).toBe(release());
  expect(pagemapScan).toBe(n.hasPagemapScan());
  const opened = openUserfaultfd(n.constants.UFFD_FEATURE_WP_ASYNC);
  n.userfaultfdClose(opened.handle);
  expect(userfaultfd.via).toBe(opened.via);
  expect(userfaultfd.available).toBe(true);
  expect(userfaultfd.features).toContain('WP_ASYNC');
  expect(userfaultfd.features).toContain('MISSING_SHMEM');
  expect(userfaultfd.memory.anonymous).toEqual({ missing: true, wp: true, minor: false });
  expect(userfaultfd.memory.shmem).toEqual({ missing: true, wp: true, minor: true });
});

test('hugetlb memory is usable exactly where a page of it is free', () => {
  const canMap = (): boolean => {
    try {
      RAMBlock.create({ idstr: 'probe', size: 1, kind: 'hugetlb' }).close();
      return true;
    } catch {
      return false;
    }
  };
  expect(probeHost().userfaultfd.memory.hugetlb.missing).toBe(canMap());
});

test('huge pages are those of the kernel’s own list', () => {
  const found = probeHost().hugepages.find(({ size }) => size === 2 ** 21);
  const root = '/sys/kernel/mm/hugepages/hugepages-2048kB';
  expect(found?.total).toBe(existsSync(root) ? Number(readFileSync(`${root}/nr_hugepages`, 'utf8')) : undefined);
});

/** The probe of a process that runs as nobody. */
function probeAsNobody(): HostProbe {
  const script = `
    import { probeHost } from ${JSON.stringify(import.meta.resolve('#lib/host/probe.js'))};
    console.log(JSON.stringify(probeHost()));`;
  const asNobody = { uid: 65534, gid: 65534, encoding: 'utf8' } as const;
  return JSON.parse(execFileSync(process.execPath, ['--input-type=module', '--eval', script], asNobody)) as HostProbe;
}

test('to a user without rights what is forbidden is an answer with a way out', () => {
  const { userfaultfd, kvm, problems } = probeAsNobody();
  expect(userfaultfd.ways.device).toMatch(/^(EACCES|ENOENT)$/);
  expect(userfaultfd.ways.syscall).toBe('EPERM');
  expect(problems).toContainEqual(
    expect.objectContaining({
      what: expect.stringContaining('userfaultfd'),
      fix: expect.stringContaining('/dev/userfaultfd'),
    }),
  );
  expect(userfaultfd.available).toBe(userfaultfd.ways['user-mode-only'] === null);
  if (userfaultfd.available) expect(userfaultfd.memory.anonymous.missing).toBe(true);
  expect(problems.some(({ what }) => what.includes('/dev/kvm'))).toBe(!kvm.available);
});

describe('a problem has its own sentence when', () => {
  const refuseAll = (errnos: Readonly<Record<UserfaultfdVia, string>>): void => {
    vi.spyOn(native(), 'userfaultfdOpen').mockImplementation((via) => {
      throw Object.assign(new Error(errnos[via]), { code: errnos[via] });
    });
  };

  test('userfaultfd is forbidden', () => {
    refuseAll({ device: 'ENOENT', syscall: 'EPERM', 'user-mode-only': 'EPERM' });
    const { userfaultfd, problems } = probeHost();
    expect(userfaultfd).toMatchObject({ available: false, via: null, features: [] });
    expect(userfaultfd.ways).toEqual({ device: 'ENOENT', syscall: 'EPERM', 'user-mode-only': 'EPERM' });
    expect(problems[0]).toMatchObject({ id: expect.stringMatching(/^userfaultfd-/), severity: 'error' });
    expect(probeHost().works).toBe(false);
  });

  test('there is none', () => {
    refuseAll({ device: 'ENOENT', syscall: 'ENOSYS', 'user-mode-only': 'ENOSYS' });
    expect(probeHost().problems[0]).toMatchObject({ why: expect.stringContaining('ENOSYS'), severity: 'error' });
  });

  test('dirty pages cannot be tracked', () => {
    vi.spyOn(native(), 'hasPagemapScan').mockReturnValue(false);
    const { pagemapScan, problems } = probeHost();
    expect(pagemapScan).toBe(false);
    expect(problems).toContainEqual(
      expect.objectContaining({
        what: expect.stringContaining('tracked'),
        why: expect.stringContaining('PAGEMAP_SCAN'),
      }),
    );
    expect(probeHost().works).toBe(true);
  });

  test('there is no KVM, which is no error', () => {
    vi.spyOn(native(), 'kvmApiVersion').mockImplementation(() => {
      throw Object.assign(new Error('EBUSY'), { code: 'EBUSY' });
    });
    const { kvm, problems, works } = probeHost();
    expect(kvm).toEqual({ available: false, apiVersion: null });
    expect(problems.at(-1)).toMatchObject({ id: 'kvm-other', severity: 'warning' });
    expect(works).toBe(true);
  });

  test('a guest that is asked about does not fit', () => {
    const { problems, works } = probeHost({ memory: 2 ** 50, kind: 'anonymous', isLocked: false });
    expect(problems[0]).toMatchObject({ severity: 'error', id: expect.stringMatching(/^memory-/) });
    expect(works).toBe(false);
  });
});
