/** Supervisors, here and in other processes, which end before the folder of their managed process is removed. */
import type { TestContext } from 'node:test';
import type { ProcessManager, ProcessSpec, SuperviseOptions, Supervisor } from '../../src/index.js';
import type { Report } from '../fixtures/supervisor-process.js';
import { type Program, startFixture } from './programs.js';
import { eventually } from './waiting.js';

type Options = Omit<SuperviseOptions, 'signal'>;

/** Must be made before the spec, because `after` hooks run in the order of their registration. */
export class Supervision {
  readonly #test: Pick<TestContext, 'after'>;
  readonly #supervisors: Supervisor[] = [];
  readonly #processes: SupervisorProcess[] = [];

  constructor(test: Pick<TestContext, 'after'>) {
    this.#test = test;
    test.after(async () => {
      await Promise.all(this.#supervisors.map((supervisor) => supervisor.stop()));
      for (const { program } of this.#processes) program.kill();
      await Promise.all(this.#processes.map(({ program }) => program.exited));
    });
  }

  /** Supervises in this process; resolves when the first start is done. */
  async here(manager: ProcessManager, options: SuperviseOptions = {}): Promise<Supervisor> {
    const supervisor = this.add(manager.supervise(options));
    await hasBegun(supervisor);
    return supervisor;
  }

  add(supervisor: Supervisor): Supervisor {
    this.#supervisors.push(supervisor);
    return supervisor;
  }

  /**
   * Supervises in a process of its own; resolves when the first start is done.
   * @param behind a command in front of its command line
   */
  async elsewhere(
    spec: ProcessSpec,
    options: Options = {},
    behind: readonly string[] = [],
  ): Promise<SupervisorProcess> {
    const supervisor = this.launch(spec, options, behind);
    await hasBegun(supervisor);
    return supervisor;
  }

  launch(spec: ProcessSpec, options: Options = {}, behind: readonly string[] = []): SupervisorProcess {
    const args = [JSON.stringify(spec), JSON.stringify(options)];
    const program = startFixture(this.#test, 'supervisor-process', args, { behind });
    const supervisor = new SupervisorProcess(program);
    this.#processes.push(supervisor);
    return supervisor;
  }
}

export class SupervisorProcess {
  readonly program: Program;
  /** All events and state changes so far. */
  readonly reports: Report[] = [];

  constructor(program: Program) {
    this.program = program;
    program.child.on('message', (report: Report) => this.reports.push(report));
  }

  get state(): unknown {
    return this.reports.findLast(({ event }) => event === 'state')?.detail;
  }

  all(event: Report['event']): Report[] {
    return this.reports.filter((report) => report.event === event);
  }

  kill(): void {
    this.program.kill();
  }

  /** Ends the supervision, after which the process must end by itself. */
  end(): void {
    this.program.send({ end: 'supervision' });
  }
}

export async function reaches(supervisor: { readonly state: unknown }, state: Supervisor['state']): Promise<void> {
  await eventually(`the supervisor is in state ${state}`, () => supervisor.state === state);
}

async function hasBegun(supervisor: { readonly state: unknown }): Promise<void> {
  await eventually('the supervisor is watching or on standby', () =>
    ['watching', 'standby'].includes(String(supervisor.state)),
  );
}

/** For `giveUpAfter` and `backoff`: any number of crashes is allowed, and each restart is immediate. */
export const NEVER_GIVE_UP = {
  giveUpAfter: { restarts: Number.MAX_SAFE_INTEGER },
  backoff: { initialMs: 0 },
} satisfies SuperviseOptions;
