/** Picking elements by index, and its reverse: gather and scatter, in whole rows or element by element. */
import { GatherField, ScatterOp, StatusField } from "../src/isa";
import { copyRun } from "./copy";
import { address, shareStart, word } from "./word";

/** Elements of a cache line: shares are made of whole ones. */
const LINE: i32 = 16;

/**
 * Gathers 32-bit words, whatever they hold; the index may have any strides, zero and negative ones too. Out is
 * written exactly and must not overlap the others. Threads take ranges of Out's elements.
 *
 * Every thread first checks every index, so that all of them stop at the same instruction with nothing written: then
 * this returns true and leaves in the status record the first bad index in the order of the output.
 */
export function gather(pc: usize, status: usize, thread: i32, threads: i32): bool {
  const outer = word(pc, GatherField.Outer);
  const axis = word(pc, GatherField.Axis);
  const picked = word(pc, GatherField.Picked);
  const inner = word(pc, GatherField.Inner);
  const count = outer * picked * inner;
  if (count == 0) return false;
  if (hasBadIndex(pc, status)) return true;

  const lines = (count + LINE - 1) / LINE;
  const first = shareStart(lines, thread, threads) * LINE;
  const end = min(count, shareStart(lines, thread + 1, threads) * LINE);
  if (first >= end) return false;

  const outerStride = strideOf(pc, GatherField.IndexOuterStride);
  const pickedStride = strideOf(pc, GatherField.IndexPickedStride);
  const innerStride = strideOf(pc, GatherField.IndexInnerStride);
  const rowBytes = <usize>inner << 2;
  const planeBytes = <usize>axis * rowBytes;
  const firstRow = first / inner;
  let o = firstRow / picked;
  let j = firstRow - o * picked;
  let i = first - firstRow * inner;
  let plane = address(pc, GatherField.Source) + <usize>o * planeBytes;
  let indices = address(pc, GatherField.Index) + <usize>o * outerStride;
  let index = indices + <usize>j * pickedStride;
  let out = address(pc, GatherField.Out) + (<usize>first << 2);
  const outEnd = address(pc, GatherField.Out) + (<usize>end << 2);
  while (out < outEnd) {
    const stop = min(out + (<usize>(inner - i) << 2), outEnd);
    let source = plane + (<usize>i << 2);
    if (innerStride == 0) {
      copyRun(out, source + <usize>load<u32>(index) * rowBytes, stop - out);
      out = stop;
    } else {
      let at = index + <usize>i * innerStride;
      for (; out < stop; out += 4) {
        store<i32>(out, load<i32>(source + <usize>load<u32>(at) * rowBytes));
        at += innerStride;
        source += 4;
      }
    }
    i = 0;
    index += pickedStride;
    if (++j == picked) {
      j = 0;
      plane += planeBytes;
      indices += outerStride;
      index = indices;
    }
  }
  return false;
}

/**
 * Scatters into Out, f32 or (AddI32, Replace) words; the index may have any strides. Out must not overlap the others.
 * Where an index repeats, its sources are combined one by one in rising order of j, so that the result is the same on
 * any number of threads: they divide Out's columns (outer, inner) among them, or, where these are few, Out's rows.
 * Maximum and Minimum are NaN where either side is, and order -0 below +0.
 *
 * A bad index stops it as it stops `gather`.
 */
export function scatter(pc: usize, status: usize, thread: i32, threads: i32): bool {
  const outer = word(pc, GatherField.Outer);
  const axis = word(pc, GatherField.Axis);
  const picked = word(pc, GatherField.Picked);
  const inner = word(pc, GatherField.Inner);
  if (outer * picked * inner == 0) return false;
  if (hasBadIndex(pc, status)) return true;

  const columns = outer * inner;
  let first = 0;
  let end = columns;
  let firstRow = 0;
  let rows = axis;
  if (columns >= LINE * threads) {
    const lines = (columns + LINE - 1) / LINE;
    first = shareStart(lines, thread, threads) * LINE;
    end = min(columns, shareStart(lines, thread + 1, threads) * LINE);
  } else {
    firstRow = shareStart(axis, thread, threads);
    rows = shareStart(axis, thread + 1, threads) - firstRow;
  }

  const op = word(pc, GatherField.Operation);
  const outerStride = strideOf(pc, GatherField.IndexOuterStride);
  const pickedStride = strideOf(pc, GatherField.IndexPickedStride);
  const innerStride = strideOf(pc, GatherField.IndexInnerStride);
  const rowBytes = <usize>inner << 2;
  while (first < end) {
    const o = first / inner;
    const i = first - o * inner;
    const count = min(inner - i, end - first);
    const plane = address(pc, GatherField.Out) + (<usize>(o * axis + firstRow) * <usize>inner + <usize>i << 2);
    let source = address(pc, GatherField.Source) + (<usize>(o * picked * inner + i) << 2);
    let index = address(pc, GatherField.Index) + <usize>o * outerStride + <usize>i * innerStride;
    for (let j = 0; j < picked; j++) {
      if (innerStride == 0) {
        const row = load<i32>(index) - firstRow;
        if (<u32>row < <u32>rows) combineRow(op, plane + <usize>row * rowBytes, source, count);
      } else {
        scatterRow(op, plane, rowBytes, source, index, innerStride, count, firstRow, rows);
      }
      source += rowBytes;
      index += pickedStride;
    }
    first += count;
  }
  return false;
}

