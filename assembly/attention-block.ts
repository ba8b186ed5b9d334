/** What attention and its gradient share: operands, weights of blocks of queries, and products with packed panels. */
import { AttentionBlock } from "../src/workspace/attention";
import { AttentionField } from "../src/isa";
import { packPanels, panelWidth } from "./gemm-block";
import { panel } from "./gemm-kernel";
import { pack } from "./gemm-pack";
import { INFINITY, SIGN } from "./math-constants";
import { exponentials, maximum, scale } from "./rows-softmax";
import { address, word } from "./word";

/** Bytes of a row of `floats` in whole vectors. */
// @ts-ignore: decorator
@inline
export function rowBytes(floats: i32): usize {
  return ((<usize>floats + 3) & ~3) << 2;
}

/** Bytes from one row of scores to the next. */
// @ts-ignore: decorator
@inline
export function scoreBytes(keys: i32): usize {
  return rowBytes(keys) + (AttentionBlock.Gap << 2);
}

/** The byte stride in the word at `field`, which counts elements. */
// @ts-ignore: decorator
@inline
function stride(pc: usize, field: i32): usize {
  return address(pc, field) << 2;
}

/** Where the operand whose five words start at `field` (address, then strides) has matrix `matrix` of `heads` a batch. */
function matrixOf(pc: usize, field: i32, matrix: i32): usize {
  const heads = word(pc, AttentionField.Heads);
  const batch = matrix / heads;
  const head = matrix - batch * heads;
  return address(pc, field) + stride(pc, field + 1) * <usize>batch + stride(pc, field + 2) * <usize>head;
}

/** Packs the matrix of an operand as the panels of a product that sums over its rows. */
export function packRows(pc: usize, field: i32, matrix: i32, rows: i32, columns: i32, to: usize): void {
  packPanels(rows, columns, matrixOf(pc, field, matrix), stride(pc, field + 3), stride(pc, field + 4), to);
}

/** Packs it as the panels of a product with its transpose. */
export function packColumns(pc: usize, field: i32, matrix: i32, rows: i32, columns: i32, to: usize): void {
  packPanels(columns, rows, matrixOf(pc, field, matrix), stride(pc, field + 4), stride(pc, field + 3), to);
}

/** Copies rows [first, first + count) of an operand's matrix, times `factor`, to rows `toRow` bytes apart. */
export function copyBlock(
  pc: usize,
  field: i32,
  matrix: i32,
  first: i32,
  count: i32,
  columns: i32,
  factor: f32,
  to: usize,
  toRow: usize,
): void {
  const fromRow = stride(pc, field + 3);
  let from = matrixOf(pc, field, matrix) + fromRow * <usize>first;
  const adjacent = stride(pc, field + 4) === 4;
  if (!adjacent || factor === 1) pack(count, columns, from, fromRow, stride(pc, field + 4), to, toRow);
  if (factor === 1) return;
  for (let i = 0; i < count; i++) {
    scale(to, adjacent ? from : to, columns, factor);
    from += fromRow;
    to += toRow;
  }
}

/** How many keys the query may look at. */
// @ts-ignore: decorator
@inline
export function visible(pc: usize, query: i32): i32 {
  const keys = word(pc, AttentionField.Keys);
  return word(pc, AttentionField.Causal) !== 0 ? min(keys, query + 1) : keys;
}

/** How many keys the queries from `first` on look at that are multiplied together with it. */
// @ts-ignore: decorator
@inline
export function seenByGroup(pc: usize, first: i32): i32 {
  return visible(pc, first + (AttentionBlock.Group - 1));
}

/** Lanes below `count` of the vector at `at`, and those of `filler` in the others. */
// @ts-ignore: decorator
@inline
function fillTail(at: usize, count: i32, filler: v128): void {
  const keep = i32x4.lt_s(i32x4(0, 1, 2, 3), i32x4.splat(count));
  v128.store(at, v128.bitselect(v128.load(at), filler, keep));
}

/** Zeros in place of the scores [from, to) of a row, and of the rest of the last vector. */
// @ts-ignore: decorator
@inline
export function blank(row: usize, from: i32, to: i32): void {
  const zero = i64x2.splat(0);
  let at = row + ((<usize>(from & ~3)) << 2);
  if (from & 3) {
    fillTail(at, from & 3, zero);
    at += 16;
  }
  for (const end = row + ((<usize>to) << 2); at < end; at += 16) v128.store(at, zero);
}

/** `count` rounded up to whole vectors: rows so long are walked without an end of their own to foresee. */
// @ts-ignore: decorator
@inline
export function wholeVectors(count: i32): i32 {
  return (count + 3) & ~3;
}

/**
 * Scores of the queries from `start` on to unnormalized weights, the reciprocals of whose sums go to `factors`. Keys that
 * a query may not look at, of those that its group does, get weight 0.
 */
