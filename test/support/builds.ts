/** Starting the runtime on each build, from the sources under test and the kernels in build/wasm. */
import { setFlagsFromString } from "node:v8";
import { type Build, supportsRelaxedSimd } from "../../src/runtime/load.js";
import { init } from "../../src/tensor/session.js";
import "../../src/tensor/methods.js";

/** Both builds. Node 20 has relaxed SIMD behind a flag, which can be set while it runs. */
export const BUILDS: readonly Build[] = ["strict", "relaxed"];

/** Starts a fresh runtime on `build`. */
export async function start(build: Build, options: { maximumBytes?: number } = {}): Promise<void> {
  if (build === "relaxed" && !supportsRelaxedSimd()) setFlagsFromString("--experimental-wasm-relaxed-simd");
  await init({ build, wasm: new URL("../../build/wasm/", import.meta.url), ...options });
}
