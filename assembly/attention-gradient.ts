/** The gradients of attention, from its inputs alone. */
import { AttentionBlock } from "../src/workspace/attention";
import { AttentionField } from "../src/isa";
import {
  blank,
  copyBlock,
  multiplyDeep,
  multiplyPanels,
  packColumns,
  packRows,
  rowBytes,
  visible,
  weigh,
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
  const scoreRow = rowBytes(keys);
  const queryRow = rowBytes(width);
  const valueRow = rowBytes(valueWidth);
  const weights = workspace + (AttentionBlock.Seed << 2);
  const pulls = weights + scoreRow * AttentionBlock.Rows;
  const query = pulls + scoreRow * AttentionBlock.Rows;
  const gradient = query + queryRow * AttentionBlock.Rows;
  const queryPanels = gradient + valueRow * AttentionBlock.Rows;
  const gradientPanels = queryPanels + queryRow * AttentionBlock.Rows;
  const keyColumns = gradientPanels + valueRow * AttentionBlock.Rows;
  const valueColumns = keyColumns + scoreRow * <usize>width;
  const keyRows = valueColumns + scoreRow * <usize>valueWidth;
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
  for (let start = 0; start < queries; start += AttentionBlock.Rows) {
    const rows = min<i32>(queries - start, AttentionBlock.Rows);
    const seen = visible(pc, start + rows - 1);
    copyBlock(pc, AttentionField.Query, matrix, start, rows, width, factor, query, queryRow);
    copyBlock(pc, AttentionField.Gradient, matrix, start, rows, valueWidth, 1, gradient, valueRow);
    multiplyPanels(
      rows, seen, width, query, queryRow, 4, keyColumns, keys, width, 0, weights, scoreRow, false, workspace,
    );
    packPanels(rows, width, query, queryRow, 4, queryPanels);
    packPanels(rows, valueWidth, gradient, valueRow, 4, gradientPanels);
    weigh(pc, start, rows, seen, weights, scoreRow, query);
    multiplyPanels(
      rows, seen, valueWidth, gradient, valueRow, 4, valueColumns, keys, valueWidth, 0, pulls, scoreRow, false,
      workspace,
    );
    let weight = weights;
    let pull = pulls;
    for (let i = 0; i < rows; i++) {
      const count = visible(pc, start + i);
      scale(weight, weight, count, load<f32>(query + ((<usize>i) << 2)));
      softmaxGradientRow(pull, weight, pull, count);
      blank(pull, count, seen);
      weight += scoreRow;
      pull += scoreRow;
    }
    multiplyPanels(
      seen, valueWidth, rows, weights, 4, scoreRow, gradientPanels, valueWidth, rows, 0, valueSums, valueRow, true,
      workspace,
    );
    multiplyPanels(
      seen, width, rows, pulls, 4, scoreRow, queryPanels, width, rows, 0, keySums, queryRow, true, workspace,
    );
    multiplyDeep(rows, width, seen, pulls, scoreRow, keyRows, keys, query, queryRow, workspace);
    deliver(query, queryRow, rows, width, factor, queryOut + queryOutRow * <usize>start, queryOutRow);
  }
  deliver(keySums, queryRow, keys, width, 1, keyOut, queryOutRow);
  deliver(valueSums, valueRow, keys, valueWidth, 1, valueOut, valueOutRow);
}
