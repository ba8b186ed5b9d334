/**
 * Bundles the compiled JavaScript for Node: build/js, over a hundred modules that bundlers for pages can pick from, into
 * a few minified files under build/node. Loading modules one by one took two thirds of the time to the first gradient, and
 * reading through comments a tenth of the rest.
 *
 *   node scripts/bundle.mjs
 */
import { mkdir, rm, writeFile } from "node:fs/promises";
import { build } from "esbuild";

const ENTRIES = ["index", "data/index", "io/index", "cli/main"];
/** Entries that the main one contains as namespaces: bundled by themselves they would cut it into more chunks to load. */
const CONTAINED = ["nn", "optim"];

await rm("build/node", { recursive: true, force: true });
await build({
  entryPoints: Object.fromEntries(ENTRIES.map((entry) => [entry, `build/js/${entry}.js`])),
  outdir: "build/node",
  // The chunk that loads the kernels lies as deep as its module did, so that it finds them in the same place.
  chunkNames: "chunks/[name]-[hash]",
  bundle: true,
  splitting: true,
  format: "esm",
  platform: "node",
  target: "node20",
  packages: "external",
  minify: true,
  // Node prints the source line of an uncaught error: it should not be the whole file.
  lineLimit: 160,
  sourcemap: true,
});

const lanegrad = await import("../build/node/index.js");
for (const name of CONTAINED) {
  await mkdir(`build/node/${name}`);
  const names = Object.keys(lanegrad[name]).join(", ");
  await writeFile(
    `build/node/${name}/index.js`,
    `import { ${name} } from "../index.js";\nexport const { ${names} } = ${name};\n`,
  );
}
