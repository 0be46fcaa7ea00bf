/** A workflow for the test examples. */
// @ts-check

/** @param {string} name */
export async function greeting(name) {
  return `Hello ${name}`;
}
