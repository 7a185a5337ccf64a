// The clients of a server: each connection with the commands that have no answer yet, from socket to guest and back,
// and from this process to the next.
import { CommandReader } from './command-reader.mjs';

const MAX_UNANSWERED = 64; // batches of commands; more are read when some are answered
const PATIENCE_MS = 30_000; // for a client to read what it was answered, before this process ends

class Client {
  #socket;
  #guest;
  #reader = new CommandReader();
  #unanswered = [];
  #leaves = false;

  constructor(socket, guest, { rest, unanswered }) {
    this.#socket = socket;
    this.#guest = guest;
    for (const batch of unanswered) this.#ask(batch);
    if (rest.length > 0) this.#read(rest);
    socket.on('data', (chunk) => this.#read(chunk));
    socket.on('drain', () => this.#regulate());
    socket.on('error', () => {}); // 'close' follows
    this.#regulate();
  }

  #read(chunk) {
    try {
      const batch = this.#reader.read(chunk);
      if (batch.length > 0) this.#ask(batch);
    } catch (error) {
      this.#socket.end(`-ERR Protocol error: ${error.message}\r\n`);
    }
  }

  async #ask(batch) {
    this.#unanswered.push(batch);
    this.#regulate();
    try {
      const answer = await this.#guest.call(batch);
      this.#unanswered.shift();
      this.#socket.write(answer, 'latin1');
      this.#regulate();
    } catch (error) {
      if (error.code !== 'GUEST_MOVED') this.#socket.destroy(error); // else it goes along
    }
  }

  // A client that asks faster than it is answered, or does not read, is not read either.
  #regulate() {
    if (this.#leaves) return;
    const isBusy = this.#unanswered.length > MAX_UNANSWERED || this.#socket.writableNeedDrain;
    if (isBusy) this.#socket.pause();
    else this.#socket.resume();
  }

  // To the successor, once the client has what it was answered. Nothing is lost: what came and was not executed goes
  // along, and so do the bytes that are no command yet; all else is still in the kernel.
  async handOver(successor) {
    const socket = this.#socket;
    this.#leaves = true;
    socket.pause();
    const patience = setTimeout(() => socket.destroy(), PATIENCE_MS);
    await new Promise((resolve) => {
      socket.once('close', resolve);
      socket.write('', resolve);
    });
    clearTimeout(patience);
    if (socket.destroyed || socket.writableEnded) return socket.destroySoon();
    socket.removeAllListeners('data');
    const late = socket.read() ?? Buffer.alloc(0); // what came while it was paused
    socket._handle.readStop(); // which read() began again, and what it read now nobody would see
    const rest = Buffer.concat([this.#reader.rest, late]);
    successor.send({ kind: 'client', rest, unanswered: this.#unanswered }, socket);
  }
}

export class Clients {
  #guest;
  #clients = new Set();

  constructor(guest) {
    this.#guest = guest;
  }

  // `before` is what a predecessor had of it.
  add(socket, before = { rest: Buffer.alloc(0), unanswered: [] }) {
    socket.setNoDelay(true);
    const client = new Client(socket, this.#guest, before);
    this.#clients.add(client);
    socket.once('close', () => this.#clients.delete(client));
  }

  // All at once: none waits for one that is slow to read.
  async handOver(successor) {
    const clients = [...this.#clients];
    this.#clients.clear();
    await Promise.all(clients.map((client) => client.handOver(successor)));
    return clients.length;
  }
}
