/**
 * The campaign's short form: each row is a test, with a twentieth of the attempts if CI=true, otherwise with a tenth of
 * that.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { seededRandom } from '../helpers/random.js';
import { makeAttack } from './attack.js';
import { groups } from './rows.js';

const SHARE = process.env.CI === 'true' ? 0.05 : 0.005;

export function testShortForm(group: string): void {
  for (const row of groups[group] ?? []) {
    test(`campaign: ${row.name}`, async (t) => {
      const { attempts, violations, remarks } = await makeAttack(row, { seed: seededRandom(t).seed, share: SHARE });
      for (const remark of remarks.slice(0, 8)) t.diagnostic(remark);
      t.diagnostic(`${attempts} attempts`);
      assert.deepEqual(violations, []);
    });
  }
}
