/**
 * The pooling that most networks do: the largest of each 2×2 elements, and its gradient. Contracts as in `pool.ts`.
 *
 * Four windows at a time, two vectors of each of two lines. The last four windows of a line reach back over those
 * before them and write the same values again; lines of fewer than four windows are not for these loops.
 */
import { evens, firstInTurns, lastInTurns, odds } from "./lanes";

/** a0 b0 a1 b1 to `at`, and a2 b2 a3 b3 behind them. */
// @ts-ignore: decorator
@inline
function storeInTurns(at: usize, a: v128, b: v128): void {
  v128.store(at, firstInTurns(a, b));
  v128.store(at, lastInTurns(a, b), 16);
}

/** Lanes where `x` takes the place of `best`: it is larger, or the first NaN. */
// @ts-ignore: decorator
@inline
export function takesOver(x: v128, best: v128): v128 {
  return v128.andnot(f32x4.eq(best, best), f32x4.le(x, best));
}

/** Max over `lines` lines of `windows` (at least 4) windows; the image's lines are `row` bytes apart. */
export function maxHalves(lines: i32, windows: i32, image: usize, row: usize, out: usize): void {
  const bytes = (<usize>windows) << 2;
  for (; lines > 0; lines--) {
    for (let j: usize = 0; j < bytes; j += 16) {
      j = min(j, bytes - 16);
      const top = image + (j << 1);
      const bottom = top + row;
      const left = f32x4.max(v128.load(top), v128.load(bottom));
      const right = f32x4.max(v128.load(top, 16), v128.load(bottom, 16));
      v128.store(out + j, f32x4.max(evens(left, right), odds(left, right)));
    }
    image += row << 1;
    out += bytes;
  }
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
  const zero = f32x4.splat(0);
  for (; lines > 0; lines--) {
    for (let j: usize = 0; j < bytes; j += 16) {
      j = min(j, bytes - 16);
      const top = image + (j << 1);
      const bottom = top + row;
      // As if it was added to 0: -0 becomes 0.
      const g = f32x4.add(v128.load(cotangent + j), zero);
      let x = v128.load(top);
      let y = v128.load(top, 16);
      let best = evens(x, y);
      const b = odds(x, y);
      x = v128.load(bottom);
      y = v128.load(bottom, 16);
      const c = evens(x, y);
      const d = odds(x, y);
      const isB = takesOver(b, best);
      best = v128.bitselect(b, best, isB);
      const isC = takesOver(c, best);
      best = v128.bitselect(c, best, isC);
      const isD = takesOver(d, best);
      const isCD = v128.or(isC, isD);
      const to = gradient + (j << 1);
      storeInTurns(to, v128.andnot(g, v128.or(isB, isCD)), v128.andnot(v128.and(g, isB), isCD));
      storeInTurns(to + row, v128.andnot(v128.and(g, isC), isD), v128.and(g, isD));
    }
    image += row << 1;
    gradient += row << 1;
    cotangent += bytes;
  }
}
