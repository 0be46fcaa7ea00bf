import assert from 'node:assert/strict';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { type ProcessAgent, startLockAgent } from '../helpers/lock-agent.js';
import { startProgram } from '../helpers/programs.js';
import { temporaryFolder } from '../helpers/resources.js';

function startLoggingAgent(t: TestContext, DEBUG: string): ProcessAgent {
  return startLockAgent(t, { env: { ...process.env, DEBUG, DEBUG_COLORS: 'no', DEBUG_HIDE_DATE: 'yes' } });
}

async function linesOf(agent: ProcessAgent): Promise<string[]> {
  await agent.ask({ do: 'retire' });
  const { stderr } = await agent.program.ended();
  return stderr.split('\n').filter((line) => line.includes('flock-process:'));
}

test('each acquire, refusal, release and hand-over prints one line with path and PID, and isLocked prints none', async (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  const agent = startLoggingAgent(t, 'flock-process:lock');
  const { fd } = await agent.acquire(path);
  await assert.rejects(agent.acquire(path), { name: 'LockHeldError' });
  await agent.isLocked(path);
  await agent.release();
  await agent.release();
  const second = await agent.acquire(path);
  await assert.rejects(agent.ask({ do: 'wait', path, timeoutMs: 50 }), { name: 'LockHeldError' });
  await agent.handOver();
  await agent.handOver();
  const [refused, alsoRefused, ...rest] = (await linesOf(agent)).sort(
    (a, b) => Number(b.includes('refused')) - Number(a.includes('refused')),
  );
  for (const line of [refused, alsoRefused])
    assert.match(
      line ?? '',
      new RegExp(`flock-process:lock refused .*/x\\.lock: holder \\(PID ${agent.program.pid}\\)$`),
    );
  const facts = (descriptor: number) => `${path} (PID ${agent.program.pid}, descriptor ${descriptor})`;
  assert.deepEqual(
    rest.map((line) => line.slice(line.indexOf('flock-process'))),
    [
      `flock-process:lock acquired ${facts(fd)}`,
      `flock-process:lock released ${facts(fd)}`,
      `flock-process:lock acquired ${facts(second.fd)}`,
      `flock-process:lock handed over ${facts(second.fd)}`,
    ],
  );
});

test('a shared lock that is in the way for a while prints one refusal, not one for each attempt', async (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  const keeper = startProgram(t, 'flock', ['--no-fork', '-s', path, 'sh', '-c', 'echo held; exec sleep 60']);
  await keeper.printed(/held/);
  const agent = startLoggingAgent(t, 'flock-process:*');
  await assert.rejects(agent.acquire(path), { name: 'LockHeldError' });
  const lines = await linesOf(agent);
  assert.equal(lines.length, 1, lines.join('\n'));
  assert.match(lines[0] ?? '', /refused .*: shared lock \(PID \d+\)/);
});

test('without DEBUG nothing is printed', async (t) => {
  const path = join(temporaryFolder(t), 'x.lock');
  const agent = startLoggingAgent(t, '');
  await agent.acquire(path);
  await agent.release();
  await agent.ask({ do: 'retire' });
  const { stdout, stderr } = await agent.program.ended();
  assert.equal(stdout + stderr, '');
});
