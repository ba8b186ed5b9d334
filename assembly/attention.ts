/**
 * Attention: softmax(Q·Kᵀ·scale)·V and its gradients, a block of queries at a time, without ever holding the matrix of
 * all scores.
 *
 * After Dao et al., "FlashAttention" (2022), but a block has the scores of its queries with all keys: on a CPU a few
 * rows of scores stay in L2 however many keys there are, so that the softmax needs no rescaling and the gradient can
 * compute it again without anything saved. Memory is linear in the numbers of queries and keys.
 */
import { AttentionBlock, attentionRows } from "../src/workspace/attention";
import { AttentionField } from "../src/isa";
import {
  copyBlock,
  multiplyLower,
  multiplyWeights,
  packColumns,
  packRows,
  rowBytes,
  scoreBytes,
  visible,
  weigh,
} from "./attention-block";
import { pullBack } from "./attention-gradient";
import { unitsOf } from "./gemm-block";
import { clear } from "./gemm-pack";
import { scale } from "./rows-softmax";
import { address, shareStart, word } from "./word";

/**
 * Runs this thread's share of the Attention at `pc`: of the output, whole blocks of queries; of the gradients, whole
 * matrices (heads), because every query adds to the gradients of all keys.
 *
 * Operands have any strides. The output is [batch, row, head, column], row-major; the gradients of Q, K and V are so too,
 * one after the other, unless all are of one size: then they are [batch, row, 3, head, column], which is what the
 * gradient of one product that gave all three is read from without a copy. No operand overlaps the output. Nothing is read outside of operands, and nothing is written
 * outside of the output and the thread's own workspace. There is at least one key.
 *
 * A causal query i looks at keys 0 to i. What it may not look at has weight 0, by which its value is multiplied where a
 * later query of its group (`AttentionBlock.Group`) does: an infinite value there gives NaN. A row of scores with a NaN, or with nothing but
 * -∞, gives NaN. Bits depend on the operands' values alone. Measured on numbers from -1 to 1, with 1 to 300 keys of width 1
 * to 72: errors of the output below 3.5 · 2⁻²⁴ of the largest value, of the gradients below 9.9 · 2⁻²⁴ of their largest.
 */
export function attention(pc: usize, thread: i32, threads: i32): void {
  const matrices = word(pc, AttentionField.Batch) * word(pc, AttentionField.Heads);
  const queries = word(pc, AttentionField.Queries);
  const bytes = address(pc, AttentionField.WorkspaceBytes);
  const workspace = address(pc, AttentionField.Workspace) + bytes * <usize>thread;
  clear(workspace, AttentionBlock.Seed << 2);
  if (address(pc, AttentionField.Gradient) !== 0) {
    const end = shareStart(matrices, thread + 1, threads);
    for (let matrix = shareStart(matrices, thread, threads); matrix < end; matrix++) pullBack(pc, workspace, matrix);
    return;
  }
  const rows = <i32>attentionRows(<f64>word(pc, AttentionField.Keys));
  const blocks = unitsOf(queries, rows);
  const end = shareStart(matrices * blocks, thread + 1, threads);
  let unit = shareStart(matrices * blocks, thread, threads);
  while (unit < end) {
    const matrix = unit / blocks;
    const first = unit - matrix * blocks;
    const last = min(blocks, first + end - unit);
    attend(pc, workspace, matrix, first * rows, min(queries, last * rows));
    unit += last - first;
  }
}

/** Queries [first, end) of one matrix. */
function attend(pc: usize, workspace: usize, matrix: i32, first: i32, end: i32): void {
  const keys = word(pc, AttentionField.Keys);
  const width = word(pc, AttentionField.Width);
  const valueWidth = word(pc, AttentionField.ValueWidth);
  const factor = reinterpret<f32>(word(pc, AttentionField.Scale));
  const heads = word(pc, AttentionField.Heads);
  const scoreRow = scoreBytes(keys);
  const queryRow = rowBytes(width);
  const valueRow = rowBytes(valueWidth);
  const blockRows = <i32>attentionRows(<f64>keys);
  const scores = workspace + (AttentionBlock.Seed << 2);
  const query = scores + scoreRow * <usize>blockRows;
  const value = query + queryRow * <usize>blockRows;
  const packedKeys = value + valueRow * <usize>blockRows;
  const packedValues = packedKeys + rowBytes(keys) * <usize>width;
  packColumns(pc, AttentionField.Key, matrix, keys, width, packedKeys);
  packRows(pc, AttentionField.Value, matrix, keys, valueWidth, packedValues);

  const batch = matrix / heads;
  const outRow = (<usize>(heads * valueWidth)) << 2;
  let out = address(pc, AttentionField.Out) + ((<usize>((matrix - batch * heads) * valueWidth)) << 2);
  out += outRow * <usize>(batch * word(pc, AttentionField.Queries) + first);
  for (let start = first; start < end; start += blockRows) {
    const rows = min(end - start, blockRows);
    const seen = visible(pc, start + rows - 1);
    const diagonal = visible(pc, start) - 1;
    copyBlock(pc, AttentionField.Query, matrix, start, rows, width, factor, query, queryRow);
    multiplyLower(rows, seen, width, query, queryRow, packedKeys, keys, diagonal, scores, scoreRow, workspace);
    // The queries have been used, and their place is free for the factors, which the values are multiplied by in the
    // end: there are fewer of those than of weights.
    weigh(pc, start, rows, scores, scoreRow, query);
    multiplyWeights(
      pc, start, rows, valueWidth, scores, scoreRow, packedValues, keys, value, valueRow, workspace,
    );
    let row = value;
    for (let i = 0; i < rows; i++) {
      scale(out, row, valueWidth, load<f32>(query + ((<usize>i) << 2)));
      out += outRow;
      row += valueRow;
    }
  }
}
