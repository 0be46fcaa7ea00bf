/**
 * The kernel takes the local ports of connections from a range. An attempt to connect to an unused port of this range can get that
 * very port as its local port, and is then connected to itself.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Instance } from '../../src/index.js';
import { callElsewhere, unlessCapable } from '../helpers/one-call.js';
import { fixture, plainFixture } from '../helpers/paths.js';
import { startProgram } from '../helpers/programs.js';
import { sleepSpec } from '../helpers/servers.js';

/**
 * The test has a network of its own with few local ports. The kernel gives out half of them first, and this is one of
 * those.
 */
const PORT = 42_000;
const RANGE = '42000 42009';
const SCRIPT = 'ip link set lo up && echo "$0" >/proc/sys/net/ipv4/ip_local_port_range && exec "$@"';
const wrapper = ['unshare', '--net', 'sh', '-c', SCRIPT, RANGE] as const;
const skip = unlessCapable('sys_admin');

test('a connection to itself does not count as a listener, and leaves the port free', { skip }, async (t) => {
  const [command, ...words] = wrapper;
  const listening = [plainFixture('server.py'), String(PORT), 'no-reuse'];
  const script = '"$1" "$2" "$3" && shift 3 && exec python3 "$@"';
  const args = [
    ...words,
    'sh',
    '-c',
    script,
    'sh',
    process.execPath,
    fixture('looks-at-port'),
    String(PORT),
    ...listening,
  ];
  const program = startProgram(t, command, args);
  const [, times] = await program.printed(/open (\d+) times\nlistening \d+\n/);
  assert.equal(times, '0');
});

test('a server that is slow to listen on a port of that range is ready when it listens, and not before', {
  skip,
}, async (t) => {
  const spec = sleepSpec(t, {
    command: 'python3',
    args: [plainFixture('server.py'), String(PORT), 'no-reuse', 'listen-after=1500'],
  });
  await callElsewhere<Instance>(t, 'start', { ...spec, port: PORT }, { wrapper });
  assert.match(readFileSync(join(spec.stateDir, 'logs/sleeper.log'), 'utf8'), /^listening \d+$/m);
});
