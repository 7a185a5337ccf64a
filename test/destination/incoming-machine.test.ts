/** What comes besides RAM, of a guest of ours and of any machine: recorded streams of a QEMU, and what is refused. */
import { describe, expect, test } from 'vitest';
import { createIncomingMachine, type IncomingMachine } from '#lib/destination/incoming-machine.js';
import { decodeAll } from '#lib/wire/index.js';
import { capture } from '../../testing/captures.ts';
import { CapturedMachine } from '../../testing/qemu/captured-machine.ts';

/** Gives it all that a recorded stream says besides RAM. */
function give(machine: IncomingMachine, bytes: Uint8Array): void {
  for (const record of decodeAll(bytes)) {
    if (record.type === 'configuration') machine.configuration(record);
    if (record.type === 'section-start') machine.sectionStart(record);
    if (record.type === 'device-data') machine.deviceData(record, bytes);
    if (record.type === 'section-end') machine.sectionEnd(record);
  }
}

const section = { type: 'section-start', kind: 'FULL', id: 3, instanceId: 0, versionId: 1 } as const;

describe('any machine', () => {
  test.each(['a-precopy', 'b-postcopy', 'a4-machine-none'])('%s: its sections come out as they stood', (name) => {
    const captured = new CapturedMachine(name);
    const machine = createIncomingMachine('any');
    give(machine, capture(name).fromSource(0));
    expect(machine.machine).toMatchObject({
      configuration: { machine: captured.machine },
      ramSection: { id: captured.ramSection.id, idstr: 'ram', versionId: 4 },
    });
    const { state, ran } = machine.take(0);
    expect(Buffer.from(state).equals(captured.allDevices())).toBe(true);
    expect(ran).toBe(true);
  });

  test('is none before its RAM has been announced', () => {
    const machine = createIncomingMachine('any');
    machine.configuration({ type: 'configuration', machine: 'pc' });
    expect(machine.machine).toBeUndefined();
  });

  test('target pages of another size are refused', () => {
    const machine = createIncomingMachine('any');
    const record = { type: 'configuration', machine: 'virt', targetPageBits: 16 } as const;
    expect(() => machine.configuration(record)).toThrow(expect.objectContaining({ code: 'UNSUPPORTED' }));
    expect(() => machine.configuration({ ...record, targetPageBits: 12 })).not.toThrow();
  });

  test('what comes in parts and is not RAM is refused by name', () => {
    const machine = createIncomingMachine('any');
    expect(() => machine.sectionStart({ ...section, kind: 'START', idstr: 'block' })).toThrow(
      expect.objectContaining({ code: 'UNSUPPORTED', message: expect.stringContaining('"block"') }),
    );
  });
});

describe('a guest of ours', () => {
  test('takes no other machine, and no section that it does not have', () => {
    const machine = createIncomingMachine('own');
    expect(() => machine.configuration({ type: 'configuration', machine: 'pc-i440fx-7.2' })).toThrow(
      expect.objectContaining({ code: 'GUEST_MISMATCH', hint: expect.stringContaining('postcopy receive') }),
    );
    expect(() => machine.sectionStart({ ...section, idstr: 'timer' })).toThrow(
      expect.objectContaining({ code: 'GUEST_MISMATCH', message: expect.stringContaining('"timer"') }),
    );
  });
});
