/** Folding the inputs of one stretch of outputs: along adjacent elements, or row by row for a block of columns. */
import { ReduceField, ReduceOp } from "../src/isa";
import { innerSize, innerStride, offsetOf, outerCount } from "./dims";
import { mulAdd } from "./simd";
import { word } from "./word";

/**
 * Elements that a sum adds up in f32 lanes before it carries them over to f64: 32 for each lane of a long run. A chunk
 * four times as long gains a sixth in speed on what the L2 cache holds, and loses two bits where numbers are equal.
 */
const SUM_CHUNK: i32 = 1024;
const CHUNK_BYTES: usize = <usize>SUM_CHUNK << 2;
/** Rows that a sum of columns adds up in f32 before it carries over to f64. */
const SUM_ROWS: i32 = 128;
/** Most columns of a block: its accumulators stay in the L1 cache, and each row of it is a stream. */
export const BLOCK_COLUMNS: i32 = 512;
/** Where the f64 totals of a block of columns start within the scratch; accumulators of 16 bytes stand before them. */
const TOTALS: usize = <usize>BLOCK_COLUMNS * 16;

/**
 * How many columns `stride` bytes apart are folded together. Those with cache lines of their own come in small blocks:
 * the next row may lie in the same lines, which larger blocks would have pushed out of the cache.
 */
export function blockOf(stride: usize): i32 {
  return stride <= 16 ? BLOCK_COLUMNS : 16;
}

/** The value that changes nothing, in every lane. */
function identity(op: i32): v128 {
  switch (op) {
    case ReduceOp.ProdF32:
      return f32x4.splat(1);
    case ReduceOp.MaxF32:
      return f32x4.splat(-Infinity);
    case ReduceOp.MinF32:
      return f32x4.splat(Infinity);
    case ReduceOp.ProdI32:
      return i32x4.splat(1);
    case ReduceOp.MaxI32:
      return i32x4.splat(i32.MIN_VALUE);
    case ReduceOp.MinI32:
      return i32x4.splat(i32.MAX_VALUE);
    default:
      return i32x4.splat(0);
  }
}

/** Whether f32 lanes add up, to be carried over to f64. */
// @ts-ignore: decorator
@inline
function isSum(op: i32): bool {
  return op == ReduceOp.SumF32 || op == ReduceOp.SquareSumF32;
}

/** What elements count as: themselves, or their squares. */
// @ts-ignore: decorator
@inline
function termOf(op: i32, x: v128): v128 {
  return op == ReduceOp.SquareSumF32 ? f32x4.mul(x, x) : x;
}

/** Elements combined with `lanes`. */
// @ts-ignore: decorator
@inline
function take(op: i32, lanes: v128, x: v128): v128 {
  return op == ReduceOp.SquareSumF32 ? mulAdd(x, x, lanes) : combine(op, lanes, x);
}

/**
 * One step of the fold, lane by lane. Where `op` is a literal, the choice is made at compile time.
 *
 * f32x4.max takes eight instructions in a row on x64. pmax is one of them and keeps a NaN in `a`; one in `b` is put in
 * as all ones, which also leaves the same NaN on every processor. Of two zeros it keeps `a`.
 */
// @ts-ignore: decorator
@inline
function combine(op: i32, a: v128, b: v128): v128 {
  if (isSum(op)) return f32x4.add(a, b);
  if (op == ReduceOp.MaxF32) return v128.or(f32x4.pmax(a, b), f32x4.ne(b, b));
  if (op == ReduceOp.MinF32) return v128.or(f32x4.pmin(a, b), f32x4.ne(b, b));
  if (op == ReduceOp.ProdF32) return f32x4.mul(a, b);
  if (op == ReduceOp.SumI32) return i32x4.add(a, b);
  if (op == ReduceOp.MaxI32) return i32x4.max_s(a, b);
  if (op == ReduceOp.MinI32) return i32x4.min_s(a, b);
  return i32x4.mul(a, b);
}

/** All four lanes folded into lane 0. */
function fold(op: i32, lanes: v128): v128 {
  lanes = combine(op, lanes, v128.shuffle<i32>(lanes, lanes, 2, 3, 0, 1));
  return combine(op, lanes, v128.shuffle<i32>(lanes, lanes, 1, 0, 3, 2));
}

