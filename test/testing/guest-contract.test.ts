/**
 * The contract of guests: the stress guest keeps it, and of guests that are each broken in one place the checks say
 * which rule that is, and no other.
 */
import { describe, expect, test } from 'vitest';
import { RAMBlock } from '#lib/index.js';
import { type ContractError, type GuestKit, guestContract } from '#lib/testing/index.js';
import { kitOf, repeatedly, SpoiltGuest, waitsForAPage } from '../../testing/spoilt-guest.ts';
import { stressKit } from '../../testing/stress-kit.ts';

describe('the stress guest', () => {
  test.each([...guestContract(stressKit)])('$name', ({ run }) => run());
});

test('each check has a name and a rule of its own', () => {
  const checks = guestContract(stressKit);
  expect(new Set(checks.map(({ name }) => name)).size).toBe(checks.length);
  expect(new Set(checks.map(({ rule }) => rule)).size).toBe(checks.length);
});

/** Milliseconds that a check that is to notice waits for what never comes, and that another waits for what comes. */
const WANTED_PATIENCE_MS = 2000;
const PATIENCE_MS = 20_000;

/** Of the checks that must not notice a defect, each defect is held against one of so many; in turn, against all. */
const OTHERS = 6;

/** The names of the checks that the guest fails, each with what was seen. `turn` chooses among those not `wanted`. */
async function failuresOf(
  kit: GuestKit<SpoiltGuest>,
  wanted: readonly string[],
  turn: number,
): Promise<Record<string, string>> {
  const checks = guestContract(kit, { timeoutMs: PATIENCE_MS }).flatMap((check, index) => {
    if (wanted.includes(check.name)) return [guestContract(kit, { timeoutMs: WANTED_PATIENCE_MS })[index]];
    return index % OTHERS === turn % OTHERS ? [check] : [];
  });
  const seen: Record<string, string> = {};
  const look = async ({ name, rule, run }: (typeof checks)[number]): Promise<void> => {
    try {
      await run();
    } catch (thrown) {
      const error = thrown as ContractError;
      expect(error.name).toBe('ContractError');
      expect(error.rule).toBe(rule);
      expect(error.message).toBe(`${rule}\n  seen: ${error.seen}\n  what to do: ${error.mend}`);
      seen[name] = error.seen;
    }
  };
  // Together they take less time; but some measure what the process holds, or how fast it is, or have a
  // guest that takes all of the processor while it has not what it waits for.
  const isAlone = ({ name }: (typeof checks)[number]) => /^(throttle|closed)|by page faults/.test(name);
  await Promise.all(checks.filter((check) => !isAlone(check)).map(look));
  for (const check of checks.filter(isAlone)) await look(check);
  return seen;
}

interface Defect {
  readonly what: string;
  readonly kit: () => GuestKit<SpoiltGuest>;
  /** The checks that must notice, by a part of their name, and what they must see. */
  readonly noticed: Readonly<Record<string, RegExp>>;
}

/** Writes what is there already: the page is dirty, and no worse for it. */
function rewriteFirstByte({ ramBlocks: [block] }: SpoiltGuest): void {
  const bytes = block.bytes();
  bytes.set(bytes.subarray(0, 1));
}

