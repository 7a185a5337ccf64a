/** The body of a thread for test/threads/thread.test.ts: does what its data says. */
import { Channel } from '#lib/channel/channel.js';
import { MigrationError } from '#lib/errors.js';
import { runThread } from '#lib/threads/thread.js';

const bodies = {
  return: ({ value }) => value,
  emit: ({ events }, thread) => {
    for (const event of events) thread.emit(event);
  },
  call: ({ argument }, thread) => thread.owner.call('double', argument),
  receive: ({ socket }, thread) => {
    thread.emit('blocks now');
    return new Channel({ socket, peer: 'the tester' }, thread.kick).receive(new Uint8Array(8), 0, 8);
  },
  failMigration: () => {
    throw new MigrationError('STREAM_CORRUPT', 'bad bytes', { offset: 77, record: 'page', hint: 'mend it' });
  },
  failPlain: () => {
    throw new TypeError('a mistake');
  },
  returnFunction: () => () => {},
  exit: () => process.exit(0),
};

runThread(
  (data, thread) => bodies[data.body](data, thread),
  (owner) => owner.call('rehearse', 'as it will be'),
);
