/** The WebAssembly guest: its memory and globals move, and what a module does that can't. */
import { readFileSync } from 'node:fs';
import { afterEach, describe, expect, test } from 'vitest';
import { listen, migrate, type Parameters, WasmGuest } from '#lib/index.js';
import { native } from '#lib/native.js';
import { thereAndBack } from '#lib/testing/index.js';
import { handleLeaks } from '../../../testing/lib-thread.ts';
import { MadeGuests } from '../../../testing/made-guests.ts';
import { countThreads, isInFault, until } from '../../../testing/native-thread.ts';
import { assemble } from '../../../testing/wasm.ts';
import { keptIn, ledgerGuest, ledgerModule } from '../../../testing/wasm-guests.ts';

const MIB = 2 ** 20;
const WASM_PAGE = 65536;
const guests = new MadeGuests(WasmGuest);

afterEach(() => guests.close());

const ask = (guest: WasmGuest, name: string, ...given: unknown[]): Promise<unknown> =>
  guest.call({ name, with: given });

async function begin(guest: WasmGuest, there: WasmGuest, parameters: Partial<Parameters> = {}, passes?: number) {
  const capabilities = { postcopyRam: true };
  const incoming = await listen('tcp:127.0.0.1:0', { guest: there, capabilities });
  const outgoing = await migrate(guest, incoming.uri, {
    capabilities,
    parameters: { maxBandwidth: 0, ...parameters },
    ...(passes === undefined ? {} : { postcopyAfterPasses: passes }),
  });
  return { incoming, outgoing };
}

/** Moves it by postcopy; rejects with what the source says. */
async function move(guest: WasmGuest, there: WasmGuest) {
  const { incoming, outgoing } = await begin(guest, there, {}, 0);
  const ends = [outgoing.finished, incoming.finished] as const;
  await Promise.allSettled(ends); // what has failed has the guest running on by then
  const [sent, received] = await Promise.all(ends);
  return { sent, received };
}

async function fill(guest: WasmGuest, count: number): Promise<void> {
  await Promise.all(Array.from({ length: count }, (_, number) => ask(guest, 'keep', number)));
}

const refusal = (code: string, message: string) => ({ code, message: expect.stringContaining(message) });

describe('a guest', () => {
  test('has the memory of each vCPU as a block, of the size it was given, where V8 has mapped it', async () => {
    const guest = await guests.start(ledgerGuest({ vcpus: 2, memory: 8 * MIB - 1 }));
    expect(guest.ramBlocks.map(({ idstr, size }) => [idstr, size])).toEqual([
      ['wasm.0.0', 8 * MIB],
      ['wasm.1.0', 8 * MIB],
    ]);
    expect(await ask(guest, 'pages')).toBe((8 * MIB) / WASM_PAGE);
    expect(await guest.call({ name: 'keep', with: [77] }, 1)).toBe(0);
    expect([keptIn(guest, 0, 1), keptIn(guest, 1, 1)]).toEqual([[0], [77]]);
    const maps = readFileSync('/proc/self/maps', 'utf8');
    for (const { address } of guest.ramBlocks) expect(maps).toContain(`-${address.toString(16)} ---p`);
  });

  test('moves with the globals that its module does not export, and the state of its program', async () => {
    const guest = await guests.start(ledgerGuest());
    await fill(guest, 1000);
    const there = await guests.create(ledgerGuest());
    const { received } = await move(guest, there);
    expect(await ask(there, 'kept')).toBe(1000);
    expect(await ask(there, 'sum')).toBe(499_500n);
    expect(await ask(there, 'calls')).toBe(1003);
    expect(received.status).toBe('completed');
    expect(new TextDecoder().decode(there.ramBlocks[0].bytes().subarray(0, 20))).toBe('written by the setup');
  });

  test('moves before its first start as its setup left it', async () => {
    const guest = await guests.create(ledgerGuest());
    const there = await guests.create(ledgerGuest());
    await move(guest, there);
    await there.start();
    expect(await ask(there, 'keep', 5)).toBe(0);
  });

  test('waits in a real page fault of its own code for a page that has not come', async () => {
    const guest = await guests.start(ledgerGuest());
    await fill(guest, 1500);
    const there = await guests.create(ledgerGuest());
    const { incoming, outgoing } = await begin(guest, there, { maxPostcopyBandwidth: 2 * MIB }, 0);
    await outgoing.startPostcopy();
    expect(await ask(there, 'read', 1400)).toBe(1400);
    expect(await ask(there, 'sum')).toBe(1_124_250n);
    await Promise.all([outgoing.finished, incoming.finished]);
    const { faults } = incoming.info();
    expect(faults.count).toBeGreaterThan(0);
  });

  test('moves there and back again and again, with two vCPUs whose numbers are all there each time', async () => {
    const kept = [0, 0];
    const keepSome = (guest: WasmGuest) =>
      Promise.all(
        kept.map(async (_, vcpu) => {
          for (let call = 0; call < 16; call++) {
            const number = kept[vcpu] * 3 + vcpu;
            expect(await guest.call({ name: 'keep', with: [number] }, vcpu)).toBe(kept[vcpu]);
            kept[vcpu] += 1;
          }
        }),
      );
    const moves = await thereAndBack(
      {
        create: () => WasmGuest.create(ledgerGuest({ vcpus: 2 })),
        empty: () => WasmGuest.create(ledgerGuest({ vcpus: 2 })),
        progress: async (guest) => void (await keepSome(guest)),
        verify: async (guest) => {
          for (const [vcpu, count] of kept.entries()) {
            expect(keptIn(guest, vcpu, count)).toEqual(Array.from({ length: count }, (_, place) => place * 3 + vcpu));
          }
        },
        close: (guest) => guest.close(),
      },
      { times: 3 },
    );
    expect(moves).toHaveLength(6);
    expect(kept).toEqual([192, 192]);
  });
});

