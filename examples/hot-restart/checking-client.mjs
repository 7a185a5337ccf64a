// Clients that know what they must be answered: each counts the answers that are wrong, and how long it waited for one.
import { createConnection } from 'node:net';
import { performance } from 'node:perf_hooks';
import RedisParser from 'redis-parser';

const KEYS = 1000; // of each checking client

export class Connection {
  #waiting = [];
  worstMs = 0;
  isBroken = false;

  constructor(port) {
    const parser = new RedisParser({
      returnReply: (reply) => this.#waiting.shift()(reply),
      returnError: (error) => this.#waiting.shift()(error),
    });
    this.socket = createConnection({ port, host: '127.0.0.1', noDelay: true });
    this.socket.on('data', (chunk) => parser.execute(chunk));
    this.socket.on('error', () => {}); // 'close' follows
    this.ended = new Promise((resolve) => {
      this.socket.once('close', () => {
        this.isBroken = true;
        resolve(new Error('the connection is gone'));
      });
    });
  }

  // The answer, or the error that is it.
  async ask(...words) {
    const start = performance.now();
    const bytes = words.map((word) => `$${word.length}\r\n${word}\r\n`).join('');
    const answer = new Promise((resolve) => this.#waiting.push(resolve));
    this.socket.write(`*${words.length}\r\n${bytes}`, 'latin1');
    const reply = await Promise.race([answer, this.ended]);
    this.worstMs = Math.max(this.worstMs, performance.now() - start);
    return reply;
  }
}

// Until `goesOn` says no: writes and counts, reads back what was acknowledged before, and at the end all of it.
export async function check(port, name, goesOn) {
  const connection = new Connection(port);
  const acknowledged = new Map();
  let writes = 0;
  let lost = 0;
  const expect = (reply, due) => {
    if (reply !== due) lost += 1;
  };
  for (let turn = 1; goesOn() && !connection.isBroken; turn += 1) {
    const key = `${name}:${turn % KEYS}`;
    const replies = [connection.ask('SET', key, `${turn}`), connection.ask('INCR', name)];
    if ((await replies[0]) === 'OK') acknowledged.set(key, `${turn}`);
    expect(await replies[1], turn); // neither lost nor done twice
    writes += 2;
    const known = `${name}:${(turn * 7) % KEYS}`;
    expect(await connection.ask('GET', known), acknowledged.get(known) ?? null);
  }
  for (const [key, value] of acknowledged) expect(await connection.ask('GET', key), value);
  const { isBroken, worstMs } = connection;
  connection.socket.destroy();
  return { writes, lost, isBroken, worstMs };
}

// Until `goesOn` says no: connects anew for each question. How often it could, and could not.
export async function connectAgainAndAgain(port, goesOn) {
  const result = { made: 0, refused: 0, worstMs: 0 };
  while (goesOn()) {
    const connection = new Connection(port);
    const reply = await connection.ask('PING');
    if (reply === 'PONG') result.made += 1;
    else result.refused += 1;
    result.worstMs = Math.max(result.worstMs, connection.worstMs);
    connection.socket.destroy();
  }
  return result;
}
