/**
 * Compares docs/api.md with the public surface and its docstrings, taken from the declarations in dist/.
 * Each exported name must be in a code span of the document, and each function once with its parameters. A comment in front of a table
 * says what its first column lists:
 * - `<!-- members of NAME -->`: every member of that interface or class, and nothing else. An optional member is written `name?`. If the
 * table has a column "Default", that column says `required` for every other member, and repeats each `@default` of a docstring. The row
 * also names parameters and the fields of inline object types.
 * - `<!-- values of NAME -->` or `NAME.MEMBER`: every literal of that union type, and nothing else.
 * - `<!-- errors -->`: every error class, with its `code`, and its fields in the column "Fields".
 */
// @ts-check
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { extractApi } from './api-extractor.mjs';
import { readTables } from './markdown.mjs';

/** @typedef {{ kind: string, name: string, docComment?: string, isOptional?: boolean, excerptTokens: { text: string }[], members?: Item[], parameters?: { parameterName: string, parameterTypeTokenRange: { startIndex: number, endIndex: number } }[] }} Item */
/** @typedef {import('./markdown.mjs').Table} Table */

const BASE_ERROR = 'FlockProcessError';
const NOTE = /^(members of|values of|errors)/;
const UNKNOWN = 'it has no parameter or option';

/**
 * @param {string} root
 * @param {string} document its path, relative to the root
 * @returns {Promise<string[]>} what the document lacks, and what it has too much
 */
export async function wrongApiDocument(root, document) {
  const surface = readSurface(root);
  const { tables, spans } = readTables(join(root, document), NOTE);
  const words = new Set(spans.flatMap((span) => span.match(/\w+/g) ?? []));
  const unnamed = surface
    .filter(({ name }) => !words.has(name))
    .map(({ name }) => `\`${name}\` is exported, and not named`);
  const described = tables.map(({ note }) => note);
  const wanted = surface.filter((item) => membersOf(item).length > 0 && (!isError(item) || item.name === BASE_ERROR));
  const untold = wanted
    .filter(({ name, kind }) => kind !== 'Namespace' && !described.includes(`members of ${name}`))
    .map(({ name }) => `no table has the members of \`${name}\``);
  const isWithoutErrors = !described.includes('errors');
  const library = await import(pathToFileURL(join(root, 'dist/index.js')).href);
  return [
    ...unnamed,
    ...untold,
    ...(isWithoutErrors ? ['no table has the errors'] : []),
    ...surface.filter(({ kind }) => kind === 'Function').flatMap((item) => wrongCalls(item, spans, surface)),
    ...tables.flatMap((table) => wrongTable(table, surface, library)),
  ];
}

