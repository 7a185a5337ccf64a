/** socket.cc: streams in both families, kicks at every blocking place, whole messages, gathered pages. */
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import {
  type EventfdHandle,
  type Native,
  native,
  type RamBlockHandle,
  type SocketAddress,
  type SocketHandle,
} from '#lib/native.js';
import { isPolling, onThread, until } from '../../testing/native-thread.ts';

const n = native();
const c = n.constants;
const PAGE = c.HOST_PAGE_SIZE;

const folder = mkdtempSync(join(tmpdir(), 'postcopy-socket-'));
afterAll(() => rmSync(folder, { recursive: true }));
let names = 0;
const unixAddress = (): SocketAddress => ({ family: 'unix', path: join(folder, `${names++}.sock`) });

async function connect(
  family: 'unix' | 'tcp',
): Promise<{ left: SocketHandle; right: SocketHandle; kick: EventfdHandle }> {
  const kick = n.eventfdCreate();
  const address: SocketAddress = family === 'unix' ? unixAddress() : { family, host: '127.0.0.1', port: 0 };
  const { handle: listener, port } = n.socketListen(address, 1);
  expect(port > 0).toBe(family === 'tcp');
  const connecting = n.socketConnect(address.family === 'tcp' ? { ...address, port } : address, 5000);
  const left = await connecting;
  const right = n.socketAccept(listener, kick) as SocketHandle;
  n.socketClose(listener);
  return { left, right, kick };
}

function close({ left, right, kick }: { left: SocketHandle; right: SocketHandle; kick: EventfdHandle }): void {
  n.socketClose(left);
  n.socketClose(right);
  n.eventfdClose(kick);
}

/** Reads exactly `length` bytes. */
function receiveAll(socket: SocketHandle, kick: EventfdHandle, length: number): Uint8Array {
  const bytes = new Uint8Array(new SharedArrayBuffer(length));
  let at = 0;
  while (at < length) {
    const received = n.socketReceive(socket, kick, bytes, at, length - at);
    if (received <= 0) throw new Error(`receive returned ${received} after ${at} bytes`);
    at += received;
  }
  return bytes;
}

/** Reads to the peer's end, in a thread; the SHA-256 of all and its length. */
function digestOnThread(name: string, socket: SocketHandle, kick: EventfdHandle) {
  return onThread(name, { socket, kick }, (n, { socket, kick }) => {
    const hash = process.getBuiltinModule('node:crypto').createHash('sha256');
    const bytes = new Uint8Array(100_003);
    let total = 0;
    for (;;) {
      const received = n.socketReceive(socket, kick, bytes, 0, bytes.length);
      if (received <= 0) return { total, last: received, digest: hash.digest('hex') };
      hash.update(bytes.subarray(0, received));
      total += received;
    }
  });
}

