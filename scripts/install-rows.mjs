/** The table of `npm run test:install`: a row for each way that the package was installed and used, through import and require. */
// @ts-check

/** @typedef {'import' | 'require'} LoadedBy */
/** @typedef {{ subject: string, addon: string, import: string, require: string, failures: string[] }} Row */

export const LOADED_BY = /** @type {const} */ (['import', 'require']);

/**
 * What cannot even be looked at, when an installer fails for example, is a row of its own: the table shows all the others.
 * @param {Row[]} rows
 * @param {string} subject
 * @param {string} addon
 * @param {() => Promise<void>} work
 */
export async function unlessFailed(rows, subject, addon, work) {
  try {
    await work();
  } catch (error) {
    rows.push({ subject, addon, import: '✖', require: '✖', failures: [`${subject}, ${addon}: ${textOf(error)}`] });
  }
}

/**
 * @param {string} subject a package manager, a bundler, a test runner
 * @param {string} addon
 * @param {(by: LoadedBy) => Promise<string>} use what to show of it
 * @returns {Promise<Row>}
 */
export async function rowOf(subject, addon, use) {
  /** @type {Row} */
  const row = { subject, addon, import: '', require: '', failures: [] };
  for (const by of LOADED_BY) {
    try {
      row[by] = `✔ ${await use(by)}`;
    } catch (error) {
      row[by] = '✖';
      row.failures.push(`${subject}, ${addon}, ${by}: ${textOf(error)}`);
    }
  }
  return row;
}

/** @param {readonly Row[]} rows */
export function printTable(rows) {
  const lines = [['installed or bundled by', 'addon', 'import', 'require']];
  for (const row of rows) lines.push([row.subject, row.addon, row.import, row.require]);
  const widths = lines[0]?.map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0))) ?? [];
  console.log('');
  for (const line of lines) console.log(line.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  '));
}

/** @param {unknown} error */
function textOf(error) {
  return error instanceof Error ? error.message : String(error);
}
