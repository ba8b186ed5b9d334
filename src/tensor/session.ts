/** The runtime that tensors are computed on. */
import { checking } from "../graph/debug.js";
import { ArgumentError } from "../graph/errors.js";
import { verifyPlans } from "../plan/plan.js";
import type { Build } from "../runtime/load.js";
import { Runtime, type RuntimeOptions } from "../runtime/runtime.js";

let current: Runtime | null = null;

/**
 * Loads the kernels; to be awaited once before any value is read. Calling it again starts a new runtime with a memory
 * of its own: tensors keep their values, and compiled functions plan anew.
 * @throws ArgumentError where the engine cannot run the kernels, or they are not found
 * @example await init();
 */
export async function init(options: RuntimeOptions = {}): Promise<void> {
  // Replaying is for development: pages that do not ask for it do not load it.
  if (checking) verifyPlans((await import("../plan/replay.js")).replay);
  current = await Runtime.create(options);
}

/** The runtime in use. Throws before `init`. */
export function runtime(): Runtime {
  if (current === null) throw new ArgumentError("the kernels are not loaded yet: `await init()` before reading values");
  return current;
}

/** What the runtime is: see {@link backendInfo}. */
export interface BackendInfo {
  /** Which kernels run. */
  readonly build: Build;
  /** Threads that a program runs on. */
  readonly threads: number;
  /** Bytes of linear memory in use. */
  readonly arenaBytes: number;
}

/** Says which kernels run, on how many threads, and in how much memory. */
export function backendInfo(): BackendInfo {
  const { build, arena } = runtime();
  return { build, threads: 1, arenaBytes: arena.bytes };
}
