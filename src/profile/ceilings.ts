/**
 * What this machine can do at most, for profiles to compare with: multiply-adds in registers alone, and streaming
 * through memory, both measured by loops of the same build as the kernels (`assembly/bench.ts`).
 */
import { type Build, compileBuild } from "../runtime/load.js";

/** The best rates of one core. */
export interface Ceilings {
  /** Multiplications and additions a second. */
  readonly flops: number;
  /** Bytes a second, read and written. */
  readonly bytes: number;
}

/** What `assembly/bench.ts` exports. */
interface CeilingExports {
  readonly DEPENDENT_CHAINS: WebAssembly.Global<"i32">;
  readonly INDEPENDENT_CHAINS: WebAssembly.Global<"i32">;
  dependentMulAdds(turns: number, at: number): void;
  independentMulAdds(turns: number, at: number): void;
  triad(count: number, a: number, b: number, c: number, s: number): void;
}

const PAGE_BYTES = 65536;
const TURNS = 20000;
const FLOPS_OF_VECTOR_MULTIPLY_ADD = 8;
/** Three arrays of this many floats are larger than an L1 cache and smaller than a last-level cache. */
const STREAM_FLOATS = 1 << 16;
const SAMPLES = 15;

/** The rate of `run`, which does `work` in one call: the best of some samples, for nothing can be faster than it. */
function bestRate(work: number, run: () => void): number {
  let best = 0;
  for (let i = 0; i < SAMPLES; i++) {
    const started = performance.now();
    for (let j = 0; j < 4; j++) run();
    best = Math.max(best, (4000 * work) / (performance.now() - started));
  }
  return best;
}

/**
 * Measures the ceilings; takes some milliseconds.
 * @param location the folder of the .wasm files, ending in a slash, where a bundler or server has moved them
 */
export async function measureCeilings(
  build: Build,
  location: URL = new URL("../../wasm/", import.meta.url),
): Promise<Ceilings> {
  const bytes = 4 * STREAM_FLOATS;
  const memory = new WebAssembly.Memory({ initial: 1 + (3 * bytes) / PAGE_BYTES, maximum: 65536 });
  const module = await compileBuild(`bench-${build}`, location);
  const loops = (await WebAssembly.instantiate(module, { env: { memory } })).exports as unknown as CeilingExports;
  const { dependentMulAdds, independentMulAdds, DEPENDENT_CHAINS, INDEPENDENT_CHAINS } = loops;
  new Float32Array(memory.buffer, 0, 8).fill(1, 0, 4).fill(0.5, 4, 8);
  const flops = TURNS * FLOPS_OF_VECTOR_MULTIPLY_ADD;
  const [a, b, c] = [PAGE_BYTES, PAGE_BYTES + bytes, PAGE_BYTES + 2 * bytes];
  return {
    flops: Math.max(
      bestRate(flops * DEPENDENT_CHAINS.value, () => dependentMulAdds(TURNS, 0)),
      bestRate(flops * INDEPENDENT_CHAINS.value, () => independentMulAdds(TURNS, 0)),
    ),
    bytes: bestRate(3 * bytes, () => loops.triad(STREAM_FLOATS, a, b, c, 0.5)),
  };
}
