/**
 * Loads what is expensive or may be missing, when it is first needed. It uses neither import nor require: a bundler
 * would follow them, and cannot include a native addon or a package that is not installed. Besides, Node 20.20
 * remembers an import() that failed once, for example for want of a descriptor (EMFILE): all later ones fail as well.
 */

export const builtIn = ((name: string) => process.getBuiltinModule(name)) as typeof process.getBuiltinModule;

/**
 * A package, CommonJS or ES module, that is installed beside this library or its bundle, or beside the program.
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
 * The files beside which packages are looked for: of the library, of its bundle, and of a CommonJS program. A bundler
 * may replace `import.meta.url` by the path on the machine on which it ran, or remove it. `__filename` exists only in
 * CommonJS, and under webpack for browsers it is "/index.js". The working directory is not used, for others may write
 * to it; nor is `process.argv[1]`, which the caller chooses under `node -e` and in a program that carries its own Node.
 */
function places(): string[] {
  const bundle = typeof __filename === 'string' ? __filename : undefined;
  return [import.meta.url, bundle, process.mainModule?.filename].filter((place) => place !== undefined);
}
