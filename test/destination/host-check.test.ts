/** The host check: a userfaultfd that can do what it should, or nothing left behind. */
import { afterEach, describe, expect, test, vi } from 'vitest';
import { openForPostcopy } from '#lib/destination/host-check.js';
import { type MemoryKind, RAMBlock } from '#lib/memory/ram-block.js';
import { native } from '#lib/native.js';
import { handleLeaks } from '../../testing/lib-thread.ts';

afterEach(() => {
  vi.restoreAllMocks();
});

function withBlocks(kinds: readonly MemoryKind[], use: (blocks: readonly RAMBlock[]) => void): void {
  const blocks = kinds.map((kind, index) => RAMBlock.create({ idstr: `ram${index}`, size: 4096, kind }));
  try {
    use(blocks);
  } finally {
    for (const block of blocks) block.close();
  }
}

test.each<[string, MemoryKind[]]>([
  ['anonymous', ['anonymous']],
  ['memfd', ['memfd']],
  ['both', ['memfd', 'anonymous', 'memfd']],
])('for %s memory it opens one that places pages', (_what, kinds) => {
  const n = native();
  const leaks = handleLeaks();
  withBlocks(kinds, (blocks) => {
    const { handle: uffd } = openForPostcopy(blocks);
    for (const { handle, size } of blocks) {
      n.userfaultfdRegister(uffd, handle, 0, size, n.constants.UFFDIO_REGISTER_MODE_MISSING);
      expect(n.placeZeroPages(uffd, handle, 4096, Uint32Array.of(0), 1, new Uint8Array(1))).toBe(1);
    }
    n.userfaultfdClose(uffd);
  });
  expect(leaks()).toEqual({});
});

describe('where faults of user mode only can be had', () => {
  const refuseTheOthers = () => {
    const real = native().userfaultfdOpen;
    vi.spyOn(native(), 'userfaultfdOpen').mockImplementation((via, features) => {
      if (via === 'user-mode-only') return real(via, features);
      throw Object.assign(new Error('no'), { code: 'EPERM', errno: 1, syscall: 'userfaultfd', arguments: {} });
    });
  };

  test('they do for a guest of user mode', () => {
    refuseTheOthers();
    withBlocks(['anonymous'], (blocks) => native().userfaultfdClose(openForPostcopy(blocks).handle));
  });

  test('a guest whose RAM the kernel touches is refused, with the cure, and nothing is left open', () => {
    refuseTheOthers();
    const leaks = handleLeaks();
    withBlocks(['anonymous'], (blocks) => {
      expect(() => openForPostcopy(blocks, true)).toThrow(
        expect.objectContaining({
          code: 'USERFAULTFD_FORBIDDEN',
          message: expect.stringContaining('the kernel touches the RAM of this guest'),
          hint: expect.stringContaining('/dev/userfaultfd'),
        }),
      );
    });
    expect(leaks()).toEqual({});
  });
});

describe('where this host cannot, it throws and leaves nothing open', () => {
  test('no page can be placed', () => {
    vi.spyOn(native(), 'placeZeroPages').mockReturnValue(0);
    const leaks = handleLeaks();
    withBlocks(['memfd'], (blocks) => {
      expect(() => openForPostcopy(blocks)).toThrow(
        expect.objectContaining({ code: 'KERNEL_TOO_OLD', message: expect.stringContaining('memfd') }),
      );
    });
    expect(leaks()).toEqual({});
  });

  test('this kind of memory cannot be registered', () => {
    vi.spyOn(native(), 'userfaultfdRegister').mockImplementation(() => {
      throw Object.assign(new Error('no'), { code: 'EINVAL' });
    });
    const leaks = handleLeaks();
    withBlocks(['anonymous'], (blocks) => {
      expect(() => openForPostcopy(blocks)).toThrow(expect.objectContaining({ code: 'KERNEL_TOO_OLD' }));
    });
    expect(leaks()).toEqual({});
  });
});
