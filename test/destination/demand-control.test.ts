/** How demand threads are told to read and to stop: a thread that plays one, and the words between the two. */
import { MessageChannel } from 'node:worker_threads';
import { afterEach, beforeEach, expect, test } from 'vitest';
import {
  createDemandChannelWords,
  type DemandChannelWords,
  DemandKind,
  DemandPhase,
} from '#lib/destination/demand-channel.js';
import { DemandControl } from '#lib/destination/demand-control.js';
import { MigrationError, toPlainError } from '#lib/errors.js';
import { type EventfdHandle, native, type SocketHandle } from '#lib/native.js';
import { onLibThread } from '../../testing/lib-thread.ts';
import { isPolling, onThread, until } from '../../testing/native-thread.ts';

const { eventfdClose, eventfdCreate, socketClose, socketListen } = native();
const COME = { socket: 77 as SocketHandle, hasGreeted: false };

let words: DemandChannelWords;
let kick: EventfdHandle;
let listener: SocketHandle;
let control: DemandControl;

beforeEach(() => {
  words = createDemandChannelWords();
  kick = eventfdCreate();
  listener = socketListen({ family: 'tcp', host: '127.0.0.1', port: 0 }, 1).handle;
  control = new DemandControl([{ kick, words: words.buffer }]);
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
    { control: '#lib/destination/demand-control.js' },
    { words: words.buffer, kick, method, isAllHere },
    (lib: { control: typeof import('#lib/destination/demand-control.js') }, data, aboutToWait) => {
      const mine = new lib.control.DemandControl([{ words: data.words, kick: data.kick }]);
      aboutToWait();
      if (data.method === 'awaitEnd') mine.awaitEnd(() => data.isAllHere);
      else mine[data.method]();
    },
  );

test('without such threads there is nothing to do', () => {
  const none = new DemandControl([]);
  none.beginAll(listener);
  none.stop();
  none.awaitEnd(() => false);
  none.end();
  expect(none.takeError()).toBeUndefined();
});

test('begin tells where the channel comes, or which one it is and whether it has greeted', () => {
  control.beginAll(listener);
  const all = () => (['PHASE', 'AT', 'SOCKET', 'GREETED'] as const).map((name) => words.get(name));
  expect(all()).toEqual([DemandPhase.READING, listener, 0, 0]);
  words.set('PHASE', DemandPhase.IDLE);
  control.begin(0, listener, { ...COME, hasGreeted: true });
  expect(all()).toEqual([DemandPhase.READING, listener, COME.socket, 1]);
});

test('stop interrupts a thread that reads, and returns when it has stopped', async () => {
  control.beginAll(listener);
  const reader = onThread('test/reads', { kick, listener }, (n, data) => n.socketAccept(data.listener, data.kick));
  await until('it waits', () => isPolling('test/reads'));
  const stopping = calls('stop');
  expect(await reader.result).toBe(native().constants.KICKED);
  await stopping.waits();
  expect(words.get('PHASE')).toBe(DemandPhase.STOPPING);
  words.set('PHASE', DemandPhase.IDLE);
  await stopping.result;
});

test('one that does not read is not kicked: stop returns, and end ends it for good', async () => {
  await calls('stop').result;
  expect(words.get('PHASE')).toBe(DemandPhase.IDLE);
  await calls('end').result;
  expect(words.get('PHASE')).toBe(DemandPhase.ENDED);
  expect(native().socketAwait(listener, kick, 0)).toBe(0); // not KICKED
  control.beginAll(listener);
  expect(words.get('PHASE')).toBe(DemandPhase.ENDED);
});

test('one that is not needed is ended by itself', () => {
  const other = createDemandChannelWords();
  new DemandControl([words, other].map(({ buffer }) => ({ kick, words: buffer }))).endUnused(1);
  expect([words.get('PHASE'), other.get('PHASE')]).toEqual([DemandPhase.IDLE, DemandPhase.ENDED]);
});

test('the end of a channel that has come is waited for', async () => {
  control.begin(0, listener, COME);
  const waiting = calls('awaitEnd');
  await waiting.waits();
  words.set('PHASE', DemandPhase.IDLE);
  await waiting.result;
});

test('with all pages here, no longer than a moment', async () => {
  control.begin(0, listener, COME);
  await calls('awaitEnd', true).result;
  expect(words.get('PHASE')).toBe(DemandPhase.READING);
});

test('one that never came is not waited for, nor a lane on which nobody has greeted', async () => {
  control.beginAll(listener);
  await calls('awaitEnd').result;
  await calls('awaitEnd', true).result;
  words.set('KIND', DemandKind.LANE);
  words.set('SOCKET', COME.socket);
  await calls('awaitEnd').result;
});

test('tells why one broke, once', () => {
  const { port1, port2 } = new MessageChannel();
  const told = new DemandControl([{ kick, words: words.buffer, errors: port1 }]);
  expect(told.takeError()).toBeUndefined();
  port2.postMessage(toPlainError(new MigrationError('PEER_GONE', 'the channel broke')));
  expect(told.takeError()).toMatchObject({ code: 'PEER_GONE', message: 'the channel broke' });
  expect(told.takeError()).toBeUndefined();
  port1.close();
});
