/** Reductions: folds the reduced dimensions of a strided tensor into one value, or one index, for each kept element. */
import { ReduceField, ReduceOp } from "../src/isa";
import { argColumns, argRuns } from "./arg";
import { innerSize, innerStride, offsetOf, outerCount } from "./dims";
import { reduceColumns, reduceRuns } from "./fold";
import { address, shareStart, word } from "./word";

/** Log2 of the adjacent columns that are always dealt to one thread: a cache line of the output. */
const UNIT_SHIFT: i32 = 4;
/** Fewer adjacent elements than this are not worth a horizontal fold: they are taken as columns, if there are many. */
const SHORT_RUN: i32 = 8;
/** As SHORT_RUN, for the arg- variants, which look at a run twice. */
const SHORT_ARG_RUN: i32 = 32;

/**
 * Reduces with any strides, zero and negative ones too. Out must not overlap the input. Out is written exactly, never
 * past its last element, and nothing outside the input is read.
 *
 * Values depend on the shape and strides alone, never on the number of threads. A sum of floats is within
 * 1024 · 2⁻²⁴ · Σ|x| of the true one, however long, as f32 lanes hold partial sums only and f64 adds those up; measured
 * over 4M equal numbers, 5 · 2⁻²⁴ along a run or down a column, and below 2⁻²⁴ over random ones. Squares that are summed
 * are rounded once, each on its own on the strict build and as they are added on the relaxed one. A sum of negative zeros
 * is +0. Products round after every factor. Max and Min are NaN where any element is; of zeros of both signs they may
 * give either, but always the same. The arg- variants give the first NaN, else the first extreme element (-0 equals
 * +0). Integers wrap. Over nothing: 0 for sums and indices, 1 for products, and for Max (Min) the least (greatest)
 * value of the type.
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
  const reduced = kept + (<usize>keptRank << 3);
  const reducedRank = word(pc, ReduceField.ReducedRank);
  const adjacentColumns = columnStride == 4 && columns >= 4;
  const adjacentRun = innerStride(reduced, reducedRank) == 4;
  const runs = adjacentRun && (columns < 4 || innerSize(reduced, reducedRank) >= (isArg ? SHORT_ARG_RUN : SHORT_RUN));

  const shift = adjacentColumns && !runs ? UNIT_SHIFT : 0;
  const unitsPerRow = (columns + (1 << shift) - 1) >> shift;
  const units = outerCount(kept, keptRank, keptCount) * unitsPerRow;
  const end = shareStart(units, thread + 1, threads);
  let at = shareStart(units, thread, threads);
  while (at < end) {
    const row = keptRank > 1 ? at / unitsPerRow : 0;
    const rowStart = row * unitsPerRow;
    const stop = min(end, rowStart + unitsPerRow);
    const first = (at - rowStart) << shift;
    const count = min(columns, (stop - rowStart) << shift) - first;
    const input = address(pc, ReduceField.In) + offsetOf(kept, keptRank - 1, row) + <usize>first * columnStride;
    const out = address(pc, ReduceField.Out) + (<usize>(row * columns + first) << 2);
    if (isArg && runs) argRuns(pc, reduced, input, columnStride, out, count);
    else if (isArg) argColumns(pc, scratch, reduced, input, columnStride, out, count);
    else if (runs) reduceRuns(pc, scratch, reduced, input, columnStride, out, count);
    else reduceColumns(pc, scratch, reduced, input, columnStride, out, count);
    at = stop;
  }
}
