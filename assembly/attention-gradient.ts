/** The gradients of attention, from its inputs alone. */
import { AttentionBlock, attentionRows } from "../src/workspace/attention";
import { AttentionField } from "../src/isa";
import {
  addTransposed,
  blank,
  copyBlock,
  multiplyLower,
  multiplyWeights,
  packColumns,
  packRows,
  rowBytes,
  scoreBytes,
  seenByGroup,
  visible,
  weigh,
  wholeVectors,
} from "./attention-block";
import { packPanels } from "./gemm-block";
import { clear } from "./gemm-pack";
import { scale, softmaxGradientRow } from "./rows-softmax";
import { address, word } from "./word";

/** `rows` rows times `factor`, to rows `outRow` bytes apart. */
function deliver(from: usize, fromRow: usize, rows: i32, columns: i32, factor: f32, out: usize, outRow: usize): void {
  for (let i = 0; i < rows; i++) {
    scale(out, from, columns, factor);
    from += fromRow;
    out += outRow;
  }
}

/** P of a block, from what `weigh` gave, and dS in place of dP. */
function pullScores(
  pc: usize,
  start: i32,
  rows: i32,
  weights: usize,
  pulls: usize,
  scoreRow: usize,
  factors: usize,
): void {
  for (let group = 0; group < rows; group += AttentionBlock.Group) {
    const end = min<i32>(rows, group + AttentionBlock.Group);
    const seen = seenByGroup(pc, start + group);
    for (let i = group; i < end; i++) {
      const count = visible(pc, start + i);
      const whole = wholeVectors(count);
      scale(weights, weights, whole, load<f32>(factors + ((<usize>i) << 2)));
      blank(weights, count, whole);
      blank(pulls, count, whole);
      softmaxGradientRow(pulls, weights, pulls, whole);
      blank(pulls, count, seen);
      weights += scoreRow;
      pulls += scoreRow;
    }
  }
}

/**
 * All gradients of one matrix: with P the weights and G the gradient of the output, for every block of queries
 *
 *     dV += Pᵀ·G      dP = G·Vᵀ      dS = P ∘ (dP - Σ P ∘ dP)      dQ = dS·K·scale      dK += dSᵀ·(Q·scale)
 */
export function pullBack(pc: usize, workspace: usize, matrix: i32): void {
  const keys = word(pc, AttentionField.Keys);
  const queries = word(pc, AttentionField.Queries);
  const width = word(pc, AttentionField.Width);
  const valueWidth = word(pc, AttentionField.ValueWidth);
  const factor = reinterpret<f32>(word(pc, AttentionField.Scale));
  const blockRows = <i32>attentionRows(<f64>keys);
  const block = <usize>blockRows;
  const scoreRow = scoreBytes(keys);
  const queryRow = rowBytes(width);
  const valueRow = rowBytes(valueWidth);
  const weights = workspace + (AttentionBlock.Seed << 2);
  const pulls = weights + scoreRow * block;
  const query = pulls + scoreRow * block;
  const gradient = query + queryRow * block;
  const queryPanels = gradient + valueRow * block;
  const gradientPanels = queryPanels + queryRow * block;
  const keyColumns = gradientPanels + valueRow * block;
  const valueColumns = keyColumns + rowBytes(keys) * <usize>width;
  const keyRows = valueColumns + rowBytes(keys) * <usize>valueWidth;
  const keySums = keyRows + queryRow * <usize>keys;
  const valueSums = keySums + queryRow * <usize>keys;
  packColumns(pc, AttentionField.Key, matrix, keys, width, keyColumns);
  packColumns(pc, AttentionField.Value, matrix, keys, valueWidth, valueColumns);
  packRows(pc, AttentionField.Key, matrix, keys, width, keyRows);
  clear(keySums, (queryRow + valueRow) * <usize>keys);

  const heads = word(pc, AttentionField.Heads);
  const batch = matrix / heads;
  const head = matrix - batch * heads;
  const all = word(pc, AttentionField.Batch);
  const queryFloats = heads * width;
  const valueFloats = heads * valueWidth;
  // The three are side by side in rows, or one after the other.
  const packed = queries === keys && width === valueWidth;
  const queryOutRow = (<usize>(packed ? 3 * queryFloats : queryFloats)) << 2;
  const valueOutRow = (<usize>(packed ? 3 * valueFloats : valueFloats)) << 2;
  let queryOut = address(pc, AttentionField.Out);
  let keyOut = queryOut + ((<usize>(packed ? queryFloats : all * queries * queryFloats)) << 2);
  let valueOut = keyOut + ((<usize>(packed ? queryFloats : all * keys * queryFloats)) << 2);
  queryOut += queryOutRow * <usize>(batch * queries) + ((<usize>(head * width)) << 2);
  keyOut += queryOutRow * <usize>(batch * keys) + ((<usize>(head * width)) << 2);
  valueOut += valueOutRow * <usize>(batch * keys) + ((<usize>(head * valueWidth)) << 2);
  for (let start = 0; start < queries; start += blockRows) {
    const rows = min(queries - start, blockRows);
    const seen = visible(pc, start + rows - 1);
    const diagonal = visible(pc, start) - 1;
    copyBlock(pc, AttentionField.Query, matrix, start, rows, width, factor, query, queryRow);
    copyBlock(pc, AttentionField.Gradient, matrix, start, rows, valueWidth, 1, gradient, valueRow);
    multiplyLower(rows, seen, width, query, queryRow, keyColumns, keys, diagonal, weights, scoreRow, workspace);
    packPanels(rows, width, query, queryRow, 4, queryPanels);
    packPanels(rows, valueWidth, gradient, valueRow, 4, gradientPanels);
    weigh(pc, start, rows, weights, scoreRow, query);
    multiplyLower(
      rows, seen, valueWidth, gradient, valueRow, valueColumns, keys, diagonal, pulls, scoreRow, workspace,
    );
    pullScores(pc, start, rows, weights, pulls, scoreRow, query);
    addTransposed(pc, start, rows, seen, valueWidth, weights, scoreRow, gradientPanels, valueSums, valueRow);
    addTransposed(pc, start, rows, seen, width, pulls, scoreRow, queryPanels, keySums, queryRow);
    multiplyWeights(pc, start, rows, width, pulls, scoreRow, keyRows, keys, query, queryRow, workspace);
    deliver(query, queryRow, rows, width, factor, queryOut + queryOutRow * <usize>start, queryOutRow);
  }
  deliver(keySums, queryRow, keys, width, 1, keyOut, queryOutRow);
  deliver(valueSums, valueRow, keys, valueWidth, 1, valueOut, valueOutRow);
}
