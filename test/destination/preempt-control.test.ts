/** How the preempt thread is told to read and to stop: a thread that plays it, and the words between the two. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createDestinationSignals, type DestinationSignals, Preempt } from '#lib/destination/destination-signals.js';
import { PreemptControl } from '#lib/destination/preempt-control.js';
import { type EventfdHandle, native, type SocketHandle } from '#lib/native.js';
import { onLibThread } from '../../testing/lib-thread.ts';
import { isPolling, onThread, until } from '../../testing/native-thread.ts';

const { eventfdClose, eventfdCreate, socketClose, socketListen } = native();

let signals: DestinationSignals;
let kick: EventfdHandle;
let listener: SocketHandle;

beforeEach(() => {
  signals = createDestinationSignals();
  kick = eventfdCreate();
  listener = socketListen({ family: 'tcp', host: '127.0.0.1', port: 0 }, 1).handle;
});
afterEach(() => {
  socketClose(listener);
  eventfdClose(kick);
});

type Method = 'stop' | 'end' | 'awaitEnd';

/** The call in a thread of its own, as it may block. */
const calls = (method: Method, isAllHere = false) =>
  onLibThread(
    `test/${method}`,
    { signals: '#lib/destination/destination-signals.js', control: '#lib/destination/preempt-control.js' },
    { buffer: signals.buffer, kick, method, isAllHere },
    (
      lib: {
        signals: typeof import('#lib/destination/destination-signals.js');
        control: typeof import('#lib/destination/preempt-control.js');
      },
      data,
      aboutToWait,
    ) => {
      const mine = new lib.control.PreemptControl(lib.signals.createDestinationSignals(data.buffer), data.kick);
      aboutToWait();
      if (data.method === 'awaitEnd') mine.awaitEnd(() => data.isAllHere);
      else mine[data.method]();
    },
  );

test('without the capability there is nothing to do', () => {
  const none = new PreemptControl(signals, undefined);
  none.begin(listener, undefined);
  none.stop();
  none.awaitEnd(() => false);
  none.end();
  expect(signals.get('PREEMPT')).toBe(Preempt.IDLE);
});

test('begin tells where the channel comes, or which one it is', () => {
  const control = new PreemptControl(signals, kick);
  control.begin(listener, undefined);
  expect([signals.get('PREEMPT'), signals.get('PREEMPT_AT'), signals.get('PREEMPT_SOCKET')]).toEqual([
    Preempt.READING,
    listener,
    0,
  ]);
  signals.set('PREEMPT', Preempt.IDLE);
  control.begin(listener, 77 as SocketHandle);
  expect(signals.get('PREEMPT_SOCKET')).toBe(77);
});

test('stop interrupts a thread that reads, and returns when it has stopped', async () => {
  new PreemptControl(signals, kick).begin(listener, undefined);
  const reader = onThread('test/reads', { kick, listener }, (n, data) => n.socketAccept(data.listener, data.kick));
  await until('it waits', () => isPolling('test/reads'));
  const stopping = calls('stop');
  expect(await reader.result).toBe(native().constants.KICKED);
  await stopping.waits();
  expect(signals.get('PREEMPT')).toBe(Preempt.STOPPING);
  signals.set('PREEMPT', Preempt.IDLE);
  await stopping.result;
});

test('one that does not read is not kicked: stop returns, and end ends it for good', async () => {
  await calls('stop').result;
  expect(signals.get('PREEMPT')).toBe(Preempt.IDLE);
  await calls('end').result;
  expect(signals.get('PREEMPT')).toBe(Preempt.ENDED);
  expect(native().socketAwait(listener, kick, 0)).toBe(0); // not KICKED
  new PreemptControl(signals, kick).begin(listener, undefined);
  expect(signals.get('PREEMPT')).toBe(Preempt.ENDED);
});

test('the end of a channel that has come is waited for', async () => {
  new PreemptControl(signals, kick).begin(listener, 77 as SocketHandle);
  const waiting = calls('awaitEnd');
  await waiting.waits();
  signals.set('PREEMPT', Preempt.IDLE);
  await waiting.result;
});

test('with all pages here, no longer than a moment', async () => {
  new PreemptControl(signals, kick).begin(listener, 77 as SocketHandle);
  await calls('awaitEnd', true).result;
  expect(signals.get('PREEMPT')).toBe(Preempt.READING);
});

test('one that never came is not waited for', async () => {
  new PreemptControl(signals, kick).begin(listener, undefined);
  await calls('awaitEnd').result;
  await calls('awaitEnd', true).result;
});
