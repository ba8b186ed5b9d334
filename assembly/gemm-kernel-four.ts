/**
 * The narrowest tile of Gemm, 4 columns wide: few outputs of a layer, or few rows times a weight that is read where it lies.
 *
 * Contract: that of `gemm-kernel.ts`. Where A's columns are adjacent, it is read as whole vectors of its elements, none
 * past the last.
 */
import { highHalves, interleaveHigh, interleaveLow, lowHalves } from "./lanes";
import { mulAdd } from "./simd";

/** Four rows by 4 columns at a time. */
function fourRows4(
  rows: i32,
  depth: i32,
  a: usize,
  aRow: usize,
  aColumn: usize,
  b: usize,
  bRow: usize,
  seed: usize,
  seedRow: usize,
  c: usize,
  cRow: usize,
): void {
  for (let i = 0; i < rows; i += 4) {
    const left = rows - i;
    let a0 = a;
    let a1 = left > 1 ? a0 + aRow : a0;
    let a2 = left > 2 ? a1 + aRow : a1;
    let a3 = left > 3 ? a2 + aRow : a2;
    const s1 = left > 1 ? seed + seedRow : seed;
    const s2 = left > 2 ? s1 + seedRow : s1;
    const s3 = left > 3 ? s2 + seedRow : s2;
    let x = v128.load(seed);
    let y = v128.load(s1);
    let z = v128.load(s2);
    let w = v128.load(s3);
    let bk = b;
    for (let k = depth; k > 0; k--) {
      const v = v128.load(bk);
      x = mulAdd(v128.load32_splat(a0), v, x);
      y = mulAdd(v128.load32_splat(a1), v, y);
      z = mulAdd(v128.load32_splat(a2), v, z);
      w = mulAdd(v128.load32_splat(a3), v, w);
      a0 += aColumn;
      a1 += aColumn;
      a2 += aColumn;
      a3 += aColumn;
      bk += bRow;
    }
    const c1 = left > 1 ? c + cRow : c;
    const c2 = left > 2 ? c1 + cRow : c1;
    const c3 = left > 3 ? c2 + cRow : c2;
    v128.store(c, x);
    v128.store(c1, y);
    v128.store(c2, z);
    v128.store(c3, w);
    a += aRow << 2;
    seed += seedRow << 2;
    c += cRow << 2;
  }
}

/**
 * Eight rows by 4 columns at a time, where A's columns are adjacent: four steps of four rows are transposed in registers,
 * so that a sum's vector is down a column. Splats of A need an address for each row, and V8
 * has registers for four: measured on 4 × 1024 × 1024 with a transposed weight (Node 24, relaxed), 55 % of the ceiling
 * against 49 % with eight.
 */
