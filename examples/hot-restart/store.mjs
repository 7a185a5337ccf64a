// The program that moves: a key-value store that answers commands of Redis, over a table in its RAM block.
//
// A message is an array of commands of one client, each an array of strings; the answer is what goes to the client.
// All strings are of bytes (latin1). What is not in RAM, and so is the guest's state, is a few numbers.
import { defineProgram } from 'postcopy';
import { Full, MAX_KEY, MAX_VALUE } from './records.mjs';
import { Table } from './table.mjs';

const OK = '+OK\r\n';
const bulk = (text) => (text === undefined ? '$-1\r\n' : `$${text.length}\r\n${text}\r\n`);
const number = (value) => `:${value}\r\n`;
const array = (items) => `*${items.length}\r\n${items.join('')}`;
const error = (text) => `-${text}\r\n`;

function set(table, key, value) {
  if (key.length > MAX_KEY || value.length > MAX_VALUE) throw new RangeError('string exceeds maximum allowed size');
  table.set(key, value);
}

function add(table, key, amount) {
  const before = table.get(key) ?? '0';
  const isInteger = [before, amount].every((text) => /^-?\d{1,15}$/.test(text));
  if (!isInteger) return error('ERR value is not an integer or out of range');
  const after = Number(before) + Number(amount);
  set(table, key, String(after));
  return number(after);
}

function setAll(table, pairs) {
  if (pairs.length % 2 === 1) return error("ERR wrong number of arguments for 'mset' command");
  for (let at = 0; at < pairs.length; at += 2) set(table, pairs[at], pairs[at + 1]);
  return OK;
}

// By name: how many words follow, at least and at most; what it does.
const commands = {
  ping: [0, 1, (_, text) => (text === undefined ? '+PONG\r\n' : bulk(text))],
  echo: [1, 1, (_, text) => bulk(text)],
  get: [1, 1, (table, key) => bulk(table.get(key))],
  set: [2, 2, (table, key, value) => set(table, key, value) ?? OK],
  mget: [1, 1e6, (table, ...keys) => array(keys.map((key) => bulk(table.get(key))))],
  mset: [2, 1e6, (table, ...pairs) => setAll(table, pairs)],
  incr: [1, 1, (table, key) => add(table, key, 1)],
  incrby: [2, 2, (table, key, amount) => add(table, key, amount)],
  decr: [1, 1, (table, key) => add(table, key, -1)],
  del: [1, 1e6, (table, ...keys) => number(keys.filter((key) => table.delete(key)).length)],
  exists: [1, 1e6, (table, ...keys) => number(keys.filter((key) => table.get(key) !== undefined).length)],
  dbsize: [0, 0, (table) => number(table.state.keys)],
  info: [0, 1, (table) => bulk(`# Keyspace\r\ndb0:keys=${table.state.keys}\r\n`)],
  // What redis-benchmark and redis-cli ask before they begin.
  config: [2, 2, (_, _get, name) => array([bulk(name), bulk('')])],
  command: [0, 1e6, () => array([])],
};

function answer(table, [name, ...words]) {
  const lower = name.toLowerCase();
  if (!Object.hasOwn(commands, lower)) return error(`ERR unknown command '${name.replace(/[\r\n]/g, ' ')}'`);
  const [least, most, run] = commands[lower];
  if (words.length < least || words.length > most) {
    return error(`ERR wrong number of arguments for '${lower}' command`);
  }
  try {
    return run(table, ...words);
  } catch (thrown) {
    if (thrown instanceof Full) return error("OOM command not allowed when used memory > 'maxmemory'.");
    if (thrown instanceof RangeError) return error(`ERR ${thrown.message}`);
    throw thrown;
  }
}

export default defineProgram({
  name: 'hot-restart',
  version: 1,
  async run(vcpu, state) {
    const table = new Table(vcpu.ram('table'), state);
    await vcpu.serve(
      (batch) => batch.map((words) => answer(table, words)).join(''),
      () => table.state,
    );
  },
});
