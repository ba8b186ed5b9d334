/**
 * Products of a matrix whose rows are adjacent elements with one to three columns: sums along rows, of which every
 * element is read once. Four steps of four rows are transposed in registers, so that a lane of a sum belongs to a row.
 *
 * Contract: that of `gemm-kernel.ts`: each element is one sum in rising k from its seed, each step one `mulAdd` (of a
 * vector even for a single element, so that the relaxed build rounds all alike). Strides are in bytes. Operands and C are
 * read and written exactly; the seed is C.
 *
 * A tile has as many rows as there are vector registers for its sums. While it is summed, the next one is touched line
 * by line: processors fetch ahead where memory is read in its order, and a tile of short rows reads a line of each.
 * Measured with rows of 64 elements in 2 MiB (Intel Xeon, Node 24, relaxed): with one column 37 % of the ceiling against
 * 26 %, with two 54 % against 43 %, with three 60 % against 51 %; reading alone would allow 50 % with one.
 */
import { GemmBlock } from "../src/workspace/gemm";
import { evenDepth } from "./gemm-block";
import { pack } from "./gemm-pack";
import { highHalves, interleaveHigh, interleaveLow, lowHalves } from "./lanes";
import { mulAdd } from "./simd";

/** Up to so many columns have a tile. */
export const SUMMED_COLUMNS = 3;
/** At least so many rows fill one. */
export const SUMMED_ROWS = 16;
const LINE_BYTES = 64;

/**
 * Four steps of k for four rows, of which a, b, c and d are four elements each; `x` has the factors. Inlined for several
 * columns of the same rows, V8 transposes once.
 */
// @ts-ignore: decorator
@inline
function addFourSteps(sum: v128, a: v128, b: v128, c: v128, d: v128, x: usize): v128 {
  const ab01 = interleaveLow(a, b);
  const cd01 = interleaveLow(c, d);
  sum = mulAdd(lowHalves(ab01, cd01), v128.load32_splat(x), sum);
  sum = mulAdd(highHalves(ab01, cd01), v128.load32_splat(x, 4), sum);
  const ab23 = interleaveHigh(a, b);
  const cd23 = interleaveHigh(c, d);
  sum = mulAdd(lowHalves(ab23, cd23), v128.load32_splat(x, 8), sum);
  return mulAdd(highHalves(ab23, cd23), v128.load32_splat(x, 12), sum);
}

/**
 * `groups` (1, 3 or 4) times four rows with `columns` (1 to 3) columns of factors, `xColumn` bytes apart; `depth` is a
 * multiple of 4. The sums are at `sums`, a column's `sumsColumn` bytes behind those before. With every
 * four steps as many lines from `next` on are touched as there are groups, then those `nextStep` bytes further.
 */
// @ts-ignore: decorator
@inline
function sumTile(
  groups: i32,
  columns: i32,
  depth: i32,
  a: usize,
  row: usize,
  x: usize,
  xColumn: usize,
  sums: usize,
  sumsColumn: usize,
  next: usize,
  nextStep: usize,
): void {
  const twoRows = row << 1;
  const threeRows = row + twoRows;
  const fourRows = row << 2;
  const sums1 = sums + sumsColumn;
  const sums2 = sums1 + sumsColumn;
  let s0 = v128.load(sums);
  let s1 = columns > 1 ? v128.load(sums1) : s0;
  let s2 = columns > 2 ? v128.load(sums2) : s0;
  let t0 = groups > 1 ? v128.load(sums, 16) : s0;
  let t1 = groups > 1 && columns > 1 ? v128.load(sums1, 16) : s0;
  let t2 = groups > 1 && columns > 2 ? v128.load(sums2, 16) : s0;
  let u0 = groups > 2 ? v128.load(sums, 32) : s0;
  let u1 = groups > 2 && columns > 1 ? v128.load(sums1, 32) : s0;
  let u2 = groups > 2 && columns > 2 ? v128.load(sums2, 32) : s0;
  let v0 = groups > 3 ? v128.load(sums, 48) : s0;
  let v1 = groups > 3 && columns > 1 ? v128.load(sums1, 48) : s0;
  for (; depth > 0; depth -= 4) {
    load<u8>(next);
    if (groups > 1) load<u8>(next, LINE_BYTES);
    if (groups > 2) load<u8>(next, 2 * LINE_BYTES);
    if (groups > 3) load<u8>(next, 3 * LINE_BYTES);
    next += nextStep;
    const x1 = x + xColumn;
    const x2 = x1 + xColumn;
    let p = a;
    let e = v128.load(p);
    let f = v128.load(p + row);
    let g = v128.load(p + twoRows);
    let h = v128.load(p + threeRows);
    s0 = addFourSteps(s0, e, f, g, h, x);
    if (columns > 1) s1 = addFourSteps(s1, e, f, g, h, x1);
    if (columns > 2) s2 = addFourSteps(s2, e, f, g, h, x2);
    if (groups > 1) {
      p += fourRows;
      e = v128.load(p);
      f = v128.load(p + row);
      g = v128.load(p + twoRows);
      h = v128.load(p + threeRows);
      t0 = addFourSteps(t0, e, f, g, h, x);
      if (columns > 1) t1 = addFourSteps(t1, e, f, g, h, x1);
      if (columns > 2) t2 = addFourSteps(t2, e, f, g, h, x2);
    }
    if (groups > 2) {
      p += fourRows;
      e = v128.load(p);
      f = v128.load(p + row);
      g = v128.load(p + twoRows);
      h = v128.load(p + threeRows);
      u0 = addFourSteps(u0, e, f, g, h, x);
      if (columns > 1) u1 = addFourSteps(u1, e, f, g, h, x1);
      if (columns > 2) u2 = addFourSteps(u2, e, f, g, h, x2);
    }
    if (groups > 3) {
      p += fourRows;
      e = v128.load(p);
      f = v128.load(p + row);
      g = v128.load(p + twoRows);
      h = v128.load(p + threeRows);
      v0 = addFourSteps(v0, e, f, g, h, x);
      if (columns > 1) v1 = addFourSteps(v1, e, f, g, h, x1);
    }
    a += 16;
    x += 16;
  }
  v128.store(sums, s0);
  if (columns > 1) v128.store(sums1, s1);
  if (columns > 2) v128.store(sums2, s2);
  if (groups > 1) v128.store(sums, t0, 16);
  if (groups > 1 && columns > 1) v128.store(sums1, t1, 16);
  if (groups > 1 && columns > 2) v128.store(sums2, t2, 16);
  if (groups > 2) v128.store(sums, u0, 32);
  if (groups > 2 && columns > 1) v128.store(sums1, u1, 32);
  if (groups > 2 && columns > 2) v128.store(sums2, u2, 32);
  if (groups > 3) v128.store(sums, v0, 48);
  if (groups > 3 && columns > 1) v128.store(sums1, v1, 48);
}

