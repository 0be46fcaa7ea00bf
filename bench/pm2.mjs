/** pm2 through its own API, with a daemon and a home of its own. */
// @ts-check
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { requirePeer } from './peers.mjs';
import { eventually, makeFolder } from './surroundings.mjs';

export class Pm2 {
  #home;
  #api;

  /** @param {string} home @param {any} api */
  constructor(home, api) {
    this.#home = home;
    this.#api = api;
  }

  static async connect() {
    const home = makeFolder('pm2');
    // pm2 reads this when it is loaded, and passes it to its daemon.
    process.env.PM2_HOME = home;
    const { custom: Api } = requirePeer('pm2');
    const api = new Api({ pm2_home: home });
    await promisify(api.connect.bind(api))();
    return new Pm2(home, api);
  }

  get daemonPid() {
    return Number(readFileSync(join(this.#home, 'pm2.pid'), 'utf8'));
  }

  /** @param {{ name: string }} app @returns {Promise<number>} its PID */
  async start(app) {
    const [started] = await promisify(this.#api.start.bind(this.#api))(app);
    return started.pid ?? started.pm2_env?.pid ?? started.process?.pid;
  }

  /** Starts an app that already runs, which pm2 reports. @param {{ name: string }} app */
  async startAgain(app) {
    await this.start(app).catch(() => undefined);
  }

  /** @param {string} name @returns {Promise<number>} */
  async pid(name) {
    const [found] = await promisify(this.#api.describe.bind(this.#api))(name);
    return found.pid;
  }

  /** @param {string} name */
  async delete(name) {
    await promisify(this.#api.delete.bind(this.#api))(name);
  }

  /** Ends the daemon by a signal, because the answer to its own killDaemon() is lost now and then. */
  async end() {
    const { daemonPid } = this;
    await promisify(this.#api.delete.bind(this.#api))('all').catch(() => undefined); // there may be no app
    this.#api.disconnect();
    process.kill(daemonPid, 'SIGTERM');
    await eventually('end of the daemon of pm2', () => (isAlive(daemonPid) ? undefined : true));
  }
}

/** @param {number} pid */
function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    // ESRCH: the process is gone.
    return false;
  }
}
