/** Starting the runtime on each build, from the sources under test and the kernels in build/wasm. */
import { setFlagsFromString } from "node:v8";
import { type Build, supportsRelaxedSimd } from "../../src/runtime/load.js";
import { init, runtime } from "../../src/tensor/session.js";
import { Audit } from "./audit.js";
import "../../src/tensor/methods.js";

/** Both builds. Node 20 has relaxed SIMD behind a flag, which can be set while it runs. */
export const BUILDS: readonly Build[] = ["strict", "relaxed"];

/** Starts a fresh runtime on `build`, in which the first run of every program is audited. */
export async function start(build: Build, options: { maximumBytes?: number } = {}): Promise<Audit> {
  if (build === "relaxed" && !supportsRelaxedSimd()) setFlagsFromString("--experimental-wasm-relaxed-simd");
  await init({ build, wasm: new URL("../../build/wasm/", import.meta.url), ...options });
  const audit = new Audit();
  runtime().guard = audit;
  return audit;
}
