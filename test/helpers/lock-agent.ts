/** A process or worker thread that locks on command. An error that it throws is thrown here again. */
import type { SpawnOptions } from 'node:child_process';
import { once } from 'node:events';
import type { TestContext } from 'node:test';
import { Worker, type WorkerOptions } from 'node:worker_threads';
import type { Answer, Command } from '../fixtures/lock-agent.js';
import { fixture } from './paths.js';
import { type Program, startProgram } from './programs.js';
import { killAfter } from './resources.js';

type Registry = Pick<TestContext, 'after'>;

/**
 * Through a helper, a shared lock that is kept is tried hundreds of times before it is refused: 3 s on an idle machine.
 */
const ANSWER_WITHIN_MS = 60_000;

abstract class Agent {
  protected abstract send(command: Command): void;
  protected abstract answer(): Promise<Answer>;

  async ask<T = unknown>(command: Command): Promise<T> {
    this.send(command);
    const answer = await this.answer();
    if (!('error' in answer)) return answer.value as T;
    const { name, message, ...facts } = answer.error;
    throw Object.assign(new Error(message), { name }, facts);
  }

  acquire(path: string, mode?: number): Promise<{ fd: number; path: string }> {
    return this.ask({ do: 'acquire', path, ...(mode === undefined ? {} : { mode }) });
  }

  isLocked(path: string): Promise<boolean> {
    return this.ask({ do: 'isLocked', path });
  }

  release(): Promise<void> {
    return this.ask({ do: 'release' });
  }

  handOver(): Promise<void> {
    return this.ask({ do: 'handOver' });
  }

  /** Starts a program that inherits the lock and is ended after the test. Returns its PID. */
  async share(test: Registry): Promise<number> {
    return killAfter(test, await this.ask<number>({ do: 'share' }));
  }
}

export class ProcessAgent extends Agent {
  constructor(readonly program: Program) {
    super();
  }

  protected send(command: Command): void {
    this.program.send(command);
  }

  protected answer(): Promise<Answer> {
    return this.program.message<Answer>({ withinMs: ANSWER_WITHIN_MS });
  }

  async kill(): Promise<void> {
    this.program.kill();
    await this.program.ended();
  }
}

class WorkerAgent extends Agent {
  constructor(readonly worker: Worker) {
    super();
  }

  protected send(command: Command): void {
    this.worker.postMessage(command);
  }

  protected async answer(): Promise<Answer> {
    const [answer] = await once(this.worker, 'message');
    return answer as Answer;
  }
}

interface AgentOptions extends SpawnOptions {
  nodeArgs?: readonly string[];
  /** A command that runs the agent's command line, which follows it: `['prlimit', '--nofile=40']`. */
  wrapper?: readonly string[];
}

export function startLockAgent(test: Registry, { nodeArgs = [], wrapper = [], ...options }: AgentOptions = {}) {
  const [command, ...args] = [...wrapper, process.execPath, ...nodeArgs, fixture('lock-agent')];
  const spawnOptions: SpawnOptions = { stdio: ['ignore', 'pipe', 'pipe', 'ipc'], ...options };
  return new ProcessAgent(startProgram(test, command as string, args, spawnOptions));
}

/** An agent in a worker thread of this process. */
export function startWorkerAgent(test: Registry, options: WorkerOptions = {}): WorkerAgent {
  const worker = new Worker(fixture('lock-agent'), options);
  test.after(() => worker.terminate());
  return new WorkerAgent(worker);
}

/** An agent that is not root, for tests of denied access. It must be allowed to enter `folder`. */
export async function startNobody(test: Registry, folder: string): Promise<ProcessAgent> {
  const agent = startLockAgent(test);
  await agent.ask({ do: 'becomeNobody', primeWith: `${folder}/prime.lock` });
  return agent;
}