describe.each(['unix', 'tcp'] as const)('%s', (family) => {
  test('carries bytes both ways, and ends', async () => {
    const pair = await connect(family);
    const { left, right, kick } = pair;
    expect(n.socketSend(left, kick, new Uint8Array([0, 1, 2, 3, 4]), 1, 3)).toBe(0);
    expect([...receiveAll(right, kick, 3)]).toEqual([1, 2, 3]);
    expect(n.socketSend(right, kick, new Uint8Array([9]), 0, 1)).toBe(0);
    expect([...receiveAll(left, kick, 1)]).toEqual([9]);
    expect(n.socketSend(left, kick, new Uint8Array(1), 1, 0)).toBe(0); // nothing
    n.socketShutdown(left);
    expect(n.socketReceive(right, kick, new Uint8Array(1), 0, 1)).toBe(0);
    n.socketShutdown(left); // harmless twice
    n.socketShutdown(right);
    close(pair);
  });

  test('tells whether there is something to receive', async () => {
    const pair = await connect(family);
    const { left, right, kick } = pair;
    expect(n.socketReadable(right)).toBe(false);
    n.socketSend(left, kick, Uint8Array.of(1), 0, 1);
    await until('the byte is there', () => n.socketReadable(right));
    receiveAll(right, kick, 1);
    expect(n.socketReadable(right)).toBe(false);
    n.socketShutdown(left);
    await until('its end is there', () => n.socketReadable(right));
    expect(n.socketReceive(right, kick, new Uint8Array(1), 0, 1)).toBe(0);
    close(pair);
  });

  test('waits so long for something to receive', async () => {
    const pair = await connect(family);
    const { left, right, kick } = pair;
    expect(n.socketAwait(right, kick, 0)).toBe(0);
    const before = n.monotonicUs();
    expect(n.socketAwait(right, kick, 20)).toBe(0);
    expect(n.monotonicUs() - before).toBeGreaterThanOrEqual(20_000);
    n.socketSend(left, kick, Uint8Array.of(1), 0, 1);
    expect(n.socketAwait(right, kick, 10_000)).toBe(1);
    n.eventfdSignal(kick);
    expect(n.socketAwait(right, kick, 10_000)).toBe(c.KICKED);
    close(pair);
  });

  test('takes how long the peer may give no sign of life', async () => {
    const pair = await connect(family);
    for (const timeoutMs of [1, 500, 30_000, 2 ** 31 - 1]) n.socketSetPeerTimeout(pair.left, timeoutMs);
    expect(() => n.socketSetPeerTimeout(pair.left, 0)).toThrow(/timeoutMs/);
    close(pair);
  });

  test('tells whether there is someone to accept', async () => {
    const address: SocketAddress = family === 'unix' ? unixAddress() : { family, host: '127.0.0.1', port: 0 };
    const { handle: listener, port } = n.socketListen(address, 1);
    expect(n.socketReadable(listener)).toBe(false);
    const peer = await n.socketConnect(address.family === 'tcp' ? { ...address, port } : address, 5000);
    await until('it can be accepted', () => n.socketReadable(listener));
    n.socketClose(peer);
    expect(n.socketReadable(listener)).toBe(true);
    n.socketClose(listener);
  });

  test('a kick ends a receive, and those that follow', async () => {
    const pair = await connect(family);
    const { left, right, kick } = pair;
    const receiver = digestOnThread('receiver', right, kick);
    await until('it waits', () => isPolling('receiver'));
    n.eventfdSignal(kick);
    expect((await receiver.result).last).toBe(c.KICKED);
    const other = n.eventfdCreate();
    n.socketSend(left, other, new Uint8Array(1), 0, 1);
    // Even with a byte at hand: a kick that could be missed would be none.
    expect(n.socketReceive(right, kick, new Uint8Array(1), 0, 1)).toBe(c.KICKED);
    expect(n.socketSend(right, kick, new Uint8Array(1), 0, 1)).toBe(c.KICKED);
    n.eventfdDrain(kick);
    expect(n.socketReceive(right, kick, new Uint8Array(1), 0, 1)).toBe(1);
    n.eventfdClose(other);
    close(pair);
  });

  test('a kick ends a send that the peer does not read', async () => {
    const pair = await connect(family);
    const sender = onThread('sender', pair, (n, { left, kick }) => {
      const bytes = new Uint8Array(64 * 2 ** 20);
      return n.socketSend(left, kick, bytes, 0, bytes.length);
    });
    await until('it waits', () => isPolling('sender'));
    n.eventfdSignal(pair.kick);
    expect(await sender.result).toBe(c.KICKED);
    close(pair);
  });

  test('a shutdown ends a receive in another thread', async () => {
    const pair = await connect(family);
    const receiver = digestOnThread('shut', pair.right, pair.kick);
    await until('it waits', () => isPolling('shut'));
    n.socketShutdown(pair.right);
    expect(await receiver.result).toMatchObject({ last: 0, total: 0 });
    close(pair);
  });

  test('sending to a peer that is gone is EPIPE or ECONNRESET, not a signal', async () => {
    const pair = await connect(family);
    n.socketClose(pair.right);
    const bytes = new Uint8Array(2 ** 20);
    const send = () => {
      for (let i = 0; i < 100; i++) n.socketSend(pair.left, pair.kick, bytes, 0, bytes.length);
    };
    expect(send).toThrow(/^sendmsg: (EPIPE|ECONNRESET)/);
    n.socketClose(pair.left);
    n.eventfdClose(pair.kick);
  });

  test('gathers records and pages, in more pieces than one call takes', async () => {
    const pair = await connect(family);
    const pages = 3000;
    const block = n.ramBlockCreate(c.MEMORY_MEMFD, 512 * PAGE, PAGE);
    const view = new Uint8Array(n.ramBlockBuffer(block));
    for (let at = 0; at < view.length; at += 8) view[at] = (at / 8) % 253;
    const arena = new Uint8Array(20 * pages);
    const ends = new Uint32Array(pages);
    const numbers = new Uint32Array(pages);
    const hash = createHash('sha256');
    let end = 0;
    for (let i = 0; i < pages; i++) {
      const start = end;
      end += i % 19; // records of no byte too
      arena.fill(i % 256, start, end);
      ends[i] = end;
      numbers[i] = i % 7 === 0 ? c.NO_PAGE : (i * 31) % 512;
      hash.update(arena.subarray(start, end));
      if (numbers[i] !== c.NO_PAGE) hash.update(view.subarray(numbers[i] * PAGE, (numbers[i] + 1) * PAGE));
    }
    const receiver = digestOnThread('gathered', pair.right, pair.kick);
    const sent = n.socketSendPages(pair.left, pair.kick, arena, ends, block, PAGE, numbers, pages, 0);
    n.socketShutdown(pair.left);
    expect(await receiver.result).toEqual({ total: sent, last: 0, digest: hash.digest('hex') });
    n.ramBlockClose(block);
    close(pair);
  });

  describe('pages that stay as they are', () => {
    const PAGES = 1024;
    // In front of the longest run and behind it a short one, which is copied, and headers of a byte.
    const runs = [3, 700, 1, 200, 120];

    function stillPages() {
      const block = n.ramBlockCreate(c.MEMORY_ANONYMOUS, PAGES * PAGE, PAGE);
      const view = new Uint8Array(n.ramBlockBuffer(block));
      for (let at = 0; at < view.length; at += 1) view[at] = (at * 11 + (at >> 12)) & 0xff;
      return { block, view };
    }

    test('go by reference where many lie side by side, in their place between others', async () => {
      const pair = await connect(family);
      const { block, view } = stillPages();
      const hash = createHash('sha256');
      const ends = new Uint32Array(PAGES);
      const arena = Uint8Array.from(runs, (_, i) => 200 + i);
      let page = 0;
      for (const [i, length] of runs.entries()) {
        ends.fill(i + 1, page, page + length);
        hash.update(arena.subarray(i, i + 1)).update(view.subarray(page * PAGE, (page + length) * PAGE));
        page += length;
      }
      const numbers = Uint32Array.from({ length: page }, (_, i) => i);
      const receiver = digestOnThread('referred', pair.right, pair.kick);
      const sent = n.socketSendPages(pair.left, pair.kick, arena, ends, block, PAGE, numbers, page, 1);
      expect(sent).toBe(runs.length + PAGES * PAGE);
      n.socketShutdown(pair.left);
      n.ramBlockClose(block); // what is still on its way outlives it
      expect(await receiver.result).toEqual({ total: sent, last: 0, digest: hash.digest('hex') });
      close(pair);
    });

    test('are sent to their end, or to a kick, or to where the peer goes', async () => {
      const { block } = stillPages();
      const body = (
        nn: Native,
        { left, kick, block }: { left: SocketHandle; kick: EventfdHandle; block: RamBlockHandle },
      ) => {
        const numbers = Uint32Array.from({ length: 1024 }, (_, i) => i);
        const send = () =>
          nn.socketSendPages(left, kick, new Uint8Array(1), new Uint32Array(1024), block, 4096, numbers, 1024, 1);
        try {
          return send();
        } catch (error) {
          return (error as { code: string }).code;
        }
      };
      const kicked = await connect(family);
      n.socketLimitQueue(kicked.left, 64 * 1024);
      const first = onThread('kicked', { ...kicked, block }, body);
      await until('it waits for the peer', () => isPolling('kicked'));
      n.eventfdSignal(kicked.kick);
      expect(await first.result).toBe(c.KICKED);
      close(kicked);
      const left = await connect(family);
      n.socketLimitQueue(left.left, 64 * 1024);
      const second = onThread('left', { ...left, block }, body);
      await until('it waits for the peer', () => isPolling('left'));
      n.socketShutdown(left.right);
      expect(await second.result).toMatch(/^(EPIPE|ECONNRESET)$/);
      close(left);
      n.ramBlockClose(block);
    });
  });

  test('two sends never interleave', async () => {
    const pair = await connect(family);
    const length = 300_000;
    const count = 20;
    const senders = [1, 2, 3].map((value) =>
      onThread(`sender/${value}`, { ...pair, value, length, count }, (n, { left, kick, value, length, count }) => {
        const bytes = new Uint8Array(length).fill(value);
        for (let i = 0; i < count; i++) n.socketSend(left, kick, bytes, 0, length);
      }),
    );
    const seen = [0, 0, 0, 0];
    for (let message = 0; message < 3 * count; message++) {
      const bytes = receiveAll(pair.right, pair.kick, length);
      expect(bytes.every((byte) => byte === bytes[0])).toBe(true);
      seen[bytes[0]]++;
    }
    expect(seen).toEqual([0, count, count, count]);
    await Promise.all(senders.map(({ result }) => result));
    close(pair);
  });

  test('a kick ends a send that waits for another send', async () => {
    const pair = await connect(family);
    const second = n.eventfdCreate();
    const body = (n: Native, data: typeof pair) => {
      const bytes = new Uint8Array(64 * 2 ** 20);
      return n.socketSend(data.left, data.kick, bytes, 0, bytes.length);
    };
    const holder = onThread('holder', pair, body);
    await until('the first waits for the peer', () => isPolling('holder'));
    const waiter = onThread('waiter', { ...pair, kick: second }, body);
    await until('the second waits for the first', () => isPolling('waiter'));
    n.eventfdSignal(second);
    expect(await waiter.result).toBe(c.KICKED);
    expect(isPolling('holder')).toBe(true);
    n.eventfdSignal(pair.kick);
    expect(await holder.result).toBe(c.KICKED);
    n.eventfdClose(second);
    close(pair);
  });

  test('its queue can be limited', async () => {
    const pair = await connect(family);
    n.socketLimitQueue(pair.left, 64 * 1024);
    expect(() => n.socketLimitQueue(pair.left, 0)).toThrow(/^bytes must/);
    const sender = onThread('limited', pair, (n, { left, kick }) => {
      const chunk = new Uint8Array(4096);
      let sent = 0;
      while (n.socketSend(left, kick, chunk, 0, chunk.length) === 0) sent += chunk.length;
      return sent;
    });
    await until('it waits', () => isPolling('limited'));
    n.eventfdSignal(pair.kick);
    // Without a limit a unix socket takes 200 KiB here and loopback several MiB.
    if (family === 'unix') expect(await sender.result).toBeLessThan(160 * 1024);
    await sender.result;
    close(pair);
  });
});