/** The f64 sums of lanes 0 + 2 and 1 + 3. */
// @ts-ignore: decorator
@inline
function widePairs(lanes: v128): v128 {
  return f64x2.add(f64x2.promote_low_f32x4(lanes), f64x2.promote_low_f32x4(highPair(lanes)));
}

// @ts-ignore: decorator
@inline
function highPair(lanes: v128): v128 {
  return v128.shuffle<i64>(lanes, lanes, 1, 1);
}

/** Longest run of which four outputs are folded together: longer ones are worth a loop of their own. */
const FEW: i32 = 64;

/** Folds `count` outputs, their inputs `stride` bytes apart, whose innermost reduced dimension is adjacent in memory. */
export function reduceRuns(
  pc: usize,
  scratch: usize,
  reduced: usize,
  input: usize,
  stride: usize,
  out: usize,
  count: i32,
): void {
  const op = word(pc, ReduceField.Operation);
  const rank = word(pc, ReduceField.ReducedRank);
  const length = innerSize(reduced, rank);
  const runs = outerCount(reduced, rank, word(pc, ReduceField.ReducedCount));
  let done = 0;
  if (runs === 1 && length <= FEW) {
    done = count & ~3;
    foldShortRuns(op, scratch, input, stride, length, out, done);
  }
  for (; done < count; done++) {
    foldRuns(op, reduced, rank, runs, length, input + <usize>done * stride, out + (<usize>done << 2));
  }
}

/** Folds one output. */
function foldRuns(op: i32, reduced: usize, rank: i32, runs: i32, length: i32, input: usize, out: usize): void {
  const sums = isSum(op);
  const chunk = sums ? SUM_CHUNK : i32.MAX_VALUE;
  const neutral = identity(op);
  let lanes = neutral;
  let total = f64x2.splat(0);
  let room = chunk;
  for (let run = 0; run < runs; run++) {
    let at = input + offsetOf(reduced, rank - 1, run);
    let left = length;
    while (left > 0) {
      const part = min(left, room);
      // As elementwise chains do: sums of 4 M elements take 0.94 of the time.
      if (left > 3 * SUM_CHUNK) load<u8>(at + 2 * CHUNK_BYTES);
      lanes = foldRun(op, lanes, at, part);
      at += <usize>part << 2;
      left -= part;
      room -= part;
      if (room == 0) {
        if (sums) {
          total = f64x2.add(total, widePairs(lanes));
          lanes = neutral;
        }
        room = chunk;
      }
    }
  }
  if (sums) {
    total = f64x2.add(total, widePairs(lanes));
    store<f32>(out, <f32>(f64x2.extract_lane(total, 0) + f64x2.extract_lane(total, 1)));
  } else {
    v128.store_lane<u32>(out, fold(op, lanes), 0);
  }
}

/** As `foldRuns`, with the same bits, for a multiple of four outputs of one short run each. */
function foldShortRuns(op: i32, scratch: usize, input: usize, stride: usize, length: i32, out: usize, count: i32): void {
  switch (op) {
    case ReduceOp.SumF32:
      return foldShortRunsBy(ReduceOp.SumF32, scratch, input, stride, length, out, count);
    case ReduceOp.SquareSumF32:
      return foldShortRunsBy(ReduceOp.SquareSumF32, scratch, input, stride, length, out, count);
    case ReduceOp.ProdF32:
      return foldShortRunsBy(ReduceOp.ProdF32, scratch, input, stride, length, out, count);
    case ReduceOp.MaxF32:
      return foldShortRunsBy(ReduceOp.MaxF32, scratch, input, stride, length, out, count);
    case ReduceOp.MinF32:
      return foldShortRunsBy(ReduceOp.MinF32, scratch, input, stride, length, out, count);
    case ReduceOp.SumI32:
      return foldShortRunsBy(ReduceOp.SumI32, scratch, input, stride, length, out, count);
    case ReduceOp.ProdI32:
      return foldShortRunsBy(ReduceOp.ProdI32, scratch, input, stride, length, out, count);
    case ReduceOp.MaxI32:
      return foldShortRunsBy(ReduceOp.MaxI32, scratch, input, stride, length, out, count);
    default:
      return foldShortRunsBy(ReduceOp.MinI32, scratch, input, stride, length, out, count);
  }
}

