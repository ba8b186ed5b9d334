/**
 * Cuts functions out of Node's bundle that many programs never call. Node looks through all of a file before it runs any of
 * it, so each has a stub there instead, and all of them are in a file of their own, which is loaded at the first call of one.
 *
 * That file is CommonJS, since Node 20 can load nothing else in the middle of a call. It is a function, which is given
 * what the bundle already has of the modules that it imports: there is one of each, whichever file it is in.
 */
import { readFileSync } from "node:fs";
import { join, relative, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { build } from "esbuild";

const FILE = "deferred.cjs";

/** The imports of a compiled module: names in braces and the path, or the path alone. */
const IMPORTS = /^(?:import|export) (?:\{([^}]*)\}|\*.*) from "(\.[^"]+)"|\bimport(?: |\()"(\.[^"]+)"/gm;

function importsOf(path) {
  return [...readFileSync(path, "utf8").matchAll(IMPORTS)].map(([, names = "", from, whole]) => ({
    path: resolve(path, "..", from ?? whole),
    names: names.split(",").flatMap((name) => name.trim().split(" as ")[0] || []),
  }));
}

/** The modules that `roots` consist of, without those at which it `stops` and what only they import. */
function reach(roots, stops) {
  const found = new Set(roots);
  for (const path of found) for (const next of importsOf(path)) if (!stops(next.path)) found.add(next.path);
  return found;
}

/** The names of the functions that a module exports. Of a class no stub can be made, since another one may extend it. */
async function functionsOf(path) {
  const { default: _table, ...exported } = await import(pathToFileURL(path));
  return Object.keys(exported).filter((name) => {
    return typeof exported[name] === "function" && !/^class\b/.test(exported[name]);
  });
}

/**
 * Bundles the functions of some modules into a file of their own.
 * @param modules the folder of the compiled modules
 * @param entries the modules that the bundle's entries consist of
 * @param deferred those whose functions are left to the file, with all that only they import
 * @param options esbuild's, for the bundle that the file is to lie beside
 * @returns the plugin by which that bundle has stubs in their place
 */
export async function defer({ modules, entries, deferred, outdir, options }) {
  const pathOf = (name) => join(modules, `${name}.js`);
  const roots = new Map();
  for (const name of deferred) roots.set(pathOf(name), await functionsOf(pathOf(name)));
  const core = reach(entries.map(pathOf), (path) => roots.has(path));
  /** What the file is given: by module, the names that it has there, and those that it has among all. */
  const shared = new Map();
  for (const path of reach(roots.keys(), (path) => core.has(path))) {
    for (const { path: from, names } of importsOf(path)) {
      if (!core.has(from)) continue;
      if (!shared.has(from)) shared.set(from, { number: shared.size, names: new Set() });
      for (const name of names) shared.get(from).names.add(name);
    }
  }
  const specifier = (path) => JSON.stringify(`./${relative(modules, path)}`);
  const renamed = ({ number, names }, as) => [...names].map((name) => as(name, `${name}$${number}`));
  const given = [...shared.values()].flatMap((names) => renamed(names, (_, unique) => unique));

  await build({
    ...options,
    stdin: {
      contents: [...roots].map(([path, names]) => `export {${names}} from ${specifier(path)};`).join("\n"),
      resolveDir: modules,
    },
    outfile: join(outdir, FILE),
    bundle: true,
    format: "iife",
    globalName: "functions",
    banner: { js: "module.exports=core=>{" },
    footer: { js: "return functions}" },
    plugins: [
      {
        name: "core",
        setup({ onLoad }) {
          onLoad({ filter: /./ }, ({ path }) => {
            if (!shared.has(path)) return null;
            const names = renamed(shared.get(path), (name, unique) => `${unique}: ${name}`);
            return { contents: `export const {${names}} = core;` };
          });
        },
      },
    ],
  });

  const loader = [
    'import { createRequire } from "node:module";',
    ...[...shared].map(([path, names]) => {
      return `import {${renamed(names, (name, unique) => `${name} as ${unique}`)}} from ${specifier(path)};`;
    }),
    "let functions;",
    "export function deferred() {",
    `  functions ??= createRequire(import.meta.url)("./${FILE}")({${given}});`,
    "  return functions;",
    "}",
  ].join("\n");
  return {
    name: "deferred",
    setup({ onResolve, onLoad }) {
      onResolve({ filter: /^deferred$/ }, ({ path }) => ({ path, namespace: "deferred" }));
      onLoad({ filter: /./, namespace: "deferred" }, () => ({ contents: loader, resolveDir: modules }));
      onLoad({ filter: /./, namespace: "file" }, ({ path }) => {
        // One function is called `var`, which only an export may be.
        const stubs = roots.get(path)?.map((name) => {
          return `const ${name}$ = (...args) => deferred().${name}(...args); export {${name}$ as ${name}};`;
        });
        return stubs && { contents: `import { deferred } from "deferred";\n${stubs.join("\n")}` };
      });
    },
  };
}
