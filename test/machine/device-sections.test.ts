/** Device state taken apart into its sections. */
import { describe, expect, test } from 'vitest';
import { deviceSections } from '#lib/machine/device-sections.js';
import { joined } from '../../testing/feed.ts';
import { capturedMachine } from '../../testing/saved-machine.ts';

const captured = capturedMachine();
const state = captured.allDevices();

test('the sections of a recorded machine, each from its type byte to its footer', () => {
  const { devices, runState } = deviceSections(state);
  expect(devices.map(({ name }) => name)).toEqual(captured.devices.map(({ idstr }) => idstr));
  let at = 0;
  for (const [index, { offset, length }] of devices.entries()) {
    expect(offset).toBe(at);
    expect(state.subarray(offset, offset + length)).toEqual(captured.devices[index].section);
    at += length;
  }
  expect(at).toBe(state.length);
  expect(runState).toMatch(/^(running|paused|prelaunch)$/);
});

test('a machine without devices', () => {
  expect(deviceSections(new Uint8Array())).toEqual({ devices: [], runState: undefined });
});

describe('what is no device state is refused', () => {
  test.each<[string, Uint8Array]>([
    ['zeroes', new Uint8Array(10)],
    ['text', new TextEncoder().encode('no device state at all')],
    ['the end of a stream before the sections', joined([Uint8Array.of(0), state])],
    ['RAM', captured.ramStart()],
  ])('%s', (_what, bytes) => {
    expect(() => deviceSections(bytes)).toThrow(expect.objectContaining({ name: 'MigrationError' }));
  });

  test('a state that is cut anywhere but between two sections', () => {
    const whole = new Set([0]);
    for (const { offset, length } of deviceSections(state).devices) whole.add(offset + length);
    for (let end = 0; end < state.length; end += 7) {
      if (whole.has(end)) continue;
      expect(() => deviceSections(state.subarray(0, end)), `cut at ${end}`).toThrow();
    }
  });
});
