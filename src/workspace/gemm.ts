/**
 * The blocking of Gemm and the workspace that follows from it, read by both compilers (where TypeScript's `number` is
 * AssemblyScript's f64): the planner reserves the bytes, the kernel lays its panels out in them.
 */

/** Block sizes, in elements: the panels of one block stay in cache while they are used. */
export const enum GemmBlock {
  /** Rows of A: Rows × Depth floats (48 KiB) are read once for every panel of B. */
  Rows = 32,
  /**
   * Columns of B: Depth × Columns packed floats (576 KiB) stay in L2. Blocks of less depth are as much wider. 512 were as
   * fast, and are a large part of what small models need while memory is shortest.
   */
  Columns = 384,
  /** Steps of k between loading and storing a tile of C: a panel of Depth × 24 floats (36 KiB) stays in L1. */
  Depth = 384,
  /** Zeros at the start of a thread's workspace, the widest panel's row: where its sums start without bias. */
  Seed = 24,
  /** Between packed rows of A: rows a power of two apart would all fall into the same few sets of the L1 cache. */
  Gap = 16,
}

/** Columns of a block of B of `depth` steps. */
export function gemmColumns(depth: number): number {
  return GemmBlock.Columns * Math.max(1, Math.floor(GemmBlock.Depth / Math.max(depth, 64)));
}

/**
 * Whether C = A·B is computed as Cᵀ = Bᵀ·Aᵀ: where columns of B are adjacent elements, packing A and transposing C is less
 * work than packing B, and all of A's panels fit in L2.
 * @param bRow elements from one row of B to the next
 */
export function gemmTransposes(m: number, n: number, k: number, bRow: number): boolean {
  return bRow === 1 && m > 3 && m * (k + n) < n * k && m * k <= GemmBlock.Columns * GemmBlock.Depth;
}

/**
 * Bytes of workspace that one thread of an m × k by k × n Gemm needs; `threads` times as much is to be reserved for
 * the instruction. A multiple of 64, so that threads never write to the same cache line.
 * @param bRow elements from one row of B to the next
 */
export function gemmWorkspaceBytes(m: number, n: number, k: number, bRow: number): number {
  let floats: number = GemmBlock.Seed;
  if (gemmTransposes(m, n, k, bRow)) floats += Math.ceil(m / 4) * 4 * (GemmBlock.Rows + k);
  else {
    const rows = Math.ceil(Math.min(m, GemmBlock.Rows) / 4) * 4;
    const depth = Math.ceil(k / Math.max(1, Math.ceil(k / GemmBlock.Depth)));
    const columns = Math.ceil(Math.min(n, gemmColumns(depth)) / 4) * 4;
    floats += GemmBlock.Seed * rows + (depth + GemmBlock.Gap) * rows + depth * columns;
  }
  return Math.ceil((4 * floats) / 64) * 64;
}