/** Sums of whole tiles: 16 rows, 12 with three columns, or 4. */
function sumGroups(
  high: i32,
  columns: i32,
  depth: i32,
  a: usize,
  row: usize,
  x: usize,
  xColumn: usize,
  sums: usize,
  sumsColumn: usize,
  next: usize,
  nextStep: usize,
): void {
  if (columns === 1) {
    if (high > 4) sumTile(4, 1, depth, a, row, x, xColumn, sums, sumsColumn, next, nextStep);
    else sumTile(1, 1, depth, a, row, x, xColumn, sums, sumsColumn, next, nextStep);
  } else if (columns === 2) {
    if (high > 4) sumTile(4, 2, depth, a, row, x, xColumn, sums, sumsColumn, next, nextStep);
    else sumTile(1, 2, depth, a, row, x, xColumn, sums, sumsColumn, next, nextStep);
  } else if (high > 4) sumTile(3, 3, depth, a, row, x, xColumn, sums, sumsColumn, next, nextStep);
  else sumTile(1, 3, depth, a, row, x, xColumn, sums, sumsColumn, next, nextStep);
}

/** The sum of one row, from and to the float at `sum`: for what groups of rows and of steps leave. */
function sumRow(depth: i32, a: usize, x: usize, sum: usize): void {
  let s = v128.load32_splat(sum);
  for (; depth > 0; depth--) {
    s = mulAdd(v128.load32_splat(a), v128.load32_splat(x), s);
    a += 4;
    x += 4;
  }
  v128.store32_lane(sum, s, 0);
}

/**
 * Cᵀ = Cᵀ + (A·X)ᵀ for a matrix A with rows of adjacent elements and up to `SUMMED_COLUMNS` columns X, whose strides may
 * be anything. Columns of C are adjacent elements. `workspace` is room for `columns · GemmBlock.Depth` floats.
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
  cColumn: usize,
  workspace: usize,
): void {
  const tile = columns === 3 ? 12 : SUMMED_ROWS;
  // A column of adjacent elements needs no packing, and so no blocks: rows that are read to their end come in faster.
  const inPlace = columns === 1 && xRow === 4;
  const blockDepth = inPlace ? depth : (evenDepth(depth, GemmBlock.Depth) + 3) & ~3;
  for (let k = 0; k < depth; k += blockDepth) {
    const steps = min(depth - k, blockDepth);
    const length = (<usize>steps) << 2;
    const factors = inPlace ? x : workspace;
    if (!inPlace) pack(columns, steps, x + xRow * <usize>k, xColumn, xRow, factors, length);
    let ak = a + ((<usize>k) << 2);
    let ck = c;
    for (let i = 0; i < rows; ) {
      const left = rows - i;
      const high = left >= tile ? tile : left >= 4 ? 4 : 1;
      let whole = 0;
      if (high > 1) {
        whole = steps & ~3;
        // Only rows that lie one behind the other can be touched in the order of memory.
        const touches = aRow === length && steps <= GemmBlock.Depth && left >= tile * 2;
        const next = touches ? ak + aRow * tile : workspace;
        sumGroups(high, columns, whole, ak, aRow, factors, length, ck, cColumn, next, touches ? tile << 4 : 0);
      }
      if (whole < steps) {
        const skipped = (<usize>whole) << 2;
        for (let r = 0; r < high; r++) {
          const ar = ak + aRow * <usize>r + skipped;
          for (let j = 0; j < columns; j++) {
            const to = ck + cColumn * <usize>j + ((<usize>r) << 2);
            sumRow(steps - whole, ar, factors + length * <usize>j + skipped, to);
          }
        }
      }
      ak += aRow * <usize>high;
      ck += (<usize>high) << 2;
      i += high;
    }
  }
}