function eightRows4(
  rows: i32,
  depth: i32,
  a: usize,
  aRow: usize,
  b: usize,
  bRow: usize,
  seed: usize,
  seedRow: usize,
  c: usize,
  cRow: usize,
): void {
  const twoRows = aRow << 1;
  const threeRows = twoRows + aRow;
  for (let i = 0; i < rows; i += 8) {
    let p = a;
    let q = a + (aRow << 2);
    let s = seed;
    let x0 = v128.load(s);
    s += seedRow;
    let x1 = v128.load(s);
    s += seedRow;
    let x2 = v128.load(s);
    s += seedRow;
    let x3 = v128.load(s);
    s += seedRow;
    let y0 = v128.load(s);
    s += seedRow;
    let y1 = v128.load(s);
    s += seedRow;
    let y2 = v128.load(s);
    s += seedRow;
    let y3 = v128.load(s);
    s += seedRow;
    let low = interleaveLow(x0, x1);
    let high = interleaveHigh(x0, x1);
    let low2 = interleaveLow(x2, x3);
    let high2 = interleaveHigh(x2, x3);
    x0 = lowHalves(low, low2);
    x1 = highHalves(low, low2);
    x2 = lowHalves(high, high2);
    x3 = highHalves(high, high2);
    low = interleaveLow(y0, y1);
    high = interleaveHigh(y0, y1);
    low2 = interleaveLow(y2, y3);
    high2 = interleaveHigh(y2, y3);
    y0 = lowHalves(low, low2);
    y1 = highHalves(low, low2);
    y2 = lowHalves(high, high2);
    y3 = highHalves(high, high2);
    let b0 = b;
    let k = depth;
    for (; k >= 4; k -= 4) {
      const b1 = b0 + bRow;
      const b2 = b1 + bRow;
      const b3 = b2 + bRow;
      let u = v128.load(p);
      let v = v128.load(p + aRow);
      let w = v128.load(p + twoRows);
      let z = v128.load(p + threeRows);
      low = interleaveLow(u, v);
      low2 = interleaveLow(w, z);
      high = interleaveHigh(u, v);
      high2 = interleaveHigh(w, z);
      u = lowHalves(low, low2);
      x0 = mulAdd(u, v128.load32_splat(b0), x0);
      x1 = mulAdd(u, v128.load32_splat(b0, 4), x1);
      x2 = mulAdd(u, v128.load32_splat(b0, 8), x2);
      x3 = mulAdd(u, v128.load32_splat(b0, 12), x3);
      u = highHalves(low, low2);
      x0 = mulAdd(u, v128.load32_splat(b1), x0);
      x1 = mulAdd(u, v128.load32_splat(b1, 4), x1);
      x2 = mulAdd(u, v128.load32_splat(b1, 8), x2);
      x3 = mulAdd(u, v128.load32_splat(b1, 12), x3);
      u = lowHalves(high, high2);
      x0 = mulAdd(u, v128.load32_splat(b2), x0);
      x1 = mulAdd(u, v128.load32_splat(b2, 4), x1);
      x2 = mulAdd(u, v128.load32_splat(b2, 8), x2);
      x3 = mulAdd(u, v128.load32_splat(b2, 12), x3);
      u = highHalves(high, high2);
      x0 = mulAdd(u, v128.load32_splat(b3), x0);
      x1 = mulAdd(u, v128.load32_splat(b3, 4), x1);
      x2 = mulAdd(u, v128.load32_splat(b3, 8), x2);
      x3 = mulAdd(u, v128.load32_splat(b3, 12), x3);
      u = v128.load(q);
      v = v128.load(q + aRow);
      w = v128.load(q + twoRows);
      z = v128.load(q + threeRows);
      low = interleaveLow(u, v);
      low2 = interleaveLow(w, z);
      high = interleaveHigh(u, v);
      high2 = interleaveHigh(w, z);
      u = lowHalves(low, low2);
      y0 = mulAdd(u, v128.load32_splat(b0), y0);
      y1 = mulAdd(u, v128.load32_splat(b0, 4), y1);
      y2 = mulAdd(u, v128.load32_splat(b0, 8), y2);
      y3 = mulAdd(u, v128.load32_splat(b0, 12), y3);
      u = highHalves(low, low2);
      y0 = mulAdd(u, v128.load32_splat(b1), y0);
      y1 = mulAdd(u, v128.load32_splat(b1, 4), y1);
      y2 = mulAdd(u, v128.load32_splat(b1, 8), y2);
      y3 = mulAdd(u, v128.load32_splat(b1, 12), y3);
      u = lowHalves(high, high2);
      y0 = mulAdd(u, v128.load32_splat(b2), y0);
      y1 = mulAdd(u, v128.load32_splat(b2, 4), y1);
      y2 = mulAdd(u, v128.load32_splat(b2, 8), y2);
      y3 = mulAdd(u, v128.load32_splat(b2, 12), y3);
      u = highHalves(high, high2);
      y0 = mulAdd(u, v128.load32_splat(b3), y0);
      y1 = mulAdd(u, v128.load32_splat(b3, 4), y1);
      y2 = mulAdd(u, v128.load32_splat(b3, 8), y2);
      y3 = mulAdd(u, v128.load32_splat(b3, 12), y3);
      p += 16;
      q += 16;
      b0 = b3 + bRow;
    }
    for (; k > 0; k--) {
      let u = v128.load32_zero(p);
      u = v128.load32_lane(p + aRow, u, 1);
      u = v128.load32_lane(p + twoRows, u, 2);
      u = v128.load32_lane(p + threeRows, u, 3);
      x0 = mulAdd(u, v128.load32_splat(b0), x0);
      x1 = mulAdd(u, v128.load32_splat(b0, 4), x1);
      x2 = mulAdd(u, v128.load32_splat(b0, 8), x2);
      x3 = mulAdd(u, v128.load32_splat(b0, 12), x3);
      u = v128.load32_zero(q);
      u = v128.load32_lane(q + aRow, u, 1);
      u = v128.load32_lane(q + twoRows, u, 2);
      u = v128.load32_lane(q + threeRows, u, 3);
      y0 = mulAdd(u, v128.load32_splat(b0), y0);
      y1 = mulAdd(u, v128.load32_splat(b0, 4), y1);
      y2 = mulAdd(u, v128.load32_splat(b0, 8), y2);
      y3 = mulAdd(u, v128.load32_splat(b0, 12), y3);
      p += 4;
      q += 4;
      b0 += bRow;
    }
    let to = c;
    low = interleaveLow(x0, x1);
    high = interleaveHigh(x0, x1);
    low2 = interleaveLow(x2, x3);
    high2 = interleaveHigh(x2, x3);
    v128.store(to, lowHalves(low, low2));
    to += cRow;
    v128.store(to, highHalves(low, low2));
    to += cRow;
    v128.store(to, lowHalves(high, high2));
    to += cRow;
    v128.store(to, highHalves(high, high2));
    to += cRow;
    low = interleaveLow(y0, y1);
    high = interleaveHigh(y0, y1);
    low2 = interleaveLow(y2, y3);
    high2 = interleaveHigh(y2, y3);
    v128.store(to, lowHalves(low, low2));
    to += cRow;
    v128.store(to, highHalves(low, low2));
    to += cRow;
    v128.store(to, lowHalves(high, high2));
    to += cRow;
    v128.store(to, highHalves(high, high2));
    a += aRow << 3;
    seed += seedRow << 3;
    c += cRow << 3;
  }
}

/** The panel of 4 columns, by the contract of `gemm-kernel.ts`. */
export function panel4(
  rows: i32,
  depth: i32,
  a: usize,
  aRow: usize,
  aColumn: usize,
  b: usize,
  bRow: usize,
  seed: usize,
  seedRow: usize,
  c: usize,
  cRow: usize,
): void {
  const eights = aColumn === 4 ? rows & ~7 : 0;
  eightRows4(eights, depth, a, aRow, b, bRow, seed, seedRow, c, cRow);
  const done = <usize>eights;
  fourRows4(
    rows - eights,
    depth,
    a + aRow * done,
    aRow,
    aColumn,
    b,
    bRow,
    seed + seedRow * done,
    seedRow,
    c + cRow * done,
    cRow,
  );
}

