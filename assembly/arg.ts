/** The arg- reductions: the row-major index, within the reduced dimensions, of the first extreme element. */
import { Layout, ReduceField, ReduceOp } from "../src/isa";
import { innerSize, innerStride, offsetOf, outerCount } from "./dims";
import { BLOCK_COLUMNS, blockOf, foldRun } from "./fold";
import { word } from "./word";

/** Elements whose extreme is found before it is looked for: they are still in the L1 cache then. */
const CHUNK: i32 = 4096;
/** Where the indices of a block of columns stand within the scratch, after their extremes. */
const INDICES: usize = <usize>BLOCK_COLUMNS * 16;

/** What every element beats or equals, in every lane. */
function worst(op: i32): v128 {
  switch (op) {
    case ReduceOp.ArgMaxF32:
      return f32x4.splat(-Infinity);
    case ReduceOp.ArgMinF32:
      return f32x4.splat(Infinity);
    case ReduceOp.ArgMaxI32:
      return i32x4.splat(i32.MIN_VALUE);
    default:
      return i32x4.splat(i32.MAX_VALUE);
  }
}

/** Mask of the lanes where `a` is more extreme than `b`, or the first NaN. */
// @ts-ignore: decorator
@inline
function beats(op: i32, a: v128, b: v128): v128 {
  if (op == ReduceOp.ArgMaxF32) return v128.andnot(f32x4.eq(b, b), f32x4.le(a, b));
  if (op == ReduceOp.ArgMinF32) return v128.andnot(f32x4.eq(b, b), f32x4.ge(a, b));
  if (op == ReduceOp.ArgMaxI32) return i32x4.gt_s(a, b);
  return i32x4.lt_s(a, b);
}

/** The reduction that gives the extreme itself. */
function valueOperation(op: i32): i32 {
  switch (op) {
    case ReduceOp.ArgMaxF32:
      return ReduceOp.MaxF32;
    case ReduceOp.ArgMinF32:
      return ReduceOp.MinF32;
    case ReduceOp.ArgMaxI32:
      return ReduceOp.MaxI32;
    default:
      return ReduceOp.MinI32;
  }
}

/**
 * Indices for `count` outputs whose innermost reduced dimension is adjacent in memory; their inputs are `stride` bytes
 * apart. Finds the extreme of each chunk with the plain reduction, then looks for it in the best chunk alone.
 */
export function argRuns(pc: usize, reduced: usize, input: usize, stride: usize, out: usize, count: i32): void {
  const op = word(pc, ReduceField.Operation);
  const valueOp = valueOperation(op);
  const isFloat = op <= ReduceOp.ArgMinF32;
  const rank = word(pc, ReduceField.ReducedRank);
  const length = innerSize(reduced, rank);
  const elements = word(pc, ReduceField.ReducedCount);
  const runs = outerCount(reduced, rank, elements);
  const lowest = worst(op);
  for (const end = out + (<usize>count << 2); out < end; out += 4) {
    let best = lowest;
    let bestAt = input;
    let bestIndex = 0;
    let bestLength = min(CHUNK, length);
    for (let run = 0; run < runs; run++) {
      const start = input + offsetOf(reduced, rank - 1, run);
      for (let first = 0; first < length; first += CHUNK) {
        const at = start + (<usize>first << 2);
        const part = min(CHUNK, length - first);
        const extreme = splatExtreme(op, foldRun(valueOp, lowest, at, part));
        if (v128.any_true(beats(op, extreme, best))) {
          best = extreme;
          bestAt = at;
          bestIndex = run * length + first;
          bestLength = part;
        }
      }
    }
    store<i32>(out, elements > 0 ? bestIndex + find(isFloat, best, bestAt, bestLength) : 0);
    input += stride;
  }
}

/** The most extreme of four lanes, in every lane. */
function splatExtreme(op: i32, lanes: v128): v128 {
  const swapped = v128.shuffle<i32>(lanes, lanes, 2, 3, 0, 1);
  lanes = v128.bitselect(swapped, lanes, beats(op, swapped, lanes));
  const neighbours = v128.shuffle<i32>(lanes, lanes, 1, 0, 3, 2);
  return v128.bitselect(neighbours, lanes, beats(op, neighbours, lanes));
}

/** Place of the first of `count` adjacent elements that equals `value`, or is NaN. There must be one. */
function find(isFloat: bool, value: v128, at: usize, count: i32): i32 {
  let index = 0;
  for (; index + 4 <= count; index += 4) {
    const found = matches(isFloat, v128.load(at + (<usize>index << 2)), value);
    if (v128.any_true(found)) return index + ctz(i32x4.bitmask(found));
  }
  while (!v128.any_true(matches(isFloat, v128.load_splat<u32>(at + (<usize>index << 2)), value))) index++;
  return index;
}

// @ts-ignore: decorator
@inline
function matches(isFloat: bool, x: v128, value: v128): v128 {
  return isFloat ? v128.or(f32x4.eq(x, value), f32x4.ne(x, x)) : i32x4.eq(x, value);
}

/** Indices for `count` outputs whose inputs are `stride` bytes apart, row by row of the reduced dimensions. */
export function argColumns(
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
  const lowest = worst(op);
  const indices = scratch + INDICES;
  while (count > 0) {
    const columns = min(count, blockOf(stride));
    const vectors = stride == Layout.ElementBytes ? columns >> 2 : 0;
    const slots = columns - vectors * 3;
    for (let slot = 0; slot < slots; slot++) {
      v128.store(scratch + (<usize>slot << 4), lowest);
      v128.store(indices + (<usize>slot << 4), i32x4.splat(0));
    }
    let index = 0;
    for (let plane = 0; plane < planes; plane++) {
      let at = input + offsetOf(reduced, rank - 1, plane);
      for (let row = 0; row < rows; row++) {
        argRow(op, scratch, vectors, slots, stride, at, index);
        at += rowStride;
        index++;
      }
    }
    for (let vector = 0; vector < vectors; vector++) {
      v128.store(out, v128.load(indices + (<usize>vector << 4)));
      out += 16;
    }
    for (let slot = vectors; slot < slots; slot++) {
      store<i32>(out, load<i32>(indices + (<usize>slot << 4)));
      out += 4;
    }
    input += <usize>columns * stride;
    count -= columns;
  }
}

/** Takes the row at `at`, number `index`, into the extremes and indices at `scratch`. */
function argRow(op: i32, scratch: usize, vectors: i32, slots: i32, stride: usize, at: usize, index: i32): void {
  const number = i32x4.splat(index);
  const vectorEnd = scratch + (<usize>vectors << 4);
  const end = scratch + (<usize>slots << 4);
  for (; scratch < vectorEnd; scratch += 16) {
    argStep(op, scratch, v128.load(at), number);
    at += 16;
  }
  for (; scratch < end; scratch += 16) {
    argStep(op, scratch, v128.load_zero<u32>(at), number);
    at += stride;
  }
}

// @ts-ignore: decorator
@inline
function argStep(op: i32, slot: usize, x: v128, number: v128): void {
  const best = v128.load(slot);
  const better = beats(op, x, best);
  v128.store(slot, v128.bitselect(x, best, better));
  v128.store(slot + INDICES, v128.bitselect(number, v128.load(slot + INDICES), better));
}
