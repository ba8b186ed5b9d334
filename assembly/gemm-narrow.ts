/**
 * Products that wait for memory, not for the arithmetic units, because of very few rows or steps: rows of B are added to
 * rows of C, as they stream in.
 *
 * Contract: that of `gemm-kernel.ts`: each element is one sum in rising k from its seed, each step one `mulAdd` (of a
 * vector even for a single element, so that the relaxed build rounds all alike). Strides are in bytes. Operands, seeds
 * and C are read and written exactly; a seed may be what C is.
 */
import { mulAdd } from "./simd";

/** Columns swept at a time: the part of a row of C that stays in L1 while rows of B are added to it. */
const SWEPT_COLUMNS = 2048;

/** A row of C from its seed and eight rows of B; `seedStep` is 16, or 0 where all seeds are equal. */
function addEightRows(
  columns: i32,
  a: usize,
  aColumn: usize,
  b: usize,
  bRow: usize,
  seed: usize,
  seedStep: usize,
  c: usize,
): void {
  const p0 = v128.load32_splat(a);
  const p1 = v128.load32_splat(a + aColumn);
  const p2 = v128.load32_splat(a + aColumn * 2);
  const p3 = v128.load32_splat(a + aColumn * 3);
  const p4 = v128.load32_splat(a + aColumn * 4);
  const p5 = v128.load32_splat(a + aColumn * 5);
  const p6 = v128.load32_splat(a + aColumn * 6);
  const p7 = v128.load32_splat(a + aColumn * 7);
  for (; columns >= 4; columns -= 4) {
    let row = b;
    let x = mulAdd(p0, v128.load(row), v128.load(seed));
    row += bRow;
    x = mulAdd(p1, v128.load(row), x);
    row += bRow;
    x = mulAdd(p2, v128.load(row), x);
    row += bRow;
    x = mulAdd(p3, v128.load(row), x);
    row += bRow;
    x = mulAdd(p4, v128.load(row), x);
    row += bRow;
    x = mulAdd(p5, v128.load(row), x);
    row += bRow;
    x = mulAdd(p6, v128.load(row), x);
    row += bRow;
    v128.store(c, mulAdd(p7, v128.load(row), x));
    b += 16;
    c += 16;
    seed += seedStep;
  }
  for (; columns > 0; columns--) {
    let row = b;
    let x = v128.load32_splat(seed);
    let p = a;
    for (let k = 0; k < 8; k++) {
      x = mulAdd(v128.load32_splat(p), v128.load32_splat(row), x);
      row += bRow;
      p += aColumn;
    }
    v128.store32_lane(c, x, 0);
    b += 4;
    c += 4;
    seed += seedStep >> 2;
  }
}

/** The same with `count` rows of B, 1 to 4. */
// @ts-ignore: decorator
@inline
function addFewRows(
  count: i32,
  columns: i32,
  a: usize,
  aColumn: usize,
  b: usize,
  bRow: usize,
  seed: usize,
  seedStep: usize,
  c: usize,
): void {
  const p0 = v128.load32_splat(a);
  const p1 = count > 1 ? v128.load32_splat(a + aColumn) : p0;
  const p2 = count > 2 ? v128.load32_splat(a + aColumn * 2) : p0;
  const p3 = count > 3 ? v128.load32_splat(a + aColumn * 3) : p0;
  const b1 = b + bRow;
  const b2 = b1 + bRow;
  const b3 = b2 + bRow;
  const whole = (<usize>columns & ~3) << 2;
  let at: usize = 0;
  for (; at < whole; at += 16) {
    let x = mulAdd(p0, v128.load(b + at), v128.load(seed));
    if (count > 1) x = mulAdd(p1, v128.load(b1 + at), x);
    if (count > 2) x = mulAdd(p2, v128.load(b2 + at), x);
    if (count > 3) x = mulAdd(p3, v128.load(b3 + at), x);
    v128.store(c + at, x);
    seed += seedStep;
  }
  for (const end = (<usize>columns) << 2; at < end; at += 4) {
    let x = mulAdd(p0, v128.load32_splat(b + at), v128.load32_splat(seed));
    if (count > 1) x = mulAdd(p1, v128.load32_splat(b1 + at), x);
    if (count > 2) x = mulAdd(p2, v128.load32_splat(b2 + at), x);
    if (count > 3) x = mulAdd(p3, v128.load32_splat(b3 + at), x);
    v128.store32_lane(c + at, x, 0);
    seed += seedStep >> 2;
  }
}

/** The same for up to 8 rows: all that there are, or as many as one pass adds; returns how many those were. */
function addRows(
  left: i32,
  columns: i32,
  a: usize,
  aColumn: usize,
  b: usize,
  bRow: usize,
  seed: usize,
  seedStep: usize,
  c: usize,
): i32 {
  if (left >= 8) {
    addEightRows(columns, a, aColumn, b, bRow, seed, seedStep, c);
    return 8;
  }
  if (left >= 4) {
    addFewRows(4, columns, a, aColumn, b, bRow, seed, seedStep, c);
    return 4;
  }
  if (left === 3) addFewRows(3, columns, a, aColumn, b, bRow, seed, seedStep, c);
  else if (left === 2) addFewRows(2, columns, a, aColumn, b, bRow, seed, seedStep, c);
  else addFewRows(1, columns, a, aColumn, b, bRow, seed, seedStep, c);
  return left;
}

/**
 * C = seed + A·B, rows of B being adjacent elements: for few rows, where reading B is what costs, or few steps, where
 * writing C is. `seedRow` and `seedColumn` (4 or 0) are the seed's strides; with no rows or a `depth` of 0 nothing is
 * done. At a `seedColumn` of 0 whole vectors of the seed are read.
 */
export function sweepRows(
  rows: i32,
  columns: i32,
  depth: i32,
  a: usize,
  aRow: usize,
  aColumn: usize,
  b: usize,
  bRow: usize,
  seed: usize,
  seedRow: usize,
  seedColumn: usize,
  c: usize,
  cRow: usize,
): void {
  for (let j = 0; j < columns; j += SWEPT_COLUMNS) {
    const wide = min<i32>(columns - j, SWEPT_COLUMNS);
    const at = (<usize>j) << 2;
    let step = 0;
    for (let k = 0; k < depth; k += step) {
      const bk = b + bRow * <usize>k + at;
      for (let i = 0; i < rows; i++) {
        const ai = a + aRow * <usize>i + aColumn * <usize>k;
        const ci = c + cRow * <usize>i + at;
        const from = k > 0 ? ci : seed + seedRow * <usize>i + seedColumn * <usize>j;
        step = addRows(depth - k, wide, ai, aColumn, bk, bRow, from, k > 0 ? 16 : seedColumn << 2, ci);
      }
    }
  }
}