/** The lanes of four outputs are transposed, so that what folds them across is done for all four at once. */
// @ts-ignore: decorator
@inline
function foldShortRunsBy(
  op: i32,
  scratch: usize,
  input: usize,
  stride: usize,
  length: i32,
  out: usize,
  count: i32,
): void {
  const neutral = identity(op);
  for (const end = out + (<usize>count << 2); out < end; out += 16) {
    for (let row: usize = 0; row < 64; row += 16) {
      v128.store(scratch + row, foldRunBy(op, neutral, input, length));
      input += stride;
    }
    const a = v128.load(scratch);
    const b = v128.load(scratch, 16);
    const c = v128.load(scratch, 32);
    const d = v128.load(scratch, 48);
    const ab = v128.shuffle<i32>(a, b, 0, 4, 1, 5);
    const ab2 = v128.shuffle<i32>(a, b, 2, 6, 3, 7);
    const cd = v128.shuffle<i32>(c, d, 0, 4, 1, 5);
    const cd2 = v128.shuffle<i32>(c, d, 2, 6, 3, 7);
    const lane0 = v128.shuffle<i64>(ab, cd, 0, 2);
    const lane1 = v128.shuffle<i64>(ab, cd, 1, 3);
    const lane2 = v128.shuffle<i64>(ab2, cd2, 0, 2);
    const lane3 = v128.shuffle<i64>(ab2, cd2, 1, 3);
    if (isSum(op)) {
      const low = f64x2.add(
        f64x2.add(f64x2.promote_low_f32x4(lane0), f64x2.promote_low_f32x4(lane2)),
        f64x2.add(f64x2.promote_low_f32x4(lane1), f64x2.promote_low_f32x4(lane3)),
      );
      const high = f64x2.add(
        f64x2.add(f64x2.promote_low_f32x4(highPair(lane0)), f64x2.promote_low_f32x4(highPair(lane2))),
        f64x2.add(f64x2.promote_low_f32x4(highPair(lane1)), f64x2.promote_low_f32x4(highPair(lane3))),
      );
      v128.store(out, v128.shuffle<i64>(f32x4.demote_f64x2_zero(low), f32x4.demote_f64x2_zero(high), 0, 2));
    } else {
      v128.store(out, combine(op, combine(op, lane0, lane2), combine(op, lane1, lane3)));
    }
  }
}

/** `lanes` combined with `count` adjacent elements. */
export function foldRun(op: i32, lanes: v128, at: usize, count: i32): v128 {
  switch (op) {
    case ReduceOp.SumF32:
      return foldRunBy(ReduceOp.SumF32, lanes, at, count);
    case ReduceOp.SquareSumF32:
      return foldRunBy(ReduceOp.SquareSumF32, lanes, at, count);
    case ReduceOp.ProdF32:
      return foldRunBy(ReduceOp.ProdF32, lanes, at, count);
    case ReduceOp.MaxF32:
      return foldRunBy(ReduceOp.MaxF32, lanes, at, count);
    case ReduceOp.MinF32:
      return foldRunBy(ReduceOp.MinF32, lanes, at, count);
    case ReduceOp.SumI32:
      return foldRunBy(ReduceOp.SumI32, lanes, at, count);
    case ReduceOp.ProdI32:
      return foldRunBy(ReduceOp.ProdI32, lanes, at, count);
    case ReduceOp.MaxI32:
      return foldRunBy(ReduceOp.MaxI32, lanes, at, count);
    default:
      return foldRunBy(ReduceOp.MinI32, lanes, at, count);
  }
}

