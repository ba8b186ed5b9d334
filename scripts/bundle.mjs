/**
 * Bundles the compiled JavaScript for Node: build/js, over a hundred modules that bundlers for pages can pick from, into
 * a few files under build/node. Node loads modules one by one, which took two thirds of the time to the first gradient.
 *
 *   node scripts/bundle.mjs
 */
import { rm } from "node:fs/promises";
import { build } from "esbuild";

const entries = ["index", "nn/index", "optim/index", "data/index", "io/index", "cli/main"];

await rm("build/node", { recursive: true, force: true });
await build({
  entryPoints: Object.fromEntries(entries.map((entry) => [entry, `build/js/${entry}.js`])),
  outdir: "build/node",
  // The chunk that loads the kernels lies as deep as its module did, so that it finds them in the same place.
  chunkNames: "chunks/[name]-[hash]",
  bundle: true,
  splitting: true,
  format: "esm",
  platform: "node",
  target: "node20",
  packages: "external",
  sourcemap: true,
});
