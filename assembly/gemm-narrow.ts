/**
 * Products that wait for memory, not for the arithmetic units: with very few rows, columns or steps. The operand that
 * is large is read once, along its rows, with no packing.
 *
 * Contract: that of `gemm-kernel.ts`: each element is one sum in rising k from its seed, each step one `mulAdd` (of a
 * vector even for a single element, so that the relaxed build rounds all alike). Strides are in bytes. Operands, seeds
 * and C are read and written exactly; a seed may be what C is.
 */
import { highHalves, interleaveHigh, interleaveLow, lowHalves } from "./lanes";
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

/** Four steps of k for four rows, of which `p` is the first: a lane of `sum` belongs to a row. */
// @ts-ignore: decorator
@inline
function addFourSteps(
  sum: v128,
  p: usize,
  row: usize,
  twoRows: usize,
  threeRows: usize,
  x0: v128,
  x1: v128,
  x2: v128,
  x3: v128,
): v128 {
  const a = v128.load(p);
  const b = v128.load(p + row);
  const c = v128.load(p + twoRows);
  const d = v128.load(p + threeRows);
  const ab01 = interleaveLow(a, b);
  const cd01 = interleaveLow(c, d);
  sum = mulAdd(lowHalves(ab01, cd01), x0, sum);
  sum = mulAdd(highHalves(ab01, cd01), x1, sum);
  const ab23 = interleaveHigh(a, b);
  const cd23 = interleaveHigh(c, d);
  sum = mulAdd(lowHalves(ab23, cd23), x2, sum);
  return mulAdd(highHalves(ab23, cd23), x3, sum);
}

/** The sums of 16 rows with one column `x`, from and to the 16 floats at `sums`; `depth` is a multiple of 4. */
function sumSixteenRows(depth: i32, a: usize, row: usize, x: usize, xRow: usize, sums: usize): void {
  const twoRows = row << 1;
  const threeRows = row + twoRows;
  let a0 = a;
  let a1 = a0 + (row << 2);
  let a2 = a1 + (row << 2);
  let a3 = a2 + (row << 2);
  let s0 = v128.load(sums);
  let s1 = v128.load(sums, 16);
  let s2 = v128.load(sums, 32);
  let s3 = v128.load(sums, 48);
  for (; depth > 0; depth -= 4) {
    const x0 = v128.load32_splat(x);
    x += xRow;
    const x1 = v128.load32_splat(x);
    x += xRow;
    const x2 = v128.load32_splat(x);
    x += xRow;
    const x3 = v128.load32_splat(x);
    x += xRow;
    s0 = addFourSteps(s0, a0, row, twoRows, threeRows, x0, x1, x2, x3);
    s1 = addFourSteps(s1, a1, row, twoRows, threeRows, x0, x1, x2, x3);
    s2 = addFourSteps(s2, a2, row, twoRows, threeRows, x0, x1, x2, x3);
    s3 = addFourSteps(s3, a3, row, twoRows, threeRows, x0, x1, x2, x3);
    a0 += 16;
    a1 += 16;
    a2 += 16;
    a3 += 16;
  }
  v128.store(sums, s0);
  v128.store(sums, s1, 16);
  v128.store(sums, s2, 32);
  v128.store(sums, s3, 48);
}

/** The same with 4 rows. */
function sumFourRows(depth: i32, a: usize, row: usize, x: usize, xRow: usize, sums: usize): void {
  let s = v128.load(sums);
  for (; depth > 0; depth -= 4) {
    const x0 = v128.load32_splat(x);
    x += xRow;
    const x1 = v128.load32_splat(x);
    x += xRow;
    const x2 = v128.load32_splat(x);
    x += xRow;
    s = addFourSteps(s, a, row, row << 1, row * 3, x0, x1, x2, v128.load32_splat(x));
    x += xRow;
    a += 16;
  }
  v128.store(sums, s);
}

/** The sum of one row, from and to the float at `sum`: for what blocks of rows and steps leave. */
function sumRow(depth: i32, a: usize, x: usize, xRow: usize, sum: usize): void {
  let s = v128.load32_splat(sum);
  for (; depth > 0; depth--) {
    s = mulAdd(v128.load32_splat(a), v128.load32_splat(x), s);
    a += 4;
    x += xRow;
  }
  v128.store32_lane(sum, s, 0);
}

/** Copies `count` floats, `fromStep` bytes apart, to places `toStep` bytes apart. */
function copyFloats(count: i32, from: usize, fromStep: usize, to: usize, toStep: usize): void {
  for (; count > 0; count--) {
    store<u32>(to, load<u32>(from));
    from += fromStep;
    to += toStep;
  }
}

/**
 * C = C + A·X for a matrix A with rows of adjacent elements and very few columns X: 16 rows of A at a time, transposed in
 * registers. `cRow` and `cColumn` are C's strides; `sums` is room for 16 floats.
 */
export function sumRows(
  rows: i32,
  columns: i32,
  depth: i32,
  a: usize,
  aRow: usize,
  x: usize,
  xRow: usize,
  xColumn: usize,
  c: usize,
  cRow: usize,
  cColumn: usize,
  sums: usize,
): void {
  const whole = depth & ~3;
  const skipped = (<usize>whole) << 2;
  for (let i = 0; i < rows; ) {
    const high = rows - i >= 16 ? 16 : rows - i >= 4 ? 4 : 1;
    for (let j = 0; j < columns; j++) {
      const xj = x + xColumn * <usize>j;
      const cj = c + cColumn * <usize>j;
      copyFloats(high, cj, cRow, sums, 4);
      if (high === 16) sumSixteenRows(whole, a, aRow, xj, xRow, sums);
      else if (high === 4) sumFourRows(whole, a, aRow, xj, xRow, sums);
      else sumRow(whole, a, xj, xRow, sums);
      if (whole < depth) {
        const rest = xj + xRow * <usize>whole;
        for (let r = 0; r < high; r++) {
          sumRow(depth - whole, a + aRow * <usize>r + skipped, rest, xRow, sums + ((<usize>r) << 2));
        }
      }
      copyFloats(high, sums, 4, cj, cRow);
    }
    a += aRow * <usize>high;
    c += cRow * <usize>high;
    i += high;
  }
}
