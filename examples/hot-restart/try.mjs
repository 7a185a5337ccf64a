// Restarts a server that has a lot in memory, twice, while clients use it, and counts what they noticed.
//
//   npm run example:hot-restart -- --memory 1024 --restarts 2 --json
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { check, connectAgainAndAgain } from './checking-client.mjs';
import { benchmark, Data } from './load.mjs';

const { values: options } = parseArgs({
  options: {
    memory: { type: 'string', default: '1024' }, // MiB of data
    restarts: { type: 'string', default: '2' },
    port: { type: 'string', default: '7391' },
    json: { type: 'boolean', default: false }, // the report as one JSON object in the last line
  },
});
const port = Number(options.port);
const data = new Data(port, Number(options.memory));
const progress = (text) => process.stderr.write(`${text}\n`);
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
  await data.write(progress);
  progress('restarting …');
  let goesOn = true;
  const clients = ['a', 'b', 'c', 'd'].map((name) => check(port, name, () => goesOn));
  const connecting = connectAgainAndAgain(port, () => goesOn);
  const benchmarking = benchmark(port);
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
  const lost = checked.reduce((sum, client) => sum + client.lost, await data.countWrong(progress));
  const report = {
    acknowledgedWrites: checked.reduce((sum, { writes }) => sum + writes, data.keys),
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
