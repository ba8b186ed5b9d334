/**
 * The blocking of Attention and the workspace that follows from it, read by both compilers (where TypeScript's `number`
 * is AssemblyScript's f64), and so without imports.
 */

/** Block sizes, in elements. */
export const enum AttentionBlock {
  /** Most queries whose scores with all keys are in memory at once. */
  Rows = 64,
  /** Fewest of them, and what their number is a multiple of. */
  LeastRows = 16,
  /** Scores of a block: with a gradient's second matrix of them, they stay in L2. */
  Scores = 16384,
  /**
   * Rows of weights that are multiplied with as many keys as the last of them looks at: what a causal block computes
   * above the diagonal is for nothing. Tiles of the wider panels have 2 and 3 rows, and the GPT's takes as long with 8 or
   * 12, and 3 % more with 18.
   */
  Group = 6,
  /** Keys that a product sums over between loading and storing a tile: a panel of as many rows stays in L1. */
  Depth = 256,
  /** Floats of a row of seeds: as wide as the widest panel. */
  Seed = 24,
  /** Between rows of scores: columns of rows a power of two apart would all fall into the same few sets of the L1 cache. */
  Gap = 16,
}

function wholeVectors(floats: number): number {
  return Math.ceil(floats / 4) * 4;
}

/** Queries of a block. */
export function attentionRows(keys: number): number {
  const fitting = Math.floor(AttentionBlock.Scores / keys / AttentionBlock.LeastRows) * AttentionBlock.LeastRows;
  return Math.min(AttentionBlock.Rows, Math.max(AttentionBlock.LeastRows, fitting));
}

/**
 * Bytes of workspace that one thread of an Attention needs: linear in the numbers of queries and keys. A multiple of 64,
 * so that threads never write to the same cache line.
 * @param width of queries and keys
 * @param gradient whether it computes the gradients
 */
export function attentionWorkspaceBytes(keys: number, width: number, valueWidth: number, gradient: boolean): number {
  const s = wholeVectors(keys);
  const e = wholeVectors(width);
  const v = wholeVectors(valueWidth);
  const rows = attentionRows(keys);
  const score = rows * (s + AttentionBlock.Gap);
  const block = rows * (e + v);
  const forward = score + block + width * s + keys * v;
  const backward = 2 * (score + block) + (width + valueWidth) * s + keys * (2 * e + v);
  return Math.ceil((AttentionBlock.Seed + (gradient ? backward : forward)) / 16) * 64;
}
