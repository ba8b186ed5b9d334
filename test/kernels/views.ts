/** Strided views for kernel tests: their offsets and extents, and numbers to fill them with. */

/** One dimension of a strided view; the stride counts elements. */
export interface Dim {
  readonly size: number;
  readonly stride: number;
}

/** Number of elements of a view. */
export const countOf = (dims: readonly Dim[]): number => dims.reduce((count, dim) => count * dim.size, 1);

/** The lowest offset that a view may reach, 0 or less, and the number of elements from there to its highest. */
export function extent(dims: readonly Dim[]): { lowest: number; length: number } {
  const reach = dims.map(({ size, stride }) => Math.max(0, size - 1) * stride);
  const lowest = reach.reduce((sum, x) => sum + Math.min(0, x), 0);
  return { lowest, length: reach.reduce((sum, x) => sum + Math.max(0, x), 1) - lowest };
}

/** Offsets, in elements, of all elements in row-major order. */
export function offsets(dims: readonly Dim[]): number[] {
  let all = [0];
  for (const { size, stride } of dims) {
    all = all.flatMap((base) => Array.from({ length: size }, (_, i) => base + i * stride));
  }
  return all;
}

/** Dimensions of the given sizes with row-major strides. */
export function contiguous(...sizes: number[]): Dim[] {
  let stride = 1;
  return sizes
    .toReversed()
    .map((size) => {
      const dim = { size, stride };
      stride *= size;
      return dim;
    })
    .toReversed();
}

/** Numbers from 0 to below 1, the same on every run (the 32-bit LCG of Numerical Recipes, 7.1). */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}
