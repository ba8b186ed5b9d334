/**
 * The inner loops of Gemm: products of some rows of A with one panel of B, 24, 20, 16, 12, 8 or 4 columns wide.
 *
 * All of them compute, for every row i and column j of the panel,
 *
 *     C[i,j] = (…((seed[i,j] + A[i,0]·B[0,j]) + A[i,1]·B[1,j]) + …) + A[i,depth-1]·B[depth-1,j]
 *
 * in exactly this order, each step one `mulAdd`, so that it does not matter to the bits which of them computes an
 * element, nor where a K block starts (its seed is then the C that the block before it stored).
 *
 * Contract: strides are in bytes and may be 0 or negative; A is read element by element, exactly; rows of B, C and
 * the seed are read and written as whole vectors, the panel's width exactly, at any alignment. The seed may be C. C
 * overlaps nothing else. What `ahead.ts` was told to read ahead is read besides. NaN and infinities propagate. Each step
 * rounds twice (strict) or once (relaxed, where fused), so |error| ≤ γ·(|seed| + Σ|A·B|) with γ ≈ (depth + 1)·2⁻²⁴.
 *
 * The tiles fit the 15 vector registers that V8 hands out on x64; larger ones spill. They have as many accumulators as it
 * takes to hide the latency of a step: eight where only the addition is in the chain. A fused multiply-add takes longer,
 * and where two start every cycle eight chains leave no slack. Measured on an Intel Xeon (Node 24, relaxed) as a share of
 * what registers alone do: 2×24 100 %, 2×20 98 %, 3×12 91 %, 2×16 and 4×8 87 %. On the strict build all of these are
 * alike in Node 24, but 2×20 and 2×24 spill in Node 20. The three widest share a body that is inlined with a constant: its
 * machine code is that of three written out. Tiles of more rows have other accumulators and addresses, and so bodies of
 * their own: one with all of them as parameters would be longer than they are together. A tile that reaches past the last row repeats that row:
 * it computes and stores the same values twice, and needs no case of its own.
 */
import { touchNext } from "./ahead";
import { panel4 } from "./gemm-kernel-four";
import { mulAdd } from "./simd";

/** Two rows by four times `vectors` (4, 5 or 6) columns at a time; inlined, so that what the others lack costs nothing. */
// @ts-ignore: decorator
@inline
function panelOfTwoRows(
  vectors: i32,
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
  for (let i = 0; i < rows; i += 2) {
    touchNext();
    const two = i + 1 < rows;
    let a0 = a;
    let a1 = two ? a + aRow : a;
    const s1 = two ? seed + seedRow : seed;
    const c1 = two ? c + cRow : c;
    let x0 = v128.load(seed);
    let x1 = v128.load(seed, 16);
    let x2 = v128.load(seed, 32);
    let x3 = v128.load(seed, 48);
    let x4 = vectors > 4 ? v128.load(seed, 64) : x0;
    let x5 = vectors > 5 ? v128.load(seed, 80) : x0;
    let y0 = v128.load(s1);
    let y1 = v128.load(s1, 16);
    let y2 = v128.load(s1, 32);
    let y3 = v128.load(s1, 48);
    let y4 = vectors > 4 ? v128.load(s1, 64) : y0;
    let y5 = vectors > 5 ? v128.load(s1, 80) : y0;
    let bk = b;
    for (let k = depth; k > 0; k--) {
      const p = v128.load32_splat(a0);
      const q = v128.load32_splat(a1);
      let v = v128.load(bk);
      x0 = mulAdd(p, v, x0);
      y0 = mulAdd(q, v, y0);
      v = v128.load(bk, 16);
      x1 = mulAdd(p, v, x1);
      y1 = mulAdd(q, v, y1);
      v = v128.load(bk, 32);
      x2 = mulAdd(p, v, x2);
      y2 = mulAdd(q, v, y2);
      v = v128.load(bk, 48);
      x3 = mulAdd(p, v, x3);
      y3 = mulAdd(q, v, y3);
      if (vectors > 4) {
        v = v128.load(bk, 64);
        x4 = mulAdd(p, v, x4);
        y4 = mulAdd(q, v, y4);
      }
      if (vectors > 5) {
        v = v128.load(bk, 80);
        x5 = mulAdd(p, v, x5);
        y5 = mulAdd(q, v, y5);
      }
      a0 += aColumn;
      a1 += aColumn;
      bk += bRow;
    }
    v128.store(c, x0);
    v128.store(c, x1, 16);
    v128.store(c, x2, 32);
    v128.store(c, x3, 48);
    if (vectors > 4) v128.store(c, x4, 64);
    if (vectors > 5) v128.store(c, x5, 80);
    v128.store(c1, y0);
    v128.store(c1, y1, 16);
    v128.store(c1, y2, 32);
    v128.store(c1, y3, 48);
    if (vectors > 4) v128.store(c1, y4, 64);
    if (vectors > 5) v128.store(c1, y5, 80);
    a += aRow << 1;
    seed += seedRow << 1;
    c += cRow << 1;
  }
}

