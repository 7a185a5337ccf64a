/** docs/qmp.md: its hosts are started as it says, and its session is sent line by line and compared. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { capabilityNames } from '#lib/qmp/capabilities.js';
import { createCommands } from '#lib/qmp/commands.js';
import { GuestHost } from '#lib/qmp/guest-host.js';
import { someParameters } from '#lib/qmp/parameters.js';
import { inCheckout } from '../../testing/checkout.ts';
import { Heard } from '../../testing/qemu/heard.ts';

const text = readFileSync(inCheckout('docs/qmp.md'), 'utf8');

let folder: string;
const ends: (() => void)[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'postcopy-test-'));
});
afterEach(() => {
  for (const end of ends.splice(0)) end();
  rmSync(folder, { recursive: true });
});

/** The lines of the first block of that language, with sockets in a folder of this test's. */
function linesOf(language: string): string[] {
  const [, block] = new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\``, 'ms').exec(text) ?? [];
  return (block ?? '').trimEnd().replaceAll('/tmp/', `${folder}/`).split('\n');
}

/** Starts a host with the document's command line; resolved once it listens. */
async function start(line: string): Promise<void> {
  const [, ...args] = line.split(' ');
  const child = spawn(process.execPath, [inCheckout('dist/cli/main.js'), ...args], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  ends.push(() => child.kill('SIGKILL'));
  const said = new Heard<string>({ who: line, show: (each) => each });
  createInterface({ input: child.stderr }).on('line', (each) => said.add(each));
  child.on('close', (code) => said.end(`it ended with ${code}`));
  await said.first('where it listens', (each) => each.startsWith('QMP at'));
}

interface Client {
  readonly socket: Socket;
  readonly heard: Heard<object>;
  /** Where in what it has heard the answers to its last request begin. */
  from: number;
}

async function client(name: string): Promise<Client> {
  const socket = connect(join(folder, `${name}.qmp`));
  ends.push(() => socket.destroy());
  const heard = new Heard<object>({ who: `the ${name}`, show: (message) => JSON.stringify(message) });
  createInterface({ input: socket }).on('line', (line) => heard.add(JSON.parse(line)));
  socket.on('close', () => heard.end('it closed'));
  await once(socket, 'connect');
  return { socket, heard, from: 0 };
}

function matches(message: object, expected: object): boolean {
  try {
    expect(message).toMatchObject(expected);
    return true;
  } catch {
    return false;
  }
}

test('the session goes as it stands there', async () => {
  for (const line of linesOf('sh')) await start(line);
  const clients: Record<string, Client> = { S: await client('source'), D: await client('destination') };
  const lines = linesOf('qmp');
  expect(lines.length).toBeGreaterThan(30);
  for (const line of lines) {
    const [, who, direction, json] = /^([SD]) (->|<-) (.*)$/.exec(line) ?? [];
    const side = clients[who];
    if (direction === '->') {
      side.socket.write(json);
      continue;
    }
    const expected = JSON.parse(json) as object;
    const isReply = !('event' in expected);
    const found = await side.heard.first(json, (message) => matches(message, expected), {
      from: isReply ? side.from : 0,
    });
    if (isReply) side.from = side.heard.all.indexOf(found) + 1;
  }
});

test('all commands, capabilities and parameters are named, and no others', () => {
  const version = { qemu: { major: 7, minor: 2, micro: 0 }, package: '' };
  const [, section = ''] = /^## What there is\n(.*?)^\|/ms.exec(text) ?? [];
  const known = [
    ...createCommands(new GuestHost({}), version).keys(),
    ...capabilityNames,
    ...Object.keys(someParameters),
  ];
  for (const name of known) expect(section).toContain(`\`${name}\``);
  const others = ['uri', 'resume', 'blk', 'inc', 'detach', 'MIGRATION', 'MIGRATION_PASS', 'STOP', 'RESUME', 'SHUTDOWN'];
  const named = [...section.matchAll(/`([\w-]+)`/g)].map(([, name]) => name);
  expect(named.filter((name) => !known.includes(name) && !others.includes(name))).toEqual([]);
});

test('its program serves a guest of its own, with a command of its own', async () => {
  const program = linesOf('js').join('\n');
  const child = spawn(process.execPath, ['--input-type=module', '-e', `${program}\nconsole.log('listens');`], {
    cwd: inCheckout('.'),
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  ends.push(() => child.kill('SIGKILL'));
  await once(child.stdout, 'data');
  const { socket, heard } = await client('own');
  const ask = async (execute: string, found: (answer: object) => boolean): Promise<object> => {
    socket.write(JSON.stringify({ execute }));
    return heard.first(execute, found);
  };
  await ask('qmp_capabilities', (answer) => 'return' in answer);
  await ask('my-query-writes', (answer) => typeof (answer as { return?: unknown }).return === 'number');
  socket.write('{"execute": "quit"}');
  expect((await once(child, 'close'))[0]).toBe(0);
});
