// @ts-check

/** @param {string} customer */
export async function confirm(customer) {
  return `confirmed for ${customer}`;
}
