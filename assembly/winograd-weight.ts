/** Winograd's transforms of weights (see `winograd-two.ts`), four columns at a time, and the sums of a weight's gradient. */
import { sumLanes } from "./lanes";
import { mulAdd } from "./simd";

/** The elements at `offset` from four addresses. */
// @ts-ignore: decorator
@inline
export function loadLanes(a: usize, b: usize, c: usize, d: usize, offset: usize): v128 {
  let v = v128.load_zero<u32>(a + offset);
  v = v128.load_lane<u32>(b + offset, v, 1);
  v = v128.load_lane<u32>(c + offset, v, 2);
  return v128.load_lane<u32>(d + offset, v, 3);
}

/** G of three numbers, to four matrices. */
// @ts-ignore: decorator
@inline
function storeWeight(to: usize, matrix: usize, a: v128, b: v128, c: v128, half: v128): void {
  const to2 = to + (matrix << 1);
  const sides = f32x4.mul(f32x4.add(a, c), half);
  const middle = f32x4.mul(b, half);
  v128.store(to, a);
  v128.store(to + matrix, f32x4.add(sides, middle));
  v128.store(to2, f32x4.sub(sides, middle));
  v128.store(to2 + matrix, c);
}

/**
 * G·w·Gᵀ of the 3×3 weights of rows `start … end`: weight [row][column] starts at w + row · wRow + column · wColumn, and
 * is turned by 180° if `turned`. Goes to [frequency][row][column], rows `row` bytes apart and whole vectors long: behind
 * the last column it is repeated.
 */
export function transformWeight(
  start: i32,
  end: i32,
  columns: i32,
  w: usize,
  wRow: usize,
  wColumn: usize,
  turned: bool,
  to: usize,
  row: usize,
  matrix: usize,
): void {
  const half = f32x4.splat(0.5);
  const first: usize = turned ? 32 : 0;
  const tap: usize = turned ? -4 : 4;
  const line = tap * 3;
  for (let r = start; r < end; r++) {
    for (let j = 0; j < columns; j += 4) {
      const at = w + wRow * <usize>r + first;
      const last = columns - 1;
      const a = at + wColumn * <usize>j;
      const b = at + wColumn * <usize>min(j + 1, last);
      const c = at + wColumn * <usize>min(j + 2, last);
      const d = at + wColumn * <usize>min(j + 3, last);
      const q = to + row * <usize>r + ((<usize>j) << 2);
      const x0 = loadLanes(a, b, c, d, 0);
      const x1 = loadLanes(a, b, c, d, tap);
      const x2 = loadLanes(a, b, c, d, tap + tap);
      const y0 = f32x4.mul(loadLanes(a, b, c, d, line), half);
      const y1 = f32x4.mul(loadLanes(a, b, c, d, line + tap), half);
      const y2 = f32x4.mul(loadLanes(a, b, c, d, line + tap + tap), half);
      const z0 = loadLanes(a, b, c, d, line + line);
      const z1 = loadLanes(a, b, c, d, line + line + tap);
      const z2 = loadLanes(a, b, c, d, line + line + tap + tap);
      storeWeight(q, matrix, x0, x1, x2, half);
      const s0 = f32x4.mul(f32x4.add(x0, z0), half);
      const s1 = f32x4.mul(f32x4.add(x1, z1), half);
      const s2 = f32x4.mul(f32x4.add(x2, z2), half);
      storeWeight(q + (matrix << 2), matrix, f32x4.add(s0, y0), f32x4.add(s1, y1), f32x4.add(s2, y2), half);
      storeWeight(q + (matrix << 3), matrix, f32x4.sub(s0, y0), f32x4.sub(s1, y1), f32x4.sub(s2, y2), half);
      storeWeight(q + matrix * 12, matrix, z0, z1, z2, half);
    }
  }
}

/**
 * sums[i][j] += Σ_t y[i][t]·v[j][t] for i < rows, j < columns, over `bytes` bytes of whole vectors; rows of y and v are
 * `row` bytes apart, those of the sums `sumsRow` (whole vectors: what is behind the last column is written too). Lane by
 * lane in rising order of t from 0, each step one `mulAdd`; then the four lanes are added up, and that to the sum.
 */