describe('accepting', () => {
  test.each([unixAddress(), { family: 'tcp', host: '127.0.0.1', port: 0 } as const])(
    'on $family ends at the kick and at a shutdown of the listener',
    async (address) => {
      const { handle: listener } = n.socketListen(address, 1);
      const kick = n.eventfdCreate();
      const accept = (name: string) =>
        onThread(name, { listener, kick }, (n, { listener, kick }) => {
          try {
            return n.socketAccept(listener, kick) as number;
          } catch (error) {
            return (error as NodeJS.ErrnoException).code;
          }
        });
      const kicked = accept('kicked');
      await until('it waits', () => isPolling('kicked'));
      n.eventfdSignal(kick);
      expect(await kicked.result).toBe(c.KICKED);
      n.eventfdDrain(kick);
      const shut = accept('shut');
      await until('it waits', () => isPolling('shut'));
      n.socketShutdown(listener);
      expect(await shut.result).toBe('EINVAL');
      n.socketClose(listener);
      n.eventfdClose(kick);
    },
  );
});

describe('connecting', () => {
  test('fails with what the kernel says, and the address', async () => {
    const address = unixAddress();
    await expect(n.socketConnect(address, 1000)).rejects.toMatchObject({ code: 'ENOENT', syscall: 'connect' });
    const { handle, port } = n.socketListen({ family: 'tcp', host: '127.0.0.1', port: 0 }, 1);
    n.socketClose(handle);
    await expect(n.socketConnect({ family: 'tcp', host: '127.0.0.1', port }, 1000)).rejects.toMatchObject({
      code: 'ECONNREFUSED',
      arguments: { address: `tcp:127.0.0.1:${port}` },
    });
  });

  test('gives up in time', async () => {
    // A listener whose queue is full does not answer.
    const { handle, port } = n.socketListen({ family: 'tcp', host: '127.0.0.1', port: 0 }, 0);
    const address: SocketAddress = { family: 'tcp', host: '127.0.0.1', port };
    const results = await Promise.allSettled([1, 2, 3, 4].map(() => n.socketConnect(address, 100)));
    const errors = results.flatMap((result) => (result.status === 'rejected' ? [result.reason.code] : []));
    expect(errors.length).toBeGreaterThan(0);
    expect(new Set(errors)).toEqual(new Set(['ETIMEDOUT']));
    for (const result of results) if (result.status === 'fulfilled') n.socketClose(result.value);
    n.socketClose(handle);
  });

  test('works over IPv6', async () => {
    const { handle, port } = n.socketListen({ family: 'tcp', host: '::1', port: 0 }, 1);
    const socket = await n.socketConnect({ family: 'tcp', host: '::1', port }, 1000);
    n.socketClose(socket);
    n.socketClose(handle);
  });

  test('wants an address it can use', () => {
    const listen = (address: unknown) => () => n.socketListen(address as SocketAddress, 1);
    expect(listen({ family: 'tcp', host: 'localhost', port: 1 })).toThrow(/^host must be a numeric/);
    expect(listen({ family: 'tcp', host: '::1\0', port: 1 })).toThrow(/^host must/);
    expect(listen({ family: 'tcp', host: '::1', port: 65536 })).toThrow(/^port must/);
    expect(listen({ family: 'unix', path: 'x'.repeat(108) })).toThrow(/^path must/);
    expect(listen({ family: 'unix', path: '' })).toThrow(/^path must/);
    expect(listen({ family: 'unix', path: 'a\0b' })).toThrow(/^path must/);
    expect(listen({ family: 'vsock' })).toThrow(/^family must/);
    expect(listen({ family: 'unix' })).toThrow(/^path must be a string/);
    expect(listen(undefined)).toThrow(TypeError);
    expect(listen({ family: 'unix', path: folder })).toThrow(/^bind: EADDRINUSE/);
  });
});