function panel24(
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
  panelOfTwoRows(6, rows, depth, a, aRow, aColumn, b, bRow, seed, seedRow, c, cRow);
}

function panel20(
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
  panelOfTwoRows(5, rows, depth, a, aRow, aColumn, b, bRow, seed, seedRow, c, cRow);
}

function panel16(
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
  const even = rows & ~1;
  panelOfTwoRows(4, even, depth, a, aRow, aColumn, b, bRow, seed, seedRow, c, cRow);
  if (even === rows) return;
  const last = <usize>even;
  row16(depth, a + aRow * last, aColumn, b, bRow, seed + seedRow * last, c + cRow * last);
}

/** The last row of an odd number, or the only one: a product of a vector and a matrix waits for memory, not for sums. */
function row16(depth: i32, a: usize, aColumn: usize, b: usize, bRow: usize, seed: usize, c: usize): void {
  let x0 = v128.load(seed);
  let x1 = v128.load(seed, 16);
  let x2 = v128.load(seed, 32);
  let x3 = v128.load(seed, 48);
  for (let k = depth; k > 0; k--) {
    const p = v128.load32_splat(a);
    x0 = mulAdd(p, v128.load(b), x0);
    x1 = mulAdd(p, v128.load(b, 16), x1);
    x2 = mulAdd(p, v128.load(b, 32), x2);
    x3 = mulAdd(p, v128.load(b, 48), x3);
    a += aColumn;
    b += bRow;
  }
  v128.store(c, x0);
  v128.store(c, x1, 16);
  v128.store(c, x2, 32);
  v128.store(c, x3, 48);
}

