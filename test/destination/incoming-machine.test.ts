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
    const machine = createIncomingMachine({ like: undefined });
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
    const machine = createIncomingMachine({ like: undefined });
    machine.configuration({ type: 'configuration', machine: 'pc' });
    expect(machine.machine).toBeUndefined();
  });

  test('target pages of another size are refused', () => {
    const machine = createIncomingMachine({ like: undefined });
    const record = { type: 'configuration', machine: 'virt', targetPageBits: 16 } as const;
    expect(() => machine.configuration(record)).toThrow(expect.objectContaining({ code: 'UNSUPPORTED' }));
    expect(() => machine.configuration({ ...record, targetPageBits: 12 })).not.toThrow();
  });

  test('what comes in parts and is not RAM is refused by name', () => {
    const machine = createIncomingMachine({ like: undefined });
    expect(() => machine.sectionStart({ ...section, kind: 'START', idstr: 'block' })).toThrow(
      expect.objectContaining({ code: 'UNSUPPORTED', message: expect.stringContaining('"block"') }),
    );
  });
});

describe('a guest of ours', () => {
  test('takes no target pages of another size, which would not be where its own are', () => {
    const machine = createIncomingMachine('own');
    const record = { type: 'configuration', machine: 'postcopy', targetPageBits: 10 } as const;
    expect(() => machine.configuration(record)).toThrow(expect.objectContaining({ code: 'UNSUPPORTED' }));
    expect(() => machine.configuration({ ...record, targetPageBits: 12 })).not.toThrow();
  });

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

describe('a machine like another', () => {
  const like = {
    machine: 'microvm',
    blocks: [{ idstr: 'microvm.ram', usedLength: 8192 }],
    devices: [{ idstr: 'ioapic', instanceId: 1, versionId: 3 }],
  };
  const block = { index: 0, idstr: 'microvm.ram', usedLength: 8192 };
  const device = { ...section, idstr: 'ioapic', instanceId: 1, versionId: 3 };
  const mismatch = (what: string) =>
    expect.objectContaining({ code: 'GUEST_MISMATCH', message: expect.stringContaining(what) });

  test('is taken, also where a device is of an older version', () => {
    const machine = createIncomingMachine({ like });
    machine.configuration({ type: 'configuration', machine: 'microvm' });
    machine.blocks([block]);
    machine.sectionStart(device);
    machine.sectionStart({ ...device, versionId: 2 });
    machine.sectionStart({ ...section, idstr: 'ram', versionId: 4 });
  });

  test('is refused where it differs, by what differs', () => {
    const machine = createIncomingMachine({ like });
    expect(() => machine.configuration({ type: 'configuration', machine: 'micro' })).toThrow(mismatch('"micro"'));
    expect(() => machine.blocks([{ ...block, usedLength: 4096 }])).toThrow(mismatch('microvm.ram 4096'));
    expect(() => machine.blocks([])).toThrow(mismatch('microvm.ram 8192'));
    expect(() => machine.sectionStart({ ...device, instanceId: 0 })).toThrow(mismatch('"ioapic" (instance 0)'));
    expect(() => machine.sectionStart({ ...device, versionId: 4 })).toThrow(mismatch('version 4'));
    expect(() => machine.sectionStart({ ...section, idstr: 'no-such-device' })).toThrow(mismatch('no-such-device'));
  });

  test('RAM of a newer version is refused, whatever is expected', () => {
    const machine = createIncomingMachine({ like: undefined });
    expect(() => machine.sectionStart({ ...section, idstr: 'ram', versionId: 5 })).toThrow(
      expect.objectContaining({ code: 'UNSUPPORTED', message: expect.stringContaining('version 5') }),
    );
  });
});