describe('a call that goes wrong', () => {
  test('by a trap rejects, and the guest goes on and moves', async () => {
    const guest = await guests.start(ledgerGuest());
    await fill(guest, 3);
    await expect(ask(guest, 'trap')).rejects.toThrow('unreachable');
    await expect(ask(guest, 'read', -2)).rejects.toThrow('memory access out of bounds');
    const there = await guests.create(ledgerGuest());
    await move(guest, there);
    expect(await ask(there, 'sum')).toBe(3n);
    await expect(ask(there, 'trap')).rejects.toThrow('unreachable');
  });

  test('by instantiating after the setup is refused', async () => {
    const guest = await guests.start(ledgerGuest());
    await expect(ask(guest, 'instantiate')).rejects.toMatchObject(refusal('BAD_ARGUMENT', 'after the setup'));
  });
});

describe('a memory that the module grows', () => {
  test('during a migration fails that at its stop, and the guest runs on', async () => {
    const guest = await guests.start(ledgerGuest());
    await fill(guest, 1000);
    const { incoming, outgoing } = await begin(guest, await guests.create(ledgerGuest()), { maxBandwidth: 4 * MIB });
    await ask(guest, 'grow', 3);
    const ends = Promise.allSettled([outgoing.finished, incoming.finished]);
    await expect(outgoing.startPostcopy()).rejects.toMatchObject(
      refusal('GUEST_FAILED', `block wasm.0.0 has ${8 * MIB + 3 * WASM_PAGE} bytes now and had ${8 * MIB}`),
    );
    expect((await ends).map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    expect(guest.running).toBe(true);
    expect(await ask(guest, 'sum')).toBe(499_500n);
  });

  test('before one goes to a destination that has as much, and to no other', async () => {
    const guest = await guests.start(ledgerGuest());
    await fill(guest, 1000);
    await ask(guest, 'grow', 16);
    expect(guest.ramBlocks.map(({ size }) => size)).toEqual([9 * MIB]);
    const { incoming, outgoing } = await begin(guest, await guests.create(ledgerGuest()));
    await Promise.allSettled([outgoing.finished, incoming.finished]);
    await expect(incoming.finished).rejects.toMatchObject(refusal('GUEST_MISMATCH', 'wasm.0.0'));
    expect(outgoing.handedOver).toBe(false);
    expect(guest.running).toBe(true);
    const there = await guests.create(ledgerGuest({ memory: 9 * MIB }));
    await move(guest, there);
    expect(await ask(there, 'sum')).toBe(499_500n);
    expect(await ask(there, 'pages')).toBe((9 * MIB) / WASM_PAGE);
  });

  test('at the destination while pages are missing is used at once', async () => {
    const guest = await guests.start(ledgerGuest());
    await fill(guest, 1500);
    const there = await guests.create(ledgerGuest());
    const { incoming, outgoing } = await begin(guest, there, { maxPostcopyBandwidth: 8 * MIB }, 0);
    await outgoing.startPostcopy();
    expect(await ask(there, 'grow', 16)).toBe((8 * MIB) / WASM_PAGE);
    expect(await ask(there, 'read', 2100)).toBe(0); // in what has grown
    await Promise.all([outgoing.finished, incoming.finished]);
    expect(await ask(there, 'sum')).toBe(1_124_250n);
    const back = await guests.create(ledgerGuest({ memory: 9 * MIB }));
    await move(there, back);
    expect(await ask(back, 'sum')).toBe(1_124_250n);
  });
});

describe('the migration fails, and the guest runs on', () => {
  test.each([['whose table has changed since the setup', 'putInTable', 'has another element 1 than after the setup']])(
    'of a guest %s',
    async (_what, name, message) => {
      const guest = await guests.start(ledgerGuest());
      await ask(guest, name);
      await expect(move(guest, await guests.create(ledgerGuest()))).rejects.toMatchObject(
        refusal('GUEST_FAILED', message),
      );
      expect(guest.running).toBe(true);
      expect(await ask(guest, 'kept')).toBe(0);
    },
  );

  test('of a guest that stands at a checkpoint within a call of its module', async () => {
    const settings = ledgerGuest({ data: { module: ledgerModule, within: true } });
    const guest = await guests.start(settings);
    await expect(move(guest, await guests.create(settings))).rejects.toMatchObject(
      refusal('GUEST_FAILED', 'vCPU 0 stands at a checkpoint within a WebAssembly call'),
    );
    expect(guest.running).toBe(true);
  });
});

describe('a device state', () => {
  async function stateOf(guest: WasmGuest): Promise<Uint8Array> {
    await guest.start();
    await guest.stop();
    return guest.saveDeviceState();
  }

  test('of another module is refused by what differs', async () => {
    const module = assemble('(module (memory (export "memory") 1))');
    const state = await stateOf(await guests.create(ledgerGuest({ data: { module } })));
    const guest = await guests.create(ledgerGuest());
    await expect(guest.loadDeviceState(state)).rejects.toMatchObject(
      refusal('GUEST_MISMATCH', 'the guest comes with a WebAssembly module of SHA-256'),
    );
  });

  test('with more memory is refused by what differs', async () => {
    const state = await stateOf(await guests.create(ledgerGuest({ memory: 16 * MIB })));
    const guest = await guests.create(ledgerGuest());
    await expect(guest.loadDeviceState(state)).rejects.toMatchObject(
      refusal('GUEST_MISMATCH', `comes with RAM wasm.0.0 of ${16 * MIB} bytes, and here is RAM wasm.0.0 of ${8 * MIB}`),
    );
  });

  test('is taken whole, and given again as it was', async () => {
    const guest = await guests.start(ledgerGuest());
    await fill(guest, 7);
    await guest.stop();
    const state = await guest.saveDeviceState();
    const there = await guests.create(ledgerGuest());
    await there.loadDeviceState(state);
    expect(await there.saveDeviceState()).toEqual(state);
    await there.start();
    expect(await ask(there, 'kept')).toBe(7);
  });
});

describe('a guest that cannot be made leaves nothing:', () => {
  const limited = assemble('(module (memory 1 2))');
  const large = assemble('(module (memory 200))');
  const imports = assemble('(module (import "host" "memory" (memory 1)))');
  const vector = assemble('(module (memory 1) (global (mut v128) (v128.const i32x4 0 0 0 0)))');

  test.each([
    ['no memory at all', { memory: 0 }, 'BAD_ARGUMENT', 'a memory of 0 bytes'],
    ['more than 4 GiB', { memory: 2 ** 32 + 1 }, 'BAD_ARGUMENT', 'a memory of 4294967297 bytes'],
    ['no number', { memory: Number.NaN }, 'BAD_ARGUMENT', 'a memory of NaN bytes'],
    ['no module', { data: {} }, 'BAD_ARGUMENT', 'has set up no WebAssembly module'],
    ['a module without memory', { data: { module: assemble('(module)') } }, 'BAD_ARGUMENT', 'module with a memory'],
    ['a smaller maximum', { data: { module: limited } }, 'BAD_ARGUMENT', `can't have ${8 * MIB} bytes`],
    ['more to begin with', { data: { module: large } }, 'BAD_ARGUMENT', `has ${200 * WASM_PAGE} bytes, and the guest`],
    ['an imported one too small', { data: { module: imports, imported: 1 } }, 'BAD_ARGUMENT', 'is imported and has'],
    ['a global that cannot move', { data: { module: vector } }, 'UNSUPPORTED', 'global 0 is mutable and of type v128'],
  ])('%s', async (_what, wrong, code, message) => {
    const leaks = handleLeaks();
    const made = WasmGuest.create(ledgerGuest(wrong));
    await expect(made).rejects.toThrow(message);
    const error = (await made.catch((reason) => reason)) as { code: string; cause?: { code: string } };
    expect([error.code, error.cause?.code]).toContain(code);
    await until('its threads are gone', () => countThreads('worker-vcpu/') === 0);
    expect(leaks()).toEqual({});
  });

  test('an imported memory that is large enough is taken', async () => {
    const guest = await guests.create(ledgerGuest({ data: { module: imports, imported: (8 * MIB) / WASM_PAGE } }));
    expect(guest.ramBlocks.map(({ size }) => size)).toEqual([8 * MIB]);
  });
});

describe('the end of its thread', () => {
  const isMapped = (address: number): boolean =>
    readFileSync('/proc/self/maps', 'utf8').includes(`-${address.toString(16)} ---p`);

  test('leaves the memory mapped until the guest is closed', async () => {
    const guest = await guests.start(ledgerGuest());
    await fill(guest, 10);
    await expect(ask(guest, 'exit')).rejects.toMatchObject({ code: 'GUEST_FAILED' });
    await guest.died;
    expect(keptIn(guest, 0, 10)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  });

  test('leaves no handle, nor does a memory that has grown', async () => {
    const leaks = handleLeaks();
    const guest = await WasmGuest.create(ledgerGuest());
    await guest.start();
    await ask(guest, 'grow', 1);
    await ask(guest, 'grow', 1);
    guest.close();
    expect(leaks()).toEqual({});
    await until('its thread is gone', () => countThreads('worker-vcpu/') === 0);
  });

  test('in a precopy fails it at its stop, and both sides say so', async () => {
    const guest = await guests.start(ledgerGuest());
    await fill(guest, 2000);
    const there = await guests.create(ledgerGuest());
    const { incoming, outgoing } = await begin(guest, there, { maxBandwidth: 4 * MIB });
    const ends = Promise.allSettled([outgoing.finished, incoming.finished]);
    await until('some of it has gone', () => outgoing.info().ram.normal > 100);
    await ask(guest, 'exit').catch(() => {});
    await guest.died;
    await expect(outgoing.startPostcopy()).rejects.toMatchObject({ code: 'GUEST_FAILED' });
    expect((await ends).map(({ status }) => status)).toEqual(['rejected', 'rejected']);
  });

  test('in a postcopy costs the process nothing: the pages come, and what died is said', async () => {
    const guest = await guests.start(ledgerGuest());
    await fill(guest, 2000);
    const there = await guests.create(ledgerGuest());
    const { incoming, outgoing } = await begin(guest, there, { maxPostcopyBandwidth: 8 * MIB }, 0);
    await outgoing.startPostcopy();
    await ask(there, 'exit').catch(() => {});
    expect(await there.died).toMatchObject({ code: 'GUEST_FAILED' });
    await Promise.allSettled([outgoing.finished, incoming.finished]);
    await expect(incoming.finished).rejects.toMatchObject(refusal('GUEST_FAILED', 'the guest died'));
    expect(incoming.info().lost).toMatchObject({ missingPages: 0 });
    expect(keptIn(there, 0, 2000)[1999]).toBe(1999);
  });

  test('and of the guest, in a precopy and in a postcopy, ends both sides with an error', async () => {
    for (const passes of [undefined, 0]) {
      const guest = await guests.start(ledgerGuest());
      await fill(guest, 2000);
      const there = await guests.create(ledgerGuest());
      const limits = { maxBandwidth: 2 * MIB, maxPostcopyBandwidth: 2 * MIB };
      const { incoming, outgoing } = await begin(guest, there, limits, passes);
      // Where no page had come, the destination waits for another connection.
      incoming.on('status', (status) => {
        if (status === 'postcopy-paused') incoming.giveUp('freeze');
      });
      const ends = Promise.all([outgoing, incoming].map(({ finished }) => finished.catch((error) => error)));
      if (passes === undefined) await until('some of it has gone', () => outgoing.info().ram.normal > 100);
      else await outgoing.startPostcopy();
      const { address } = guest.ramBlocks[0];
      guest.close();
      there.close();
      for (const end of await ends) expect(end).toBeInstanceOf(Error);
      expect(isMapped(address)).toBe(false);
      incoming.abandon();
    }
  });

  test('waits for the page that its code is in a fault for, and its memory with it', async () => {
    const { constants, ...n } = native();
    const guest = await guests.start(ledgerGuest());
    const [{ address, handle, size }] = guest.ramBlocks;
    const uffd = n.userfaultfdOpen('syscall', 0n).handle;
    n.userfaultfdRegister(uffd, handle, 0, size, constants.UFFDIO_REGISTER_MODE_MISSING);
    const read = ask(guest, 'read', 100).catch((error) => error);
    await until('it waits for a page', () => isInFault('worker-vcpu/0'));
    guest.close();
    expect(await read).toMatchObject({ message: 'the worker guest was closed' });
    expect(isMapped(address)).toBe(true);
    n.userfaultfdClose(uffd);
    await until('its thread is gone', () => countThreads('worker-vcpu/') === 0);
    await until('its memory is gone', () => !isMapped(address));
  });
});