/** Three rows by 12 columns at a time. */
function panel12(
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
  for (let i = 0; i < rows; i += 3) {
    const left = rows - i;
    let a0 = a;
    let a1 = left > 1 ? a0 + aRow : a0;
    let a2 = left > 2 ? a1 + aRow : a1;
    const s1 = left > 1 ? seed + seedRow : seed;
    const s2 = left > 2 ? s1 + seedRow : s1;
    let x0 = v128.load(seed);
    let x1 = v128.load(seed, 16);
    let x2 = v128.load(seed, 32);
    let y0 = v128.load(s1);
    let y1 = v128.load(s1, 16);
    let y2 = v128.load(s1, 32);
    let z0 = v128.load(s2);
    let z1 = v128.load(s2, 16);
    let z2 = v128.load(s2, 32);
    let bk = b;
    for (let k = depth; k > 0; k--) {
      const p = v128.load32_splat(a0);
      const q = v128.load32_splat(a1);
      const r = v128.load32_splat(a2);
      let v = v128.load(bk);
      x0 = mulAdd(p, v, x0);
      y0 = mulAdd(q, v, y0);
      z0 = mulAdd(r, v, z0);
      v = v128.load(bk, 16);
      x1 = mulAdd(p, v, x1);
      y1 = mulAdd(q, v, y1);
      z1 = mulAdd(r, v, z1);
      v = v128.load(bk, 32);
      x2 = mulAdd(p, v, x2);
      y2 = mulAdd(q, v, y2);
      z2 = mulAdd(r, v, z2);
      a0 += aColumn;
      a1 += aColumn;
      a2 += aColumn;
      bk += bRow;
    }
    const c1 = left > 1 ? c + cRow : c;
    const c2 = left > 2 ? c1 + cRow : c1;
    v128.store(c, x0);
    v128.store(c, x1, 16);
    v128.store(c, x2, 32);
    v128.store(c1, y0);
    v128.store(c1, y1, 16);
    v128.store(c1, y2, 32);
    v128.store(c2, z0);
    v128.store(c2, z1, 16);
    v128.store(c2, z2, 32);
    a += aRow * 3;
    seed += seedRow * 3;
    c += cRow * 3;
  }
}

/** Four rows by 8 columns at a time. */
function panel8(
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
    let x0 = v128.load(seed);
    let x1 = v128.load(seed, 16);
    let y0 = v128.load(s1);
    let y1 = v128.load(s1, 16);
    let z0 = v128.load(s2);
    let z1 = v128.load(s2, 16);
    let w0 = v128.load(s3);
    let w1 = v128.load(s3, 16);
    let bk = b;
    for (let k = depth; k > 0; k--) {
      const u = v128.load(bk);
      const v = v128.load(bk, 16);
      let p = v128.load32_splat(a0);
      x0 = mulAdd(p, u, x0);
      x1 = mulAdd(p, v, x1);
      p = v128.load32_splat(a1);
      y0 = mulAdd(p, u, y0);
      y1 = mulAdd(p, v, y1);
      p = v128.load32_splat(a2);
      z0 = mulAdd(p, u, z0);
      z1 = mulAdd(p, v, z1);
      p = v128.load32_splat(a3);
      w0 = mulAdd(p, u, w0);
      w1 = mulAdd(p, v, w1);
      a0 += aColumn;
      a1 += aColumn;
      a2 += aColumn;
      a3 += aColumn;
      bk += bRow;
    }
    const c1 = left > 1 ? c + cRow : c;
    const c2 = left > 2 ? c1 + cRow : c1;
    const c3 = left > 3 ? c2 + cRow : c2;
    v128.store(c, x0);
    v128.store(c, x1, 16);
    v128.store(c1, y0);
    v128.store(c1, y1, 16);
    v128.store(c2, z0);
    v128.store(c2, z1, 16);
    v128.store(c3, w0);
    v128.store(c3, w1, 16);
    a += aRow << 2;
    seed += seedRow << 2;
    c += cRow << 2;
  }
}

/** The panel function for `width`, one of the widths that `panelWidth` gives. */
export function panel(
  width: i32,
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
  if (ASC_FEATURE_RELAXED_SIMD && width === 24) panel24(rows, depth, a, aRow, aColumn, b, bRow, seed, seedRow, c, cRow);
  else if (ASC_FEATURE_RELAXED_SIMD && width === 20) {
    panel20(rows, depth, a, aRow, aColumn, b, bRow, seed, seedRow, c, cRow);
  } else if (width === 16) panel16(rows, depth, a, aRow, aColumn, b, bRow, seed, seedRow, c, cRow);
  else if (width === 12) panel12(rows, depth, a, aRow, aColumn, b, bRow, seed, seedRow, c, cRow);
  else if (width === 8) panel8(rows, depth, a, aRow, aColumn, b, bRow, seed, seedRow, c, cRow);
  else panel4(rows, depth, a, aRow, aColumn, b, bRow, seed, seedRow, c, cRow);
}