/** The stride in bytes. */
// @ts-ignore: decorator
@inline
function strideOf(pc: usize, field: GatherField): usize {
  return <usize>(word(pc, field) << 2);
}

/** Whether an index lies outside the axis; the first such one goes to the status record. */
function hasBadIndex(pc: usize, status: usize): bool {
  const axis = word(pc, GatherField.Axis);
  const outerStride = strideOf(pc, GatherField.IndexOuterStride);
  const pickedStride = strideOf(pc, GatherField.IndexPickedStride);
  const innerStride = strideOf(pc, GatherField.IndexInnerStride);
  // Along a stride of zero there is one index to look at.
  const outer = outerStride == 0 ? 1 : word(pc, GatherField.Outer);
  const picked = pickedStride == 0 ? 1 : word(pc, GatherField.Picked);
  const inner = innerStride == 0 ? 1 : word(pc, GatherField.Inner);
  for (let o = 0; o < outer; o++) {
    for (let j = 0; j < picked; j++) {
      let at = address(pc, GatherField.Index) + <usize>o * outerStride + <usize>j * pickedStride;
      for (let i = 0; i < inner; i++) {
        const index = load<i32>(at);
        if (<u32>index >= <u32>axis) {
          store<i32>(status + (StatusField.Value << 2), index);
          return true;
        }
        at += innerStride;
      }
    }
  }
  return false;
}

/** One step, lane by lane. Where `op` is a literal, this becomes one instruction. */
// @ts-ignore: decorator
@inline
function combine(op: i32, a: v128, b: v128): v128 {
  if (op == ScatterOp.Add) return f32x4.add(a, b);
  if (op == ScatterOp.Multiply) return f32x4.mul(a, b);
  if (op == ScatterOp.Maximum) return f32x4.max(a, b);
  if (op == ScatterOp.Minimum) return f32x4.min(a, b);
  if (op == ScatterOp.AddI32) return i32x4.add(a, b);
  return b;
}

/** to[i] ⊕= from[i] for `count` adjacent elements. */
function combineRow(op: i32, to: usize, from: usize, count: i32): void {
  switch (op) {
    case ScatterOp.Add:
      return combineRowBy(ScatterOp.Add, to, from, count);
    case ScatterOp.Multiply:
      return combineRowBy(ScatterOp.Multiply, to, from, count);
    case ScatterOp.Maximum:
      return combineRowBy(ScatterOp.Maximum, to, from, count);
    case ScatterOp.Minimum:
      return combineRowBy(ScatterOp.Minimum, to, from, count);
    case ScatterOp.AddI32:
      return combineRowBy(ScatterOp.AddI32, to, from, count);
    default:
      return copyRun(to, from, <usize>count << 2);
  }
}

// @ts-ignore: decorator
@inline
function combineRowBy(op: i32, to: usize, from: usize, count: i32): void {
  let left = count;
  for (; left >= 4; left -= 4) {
    v128.store(to, combine(op, v128.load(to), v128.load(from)));
    to += 16;
    from += 16;
  }
  for (; left > 0; left--) {
    combineOne(op, to, from);
    to += 4;
    from += 4;
  }
}

// @ts-ignore: decorator
@inline
function combineOne(op: i32, to: usize, from: usize): void {
  v128.store_lane<u32>(to, combine(op, v128.load_zero<u32>(to), v128.load_zero<u32>(from)), 0);
}

/** Sends each of `count` adjacent elements to the row that its own index names, where that is one of ours. */
function scatterRow(
  op: i32,
  plane: usize,
  rowBytes: usize,
  from: usize,
  index: usize,
  indexStride: usize,
  count: i32,
  firstRow: i32,
  rows: i32,
): void {
  for (let i = 0; i < count; i++) {
    const row = load<i32>(index) - firstRow;
    if (<u32>row < <u32>rows) combineOne(op, plane + <usize>row * rowBytes, from);
    plane += 4;
    from += 4;
    index += indexStride;
  }
}
