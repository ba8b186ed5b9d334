/**
 * The pooling that most networks do: the largest of each 2×2 elements, and its gradient. Contracts as in `pool.ts`.
 *
 * Four windows at a time, two vectors of each of two lines. The last four windows of a line reach back over those
 * before them and write the same values again; lines of fewer than four windows are not for these loops.
 */
import { evens, interleaveHigh, interleaveLow, odds } from "./lanes";

/** a0 b0 a1 b1 to `at`, and a2 b2 a3 b3 behind them. */
// @ts-ignore: decorator
@inline
function storeInTurns(at: usize, a: v128, b: v128): void {
  v128.store(at, interleaveLow(a, b));
  v128.store(at, interleaveHigh(a, b), 16);
}

/** Lanes where `x` takes the place of `best`: it is larger, or the first NaN. */
// @ts-ignore: decorator
@inline
export function takesOver(x: v128, best: v128): v128 {
  return v128.andnot(f32x4.eq(best, best), f32x4.le(x, best));
}

/** The first of the largest of four, if all are numbers. */
// @ts-ignore: decorator
@inline
function largest(a: v128, b: v128, c: v128, d: v128): v128 {
  return f32x4.pmax(f32x4.pmax(a, b), f32x4.pmax(c, d));
}

/** NaN in the lanes where one of four is NaN, and perhaps where two are infinite. */
// @ts-ignore: decorator
@inline
function suspicion(a: v128, b: v128, c: v128, d: v128): v128 {
  return f32x4.add(f32x4.add(a, b), f32x4.add(c, d));
}

// @ts-ignore: decorator
@inline
function isSuspect(total: v128): bool {
  return v128.any_true(f32x4.ne(total, total));
}

/** A line of windows; with the literal `areNumbers`, right unless it returns true. Else always right. */
// @ts-ignore: decorator
@inline
function maxLine(areNumbers: bool, bytes: usize, image: usize, row: usize, out: usize): bool {
  let total = f32x4.splat(0);
  for (let j: usize = 0; j < bytes; j += 16) {
    j = min(j, bytes - 16);
    const top = image + (j << 1);
    let x = v128.load(top);
    let y = v128.load(top, 16);
    const a = evens(x, y);
    const b = odds(x, y);
    x = v128.load(top + row);
    y = v128.load(top + row, 16);
    const c = evens(x, y);
    const d = odds(x, y);
    if (areNumbers) {
      total = f32x4.add(total, suspicion(a, b, c, d));
      v128.store(out + j, largest(a, b, c, d));
    } else {
      let best = v128.bitselect(b, a, takesOver(b, a));
      best = v128.bitselect(c, best, takesOver(c, best));
      v128.store(out + j, v128.bitselect(d, best, takesOver(d, best)));
    }
  }
  return isSuspect(total);
}

/** Max over `lines` lines of `windows` (at least 4) windows; the image's lines are `row` bytes apart. */
export function maxHalves(lines: i32, windows: i32, image: usize, row: usize, out: usize): void {
  const bytes = (<usize>windows) << 2;
  for (; lines > 0; lines--) {
    if (maxLine(true, bytes, image, row, out)) maxLine(false, bytes, image, row, out);
    image += row << 1;
    out += bytes;
  }
}

/** The gradient of a line of windows, as `maxLine`. */
// @ts-ignore: decorator
@inline
function gradientLine(
  areNumbers: bool,
  bytes: usize,
  image: usize,
  row: usize,
  cotangent: usize,
  gradient: usize,
): bool {
  const zero = f32x4.splat(0);
  let total = zero;
  for (let j: usize = 0; j < bytes; j += 16) {
    j = min(j, bytes - 16);
    const top = image + (j << 1);
    // As if it was added to 0: -0 becomes 0.
    const g = f32x4.add(v128.load(cotangent + j), zero);
    let x = v128.load(top);
    let y = v128.load(top, 16);
    const a = evens(x, y);
    const b = odds(x, y);
    x = v128.load(top + row);
    y = v128.load(top + row, 16);
    const c = evens(x, y);
    const d = odds(x, y);
    // Whether the largest is a; or one of a and b; or one of a, b and c.
    let isA: v128;
    let isAB: v128;
    let isABC: v128;
    if (areNumbers) {
      total = f32x4.add(total, suspicion(a, b, c, d));
      const best = largest(a, b, c, d);
      isA = f32x4.eq(a, best);
      isAB = v128.or(isA, f32x4.eq(b, best));
      isABC = v128.or(isAB, f32x4.eq(c, best));
    } else {
      const isB = takesOver(b, a);
      let best = v128.bitselect(b, a, isB);
      const isC = takesOver(c, best);
      best = v128.bitselect(c, best, isC);
      isABC = v128.not(takesOver(d, best));
      isAB = v128.andnot(isABC, isC);
      isA = v128.andnot(isAB, isB);
    }
    const to = gradient + (j << 1);
    storeInTurns(to, v128.and(g, isA), v128.and(g, v128.andnot(isAB, isA)));
    storeInTurns(to + row, v128.and(g, v128.andnot(isABC, isAB)), v128.andnot(g, isABC));
  }
  return isSuspect(total);
}

/** Adds nothing up, for windows do not overlap: each element is written, its window's cotangent or 0. */
export function maxHalvesGradient(
  lines: i32,
  windows: i32,
  image: usize,
  row: usize,
  cotangent: usize,
  gradient: usize,
): void {
  const bytes = (<usize>windows) << 2;
  for (; lines > 0; lines--) {
    const isSuspicious = gradientLine(true, bytes, image, row, cotangent, gradient);
    if (isSuspicious) gradientLine(false, bytes, image, row, cotangent, gradient);
    image += row << 1;
    gradient += row << 1;
    cotangent += bytes;
  }
}