export function addProducts(
  rows: i32,
  columns: i32,
  bytes: usize,
  y: usize,
  v: usize,
  row: usize,
  sums: usize,
  sumsRow: usize,
): void {
  for (let i = 0; i < rows; i += 2) {
    // Behind the last row or column, the last one is taken again.
    const y1 = i + 1 < rows ? y + row : y;
    const to1 = i + 1 < rows ? sums + sumsRow : sums;
    for (let j = 0; j < columns; j += 4) {
      const left = columns - j;
      let a = y;
      let b = y1;
      let v0 = v + row * <usize>j;
      let v1 = left > 1 ? v0 + row : v0;
      let v2 = left > 2 ? v1 + row : v1;
      let v3 = left > 3 ? v2 + row : v2;
      let p0 = f32x4.splat(0);
      let p1 = p0;
      let p2 = p0;
      let p3 = p0;
      let q0 = p0;
      let q1 = p0;
      let q2 = p0;
      let q3 = p0;
      for (const end = y + bytes; a < end; a += 16) {
        const s = v128.load(a);
        const t = v128.load(b);
        let x = v128.load(v0);
        p0 = mulAdd(s, x, p0);
        q0 = mulAdd(t, x, q0);
        x = v128.load(v1);
        p1 = mulAdd(s, x, p1);
        q1 = mulAdd(t, x, q1);
        x = v128.load(v2);
        p2 = mulAdd(s, x, p2);
        q2 = mulAdd(t, x, q2);
        x = v128.load(v3);
        p3 = mulAdd(s, x, p3);
        q3 = mulAdd(t, x, q3);
        b += 16;
        v0 += 16;
        v1 += 16;
        v2 += 16;
        v3 += 16;
      }
      const at = (<usize>j) << 2;
      const p = f32x4.add(v128.load(sums + at), sumLanes(p0, p1, p2, p3));
      const q = f32x4.add(v128.load(to1 + at), sumLanes(q0, q1, q2, q3));
      v128.store(to1 + at, q);
      v128.store(sums + at, p);
    }
    y += row << 1;
    sums += sumsRow << 1;
  }
}

/** `count` lanes, 1 to 4, or all if there are more, to the same tap of as many 3×3 weights. */
// @ts-ignore: decorator
@inline
export function storeLanes(to: usize, count: i32, v: v128): void {
  v128.store_lane<u32>(to, v, 0);
  if (count > 1) v128.store_lane<u32>(to, v, 1, 36);
  if (count > 2) v128.store_lane<u32>(to, v, 2, 72);
  if (count > 3) v128.store_lane<u32>(to, v, 3, 108);
}

/**
 * One line of 3×3 weights, from four elements that A'ᵀ has been applied to down the columns, with the halves that
 * `outputOfTwo` left out.
 */
// @ts-ignore: decorator
@inline
function storeTaps(to: usize, count: i32, a: v128, b: v128, c: v128, d: v128, half: v128): void {
  const plus = f32x4.mul(f32x4.add(b, c), half);
  storeLanes(to, count, f32x4.add(a, plus));
  storeLanes(to + 4, count, f32x4.mul(f32x4.sub(b, c), half));
  storeLanes(to + 8, count, f32x4.sub(plus, d));
}

/** A'ᵀ·m·A' of the sums [frequency][row][column], with the halves of G', to `rows` rows of `columns` 3×3 weights. */
export function transformWeightBack(
  rows: i32,
  columns: i32,
  sums: usize,
  sumsRow: usize,
  matrix: usize,
  to: usize,
): void {
  const half = f32x4.splat(0.5);
  const matrix4 = matrix << 2;
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j += 4) {
      const count = columns - j;
      let at = sums + ((<usize>j) << 2);
      const at4 = at + matrix4;
      const at8 = at4 + matrix4;
      const at12 = at8 + matrix4;
      const p0 = f32x4.mul(f32x4.add(v128.load(at4), v128.load(at8)), half);
      const p1 = f32x4.mul(f32x4.add(v128.load(at4 + matrix), v128.load(at8 + matrix)), half);
      at += matrix << 1;
      const p2 = f32x4.mul(f32x4.add(v128.load(at + matrix4), v128.load(at + (matrix << 3))), half);
      at += matrix;
      const p3 = f32x4.mul(f32x4.add(v128.load(at + matrix4), v128.load(at + (matrix << 3))), half);
      at = sums + ((<usize>j) << 2);
      const m2 = matrix << 1;
      const m3 = m2 + matrix;
      storeTaps(
        to,
        count,
        f32x4.add(v128.load(at), p0),
        f32x4.add(v128.load(at + matrix), p1),
        f32x4.add(v128.load(at + m2), p2),
        f32x4.add(v128.load(at + m3), p3),
        half,
      );
      storeTaps(
        to + 12,
        count,
        f32x4.mul(f32x4.sub(v128.load(at4), v128.load(at8)), half),
        f32x4.mul(f32x4.sub(v128.load(at4 + matrix), v128.load(at8 + matrix)), half),
        f32x4.mul(f32x4.sub(v128.load(at4 + m2), v128.load(at8 + m2)), half),
        f32x4.mul(f32x4.sub(v128.load(at4 + m3), v128.load(at8 + m3)), half),
        half,
      );
      storeTaps(
        to + 24,
        count,
        f32x4.sub(p0, v128.load(at12)),
        f32x4.sub(p1, v128.load(at12 + matrix)),
        f32x4.sub(p2, v128.load(at12 + m2)),
        f32x4.sub(p3, v128.load(at12 + m3)),
        half,
      );
      to += (<usize>min(count, 4)) * 36;
    }
    sums += sumsRow;
  }
}
