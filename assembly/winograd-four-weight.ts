/**
 * The transforms of weights for tiles of 4×4 (see `winograd-four.ts`), four columns at a time. They are half done in the
 * places that they end in, or begin in.
 */
import { mulAdd } from "./simd";
import { A, B } from "./winograd-four";
import { loadLanes, storeLanes } from "./winograd-weight";

/** One divided by the divisors of G. */
const ZERO: f32 = 1 / (A * A * B * B);
const AT_A: f32 = 1 / (2 * A * A * (A * A - B * B));
const AT_B: f32 = 1 / (2 * B * B * (B * B - A * A));

/** G of three elements, to six places `step` bytes apart. */
// @ts-ignore: decorator
@inline
function evaluateWeight(to: usize, step: usize, x: v128, y: v128, z: v128): void {
  v128.store(to, f32x4.mul(x, f32x4.splat(ZERO)));
  let even = mulAdd(z, f32x4.splat(A * A * AT_A), f32x4.mul(x, f32x4.splat(AT_A)));
  let odd = f32x4.mul(y, f32x4.splat(A * AT_A));
  v128.store(to + step, f32x4.add(even, odd));
  to += step << 1;
  v128.store(to, f32x4.sub(even, odd));
  even = mulAdd(z, f32x4.splat(B * B * AT_B), f32x4.mul(x, f32x4.splat(AT_B)));
  odd = f32x4.mul(y, f32x4.splat(B * AT_B));
  v128.store(to + step, f32x4.add(even, odd));
  to += step << 1;
  v128.store(to, f32x4.sub(even, odd));
  v128.store(to + step, z);
}

/** As `transformWeight`, for tiles of 4×4. */
export function transformWeightOfFour(
  start: i32,
  end: i32,
  columns: i32,
  w: usize,
  wRow: usize,
  wColumn: usize,
  turned: bool,
  to: usize,
  row: usize,
  matrix: usize,
): void {
  const first: usize = turned ? 32 : 0;
  const tap: usize = turned ? -4 : 4;
  const line = tap * 3;
  const last = columns - 1;
  for (let r = start; r < end; r++) {
    for (let j = 0; j < columns; j += 4) {
      const at = w + wRow * <usize>r + first;
      let a = at + wColumn * <usize>j;
      let b = at + wColumn * <usize>min(j + 1, last);
      let c = at + wColumn * <usize>min(j + 2, last);
      let d = at + wColumn * <usize>min(j + 3, last);
      const q = to + row * <usize>r + ((<usize>j) << 2);
      for (let k: usize = 0; k < 3; k++) {
        const offset = tap * k;
        const x = loadLanes(a, b, c, d, offset);
        const y = loadLanes(a, b, c, d, offset + line);
        const z = loadLanes(a, b, c, d, offset + line + line);
        evaluateWeight(q + matrix * k, matrix * 6, x, y, z);
      }
      for (let i: usize = 0; i < 6; i++) {
        const p = q + matrix * 6 * i;
        evaluateWeight(p, matrix, v128.load(p), v128.load(p + matrix), v128.load(p + (matrix << 1)));
      }
    }
  }
}

/** A'ᵀ·m·A' of the sums [frequency][row][column], which it overwrites, with the divisors, to `rows` rows of `columns` 3×3 weights. */
export function transformWeightBackOfFour(
  rows: i32,
  columns: i32,
  sums: usize,
  sumsRow: usize,
  matrix: usize,
  to: usize,
): void {
  const line = matrix * 6;
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j += 4) {
      const at = sums + ((<usize>j) << 2);
      for (let k: usize = 0; k < 6; k++) {
        const p = at + matrix * k;
        interpolateWeight(true, p, line, p, line, 4);
      }
      for (let k: usize = 0; k < 3; k++) interpolateWeight(false, at + line * k, matrix, to + 12 * k, 4, columns - j);
      to += (<usize>min(columns - j, 4)) * 36;
    }
    sums += sumsRow;
  }
}

/** A'ᵀ of six elements `step` bytes apart, to three places `next` bytes apart: of vectors, or of `count` weights. */
// @ts-ignore: decorator
@inline
function interpolateWeight(vectors: bool, from: usize, step: usize, to: usize, next: usize, count: i32): void {
  const m0 = v128.load(from);
  const m1 = v128.load(from + step);
  const m2 = v128.load(from + (step << 1));
  const m3 = v128.load(from + step * 3);
  const m4 = v128.load(from + (step << 2));
  const m5 = v128.load(from + step * 5);
  const evenA = f32x4.mul(f32x4.add(m1, m2), f32x4.splat(AT_A));
  const oddA = f32x4.mul(f32x4.sub(m1, m2), f32x4.splat(A * AT_A));
  const evenB = f32x4.mul(f32x4.add(m3, m4), f32x4.splat(AT_B));
  const oddB = f32x4.mul(f32x4.sub(m3, m4), f32x4.splat(B * AT_B));
  const x = mulAdd(m0, f32x4.splat(ZERO), f32x4.add(evenA, evenB));
  const y = f32x4.add(oddA, oddB);
  const z = mulAdd(evenA, f32x4.splat(A * A), mulAdd(evenB, f32x4.splat(B * B), m5));
  if (vectors) {
    v128.store(to, x);
    v128.store(to + next, y);
    v128.store(to + (next << 1), z);
  } else {
    storeLanes(to, count, x);
    storeLanes(to + next, count, y);
    storeLanes(to + (next << 1), count, z);
  }
}
