/** Rows: kernels that go over each row of a matrix a few times while it is in the cache, instead of over all of it. */
import { RowBlock, RowOp, RowsField, StatusField } from "../src/isa";
import { normGradientRows, normRows, normWeightBlock } from "./rows-norm";
import {
  crossEntropyGradientRow,
  crossEntropyRow,
  logSoftmaxGradientRow,
  logSoftmaxRow,
  softmaxGradientRow,
  softmaxRow,
} from "./rows-softmax";
import { element } from "./rows-vector";
import { address, shareStart, word } from "./word";

/**
 * Runs this thread's share of the Rows at `pc`: whole rows (for the gradient of a norm's weight, blocks of them).
 * Returns true where a class index is outside of the row; it is in the status record then, and nothing is written.
 *
 * Matrices are row-major and may start at any element; nothing is read or written outside of them, and the output
 * overlaps no input. A row's bits depend on that row (and the parameters) alone, not on its place nor on the threads.
 * Sums go in f32 lanes over at most 1024 elements, and in f64 from there.
 *
 * A NaN or +∞ in a row makes all of its softmax NaN, and so does a row of nothing but -∞; a -∞ among numbers counts as
 * probability 0. Softmax gives 0 where it would be below 8.3e-39 times the greatest one. Errors measured on rows of 1 to
 * 2051 numbers, in units of 2⁻²⁴ of the row's largest output or of the largest term that it is a sum of: softmax 4.2, the
 * cross entropy 2.2, their gradients 2.6, norms 3.2, their gradients 3.1.
 */
export function rows(pc: usize, scratch: usize, status: usize, thread: i32, threads: i32): bool {
  const op = word(pc, RowsField.Operation);
  const count = word(pc, RowsField.Count);
  const length = word(pc, RowsField.Length);
  if (count === 0 || length === 0) return false;
  const isLoss = op === RowOp.CrossEntropy || op === RowOp.CrossEntropyGradient;
  if (isLoss && hasBadIndex(address(pc, RowsField.Index), count, length, status)) return true;

  const units = op === RowOp.LayerNormWeight || op === RowOp.RmsNormWeight ? blocksOf(count) : count;
  const first = shareStart(units, thread, threads);
  const end = shareStart(units, thread + 1, threads);
  switch (op) {
    case RowOp.LayerNorm:
      normRows(pc, scratch, true, first, end);
      return false;
    case RowOp.RmsNorm:
      normRows(pc, scratch, false, first, end);
      return false;
    case RowOp.LayerNormGradient:
      normGradientRows(pc, scratch, true, first, end);
      return false;
    case RowOp.RmsNormGradient:
      normGradientRows(pc, scratch, false, first, end);
      return false;
    case RowOp.LayerNormWeight:
      for (let block = first; block < end; block++) normWeightBlock(pc, scratch, true, block);
      return false;
    case RowOp.RmsNormWeight:
      for (let block = first; block < end; block++) normWeightBlock(pc, scratch, false, block);
      return false;
  }
  for (let row = first; row < end; row++) softmaxFamily(pc, op, row, length);
  return false;
}

function blocksOf(rows: i32): i32 {
  return (rows + RowBlock.Rows - 1) / RowBlock.Rows;
}

function softmaxFamily(pc: usize, op: i32, row: i32, length: i32): void {
  const a = element(address(pc, RowsField.A), row * length);
  const b = address(pc, RowsField.B);
  const out = address(pc, RowsField.Out);
  const outRow = element(out, row * length);
  const ahead = row + 1 < word(pc, RowsField.Count) ? element(0, length) : 0;
  switch (op) {
    case RowOp.Softmax:
      softmaxRow(outRow, a, length, ahead);
      break;
    case RowOp.LogSoftmax:
      logSoftmaxRow(outRow, a, length, ahead);
      break;
    case RowOp.SoftmaxGradient:
      softmaxGradientRow(outRow, a, element(b, row * length), length);
      break;
    case RowOp.LogSoftmaxGradient:
      logSoftmaxGradientRow(outRow, a, element(b, row * length), length);
      break;
    default: {
      const target = load<i32>(element(address(pc, RowsField.Index), row));
      const smoothing = reinterpret<f32>(word(pc, RowsField.Parameter));
      if (op === RowOp.CrossEntropy) {
        store<f32>(element(out, row), crossEntropyRow(a, length, target, smoothing, ahead));
      } else {
        crossEntropyGradientRow(outRow, a, length, target, smoothing, load<f32>(element(b, row)), ahead);
      }
    }
  }
}

/** Whether one of `count` adjacent class indices is not below `classes`; the first such one goes to the status record. */
function hasBadIndex(at: usize, count: i32, classes: i32, status: usize): bool {
  for (const end = element(at, count); at < end; at += 4) {
    const index = load<i32>(at);
    if (<u32>index >= <u32>classes) {
      store<i32>(status + (StatusField.Value << 2), index);
      return true;
    }
  }
  return false;
}
