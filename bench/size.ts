/**
 * What a page has to load to train a network: the JavaScript that `train-mlp.js` needs, bundled and minified, and one
 * build of the kernels, all gzipped; measured on the compiled library, so run `npm run build` first.
 */
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";
import type { Report, Row } from "./report.js";

/** Bytes after gzip that must not be exceeded. */
const JAVASCRIPT_BUDGET = 45_000;
const WASM_BUDGET = 60_000;

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

/** The bundle of `source`, without what it loads only on request. */
async function bundled(source: string): Promise<Uint8Array> {
  const { outputFiles, metafile } = await build({
    stdin: { contents: source, resolveDir: here("."), sourcefile: "entry.js" },
    bundle: true,
    minify: true,
    format: "esm",
    target: "es2022",
    external: ["node:*"],
    write: false,
    splitting: true,
    metafile: true,
    outdir: here("."),
  });
  // What is loaded on request is an entry point of its own.
  const { outputs } = metafile;
  const wanted = new Set(Object.keys(outputs).filter((path) => outputs[path]?.entryPoint?.endsWith("entry.js")));
  for (const path of wanted) {
    for (const { path: loaded, kind } of outputs[path]?.imports ?? []) {
      if (kind === "import-statement" && !loaded.startsWith("node:")) wanted.add(loaded);
    }
  }
  const loaded = outputFiles.filter(({ path }) => [...wanted].some((name) => resolve(name) === path));
  return Buffer.concat(loaded.map(({ contents }) => contents));
}

function row(what: string, bytes: Uint8Array, budget: number | null): Row {
  const zipped = gzipSync(bytes, { level: 9 }).length;
  return {
    what,
    bytes: String(bytes.length),
    gzipped: String(zipped),
    budget: budget === null ? "" : String(budget),
    "": budget !== null && zipped > budget ? "TOO LARGE" : "",
  };
}

/** Sizes, with a failure for each that exceeds its budget. */
export async function size(): Promise<Report> {
  const wasm = (name: string): Uint8Array => readFileSync(here(`../build/wasm/${name}.wasm`));
  const rows = [
    row("JavaScript to train an MLP", await bundled(readFileSync(here("train-mlp.js"), "utf8")), JAVASCRIPT_BUDGET),
    row("kernels, strict build", wasm("strict"), WASM_BUDGET),
    row("kernels, relaxed build", wasm("relaxed"), WASM_BUDGET),
    row("all JavaScript of lanegrad", await bundled('export * from "lanegrad"'), null),
  ];
  const failures = rows
    .filter(({ "": verdict }) => verdict !== "")
    .map(({ what, gzipped, budget }) => `${what}: ${gzipped} bytes gzipped, and the budget is ${budget}`);
  return { title: "what a page loads", rows, failures };
}
