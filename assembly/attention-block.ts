/** What attention and its gradient share: operands, weights of blocks of queries, and products with packed panels. */
import { AttentionBlock } from "../src/workspace/attention";
import { AttentionField } from "../src/isa";
import { packPanels, panelWidth } from "./gemm-block";
import { panel } from "./gemm-kernel";
import { pack } from "./gemm-pack";
import { exponentials, maximum, scale } from "./rows-softmax";
import { address, word } from "./word";

/** Bytes of a row of `floats` in whole vectors. */
// @ts-ignore: decorator
@inline
export function rowBytes(floats: i32): usize {
  return ((<usize>floats + 3) & ~3) << 2;
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
  const from = matrixOf(pc, field, matrix) + stride(pc, field + 3) * <usize>first;
  pack(count, columns, from, stride(pc, field + 3), stride(pc, field + 4), to, toRow);
  if (factor === 1) return;
  for (let i = 0; i < count; i++) {
    scale(to, to, columns, factor);
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

/** Zeros in place of the scores [from, to) of a row. */
// @ts-ignore: decorator
@inline
export function blank(row: usize, from: i32, to: i32): void {
  for (let j = from; j < to; j++) store<f32>(row + ((<usize>j) << 2), 0);
}

/**
 * Scores of the queries from `start` on to unnormalized weights, the reciprocals of whose sums go to `factors`; `seen` keys are in view of the
 * block, and those that a query may not look at get weight 0.
 */
export function weigh(pc: usize, start: i32, rows: i32, seen: i32, scores: usize, scoreRow: usize, factors: usize): void {
  for (let i = 0; i < rows; i++) {
    const count = visible(pc, start + i);
    store<f32>(factors + ((<usize>i) << 2), <f32>(1 / exponentials(scores, scores, count, maximum(scores, count))));
    blank(scores, count, seen);
    scores += scoreRow;
  }
}

/**
 * C = A·B, or C + A·B with `adds`, over `depth` steps in rising order, for the first `columns` columns (and the rest of
 * the panel that the last of them is in). B is packed for `allColumns` columns and `allDepth` steps, of which the first
 * `from` are left out. C's rows hold whole vectors; strides are in bytes. `zeros` are `AttentionBlock.Seed` of them.
 */
export function multiplyPanels(
  rows: i32,
  columns: i32,
  depth: i32,
  a: usize,
  aRow: usize,
  aColumn: usize,
  b: usize,
  allColumns: i32,
  allDepth: i32,
  from: i32,
  c: usize,
  cRow: usize,
  adds: bool,
  zeros: usize,
): void {
  const seedRow = adds ? cRow : 0;
  for (let j = 0; j < columns; ) {
    const width = panelWidth(allColumns - j);
    const bytes = (<usize>width) << 2;
    const first = b + bytes * <usize>from;
    panel(width, rows, depth, a, aRow, aColumn, first, bytes, adds ? c : zeros, seedRow, c, cRow);
    b += bytes * <usize>allDepth;
    c += bytes;
    j += width;
  }
}

/** `multiplyPanels` over all columns, in blocks of the depth whose panels stay in L1; A's columns are adjacent. */
export function multiplyDeep(
  rows: i32,
  columns: i32,
  depth: i32,
  a: usize,
  aRow: usize,
  b: usize,
  allDepth: i32,
  c: usize,
  cRow: usize,
  zeros: usize,
): void {
  for (let k = 0; k < depth; k += AttentionBlock.Depth) {
    const part = min<i32>(depth - k, AttentionBlock.Depth);
    const ak = a + ((<usize>k) << 2);
    multiplyPanels(rows, columns, part, ak, aRow, 4, b, columns, allDepth, k, c, cRow, k > 0, zeros);
  }
}
