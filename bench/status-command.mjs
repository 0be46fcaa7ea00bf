/** A status command as a tool has it: `status-command.mjs SPEC` says the state and ends. */
// @ts-check
import { ProcessManager } from 'flock-process';

const { state } = await new ProcessManager(JSON.parse(process.argv[2] ?? '')).status();
console.log(state);
