// Restarts a server that has a lot in memory, twice, while clients use it, and counts what they noticed.
//
//   npm run example:hot-restart -- --memory 1024 --restarts 2 --json
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';
import { Connection, check, connectAgainAndAgain } from './checking-client.mjs';

const { values: options } = parseArgs({
  options: {
    memory: { type: 'string', default: '1024' }, // MiB of data
    restarts: { type: 'string', default: '2' },
    port: { type: 'string', default: '7391' },
    json: { type: 'boolean', default: false }, // the report as one JSON object in the last line
  },
});
const port = Number(options.port);
const keys = Number(options.memory) * 64; // of 16 KiB with key and header
const contentOf = (index) => `${index} `.repeat(3000).slice(0, 16_300);
const progress = (text) => process.stderr.write(`${text}\n`);
const BATCH = 64;

async function eachKey(work) {
  const connection = new Connection(port);
  for (let first = 0; first < keys; first += BATCH) {
    await Promise.all(Array.from({ length: Math.min(BATCH, keys - first) }, (_, at) => work(connection, first + at)));
    if (first % (8192 * 2) === 0 && first > 0) progress(`  ${first / 64} MiB …`);
  }
  connection.socket.destroy();
}

// What redis-benchmark measures; its clients, too, are moved with the server. It fails where one is cut off.
async function benchmark() {
  const args = ['-p', options.port, '-t', 'set,get,incr', '-n', '100000', '-r', '10000', '-c', '20', '--csv'];
  try {
    const { stdout } = await promisify(execFile)('redis-benchmark', args);
    const rows = stdout.trim().split('\n').slice(1);
    return rows.map((row) => row.replaceAll('"', '').split(',').slice(0, 2)).map(([test, rps]) => `${test} ${rps}/s`);
  } catch (error) {
    if (error.code === 'ENOENT') return ['not installed (package redis-tools)'];
    throw error;
  }
}

const folder = mkdtempSync(join(tmpdir(), 'hot-restart-'));
const pidfile = join(folder, 'pid');
const server = fileURLToPath(new URL('./server.mjs', import.meta.url));
const memory = String(Math.ceil(Number(options.memory) * 1.25) + 64);
const first = spawn(process.execPath, [server, '--port', options.port, '--memory', memory, '--pidfile', pidfile], {
  stdio: ['ignore', 'pipe', 'inherit'],
});
// The successors write to the same pipe.
const lines = createInterface({ input: first.stdout });
const log = [];
lines.on('line', (line) => {
  log.push(line);
  progress(line);
});
const said = async (words) => {
  while (!log.some((line) => line.includes(words))) await once(lines, 'line');
};
const pid = () => Number(readFileSync(pidfile, 'utf8'));

try {
  await said('serves at port');
  progress(`filling ${options.memory} MiB …`);
  await eachKey((connection, index) => connection.ask('SET', `fill:${index}`, contentOf(index)));
  let goesOn = true;
  const clients = ['a', 'b', 'c', 'd'].map((name) => check(port, name, () => goesOn));
  const connecting = connectAgainAndAgain(port, () => goesOn);
  const benchmarking = benchmark();
  for (let restart = 0; restart < Number(options.restarts); restart += 1) {
    const old = pid();
    process.kill(old, 'SIGUSR2');
    await said(`${old}: ends`);
    await said(`${pid()}: has all`);
  }
  const measured = await benchmarking;
  goesOn = false;
  const checked = await Promise.all(clients);
  const { made, refused, worstMs } = await connecting;
  progress(`reading ${options.memory} MiB back …`);
  let lost = checked.reduce((sum, client) => sum + client.lost, 0);
  await eachKey(async (connection, index) => {
    if ((await connection.ask('GET', `fill:${index}`)) !== contentOf(index)) lost += 1;
  });
  const report = {
    acknowledgedWrites: checked.reduce((sum, { writes }) => sum + writes, keys),
    lost,
    brokenConnections: checked.filter(({ isBroken }) => isBroken).length,
    newConnections: made,
    refusedConnections: refused,
    worstStallMs: Math.round(Math.max(worstMs, ...checked.map((client) => client.worstMs))),
    downtimeMs: log.flatMap((line) => /downtime ([\d.]+) ms/.exec(line)?.slice(1).map(Number) ?? []),
    redisBenchmark: measured,
  };
  for (const [name, value] of Object.entries(report)) console.log(`${name.padEnd(20)} ${value}`);
  if (options.json) console.log(JSON.stringify(report));
  if (lost + report.brokenConnections + refused > 0) process.exitCode = 1;
} finally {
  process.kill(pid(), 'SIGTERM');
  rmSync(folder, { recursive: true });
}