export function weigh(pc: usize, start: i32, rows: i32, scores: usize, scoreRow: usize, factors: usize): void {
  const least = v128.or(INFINITY, SIGN);
  for (let group = 0; group < rows; group += AttentionBlock.Group) {
    const end = min<i32>(rows, group + AttentionBlock.Group);
    const seen = seenByGroup(pc, start + group);
    for (let i = group; i < end; i++) {
      const count = visible(pc, start + i);
      const whole = wholeVectors(count);
      if (count & 3) fillTail(scores + ((<usize>(count & ~3)) << 2), count & 3, least);
      store<f32>(factors + ((<usize>i) << 2), <f32>(1 / exponentials(scores, scores, whole, maximum(scores, whole))));
      blank(scores, count, seen);
      scores += scoreRow;
    }
  }
}

/**
 * `rows` rows of A times the packed columns of B, as `multiplyPanels`, for row i as far as its first `diagonal` + i
 * columns; what is right of these may be left as it is.
 */
export function multiplyLower(
  rows: i32,
  columns: i32,
  depth: i32,
  a: usize,
  aRow: usize,
  b: usize,
  allColumns: i32,
  diagonal: i32,
  c: usize,
  cRow: usize,
  zeros: usize,
): void {
  for (let j = 0; j < columns; ) {
    const width = panelWidth(allColumns - j);
    const bytes = (<usize>width) << 2;
    const skipped = max(0, j - diagonal) & ~1;
    const above = <usize>skipped;
    panel(width, rows - skipped, depth, a + aRow * above, aRow, 4, b, bytes, zeros, 0, c + cRow * above, cRow);
    b += bytes * <usize>depth;
    c += bytes;
    j += width;
  }
}

/**
 * C = A·B, or C + A·B with `adds`, over `depth` steps in rising order. B is packed for `allDepth` steps, of which the
 * first `from` are left out. C's rows hold whole vectors; strides are in bytes. `zeros` are `AttentionBlock.Seed` of them.
 */
function multiplyPanels(
  rows: i32,
  columns: i32,
  depth: i32,
  a: usize,
  aRow: usize,
  aColumn: usize,
  b: usize,
  allDepth: i32,
  from: i32,
  c: usize,
  cRow: usize,
  adds: bool,
  zeros: usize,
): void {
  const seedRow = adds ? cRow : 0;
  for (let j = 0; j < columns; ) {
    const width = panelWidth(columns - j);
    const bytes = (<usize>width) << 2;
    const first = b + bytes * <usize>from;
    panel(width, rows, depth, a, aRow, aColumn, first, bytes, adds ? c : zeros, seedRow, c, cRow);
    b += bytes * <usize>allDepth;
    c += bytes;
    j += width;
  }
}

/**
 * Weights of the queries from `start` on times packed rows, one for each key: C = A·B, a group of rows at a time over the
 * keys that the group looks at, in blocks of the depth whose panels stay in L1.
 */
export function multiplyWeights(
  pc: usize,
  start: i32,
  rows: i32,
  columns: i32,
  a: usize,
  aRow: usize,
  b: usize,
  allDepth: i32,
  c: usize,
  cRow: usize,
  zeros: usize,
): void {
  const causal = word(pc, AttentionField.Causal) !== 0;
  for (let i = 0; i < rows; ) {
    const count = causal ? min<i32>(AttentionBlock.Group, rows - i) : rows;
    const depth = visible(pc, start + i + count - 1);
    for (let k = 0; k < depth; k += AttentionBlock.Depth) {
      const part = min<i32>(depth - k, AttentionBlock.Depth);
      multiplyPanels(count, columns, part, a + ((<usize>k) << 2), aRow, 4, b, allDepth, k, c, cRow, k > 0, zeros);
    }
    a += aRow * <usize>count;
    c += cRow * <usize>count;
    i += count;
  }
}

/**
 * Adds Aᵀ·B to C, A weights of the queries from `start` on, B a packed row for each of these and C a row for each of the
 * `seen` keys: of keys behind `start` in a causal block, a group at a time from the first query on that looks at them.
 */
export function addTransposed(
  pc: usize,
  start: i32,
  rows: i32,
  seen: i32,
  columns: i32,
  a: usize,
  aRow: usize,
  b: usize,
  c: usize,
  cRow: usize,
): void {
  const causal = word(pc, AttentionField.Causal) !== 0;
  for (let j = 0; j < seen; ) {
    const first = causal ? max(0, j - start) : 0;
    const all = causal ? (j < start ? start - j : AttentionBlock.Group) : seen;
    const count = min(all, seen - j);
    const at = a + aRow * <usize>first + ((<usize>j) << 2);
    multiplyPanels(count, columns, rows - first, at, 4, aRow, b, rows, first, c, cRow, true, 0);
    c += cRow * <usize>count;
    j += count;
  }
}
