/** A status command like that of a tool: `status-command.mjs SPEC` prints the state and ends. */
// @ts-check
import { ProcessManager } from 'flock-process';

const { state } = await new ProcessManager(JSON.parse(process.argv[2] ?? '')).status();
console.log(state);
