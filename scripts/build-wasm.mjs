/**
 * Compiles the kernels: one source, one module for each build (strict and relaxed SIMD), into build/wasm; and for
 * benchmarks and profiles the loops that measure a machine's ceilings.
 *
 *   node scripts/build-wasm.mjs
 *
 * A module must carry no data segment: worker instances share one memory, and instantiating would overwrite it.
 */
import { mkdir, readFile } from "node:fs/promises";
import asc from "assemblyscript/asc";

const OUT = "build/wasm";
const ENTRIES = {
  "assembly/interpreter.ts": "",
  "assembly/bench.ts": "bench-",
};
const BUILDS = {
  strict: [],
  relaxed: ["--enable", "relaxed-simd"],
};

/** The memory starts small and the host grows it; 65,536 pages of 64 KiB are the 4 GiB that wasm32 can address. */
const OPTIONS = ["--runtime", "stub", "--importMemory", "--initialMemory", "1", "--maximumMemory", "65536"];
OPTIONS.push("--enable", "simd", "--optimizeLevel", "3", "--shrinkLevel", "0", "--converge", "--noAssert");
OPTIONS.push("--noExportMemory");

const DATA_SECTION = 11;

/** The ids of a module's sections, read from its bytes: Node 20 builds the relaxed module but cannot compile it. */
function sectionsOf(bytes) {
  const ids = [];
  let at = 8;
  while (at < bytes.length) {
    ids.push(bytes[at++]);
    let size = 0;
    let shift = 0;
    let byte;
    do {
      byte = bytes[at++];
      size += (byte & 127) * 2 ** shift;
      shift += 7;
    } while (byte & 128);
    at += size;
  }
  return ids;
}

async function compile(entry, name, flags) {
  const outFile = `${OUT}/${name}.wasm`;
  const { error, stderr } = await asc.main([entry, "--outFile", outFile, ...OPTIONS, ...flags]);
  if (error) throw new Error(`asc ${entry} (${name}): ${error.message}\n${stderr}`);
  if (sectionsOf(await readFile(outFile)).includes(DATA_SECTION)) throw new Error(`${outFile} has a data segment`);
}

await mkdir(OUT, { recursive: true });
for (const [build, flags] of Object.entries(BUILDS)) {
  for (const [entry, prefix] of Object.entries(ENTRIES)) await compile(entry, prefix + build, flags);
}
