/**
 * Bundles the compiled JavaScript for Node: build/js, over a hundred modules that bundlers for pages can pick from, into
 * a few minified files under build/node. Loading modules one by one took two thirds of the time to the first gradient, and
 * reading through comments a tenth of the rest.
 *
 *   node scripts/bundle.mjs
 */
import { rm } from "node:fs/promises";
import { relative, resolve } from "node:path";
import { build } from "esbuild";
import { defer } from "./deferred.mjs";

const MODULES = resolve("build/js");
const ENTRIES = ["index", "nn/index", "optim/index", "data/index", "io/index", "cli/main"];

/** Modules whose functions are loaded at the first call of one: what a small network is trained with calls none. */
const DEFERRED = [
  ...["tensor/compile", "tensor/print", "plan/report", "plan/recompute/pass", "plan/recompute/budget"],
  ...["ops/arrange", "ops/assemble", "ops/attention", "ops/binary", "ops/contract", "ops/convolution"],
  ...["ops/cumulative", "ops/diagonal", "ops/distance", "ops/embedding-bag", "ops/grid-sample", "ops/indexing"],
  ...["ops/interpolate", "ops/join", "ops/margin-loss", "ops/norm", "ops/padding", "ops/pooling", "ops/scatter"],
  ...["ops/shuffle", "ops/softmax", "ops/sort", "ops/special", "ops/statistics"],
  ...["transforms/batch", "transforms/checkpoint", "transforms/custom", "transforms/derivatives"],
  ...["transforms/forward", "transforms/gradcheck", "nn/init", "nn/utils"],
];

/**
 * Has every entry, and what is loaded on request, import all of the main entry. What that consists of then has the same
 * importers, and becomes one file; else it would be cut into one for each set of entries that share a part, and every file
 * takes Node the better part of a millisecond to load.
 */
const together = {
  name: "together",
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /./ }, ({ kind, path, resolveDir }) => {
      const loads = kind === "entry-point" || (kind === "dynamic-import" && path.startsWith("."));
      return loads ? { path: relative(MODULES, resolve(resolveDir, path)), namespace: "entry" } : null;
    });
    onLoad({ filter: /./, namespace: "entry" }, ({ path }) => ({
      contents: `import "./index.js"; export * from "./${path}";`,
      resolveDir: MODULES,
    }));
  },
};

const options = {
  platform: "node",
  target: "node20",
  minify: true,
  // Node prints the source line of an uncaught error: it should not be the whole file.
  lineLimit: 160,
  sourcemap: true,
  // "sideEffects" in package.json would take the import of the main entry for superfluous.
  ignoreAnnotations: true,
};

await rm("build/node", { recursive: true, force: true });
// Beside the chunk that loads it.
const deferred = await defer({
  modules: MODULES,
  entries: ENTRIES,
  deferred: DEFERRED,
  outdir: "build/node/chunks",
  options,
});
await build({
  ...options,
  entryPoints: Object.fromEntries(ENTRIES.map((entry) => [entry, `build/js/${entry}.js`])),
  outdir: "build/node",
  // The chunk that loads the kernels lies as deep as its module did, so that it finds them in the same place.
  chunkNames: "chunks/[name]-[hash]",
  bundle: true,
  splitting: true,
  format: "esm",
  packages: "external",
  plugins: [together, deferred],
});
