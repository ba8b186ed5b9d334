/**
 * The ceilings that benchmarks and profiles compare kernels with: what the vector units and the memory give to loops
 * that do nothing else. Compiled by the same compiler for the same builds as the kernels, into modules of their own.
 */
import { mulAdd } from "./simd";

/** Vector multiply-adds in one turn of `dependentMulAdds`, and of `independentMulAdds`. */
export const DEPENDENT_CHAINS: i32 = 13;
export const INDEPENDENT_CHAINS: i32 = 7;

/**
 * `turns` turns of 13 chains xᵢ ← xᵢ·s + t in registers: enough to hide the latency of a fused multiply-add. Reads s and
 * t at `at`, 16 bytes each, and writes the sum of the chains behind them so that none is dropped.
 */
export function dependentMulAdds(turns: i32, at: usize): void {
  const s = v128.load(at);
  const t = v128.load(at, 16);
  let a = t;
  let b = s;
  let c = f32x4.add(a, b);
  let d = f32x4.add(c, b);
  let e = f32x4.add(d, b);
  let f = f32x4.add(e, b);
  let g = f32x4.add(f, b);
  let h = f32x4.add(g, b);
  let i = f32x4.add(h, b);
  let j = f32x4.add(i, b);
  let k = f32x4.add(j, b);
  let l = f32x4.add(k, b);
  let m = f32x4.add(l, b);
  for (; turns > 0; turns--) {
    a = mulAdd(a, s, t);
    b = mulAdd(b, s, t);
    c = mulAdd(c, s, t);
    d = mulAdd(d, s, t);
    e = mulAdd(e, s, t);
    f = mulAdd(f, s, t);
    g = mulAdd(g, s, t);
    h = mulAdd(h, s, t);
    i = mulAdd(i, s, t);
    j = mulAdd(j, s, t);
    k = mulAdd(k, s, t);
    l = mulAdd(l, s, t);
    m = mulAdd(m, s, t);
  }
  a = f32x4.add(f32x4.add(f32x4.add(a, b), f32x4.add(c, d)), f32x4.add(f32x4.add(e, f), f32x4.add(g, h)));
  v128.store(at, f32x4.add(a, f32x4.add(f32x4.add(i, j), f32x4.add(k, f32x4.add(l, m)))), 32);
}

/**
 * `turns` turns of 7 pairs x ← x·s, y ← y + x: the multiplication and the addition of a pair run in different turns, so
 * their latencies overlap as they do in a product of matrices. The ceiling of the strict build, where the two are
 * separate instructions. Memory as for `dependentMulAdds`.
 */
export function independentMulAdds(turns: i32, at: usize): void {
  const s = v128.load(at);
  const t = v128.load(at, 16);
  let a = t;
  let b = f32x4.add(a, s);
  let c = f32x4.add(b, s);
  let d = f32x4.add(c, s);
  let e = f32x4.add(d, s);
  let f = f32x4.add(e, s);
  let g = f32x4.add(f, s);
  let sumA = t;
  let sumB = t;
  let sumC = t;
  let sumD = t;
  let sumE = t;
  let sumF = t;
  let sumG = t;
  for (; turns > 0; turns--) {
    a = f32x4.mul(a, s);
    sumA = f32x4.add(sumA, a);
    b = f32x4.mul(b, s);
    sumB = f32x4.add(sumB, b);
    c = f32x4.mul(c, s);
    sumC = f32x4.add(sumC, c);
    d = f32x4.mul(d, s);
    sumD = f32x4.add(sumD, d);
    e = f32x4.mul(e, s);
    sumE = f32x4.add(sumE, e);
    f = f32x4.mul(f, s);
    sumF = f32x4.add(sumF, f);
    g = f32x4.mul(g, s);
    sumG = f32x4.add(sumG, g);
  }
  sumA = f32x4.add(f32x4.add(f32x4.add(sumA, sumB), f32x4.add(sumC, sumD)), f32x4.add(f32x4.add(sumE, sumF), sumG));
  v128.store(at, sumA, 32);
}

/** a[i] = b[i] + s·c[i] for `count` floats, a multiple of 8: 12 bytes of traffic each (McCalpin's STREAM triad). */
export function triad(count: i32, a: usize, b: usize, c: usize, s: f32): void {
  const factor = f32x4.splat(s);
  for (const end = a + ((<usize>count) << 2); a < end; a += 32) {
    v128.store(a, mulAdd(factor, v128.load(c), v128.load(b)));
    v128.store(a, mulAdd(factor, v128.load(c, 16), v128.load(b, 16)), 16);
    b += 32;
    c += 32;
  }
}
