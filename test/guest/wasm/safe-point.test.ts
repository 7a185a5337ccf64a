/** Whether a function of a module is on the stack. */
import { expect, test } from 'vitest';
import { isInWebAssembly } from '#lib/guest/wasm/safe-point.js';
import { webAssembly } from '#lib/guest/wasm/webassembly.js';
import { assemble } from '../../../testing/wasm.ts';

const module = new webAssembly.Module(
  assemble('(module (import "host" "look" (func $look)) (func (export "call") call $look))'),
);

/** What is seen from a function that a module calls, `depth` functions below it. */
function lookFrom(depth: number): boolean | undefined {
  let seen: boolean | undefined;
  const look = (below: number): void => {
    if (below === 0) seen = isInWebAssembly();
    else look(below - 1);
  };
  const { exports } = new webAssembly.Instance(module, { host: { look: () => look(depth) } });
  (exports.call as () => void)();
  return seen;
}

test('it is seen from whatever depth below it, and not beside it', () => {
  expect(isInWebAssembly()).toBe(false);
  expect([0, 1, 100].map(lookFrom)).toEqual([true, true, true]);
  expect(isInWebAssembly()).toBe(false);
});

test('it is no more once what the module has called gives way', async () => {
  let seen: Promise<boolean> | undefined;
  const later = async (): Promise<boolean> => {
    await Promise.resolve();
    return isInWebAssembly();
  };
  const { exports } = new webAssembly.Instance(module, {
    host: {
      look: () => {
        seen = later();
      },
    },
  });
  (exports.call as () => void)();
  expect(await seen).toBe(false);
});

test('stack traces are afterwards as they were', () => {
  const { stackTraceLimit, prepareStackTrace } = Error;
  isInWebAssembly();
  expect(Error.stackTraceLimit).toBe(stackTraceLimit);
  expect(Error.prepareStackTrace).toBe(prepareStackTrace);
});