/** Eight accumulators hide the latency of an addition, at two loads a cycle. */
// @ts-ignore: decorator
@inline
function foldRunBy(op: i32, lanes: v128, at: usize, count: i32): v128 {
  const neutral = identity(op);
  let left = count;
  if (left >= 32) {
    let a1 = neutral;
    let a2 = neutral;
    let a3 = neutral;
    let a4 = neutral;
    let a5 = neutral;
    let a6 = neutral;
    let a7 = neutral;
    do {
      lanes = take(op, lanes, v128.load(at));
      a1 = take(op, a1, v128.load(at, 16));
      a2 = take(op, a2, v128.load(at, 32));
      a3 = take(op, a3, v128.load(at, 48));
      a4 = take(op, a4, v128.load(at, 64));
      a5 = take(op, a5, v128.load(at, 80));
      a6 = take(op, a6, v128.load(at, 96));
      a7 = take(op, a7, v128.load(at, 112));
      at += 128;
      left -= 32;
    } while (left >= 32);
    lanes = combine(op, combine(op, lanes, a1), combine(op, a2, a3));
    lanes = combine(op, lanes, combine(op, combine(op, a4, a5), combine(op, a6, a7)));
  }
  for (; left >= 4; left -= 4) {
    lanes = take(op, lanes, v128.load(at));
    at += 16;
  }
  for (; left > 0; left--) {
    lanes = take(op, lanes, v128.load_lane<u32>(at, neutral, 0));
    at += 4;
  }
  return lanes;
}

/**
 * Folds `count` outputs whose inputs are `stride` bytes apart, all of them row by row of the reduced dimensions.
 * Adjacent columns take one accumulator for four; the others, and the last few, lane 0 of one each, with the same
 * arithmetic.
 */
export function reduceColumns(
  pc: usize,
  scratch: usize,
  reduced: usize,
  input: usize,
  stride: usize,
  out: usize,
  count: i32,
): void {
  const op = word(pc, ReduceField.Operation);
  const rank = word(pc, ReduceField.ReducedRank);
  const rows = innerSize(reduced, rank);
  const rowStride = innerStride(reduced, rank);
  const planes = outerCount(reduced, rank, word(pc, ReduceField.ReducedCount));
  const wide = isSum(op) && word(pc, ReduceField.ReducedCount) > SUM_ROWS;
  const neutral = identity(op);
  const totals = scratch + TOTALS;
  while (count > 0) {
    const columns = min(count, blockOf(stride));
    const vectors = stride == 4 ? columns >> 2 : 0;
    const singles = columns - (vectors << 2);
    const slots = vectors + singles;
    for (let slot = 0; slot < slots; slot++) {
      v128.store(scratch + (<usize>slot << 4), neutral);
      if (wide) {
        v128.store(totals + (<usize>slot << 5), f64x2.splat(0));
        v128.store(totals + (<usize>slot << 5), f64x2.splat(0), 16);
      }
    }
    let room = wide ? SUM_ROWS : i32.MAX_VALUE;
    for (let plane = 0; plane < planes; plane++) {
      let at = input + offsetOf(reduced, rank - 1, plane);
      let left = rows;
      while (left > 0) {
        const part = min(left, room);
        foldRows(op, scratch, vectors, singles, stride, at, part, rowStride);
        at += <usize>part * rowStride;
        left -= part;
        room -= part;
        if (wide && room == 0) {
          carry(scratch, totals, slots);
          room = SUM_ROWS;
        }
      }
    }
    if (wide) {
      carry(scratch, totals, slots);
      round(scratch, totals, slots);
    }
    for (let vector = 0; vector < vectors; vector++) {
      v128.store(out, v128.load(scratch + (<usize>vector << 4)));
      out += 16;
    }
    for (let slot = vectors; slot < slots; slot++) {
      store<i32>(out, load<i32>(scratch + (<usize>slot << 4)));
      out += 4;
    }
    input += <usize>columns * stride;
    count -= columns;
  }
}

/** Moves f32 accumulators over to their f64 totals. */
function carry(accumulators: usize, totals: usize, slots: i32): void {
  for (const end = accumulators + (<usize>slots << 4); accumulators < end; accumulators += 16) {
    const lanes = v128.load(accumulators);
    v128.store(totals, f64x2.add(v128.load(totals), f64x2.promote_low_f32x4(lanes)));
    v128.store(totals, f64x2.add(v128.load(totals, 16), f64x2.promote_low_f32x4(highPair(lanes))), 16);
    v128.store(accumulators, f32x4.splat(0));
    totals += 32;
  }
}

