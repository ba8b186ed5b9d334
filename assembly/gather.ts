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
  let picked = word(pc, GatherField.Picked);
  let inner = word(pc, GatherField.Inner);
  const count = word(pc, GatherField.Outer) * picked * inner;
  if (count == 0) return false;
  if (hasBadIndex(pc, status)) return true;

  const lines = (count + LINE - 1) / LINE;
  const first = shareStart(lines, thread, threads) * LINE;
  const end = min(count, shareStart(lines, thread + 1, threads) * LINE);
  if (first >= end) return false;

  const rowBytes = <usize>inner << 2;
  const planeBytes = <usize>word(pc, GatherField.Axis) * rowBytes;
  const outerStride = strideOf(pc, GatherField.IndexOuterStride);
  const pickedStride = strideOf(pc, GatherField.IndexPickedStride);
  let innerStride = strideOf(pc, GatherField.IndexInnerStride);
  const wholeRows = inner > 1 && innerStride == 0;
  // A run of single elements goes along the last dimension that is longer than 1; `step` is its stride in the source.
  let step: usize = 4;
  if (inner == 1 && picked == 1) {
    inner = count;
    innerStride = outerStride;
    step = planeBytes;
  } else if (inner == 1) {
    inner = picked;
    picked = 1;
    innerStride = pickedStride;
    step = 0;
  }

  const firstRow = first / inner;
  const o = firstRow / picked;
  let j = firstRow - o * picked;
  let i = <usize>(first - firstRow * inner);
  let plane = address(pc, GatherField.Source) + <usize>o * planeBytes;
  let indices = address(pc, GatherField.Index) + <usize>o * outerStride;
  let out = address(pc, GatherField.Out) + (<usize>first << 2);
  const outEnd = address(pc, GatherField.Out) + (<usize>end << 2);
  while (out < outEnd) {
    const stop = min(out + ((<usize>inner - i) << 2), outEnd);
    const index = indices + <usize>j * pickedStride + i * innerStride;
    const source = plane + i * step;
    if (wholeRows) copyRun(out, source + <usize>load<u32>(index) * rowBytes, stop - out);
    else pickElements(out, stop, source, step, index, innerStride, rowBytes);
    out = stop;
    i = 0;
    if (++j == picked) {
      j = 0;
      plane += planeBytes;
      indices += outerStride;
    }
  }
  return false;
}

/** Fills from `out` to `stop` with elements that an index names, each `step` bytes further in the source. */
function pickElements(
  out: usize,
  stop: usize,
  source: usize,
  step: usize,
  index: usize,
  indexStride: usize,
  rowBytes: usize,
): void {
  if (indexStride === 4 && rowBytes === 4 && step === 0) {
    // Elements of one row: loads that wait for no address but that of the index.
    for (; out + 16 <= stop; out += 16) {
      const a = load<i32>(source + (<usize>load<u32>(index) << 2));
      const b = load<i32>(source + (<usize>load<u32>(index, 4) << 2));
      const c = load<i32>(source + (<usize>load<u32>(index, 8) << 2));
      const d = load<i32>(source + (<usize>load<u32>(index, 12) << 2));
      store<i32>(out, a);
      store<i32>(out, b, 4);
      store<i32>(out, c, 8);
      store<i32>(out, d, 12);
      index += 16;
    }
  }
  for (; out < stop; out += 4) {
    store<i32>(out, load<i32>(source + <usize>load<u32>(index) * rowBytes));
    index += indexStride;
    source += step;
  }
}

/**
 * Scatters f32 (AddI32: i32; Replace: any words) into Out, which must not overlap the others; the index may have any
 * strides. Where an index repeats, its sources are combined one by one in rising order of j, so that the result is the
 * same on any number of threads: they divide Out's columns (outer, inner) among them, or, where these are few, its rows.
 * Maximum and Minimum are NaN where either side is, and order -0 below +0.
 *
 * A bad index stops it as it stops `gather`.
 */
