/** Reads what can be checked of the documents: their links, their headings, their blocks of code. */
// @ts-check
import { existsSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { Lexer, walkTokens } from 'marked';

/** @typedef {{ language: string, code: string, title: string | undefined, note: string | undefined }} Block */
/** @typedef {{ note: string, columns: string[], rows: string[][] }} Table the text of each cell, with its marks */
/** @typedef {{ path: string, blocks: Block[], links: string[], anchors: Set<string>, spans: string[] }} Document */

/**
 * A comment right in front of a block is a note about it: `<!-- until stop.mjs -->`.
 * @param {string} root
 * @param {string} path relative to the root
 * @returns {Document}
 */
export function readDocument(root, path) {
  /** @type {Document} */
  const document = { path, blocks: [], links: [], anchors: new Set(), spans: [] };
  /** @type {string | undefined} */
  let note;
  /** @type {string | undefined} */
  let title;
  const tokens = Lexer.lex(readFileSync(join(root, path), 'utf8'));
  for (const token of tokens) {
    if (token.type === 'heading') {
      title = token.text;
      document.anchors.add(freshAnchor(token.text, document.anchors));
    }
    if (token.type === 'code') document.blocks.push({ language: token.lang ?? '', code: token.text, title, note });
    if (token.type !== 'space') note = /^<!--\s*(.*?)\s*-->\s*$/s.exec(token.raw)?.[1];
  }
  walkTokens(tokens, (token) => {
    if (token.type === 'link' || token.type === 'image') document.links.push(token.href);
    if (token.type === 'codespan') document.spans.push(token.text);
    if (token.type === 'html') {
      for (const [, href = ''] of token.raw.matchAll(/(?:href|src|srcset)="([^"]*)"/g)) document.links.push(href);
    }
  });
  return document;
}

/**
 * The links that lead nowhere, each with the reason: the file does not exist, or no document has the heading. Links to the network are
 * not checked.
 * @param {string} root
 * @param {Document} document
 * @param {readonly Document[]} documents
 */
export function deadLinks(root, { path, links, anchors }, documents) {
  return links.flatMap((link) => {
    if (/^https?:/.test(link)) return URL.canParse(link) ? [] : [`${path}: ${link} is no address`];
    const [file = '', anchor] = link.split('#');
    const target = file === '' ? path : relative(root, join(root, dirname(path), file));
    if (!existsSync(join(root, target))) return [`${path}: ${link} leads to no file`];
    if (anchor === undefined) return [];
    if (statSync(join(root, target)).isDirectory()) return [`${path}: ${link} is a heading of a folder`];
    const known = file === '' ? anchors : documents.find((other) => other.path === target)?.anchors;
    return known?.has(anchor) ? [] : [`${path}: ${link} leads to no heading`];
  });
}

/** An anchor in GitHub's format. @param {string} heading @param {ReadonlySet<string>} taken */
function freshAnchor(heading, taken) {
  const anchor = heading
    .toLowerCase()
    .replace(/<[^>]*>/g, '')
    .replace(/[^\p{L}\p{N}_ -]/gu, '')
    .replaceAll(' ', '-');
  if (!taken.has(anchor)) return anchor;
  for (let count = 1; ; count += 1) if (!taken.has(`${anchor}-${count}`)) return `${anchor}-${count}`;
}

/**
 * The tables that have a comment in front of them, and all code spans.
 * @param {string} file
 * @param {RegExp} pattern which comments count
 */
export function readTables(file, pattern) {
  /** @type {Table[]} */
  const tables = [];
  /** @type {string[]} */
  const spans = [];
  let note = '';
  const tokens = Lexer.lex(readFileSync(file, 'utf8'));
  for (const token of tokens) {
    if (token.type === 'table' && pattern.test(note)) {
      const texts = (/** @type {{ text: string }[]} */ cells) => cells.map(({ text }) => text);
      tables.push({ note, columns: texts(token.header), rows: token.rows.map(texts) });
    }
    if (token.type !== 'space') note = /^<!--\s*(.*?)\s*-->\s*$/s.exec(token.raw)?.[1] ?? '';
  }
  walkTokens(tokens, (token) => {
    if (token.type === 'codespan') spans.push(token.text);
  });
  return { tables, spans };
}