/** @param {string} root @returns {Item[]} the exported items */
function readSurface(root) {
  const work = mkdtempSync(join(tmpdir(), 'flock-process-api-'));
  try {
    const apiJsonFilePath = join(work, 'api.json');
    const docModel = { enabled: true, apiJsonFilePath };
    const outputs = { apiReport: { enabled: false }, dtsRollup: { enabled: false }, docModel };
    extractApi(join(root, 'dist/index.d.ts'), outputs, { localBuild: true });
    return JSON.parse(readFileSync(apiJsonFilePath, 'utf8')).members[0].members;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** @param {Table} table @param {Item[]} surface @param {Record<string, any>} library */
function wrongTable(table, surface, library) {
  if (table.note === 'errors') return wrongErrors(table, surface, library);
  const [, what, name = '', member] = /^(members|values) of (\w+)(?:\.(\w+))?$/.exec(table.note) ?? [];
  const item = surface.find((it) => it.name === name && it.kind !== 'Namespace');
  const subject = member === undefined ? item : item?.members?.find((it) => it.name === member);
  if (subject === undefined) return [`<!-- ${table.note} -->: there is no such name`];
  return (what === 'values' ? wrongValues : wrongMembers)(table, subject, surface);
}

/** @param {Table} table @param {Item} type */
function wrongValues({ rows }, type) {
  const values = [...textOf(type).matchAll(/'([\w-]+)'/g)].map(([, value = '']) => value);
  return differences(`the values of \`${type.name}\``, values, rows.flatMap(firstSpans));
}

/** @param {Table} table @param {Item} item @param {Item[]} surface */
function wrongMembers({ rows, columns }, item, surface) {
  const members = membersOf(item);
  const names = rows.flatMap((row) => firstSpans(row).map(nameIn));
  const problems = differences(`the members of \`${item.name}\``, members.map(nameOf), names);
  for (const row of rows) {
    for (const span of firstSpans(row)) {
      const member = members.find((it) => nameOf(it) === nameIn(span));
      if (member === undefined) continue;
      const wrong = [
        ...wrongOptionality(member, span, row[columns.indexOf('Default')]),
        ...wrongParameters(member, span, surface),
        ...wrongFields(member, row),
      ];
      problems.push(...wrong.map((problem) => `\`${item.name}.${member.name}\`: ${problem}`));
    }
  }
  return problems;
}

/** @param {Item} member @param {string} span @param {string | undefined} column */
function wrongOptionality({ isOptional = false, docComment = '' }, span, column) {
  const marked = column === undefined ? /^\w+\?/.test(span) : column !== 'required';
  if (marked !== isOptional) return [`it is ${isOptional ? 'optional' : 'not optional'}`];
  const [, fallback] =
    /@defaultValue\s+(.*?)\s*(?:\n|\*\/|@)|@default\s+(.*?)\s*(?:\n|\*\/|@throws)/.exec(docComment)?.filter(Boolean) ??
    [];
  if (column === undefined || fallback === undefined) return [];
  return plain(fallback) === plain(column) ? [] : [`its default is "${fallback}", not "${column}"`];
}

/** The value without the marks of code and of text and without thousands separators. @param {string} value */
function plain(value) {
  return value
    .replace(/[`'\\]/g, '')
    .replace(/(\d)[_,](?=\d{3})/g, '$1')
    .trim();
}

/** Requires that a call with arguments names only parameters or options, and one call all of them. @param {Item} item @param {string[]} spans @param {Item[]} surface */
function wrongCalls(item, spans, surface) {
  const calls = spans.filter((span) => span.startsWith(`${item.name}(`) && !span.endsWith('()'));
  const wrong = calls.map((call) => wrongParameters(item, call, surface));
  const problems = wrong.flat().filter((problem) => problem.startsWith(UNKNOWN));
  if (problems.length > 0) return problems.map((problem) => `\`${item.name}\`: ${problem}`);
  return wrong.some((found) => found.length === 0)
    ? []
    : [`\`${item.name}\` is nowhere called with all its parameters`];
}

/** @param {Item} member @param {string} span @param {Item[]} surface */
function wrongParameters({ parameters = [], excerptTokens }, span, surface) {
  /** @type {string[]} */
  const named = /\((.*)\)/.exec(span)?.[1]?.match(/\b[a-z]\w*/gi) ?? [];
  const known = parameters.map(({ parameterName, parameterTypeTokenRange: { startIndex, endIndex } }) => {
    const type = excerptTokens
      .slice(startIndex, endIndex)
      .map(({ text }) => text)
      .join('');
    return { name: parameterName, fields: [...fieldsIn(type), ...fieldsOfNamed(type, surface)] };
  });
  const all = known.flatMap(({ name, fields }) => [name, ...fields]);
  const missing = known.filter(
    ({ name, fields }) =>
      !named.includes(name) && (fields.length === 0 || !fields.every((field) => named.includes(field))),
  );
  return [
    ...named.filter((name) => !all.includes(name)).map((name) => `${UNKNOWN} "${name}"`),
    ...missing.map(({ name }) => `its parameter "${name}" is not named, or not all of its options`),
  ];
}

/** The members of an exported interface, its own and inherited. @param {string} type @param {Item[]} surface @returns {string[]} */
function fieldsOfNamed(type, surface) {
  const item = surface.find(({ name, kind }) => kind === 'Interface' && name === type);
  if (item === undefined) return [];
  const inherited = /extends (\w+)/.exec(textOf(item))?.[1] ?? '';
  return [...membersOf(item).map(nameOf), ...fieldsOfNamed(inherited, surface)];
}

/** @param {Item} member @param {string[]} row */
function wrongFields(member, row) {
  if (member.parameters !== undefined) return [];
  const fields = member.kind.startsWith('Property') ? fieldsIn(textOf(member).replace(/\([^)]*\) =>.*/s, '')) : [];
  const spans = row.flatMap(spansIn);
  const named = spans.flatMap((span) => span.match(/\w+/g) ?? []);
  const listed = spans.flatMap((span) => /^\{([\w, ]+)\}$/.exec(span)?.[1]?.match(/\w+/g) ?? []);
  return [
    ...fields.filter((field) => !named.includes(field)).map((field) => `its field "${field}" is not named`),
    ...listed.filter((field) => !fields.includes(field)).map((field) => `it has no field "${field}"`),
  ];
}

/** @param {Table} table @param {Item[]} surface @param {Record<string, any>} library */
function wrongErrors({ rows, columns }, surface, library) {
  const classes = surface.filter((item) => isError(item) && item.name !== BASE_ERROR);
  const told = rows.map((row) => firstSpans(row)[0] ?? '');
  const problems = differences(
    'the errors',
    classes.map(({ name }) => name),
    told,
  );
  for (const item of classes) {
    const row = rows.find((it) => firstSpans(it)[0] === item.name);
    if (row === undefined) continue;
    const { code } = new library[item.name]('', {});
    if (firstSpans(row)[1] !== code) problems.push(`\`${item.name}\`: its code is ${code}`);
    const fields = spansIn(row[columns.indexOf('Fields')] ?? '');
    problems.push(...differences(`the fields of \`${item.name}\``, membersOf(item).map(nameOf), fields));
  }
  return problems;
}

/** @param {string} what @param {string[]} wanted @param {string[]} told */
function differences(what, wanted, told) {
  const twice = told.filter((name, index) => told.indexOf(name) !== index);
  return [
    ...wanted.filter((name) => !told.includes(name)).map((name) => `${what}: "${name}" is missing`),
    ...told.filter((name) => !wanted.includes(name)).map((name) => `${what}: there is no "${name}"`),
    ...twice.map((name) => `${what}: "${name}" is there twice`),
  ];
}

/** @param {Item} item */
function isError({ kind, name }) {
  return kind === 'Class' && name.endsWith('Error');
}

/** The members, except constructors and index signatures. @param {Item} item */
function membersOf({ members = [] }) {
  return members.filter(({ kind }) => !['Constructor', 'IndexSignature'].includes(kind));
}

/** @param {Item} item */
function nameOf({ name }) {
  return name;
}

/** @param {Item} item */
function textOf({ excerptTokens }) {
  return excerptTokens.map(({ text }) => text).join('');
}

/** The names of the fields of inline object types. @param {string} type */
function fieldsIn(type) {
  const objects = type.match(/\{[^{}]*\}/gs) ?? [];
  return objects.flatMap((object) => [...object.matchAll(/(?:^|[{;\s])(\w+)\??:/g)].map(([, name = '']) => name));
}

/** @param {string[]} row */
function firstSpans([cell = '']) {
  return spansIn(cell);
}

/** @param {string} cell */
function spansIn(cell) {
  return [...cell.matchAll(/`([^`]+)`/g)].map(([, span = '']) => span);
}

/** The name in `name?`, `name({ option })` or `[Symbol.dispose]()`. @param {string} span */
function nameIn(span) {
  return /^(\w+|\[[\w.]+\])/.exec(span)?.[1] ?? span;
}
