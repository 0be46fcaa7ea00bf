/**
 * Loads what costs much or may be missing when it is first needed. Without import and require: a bundler would follow them,
 * and cannot take in a native addon or a package that is not installed; and Node 20.20 remembers an import() that failed
 * once, for example for want of a descriptor (EMFILE): all later ones fail as well.
 */

export const builtIn = ((name: string) => process.getBuiltinModule(name)) as typeof process.getBuiltinModule;

/**
 * A package, as a CommonJS or an ES module, that is installed beside this library or its bundle, or beside the program.
 * @throws MODULE_NOT_FOUND, ERR_DLOPEN_FAILED, EMFILE, …
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
  throw firstError ?? new Error(`nothing says where to look for the package "${name}"`);
}

/**
 * Files of the library, of its bundle, and of a CommonJS program. A bundler may replace `import.meta.url` by the path on the
 * machine that it ran on, or leave nothing of it. `__filename` is known to CommonJS only, and to webpack for browsers it is
 * "/index.js". Never the working folder, which others may write in, nor `process.argv[1]`, which somebody else hands to
 * `node -e` or to a program that carries its own Node.
 */
function places(): string[] {
  const bundle = typeof __filename === 'string' ? __filename : undefined;
  return [import.meta.url, bundle, process.mainModule?.filename].filter((place) => place !== undefined);
}
