/** Loading the kernels: picks the build that this engine can run, and instantiates it. */
import { ArgumentError } from "../graph/errors.js";

/** Which kernels: `strict` gives the same bits everywhere, `relaxed` uses fused multiply-add where that is faster. */
export type Build = "strict" | "relaxed";

/** What the kernels' module exports. */
export interface Kernels {
  run(code: number, scratch: number, status: number, thread: number, threads: number): number;
}

/**
 * A module with one function that uses one relaxed instruction (f32x4.relaxed_madd): it validates only where relaxed
 * SIMD is supported.
 */
const RELAXED_PROBE = Uint8Array.of(
  ...[0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00], // magic, version 1
  ...[0x01, 0x05, 0x01, 0x60, 0x00, 0x01, 0x7b], // type: () → v128
  ...[0x03, 0x02, 0x01, 0x00], // function 0 has type 0
  ...[0x0a, 0x13, 0x01, 0x11, 0x00], // code: one body of 17 bytes, no locals
  ...[0x41, 0x00, 0xfd, 0x0f, 0x41, 0x00, 0xfd, 0x0f, 0x41, 0x00, 0xfd, 0x0f], // i32.const 0, i8x16.splat; thrice
  ...[0xfd, 0x85, 0x02, 0x0b], // f32x4.relaxed_madd, end
);

/** Whether this engine validates relaxed SIMD. */
export function supportsRelaxedSimd(): boolean {
  return WebAssembly.validate(RELAXED_PROBE);
}

/** The same with `i8x16.splat` alone: SIMD128, without which nothing runs. */
const SIMD_PROBE = Uint8Array.of(
  ...[0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00],
  ...[0x01, 0x05, 0x01, 0x60, 0x00, 0x01, 0x7b],
  ...[0x03, 0x02, 0x01, 0x00],
  ...[0x0a, 0x08, 0x01, 0x06, 0x00, 0x41, 0x00, 0xfd, 0x0f, 0x0b],
);

/**
 * The build to use.
 * @throws ArgumentError where the engine lacks SIMD, or relaxed SIMD was demanded and is not there
 */
export function chooseBuild(wanted: Build | "auto"): Build {
  if (!WebAssembly.validate(SIMD_PROBE)) {
    throw new ArgumentError(
      "this engine has no WebAssembly SIMD: lanegrad needs Node 20, Chromium 91, Firefox 89 or Safari 16.4",
    );
  }
  if (wanted !== "auto" && wanted !== "strict" && wanted !== "relaxed") {
    throw new ArgumentError(`init: build must be "auto", "strict" or "relaxed", not ${JSON.stringify(wanted)}`);
  }
  if (wanted === "relaxed" && !supportsRelaxedSimd()) {
    throw new ArgumentError('init: this engine has no relaxed SIMD; use build "strict", or "auto" to pick by engine');
  }
  if (wanted !== "auto") return wanted;
  return supportsRelaxedSimd() ? "relaxed" : "strict";
}

/** Fetches and compiles a build, or the loops that measure its ceilings, from `location`, a folder that ends in a slash. */
export async function compileBuild(build: Build | `bench-${Build}`, location: URL): Promise<WebAssembly.Module> {
  const url = new URL(`${build}.wasm`, location);
  if (url.protocol === "file:") {
    // Importing a module of Node's by name costs milliseconds where asking for the loaded one does not (Node 20.16, 22.3).
    const { readFileSync } = process.getBuiltinModule?.("node:fs") ?? (await import("node:fs"));
    return WebAssembly.compile(readFileSync(url));
  }
  const response = await fetch(url);
  if (!response.ok)
    throw new ArgumentError(`init: ${url.href} answers ${response.status}; pass { wasm: <folder of the .wasm files> }`);
  // Not compileStreaming: that fails on servers that do not name the type application/wasm.
  return WebAssembly.compile(await response.arrayBuffer());
}
