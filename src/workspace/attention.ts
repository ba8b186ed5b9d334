/**
 * The blocking of Attention and the workspace that follows from it, read by both compilers (where TypeScript's `number`
 * is AssemblyScript's f64), and so without imports.
 */

/** Block sizes, in elements. */
export const enum AttentionBlock {
  /**
   * Queries whose scores with all keys are in memory at once. What a causal block computes above the diagonal is for
   * nothing: 16 instead of 32 take a tenth off 64 queries and keys, and cost nothing where all look at all.
   */
  Rows = 16,
  /** Keys that a product sums over between loading and storing a tile: a panel of as many rows stays in L1. */
  Depth = 256,
  /** Floats of a row of seeds: as wide as the widest panel. */
  Seed = 24,
}

function wholeVectors(floats: number): number {
  return Math.ceil(floats / 4) * 4;
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
  const score = AttentionBlock.Rows * s;
  const block = AttentionBlock.Rows * (e + v);
  const forward = score + block + width * s + keys * v;
  const backward = 2 * (score + block) + (width + valueWidth) * s + keys * (2 * e + v);
  return Math.ceil((AttentionBlock.Seed + (gradient ? backward : forward)) / 16) * 64;
}
