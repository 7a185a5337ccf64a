/** The kit that drives a QEMU: refusals, silence and failures to start are told in a way that helps. */
import { existsSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { QemuProcess } from '../../testing/qemu/qemu-process.ts';
import { QmpError } from '../../testing/qemu/qmp.ts';

const bareMachine = ['-M', 'none', '-m', '1'];

describe('QemuProcess', () => {
  test('a refused command rejects with the class of QEMU', async () => {
    await using qemu = await QemuProcess.start('QEMU', bareMachine);
    const refused = qemu.qmp.execute('no-such-command');
    await expect(refused).rejects.toBeInstanceOf(QmpError);
    await expect(refused).rejects.toMatchObject({
      errorClass: 'CommandNotFound',
      message: expect.stringMatching(/^QEMU: no-such-command: .*\(CommandNotFound\)$/),
    });
  });

  test('commands given at once have each their own reply', async () => {
    await using qemu = await QemuProcess.start('QEMU', bareMachine);
    const [status, name, version] = await Promise.all(
      ['query-status', 'query-name', 'query-version'].map((command) => qemu.qmp.execute(command)),
    );
    expect(status).toMatchObject({ status: 'running' });
    expect(name).toEqual({});
    expect(version).toHaveProperty('qemu');
  });

  test('an event is found whether it came before it was asked for or comes after', async () => {
    await using qemu = await QemuProcess.start('QEMU', bareMachine);
    const toCome = qemu.qmp.event('STOP');
    await qemu.qmp.execute('stop');
    expect(await toCome).toEqual({ event: 'STOP', data: {} });
    expect(await qemu.qmp.event('STOP')).toEqual({ event: 'STOP', data: {} });
  });

  test('waiting in vain says what was heard last', async () => {
    await using qemu = await QemuProcess.start('QEMU', bareMachine);
    await qemu.qmp.execute('stop');
    await expect(qemu.qmp.event('RESUME', () => true, { timeoutMs: 50 })).rejects.toThrow(
      /^QEMU: the event RESUME did not come within 50 ms; last heard:[\s\S]*"event":"STOP"/,
    );
  });

  test('a QEMU that does not start says why', async () => {
    await expect(QemuProcess.start('QEMU', ['-M', 'no-such-machine'])).rejects.toThrow(
      /its error output:\n.*unsupported machine type/,
    );
  });

  test('a QEMU that ends ends what waits for it', async () => {
    await using qemu = await QemuProcess.start('QEMU', bareMachine);
    const waiting = qemu.qmp.event('RESUME');
    await qemu.qmp.execute('quit');
    await expect(waiting).rejects.toThrow(/the event RESUME did not come: the monitor's connection/);
    expect(await qemu.ended).toBe(0);
  });

  test('leaves neither a process nor its folder', async () => {
    const qemu = await QemuProcess.start('QEMU', bareMachine);
    await qemu.stop();
    expect(existsSync(qemu.folder)).toBe(false);
    expect(existsSync(`/proc/${qemu.pid}`)).toBe(false);
  });
});