test('slices and records are checked before anything is sent', () => {
  const [left, right] = n.socketPair();
  const kick = n.eventfdCreate();
  const block = n.ramBlockCreate(c.MEMORY_ANONYMOUS, 4 * PAGE, PAGE);
  const bytes = new Uint8Array(8);
  const u32 = (...numbers: number[]) => new Uint32Array(numbers);
  const sendPages = (ends: Uint32Array, pages: Uint32Array, count: number) => () =>
    n.socketSendPages(left, kick, bytes, ends, block, PAGE, pages, count, 0);
  expect(() => n.socketReceive(right, kick, bytes, 0, 0)).toThrow(/^length must/);
  expect(() => n.socketReceive(right, kick, bytes, 4, 5)).toThrow(/^length must/);
  expect(() => n.socketReceive(right, kick, bytes, 9, 1)).toThrow(/^offset must/);
  expect(() => n.socketSend(left, kick, bytes, 0, 9)).toThrow(/^length must/);
  expect(sendPages(u32(1, 9), u32(0, 0), 2)).toThrow(/^ends must/);
  expect(sendPages(u32(2, 1), u32(0, 0), 2)).toThrow(/^ends must/);
  expect(sendPages(u32(1, 2), u32(0, 4), 2)).toThrow(/^pages must/);
  expect(sendPages(u32(1), u32(0, 0), 2)).toThrow(/^ends must/);
  expect(sendPages(u32(1, 2), u32(0), 2)).toThrow(/^pages must/);
  expect(sendPages(u32(), u32(), 0)()).toBe(0);
  n.socketShutdown(left);
  expect(n.socketReceive(right, kick, bytes, 0, 8)).toBe(0); // not one byte came
  n.socketClose(left);
  n.socketClose(right);
  n.ramBlockClose(block);
  n.eventfdClose(kick);
});

test('a page that can not be read is EFAULT', () => {
  const [left, right] = n.socketPair();
  const kick = n.eventfdCreate();
  const block = n.ramBlockCreate(c.MEMORY_ANONYMOUS, 2 * PAGE, PAGE);
  const { handle: uffd } = n.userfaultfdOpen('syscall', c.UFFD_FEATURE_POISON);
  n.userfaultfdRegister(uffd, block, 0, 2 * PAGE, c.UFFDIO_REGISTER_MODE_MISSING);
  n.userfaultfdPoison(uffd, block, PAGE, PAGE);
  const send = () =>
    n.socketSendPages(left, kick, new Uint8Array(1), new Uint32Array([1]), block, PAGE, new Uint32Array([1]), 1, 0);
  expect(send).toThrow(/^sendmsg: (EFAULT|EHWPOISON)/);
  for (const socket of [left, right]) n.socketClose(socket);
  n.userfaultfdClose(uffd);
  n.ramBlockClose(block);
  n.eventfdClose(kick);
});
