/**
 * What is loaded when it is first needed: the built-in modules that cost more than the rest of the library, and the packages
 * that it depends on.
 *
 * No import and no require stands here, for two reasons. A bundler would follow them: it cannot take in a native addon, and
 * a package that is not installed would fail the build. And Node 20.20 remembers an import() that failed once, for example
 * for want of a descriptor (EMFILE): all later ones fail as well.
 */

/** A built-in module. It is part of the Node binary: this cannot fail. */
export const builtIn = ((name: string) => process.getBuiltinModule(name)) as typeof process.getBuiltinModule;

/**
 * A package that is installed beside this library, beside the bundle that it became a part of, or beside the program.
 * An ES module is loaded as well.
 * @throws when there is none, or it cannot be loaded: MODULE_NOT_FOUND, ERR_DLOPEN_FAILED, EMFILE, …
 */
export function loadPackage(name: string): unknown {
  const { createRequire } = builtIn('node:module');
  let firstError: unknown;
  for (const place of places()) {
    try {
      return createRequire(place)(name);
    } catch (error) {
      firstError ??= error;
    }
  }
  throw firstError;
}

/**
 * Files to look from. A bundler may replace `import.meta.url` by the path on the machine that it ran on, or leave nothing of it.
 * `__filename` is known to CommonJS only, and to webpack for browsers it is "/index.js". A CommonJS program is the main module.
 * Neither the working folder nor `process.argv[1]` is among them: under `node -e`, or in a program that carries its own Node,
 * the second is what somebody hands to the program, and a folder that others may write in need not be trusted.
 */
function places(): string[] {
  const bundle = typeof __filename === 'string' ? __filename : undefined;
  return [import.meta.url, bundle, process.mainModule?.filename].filter((place) => place !== undefined);
}
