/** What is made of the Linux guest's console: a lost, repeated or torn line must not go unnoticed. */
import { describe, expect, test } from 'vitest';
import { faultsOf, GuestConsole, reportsIn } from '../../testing/qemu/guest-console.ts';

const line = (counter: number, bad = 0): string => `counter ${counter} writes ${counter * 10} sweeps 0 bad ${bad}\r\n`;

describe('faultsOf', () => {
  test('finds none in consoles that join, wherever the guest moved', () => {
    const whole = `booting\r\n${line(0)}${line(1)}${line(2)}`;
    for (let at = 0; at < whole.length; at += 1) {
      expect(faultsOf(whole.slice(0, at) + whole.slice(at))).toEqual([]);
    }
  });

  test.each([
    ['a lost report', line(0) + line(2), 'counter 2 where 1 was next'],
    ['a repeated report', line(0) + line(1) + line(1), 'counter 1 where 2 was next'],
    ['a lost character', line(0) + line(1).slice(1), 'no report: "ounter 1 writes 10 sweeps 0 bad 0"'],
    ['a bad page', line(0) + line(1, 3), 'bad pages: counter 1 writes 10 sweeps 0 bad 3'],
    [
      'what the guest says of it',
      `${line(0)}page 7 word 0 is 1 and not 2\r\n`,
      'no report: "page 7 word 0 is 1 and not 2"',
    ],
    ['silence', 'booting\r\n', 'the guest reported nothing'],
  ])('finds %s', (_what, text, fault) => {
    expect(faultsOf(text)).toEqual([fault]);
  });
});

describe('GuestConsole', () => {
  test('gives a report once its line is whole, however it came', async () => {
    const console = new GuestConsole('QEMU', () => '');
    const wanted = console.report('the second', ({ counter }) => counter === 1);
    for (const character of line(0) + line(1)) console.take(character);
    expect(await wanted).toEqual({ counter: 1, writes: 10, sweeps: 0, bad: 0 });
    expect(reportsIn(console.text)).toHaveLength(2);
  });

  test('says what it heard last when a report did not come', async () => {
    const console = new GuestConsole('QEMU', () => '\nits error output: no kernel');
    console.take(`${line(0)}panic\n`);
    console.end('QEMU ended (1)');
    await expect(console.report('the second', ({ counter }) => counter === 1)).rejects.toThrow(
      /^QEMU's console: the second did not come: QEMU ended \(1\); last heard:\n {2}counter 0 .*\n {2}panic\nits error/,
    );
  });
});