const defects: readonly Defect[] = [
  {
    what: 'has other blocks while it stands still',
    kit: () =>
      kitOf(
        class extends SpoiltGuest {
          readonly #rom = RAMBlock.create({ idstr: 'rom', size: 4096 });
          override get ramBlocks(): readonly RAMBlock[] {
            const isStill = this.calls.save > 0 && !this.running;
            return isStill ? [...this.stress.ramBlocks, this.#rom] : this.stress.ramBlocks;
          }
          override close(): void {
            super.close();
            if (this.calls.close === 1) this.#rom.close();
          }
        },
      ),
    noticed: { 'RAM blocks are the same': /at first stress\.ram .*; when it has been saved .*rom 4096/ },
  },
  {
    what: 'runs, as it says, before it was started',
    kit: () =>
      kitOf(
        class extends SpoiltGuest {
          override get running(): boolean {
            return this.calls.start + this.calls.load === 0 || super.running;
          }
          override async stop(): Promise<void> {
            if (this.calls.start > 0) await super.stop();
          }
        },
      ),
    noticed: { 'running says': /true before it was started/ },
  },
  {
    what: 'starts twice, and no more',
    kit: () =>
      kitOf(
        class extends SpoiltGuest {
          override async start(): Promise<void> {
            await super.start();
            if (this.calls.start > 2) throw new Error('worn out');
          }
        },
      ),
    noticed: { 'again and again': /worn out/, 'does not say that it died': /worn out/, 'changes nothing': /worn out/ },
  },
  {
    what: 'stops when it is started while it runs',
    kit: () =>
      kitOf(
        class extends SpoiltGuest {
          override start(): Promise<void> {
            return this.running ? this.stress.stop() : super.start();
          }
        },
      ),
    noticed: { 'changes nothing': /running is false/ },
  },
  {
    what: 'does nothing',
    kit: () =>
      kitOf(
        class extends SpoiltGuest {
          #runs = false;
          override get running(): boolean {
            return this.#runs;
          }
          override async start(): Promise<void> {
            this.#runs = true;
          }
          override async stop(): Promise<void> {
            this.#runs = false;
          }
          override get vcpuThreads(): readonly number[] {
            return [process.pid];
          }
        },
        { progress: async () => {} },
      ),
    noticed: {
      'what it writes is in its RAM': /no page was written/,
      'verify() of the kit notices': /^0 pages were spoilt/,
      'throttle holds it back': /did 0 at 90 %, and 0 when/,
      'by page faults': /without one page fault/,
      'it stops where a vCPU': /it has come to no page that was missing/,
    },
  },
  {
    what: 'still writes when stop() has resolved',
    kit: () =>
      kitOf(
        class extends SpoiltGuest {
          #timer: NodeJS.Timeout | undefined;
          override async stop(): Promise<void> {
            await super.stop();
            clearInterval(this.#timer);
            this.#timer = repeatedly(() => rewriteFirstByte(this));
          }
          override close(): void {
            clearInterval(this.#timer);
            super.close();
          }
        },
      ),
    noticed: { 'leaves its RAM alone': /written while it stood still: pages stress\.ram 0$/ },
  },
  {
    what: 'writes RAM to be saved',
    kit: () =>
      kitOf(
        class extends SpoiltGuest {
          override saveDeviceState(): Promise<Uint8Array> {
            rewriteFirstByte(this);
            return super.saveDeviceState();
          }
        },
      ),
    noticed: { 'leaves its RAM alone': /written while it stood still: pages stress\.ram 0$/ },
  },
  {
    what: 'is not looked at',
    kit: () => kitOf(SpoiltGuest, { verify: async () => {} }),
    noticed: { 'verify() of the kit notices': /pages were spoilt, and verify\(\) passed/ },
  },
  {
    what: 'names threads that are not there',
    kit: () =>
      kitOf(
        class extends SpoiltGuest {
          override get vcpuThreads(): readonly number[] {
            return [4_194_305];
          }
        },
      ),
    noticed: { 'vcpuThreads are': /no threads of this process: 4194305/ },
  },
  {
    what: 'can not be held back',
    kit: () =>
      kitOf(
        class extends SpoiltGuest {
          override throttle(): void {}
        },
      ),
    noticed: { 'throttle holds it back': /in 600 ms each it did \d+ at 90 %, and \d+ when it was let go/ },
  },
  {
    what: 'is not let go',
    kit: () =>
      kitOf(
        class extends SpoiltGuest {
          override throttle(percent: number): void {
            this.stress.throttle(Math.max(percent, this.#most));
            this.#most = Math.max(percent, this.#most);
          }
          #most = 0;
        },
      ),
    noticed: { 'throttle holds it back': /in 600 ms each it did/ },
  },
  {
    what: 'says that it died when it is stopped for the third time',
    kit: () =>
      kitOf(
        class extends SpoiltGuest {
          #die: (reason: Error) => void = () => {};
          override died = new Promise<Error>((resolve) => {
            this.#die = resolve;
          });
          override async stop(): Promise<void> {
            await super.stop();
            if (this.calls.stop === 3) this.#die(new Error('enough'));
          }
        },
      ),
    noticed: { 'does not say that it died': /the guest died: enough/ },
  },
  {
    what: 'is worse for each time that it was saved',
    kit: () =>
      kitOf(
        class extends SpoiltGuest {
          override async saveDeviceState(): Promise<Uint8Array> {
            const state = await super.saveDeviceState();
            return state.subarray(0, this.calls.save === 1 ? state.length : -1);
          }
        },
      ),
    noticed: { 'saved twice': /can't take over its device state/ },
  },
  {
    what: 'writes on in a state that it gave',
    kit: () =>
      kitOf(
        class extends SpoiltGuest {
          #state: Uint8Array = new Uint8Array();
          override async saveDeviceState(): Promise<Uint8Array> {
            this.#state.fill(0);
            this.#state = await super.saveDeviceState();
            return this.#state;
          }
        },
      ),
    noticed: { 'stays as it was saved': /of \d+ bytes some have changed/, 'saved twice': /can't take over/ },
  },
  {
    what: 'takes whatever comes',
    kit: () =>
      kitOf(
        class extends SpoiltGuest {
          override async loadDeviceState(state: Uint8Array): Promise<void> {
            await super.loadDeviceState(state).catch(() => {});
          }
        },
      ),
    noticed: { 'refuses a device state': /^0 of its \d+ bytes was taken/ },
  },
  {
    what: 'never gets over a bad state',
    kit: () =>
      kitOf(
        class extends SpoiltGuest {
          #isHurt = false;
          override async loadDeviceState(state: Uint8Array): Promise<void> {
            if (this.#isHurt) throw new Error('hurt');
            this.#isHurt = true;
            await super.loadDeviceState(state);
            this.#isHurt = false;
          }
        },
      ),
    noticed: { 'does it no harm': /hurt/ },
  },
  {
    what: 'stops when a migration looks at it',
    kit: () =>
      kitOf(
        class extends SpoiltGuest {
          get machine(): undefined {
            if (this.running && this.calls.load === 0) void this.stress.stop();
            return undefined;
          }
        },
      ),
    noticed: {
      'when a migration of it is cancelled': /running is false/,
      'when the destination fails': /it was not started again/,
      'it stops where a vCPU': /it has come to no page that was missing/,
      'there and back': /it does not run|running is false/,
      'by page faults': /without one page fault/,
    },
  },
  {
    what: 'is never started again once it was saved',
    kit: () =>
      kitOf(
        class extends SpoiltGuest {
          override async start(): Promise<void> {
            if (this.calls.save > 0) throw new Error('it has left');
            await super.start();
          }
        },
      ),
    noticed: {
      'when the destination fails': /it was not started again/,
      'stays as it was saved': /it has left/,
      'saved twice': /it has left/,
      'does not say that it died': /it has left/,
    },
  },
  {
    what: 'gives up on a vCPU that waits for a page',
    kit: () =>
      kitOf(
        class extends SpoiltGuest {
          override async stop(): Promise<void> {
            if (this.vcpuThreads.some(waitsForAPage)) throw new Error('it hangs');
            await super.stop();
          }
        },
      ),
    noticed: { 'it stops where a vCPU': /it hangs/ },
  },
  {
    what: 'is another one at the destination',
    kit: () =>
      kitOf(
        class extends SpoiltGuest {
          override async loadDeviceState(state: Uint8Array): Promise<void> {
            await super.loadDeviceState(state);
            const bytes = this.ramBlocks[0].bytes();
            bytes[bytes.length / 2] ^= 1;
          }
        },
      ),
    noticed: {
      'saved twice': /pages are not what they must be/,
      'does it no harm': /pages are not what they must be/,
      'there and back': /pages are not what they must be/,
      'it stops where a vCPU': /pages are not what they must be/,
      'by page faults': /pages are not what they must be/,
    },
  },
  {
    what: 'leaves a block behind',
    kit: () =>
      kitOf(
        class extends SpoiltGuest {
          readonly forgotten = RAMBlock.create({ idstr: 'forgotten', size: 4096 });
        },
      ),
    noticed: { 'leaves nothing behind': /left behind by one that was closed before it was started: .*"ramBlocks":/ },
  },
  {
    what: 'is closed once, and no more',
    kit: () =>
      kitOf(
        class extends SpoiltGuest {
          override close(): void {
            super.close();
            if (this.calls.close > 1) throw new Error('closed already');
          }
        },
      ),
    noticed: { 'leaves nothing behind': /closed already/ },
  },
];

test.each(defects.map((defect, turn) => ({ ...defect, turn })))(
  'one that $what is noticed, and by that alone',
  { timeout: 120_000 },
  async ({ kit, noticed, turn }) => {
    const expected = Object.entries(noticed).map(([part, sight]) => {
      const names = guestContract(stressKit).flatMap(({ name }) => (name.includes(part) ? [name] : []));
      expect(names, part).toHaveLength(1);
      return [names[0], expect.stringMatching(sight)];
    });
    const wanted = expected.map(([name]) => name);
    const seen = await failuresOf(kit(), wanted, turn);
    expect(seen).toEqual(Object.fromEntries(expected));
  },
);

test('every rule is broken by one of them', () => {
  const parts = defects.flatMap(({ noticed }) => Object.keys(noticed));
  const unbroken = guestContract(stressKit).filter(({ name }) => !parts.some((part) => name.includes(part)));
  expect(unbroken.map(({ name }) => name)).toEqual([]);
});
