/** Opening a userfaultfd: as root here, as nobody in a child, and every way that a host may refuse. */
import { execFileSync } from 'node:child_process';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { closedWays, openUserfaultfd, userfaultfdWays } from '#lib/memory/userfaultfd.js';
import { type NativeError, native, type UserfaultfdVia } from '#lib/native.js';
import { handleLeaks } from '../../testing/lib-thread.ts';

afterEach(() => {
  vi.restoreAllMocks();
});

test('root gets one by the first way, with the features asked for', () => {
  const leaks = handleLeaks();
  const { UFFD_FEATURE_WP_ASYNC, UFFD_FEATURE_MISSING_SHMEM } = native().constants;
  const opened = openUserfaultfd(UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_MISSING_SHMEM);
  expect(opened.via).toBe(userfaultfdWays[0]);
  expect(opened.granted & UFFD_FEATURE_WP_ASYNC).not.toBe(0n);
  expect(opened.granted & UFFD_FEATURE_MISSING_SHMEM).not.toBe(0n);
  native().userfaultfdClose(opened.handle);
  expect(leaks()).toEqual({});
});

test('of the features wished for, those that the kernel has are on, and one descriptor is open', () => {
  const leaks = handleLeaks();
  const { UFFD_FEATURE_THREAD_ID, UFFD_FEATURE_EVENT_REMOVE, UFFD_FEATURE_MISSING_SHMEM } = native().constants;
  const wished = UFFD_FEATURE_THREAD_ID | UFFD_FEATURE_EVENT_REMOVE | (1n << 62n);
  const { handle, granted } = openUserfaultfd(UFFD_FEATURE_MISSING_SHMEM, wished);
  expect(granted).toBe(UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_THREAD_ID | UFFD_FEATURE_EVENT_REMOVE);
  expect(leaks()).toEqual({ userfaultfds: 1 });
  native().userfaultfdClose(handle);
});

test('the ways that are open are found without leaving one open', () => {
  const leaks = handleLeaks();
  expect(closedWays()).toMatchObject({ syscall: null, 'user-mode-only': null });
  expect(leaks()).toEqual({});
});

test('a feature that no kernel has is KERNEL_TOO_OLD, and leaves nothing open', () => {
  const leaks = handleLeaks();
  expect(() => openUserfaultfd(1n << 62n)).toThrow(expect.objectContaining({ code: 'KERNEL_TOO_OLD' }));
  expect(leaks()).toEqual({});
});

test('a user without rights gets user-mode faults only, or is told what to do', () => {
  const script = `
    import { openUserfaultfd } from ${JSON.stringify(import.meta.resolve('#lib/memory/userfaultfd.js'))};
    try {
      console.log(JSON.stringify({ via: openUserfaultfd(0n).via }));
    } catch ({ code, message, hint }) {
      console.log(JSON.stringify({ code, message, hint }));
    }`;
  const output = execFileSync(process.execPath, ['--input-type=module', '--eval', script], {
    uid: 65534,
    gid: 65534,
    encoding: 'utf8',
  });
  const answer = JSON.parse(output) as { via?: UserfaultfdVia; code?: string; hint?: string };
  if (answer.via === undefined) {
    expect(answer).toMatchObject({ code: 'USERFAULTFD_FORBIDDEN', hint: expect.stringContaining('/dev/userfaultfd') });
  } else {
    expect(answer.via).toBe('user-mode-only');
  }
});

describe('each way of being refused has its own error', () => {
  const refusal = (code: string, missing?: string): NativeError =>
    Object.assign(new Error(code), { code, errno: 1, syscall: 'userfaultfd', arguments: missing ? { missing } : {} });

  test.each<[string, readonly [device: NativeError, syscall: NativeError, userMode: NativeError], string, RegExp]>([
    [
      'no device, forbidden',
      [refusal('ENOENT'), refusal('EPERM'), refusal('EPERM')],
      'USERFAULTFD_FORBIDDEN',
      /refuses userfaultfd .*EPERM/,
    ],
    [
      'device closed, no call',
      [refusal('EACCES'), refusal('ENOSYS'), refusal('ENOSYS')],
      'USERFAULTFD_FORBIDDEN',
      /has no userfaultfd .*ENOSYS/,
    ],
    ['not built in', [refusal('ENOENT'), refusal('ENOSYS'), refusal('ENOSYS')], 'USERFAULTFD_UNAVAILABLE', /ENOSYS/],
    [
      'an old kernel',
      [refusal('ENOENT'), refusal('EINVAL', 'UFFD_FEATURE_WP_ASYNC'), refusal('EINVAL', 'UFFD_FEATURE_WP_ASYNC')],
      'KERNEL_TOO_OLD',
      /UFFD_FEATURE_WP_ASYNC/,
    ],
  ])('%s', (_what, refusals, code, message) => {
    const asked: UserfaultfdVia[] = [];
    vi.spyOn(native(), 'userfaultfdOpen').mockImplementation((via) => {
      asked.push(via);
      throw refusals[userfaultfdWays.indexOf(via)];
    });
    expect(() => openUserfaultfd(0n)).toThrow(
      expect.objectContaining({ code, message: expect.stringMatching(message), cause: expect.any(Error) }),
    );
    expect(asked).toEqual(userfaultfdWays);
  });

  test('a closed first way is no error while another is open', () => {
    const real = native().userfaultfdOpen;
    vi.spyOn(native(), 'userfaultfdOpen').mockImplementation((via, features) => {
      if (via === 'device') throw refusal('ENOENT');
      return real(via, features);
    });
    const { via, handle } = openUserfaultfd(0n);
    native().userfaultfdClose(handle);
    expect(via).toBe('syscall');
  });
});
