/** What the row kernels are made of: vectors at the ragged end of a row, and sums along one. */
import { Layout } from "../src/isa";

/**
 * Elements that are added up in f32 lanes before they go over to f64: short enough that an error of a sum stays below
 * that of its elements, as in a Reduce.
 */
export const CHUNK: i32 = 1024;

/** Address of element `index` of the row at `row`. */
// @ts-ignore: decorator
@inline
export function element(row: usize, index: i32): usize {
  return row + <usize>index * Layout.ElementBytes;
}

/** The `count` (1 to 3) elements at `at` in the first lanes, and those of `rest` in the others. */
export function loadTail(at: usize, count: i32, rest: v128): v128 {
  let lanes = v128.load_lane<u32>(at, rest, 0);
  if (count > 1) lanes = v128.load_lane<u32>(at, lanes, 1, 4);
  if (count > 2) lanes = v128.load_lane<u32>(at, lanes, 2, 8);
  return lanes;
}

/** Stores the first `count` (1 to 3) lanes. */
export function storeTail(at: usize, lanes: v128, count: i32): void {
  v128.store_lane<u32>(at, lanes, 0);
  if (count > 1) v128.store_lane<u32>(at, lanes, 1, 4);
  if (count > 2) v128.store_lane<u32>(at, lanes, 2, 8);
}

/** The first `count` (1 to 3) lanes, and zeros. */
export function headOf(lanes: v128, count: i32): v128 {
  const places = i32x4(0, 1, 2, 3);
  return v128.and(lanes, i32x4.lt_s(places, i32x4.splat(count)));
}

/** The sum of four lanes, in f64. */
// @ts-ignore: decorator
@inline
export function total(lanes: v128): f64 {
  const high = v128.shuffle<i64>(lanes, lanes, 1, 1);
  const pairs = f64x2.add(f64x2.promote_low_f32x4(lanes), f64x2.promote_low_f32x4(high));
  return f64x2.extract_lane(pairs, 0) + f64x2.extract_lane(pairs, 1);
}

/** What a sum along rows adds up: a type without fields, so that each term gets a loop of its own. */
@unmanaged
export abstract class Term {
  /** The terms of four elements x and y with the two numbers that the sum carries, one in every lane. */
  abstract apply(x: v128, y: v128, p: v128, q: v128): v128;
}

/**
 * Σ term(x[i], y[i], p, q) over `count` adjacent elements; y is read in steps of `yStep` bytes a vector, 0 for one
 * vector for all. Four chains hide the latency of an addition. The order depends on `count` alone.
 */
// @ts-ignore: decorator
@inline
export function sumOf<T extends Term>(x: usize, y: usize, yStep: usize, count: i32, p: v128, q: v128): f64 {
  let sum: f64 = 0;
  while (true) {
    const part = min(count, CHUNK);
    let left = part;
    let a = f32x4.splat(0);
    if (left >= 16) {
      let b = f32x4.splat(0);
      let c = f32x4.splat(0);
      let d = f32x4.splat(0);
      do {
        a = f32x4.add(a, changetype<T>(0).apply(v128.load(x), v128.load(y), p, q));
        y += yStep;
        b = f32x4.add(b, changetype<T>(0).apply(v128.load(x, 16), v128.load(y), p, q));
        y += yStep;
        c = f32x4.add(c, changetype<T>(0).apply(v128.load(x, 32), v128.load(y), p, q));
        y += yStep;
        d = f32x4.add(d, changetype<T>(0).apply(v128.load(x, 48), v128.load(y), p, q));
        y += yStep;
        x += 64;
        left -= 16;
      } while (left >= 16);
      a = f32x4.add(f32x4.add(a, b), f32x4.add(c, d));
    }
    for (; left >= 4; left -= 4) {
      a = f32x4.add(a, changetype<T>(0).apply(v128.load(x), v128.load(y), p, q));
      x += 16;
      y += yStep;
    }
    if (left > 0) {
      const zero = f32x4.splat(0);
      const terms = changetype<T>(0).apply(loadTail(x, left, zero), loadTail(y, left, zero), p, q);
      a = f32x4.add(a, headOf(terms, left));
    }
    sum += total(a);
    count -= part;
    if (count === 0) return sum;
  }
}