export function scatter(pc: usize, status: usize, thread: i32, threads: i32): bool {
  const axis = word(pc, GatherField.Axis);
  const picked = word(pc, GatherField.Picked);
  let inner = word(pc, GatherField.Inner);
  const columns = word(pc, GatherField.Outer) * inner;
  if (columns * picked == 0) return false;
  if (hasBadIndex(pc, status)) return true;

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
  const rowBytes = <usize>inner << 2;
  const planeBytes = <usize>axis * rowBytes;
  const outerStride = strideOf(pc, GatherField.IndexOuterStride);
  const pickedStride = strideOf(pc, GatherField.IndexPickedStride);
  let innerStride = strideOf(pc, GatherField.IndexInnerStride);
  const wholeRows = inner > 1 && innerStride == 0;
  const alongPicked = inner == 1 && picked > 1;
  // As in `gather`: a run of single elements goes along the last dimension that is longer than 1.
  let step: usize = 4;
  if (inner == 1 && picked == 1) {
    inner = columns;
    innerStride = outerStride;
    step = planeBytes;
  }

  while (first < end) {
    const o = first / inner;
    const i = first - o * inner;
    const count = min(inner - i, end - first);
    const plane =
      address(pc, GatherField.Out) + <usize>o * planeBytes + <usize>firstRow * rowBytes + <usize>i * step;
    let source = address(pc, GatherField.Source) + (<usize>(o * picked * inner + i) << 2);
    let index = address(pc, GatherField.Index) + <usize>o * outerStride + <usize>i * innerStride;
    if (alongPicked) {
      combineElements(op, plane, 0, rowBytes, source, index, pickedStride, picked, firstRow, rows);
    } else {
      for (let j = 0; j < picked; j++) {
        if (wholeRows) {
          const row = load<i32>(index) - firstRow;
          if (<u32>row < <u32>rows) combineRow(op, plane + <usize>row * rowBytes, source, count);
        } else {
          combineElements(op, plane, step, rowBytes, source, index, innerStride, count, firstRow, rows);
        }
        source += rowBytes;
        index += pickedStride;
      }
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
  let pickedStride = strideOf(pc, GatherField.IndexPickedStride);
  let innerStride = strideOf(pc, GatherField.IndexInnerStride);
  // Along a stride of zero there is one index to look at.
  let outer = outerStride == 0 ? 1 : word(pc, GatherField.Outer);
  let picked = pickedStride == 0 ? 1 : word(pc, GatherField.Picked);
  let inner = innerStride == 0 ? 1 : word(pc, GatherField.Inner);
  if (inner == 1) {
    inner = picked;
    innerStride = pickedStride;
    picked = 1;
    if (inner == 1) {
      inner = outer;
      innerStride = outerStride;
      outer = 1;
    }
  }
  for (let o = 0; o < outer; o++) {
    for (let j = 0; j < picked; j++) {
      const at = address(pc, GatherField.Index) + <usize>o * outerStride + <usize>j * pickedStride;
      const bad = firstBad(at, innerStride, inner, axis);
      if (bad < inner) {
        store<i32>(status + (StatusField.Value << 2), load<i32>(at + <usize>bad * innerStride));
        return true;
      }
    }
  }
  return false;
}

/** Place of the first of `count` indices, `stride` bytes apart, that is outside the axis, or `count`. */
function firstBad(at: usize, stride: usize, count: i32, axis: i32): i32 {
  let place = 0;
  if (stride == 4) {
    const limit = i32x4.splat(axis);
    for (; place + 4 <= count; place += 4) {
      if (v128.any_true(i32x4.ge_u(v128.load(at + (<usize>place << 2)), limit))) break;
    }
  }
  while (place < count && load<u32>(at + <usize>place * stride) < <u32>axis) place++;
  return place;
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
  if (op === ScatterOp.Add) {
    store<f32>(to, load<f32>(to) + load<f32>(from));
    return;
  }
  v128.store_lane<u32>(to, combine(op, v128.load_zero<u32>(to), v128.load_zero<u32>(from)), 0);
}

/**
 * Combines `count` adjacent elements, each into the row that its own index names, where that is one of `rows` rows from
 * `firstRow` on; `to` is the first element's place in that row, and each next one's is `step` bytes further.
 */
function combineElements(
  op: i32,
  to: usize,
  step: usize,
  rowBytes: usize,
  from: usize,
  index: usize,
  indexStride: usize,
  count: i32,
  firstRow: i32,
  rows: i32,
): void {
  switch (op) {
    case ScatterOp.Add:
      return combineElementsBy(ScatterOp.Add, to, step, rowBytes, from, index, indexStride, count, firstRow, rows);
    case ScatterOp.Multiply:
      return combineElementsBy(ScatterOp.Multiply, to, step, rowBytes, from, index, indexStride, count, firstRow, rows);
    case ScatterOp.Maximum:
      return combineElementsBy(ScatterOp.Maximum, to, step, rowBytes, from, index, indexStride, count, firstRow, rows);
    case ScatterOp.Minimum:
      return combineElementsBy(ScatterOp.Minimum, to, step, rowBytes, from, index, indexStride, count, firstRow, rows);
    case ScatterOp.AddI32:
      return combineElementsBy(ScatterOp.AddI32, to, step, rowBytes, from, index, indexStride, count, firstRow, rows);
    default:
      return combineElementsBy(ScatterOp.Replace, to, step, rowBytes, from, index, indexStride, count, firstRow, rows);
  }
}

// @ts-ignore: decorator
@inline
function combineElementsBy(
  op: i32,
  to: usize,
  step: usize,
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
    if (<u32>row < <u32>rows) combineOne(op, to + <usize>row * rowBytes, from);
    to += step;
    from += 4;
    index += indexStride;
  }
}
