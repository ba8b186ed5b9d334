/** Reductions: folds the reduced dimensions of a strided tensor into one value, or one index, for each kept element. */
import { ReduceField, ReduceOp } from "../src/isa";
import { argColumns, argRuns } from "./arg";
import { innerSize, innerStride, offsetOf } from "./dims";
import { reduceColumns, reduceRuns } from "./fold";
import { address, shareStart, word } from "./word";

/** Adjacent columns that are always dealt to one thread: a cache line of the output. */
const UNIT_COLUMNS: i32 = 16;
/** Fewer adjacent elements than this are not worth a horizontal fold when columns are adjacent as well. */
const SHORT_RUN: i32 = 8;

/**
 * Reduces with any strides, zero and negative ones too. Out must not overlap the input. Out is written exactly, never
 * past its last element, and nothing outside the input is read.
 *
 * Values depend on the shape and strides alone, never on the number of threads. Sums of floats: lanes add at most
 * `SUM_CHUNK / 32` numbers in f32 (`SUM_ROWS` in a column) before f64 takes over, so a sum is within
 * SUM_ROWS · 2⁻²⁴ · Σ|x| of the true one however long it is; a sum of negative zeros is +0. Products round after every
 * factor. Max and Min are NaN where any element is, and order -0 below +0. The arg- variants give the first NaN, else
 * the first extreme element (-0 equals +0). Integers wrap. Over nothing: 0 for sums and indices, 1 for products, and
 * for Max (Min) the least (greatest) value of the type.
 */
export function reduce(pc: usize, scratch: usize, thread: i32, threads: i32): void {
  const op = word(pc, ReduceField.Operation);
  const isArg = op == ReduceOp.ArgMaxF32 || op == ReduceOp.ArgMinF32 || op >= ReduceOp.ArgMaxI32;
  const keptCount = word(pc, ReduceField.KeptCount);
  if (keptCount == 0) return;

  const kept = pc + (ReduceField.Dims << 2);
  const keptRank = word(pc, ReduceField.KeptRank);
  const columns = innerSize(kept, keptRank);
  const columnStride = innerStride(kept, keptRank);
  const reduced = kept + ((<usize>keptRank) << 3);
  const reducedRank = word(pc, ReduceField.ReducedRank);
  const adjacentColumns = columnStride == 4 && columns >= 4;
  const adjacentRun = innerStride(reduced, reducedRank) == 4;
  const runs = adjacentRun && !(adjacentColumns && innerSize(reduced, reducedRank) < SHORT_RUN);

  const unit = adjacentColumns && !runs ? UNIT_COLUMNS : 1;
  const unitsPerRow = (columns + unit - 1) / unit;
  const units = (keptCount / columns) * unitsPerRow;
  const end = shareStart(units, thread + 1, threads);
  let at = shareStart(units, thread, threads);
  while (at < end) {
    const row = at / unitsPerRow;
    const rowStart = row * unitsPerRow;
    const stop = min(end, rowStart + unitsPerRow);
    const first = (at - rowStart) * unit;
    const count = min(columns, (stop - rowStart) * unit) - first;
    const input = address(pc, ReduceField.In) + offsetOf(kept, keptRank - 1, row) + <usize>first * columnStride;
    const out = address(pc, ReduceField.Out) + ((<usize>(row * columns + first)) << 2);
    if (runs) {
      if (isArg) argRuns(pc, reduced, input, columnStride, out, count);
      else reduceRuns(pc, reduced, input, columnStride, out, count);
    } else {
      if (isArg) argColumns(pc, scratch, reduced, input, columnStride, out, count);
      else reduceColumns(pc, scratch, reduced, input, columnStride, out, count);
    }
    at = stop;
  }
}