/** Rounds f64 totals to f32 accumulators. */
function round(accumulators: usize, totals: usize, slots: i32): void {
  for (const end = accumulators + (<usize>slots << 4); accumulators < end; accumulators += 16) {
    const low = f32x4.demote_f64x2_zero(v128.load(totals));
    const high = f32x4.demote_f64x2_zero(v128.load(totals, 16));
    v128.store(accumulators, v128.shuffle<i64>(low, high, 0, 2));
    totals += 32;
  }
}

/**
 * Combines `rows` rows, `rowStride` bytes apart, into accumulators of 16 bytes: `vectors` of four adjacent columns
 * each, then `singles` of one column each, `stride` bytes apart, in lane 0.
 */
function foldRows(
  op: i32,
  accumulators: usize,
  vectors: i32,
  singles: i32,
  stride: usize,
  at: usize,
  rows: i32,
  rowStride: usize,
): void {
  switch (op) {
    case ReduceOp.SumF32:
      return foldRowsBy(ReduceOp.SumF32, accumulators, vectors, singles, stride, at, rows, rowStride);
    case ReduceOp.SquareSumF32:
      return foldRowsBy(ReduceOp.SquareSumF32, accumulators, vectors, singles, stride, at, rows, rowStride);
    case ReduceOp.ProdF32:
      return foldRowsBy(ReduceOp.ProdF32, accumulators, vectors, singles, stride, at, rows, rowStride);
    case ReduceOp.MaxF32:
      return foldRowsBy(ReduceOp.MaxF32, accumulators, vectors, singles, stride, at, rows, rowStride);
    case ReduceOp.MinF32:
      return foldRowsBy(ReduceOp.MinF32, accumulators, vectors, singles, stride, at, rows, rowStride);
    case ReduceOp.SumI32:
      return foldRowsBy(ReduceOp.SumI32, accumulators, vectors, singles, stride, at, rows, rowStride);
    case ReduceOp.ProdI32:
      return foldRowsBy(ReduceOp.ProdI32, accumulators, vectors, singles, stride, at, rows, rowStride);
    case ReduceOp.MaxI32:
      return foldRowsBy(ReduceOp.MaxI32, accumulators, vectors, singles, stride, at, rows, rowStride);
    default:
      return foldRowsBy(ReduceOp.MinI32, accumulators, vectors, singles, stride, at, rows, rowStride);
  }
}

/** Four rows for each pass over the accumulators, so that loads of the input outnumber those of the accumulators. */
// @ts-ignore: decorator
@inline
function foldRowsBy(
  op: i32,
  accumulators: usize,
  vectors: i32,
  singles: i32,
  stride: usize,
  at: usize,
  rows: i32,
  rowStride: usize,
): void {
  const vectorEnd = <usize>vectors << 4;
  const end = vectorEnd + (<usize>singles << 4);
  for (; rows >= 4; rows -= 4) {
    const at1 = at + rowStride;
    const at2 = at1 + rowStride;
    const at3 = at2 + rowStride;
    for (let i: usize = 0; i < vectorEnd; i += 16) {
      const low = take(op, termOf(op, v128.load(at + i)), v128.load(at1 + i));
      const high = take(op, termOf(op, v128.load(at2 + i)), v128.load(at3 + i));
      v128.store(accumulators + i, combine(op, v128.load(accumulators + i), combine(op, low, high)));
    }
    let j = vectorEnd;
    for (let i = vectorEnd; i < end; i += 16) {
      const low = take(op, termOf(op, v128.load_zero<u32>(at + j)), v128.load_zero<u32>(at1 + j));
      const high = take(op, termOf(op, v128.load_zero<u32>(at2 + j)), v128.load_zero<u32>(at3 + j));
      v128.store(accumulators + i, combine(op, v128.load(accumulators + i), combine(op, low, high)));
      j += stride;
    }
    at = at3 + rowStride;
  }
  for (; rows > 0; rows--) {
    for (let i: usize = 0; i < vectorEnd; i += 16) {
      v128.store(accumulators + i, take(op, v128.load(accumulators + i), v128.load(at + i)));
    }
    let j = vectorEnd;
    for (let i = vectorEnd; i < end; i += 16) {
      v128.store(accumulators + i, take(op, v128.load(accumulators + i), v128.load_zero<u32>(at + j)));
      j += stride;
    }
    at += rowStride;
  }
}
