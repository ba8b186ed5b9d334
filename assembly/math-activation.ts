/**
 * Activations on four f32 lanes that would take chains of a dozen micro-operations. Conventions as in math.ts. Each takes
 * one exponential or one division, or both.
 *
 * GELU by the formula with a hyperbolic tangent (Hendrycks & Gimpel 2016), ½·x·(1 + tanh(u)) with
 * u = √(2/π)·(x + 0.044715·x³), is x·σ(2u) = x / (1 + e^-2u): one exponential, and nothing cancels below 0. The power
 * is taken to base 2, whose reduction is exact. Its argument carries the rounding of u, so that errors relative to
 * results grow with |u| where x is negative; errors relative to x do not.
 */
import { expNormal } from "./math";
import { floats, HALF, ONE, ROUNDER, SIGN, TWO, ZERO } from "./math-constants";
import { mulAdd } from "./simd";

/** -2·√(2/π)·log2(e), and 0.044715 times that. */
const POWER_1 = floats(-2.3022082);
const POWER_3 = floats(-0.10294324);
/** 2^POWER_LEAST is 0 beside 1, 2^POWER_GREATEST infinite. */
const POWER_LEAST = floats(-126);
const POWER_GREATEST = floats(128);

/** 2^r on [-½, ½], to 2^-28.9. */
const EXP2_1 = floats(0.6931472);
const EXP2_2 = floats(0.24022648);
const EXP2_3 = floats(0.055503324);
const EXP2_4 = floats(0.009618437);
const EXP2_5 = floats(0.0013398874);
const EXP2_6 = floats(0.00015353362);

/** 2^t for t in [-126, 128]. For NaN any value. */
// @ts-ignore: decorator
@inline
function exp2(t: v128): v128 {
  const power = f32x4.add(t, ROUNDER);
  const r = f32x4.sub(t, f32x4.sub(power, ROUNDER));
  let p = mulAdd(EXP2_6, r, EXP2_5);
  p = mulAdd(p, r, EXP2_4);
  p = mulAdd(p, r, EXP2_3);
  p = mulAdd(p, r, EXP2_2);
  p = mulAdd(p, r, EXP2_1);
  p = mulAdd(p, r, ONE);
  return i32x4.add(p, i32x4.shl(power, 23));
}

/**
 * GELU with a hyperbolic tangent; keeps the sign of zero, NaN for -∞. Errors are at most 1.2e-7·|x|, and from -1 up 2.5
 * ulp.
 */
// @ts-ignore: decorator
@inline
export function geluTanh(x: v128): v128 {
  const t = f32x4.mul(x, mulAdd(POWER_3, f32x4.mul(x, x), POWER_1));
  const e = exp2(f32x4.pmin(f32x4.pmax(t, POWER_LEAST), POWER_GREATEST));
  return f32x4.div(x, f32x4.add(e, ONE));
}

/** Beyond these the derivative is 0 or 1 to the last bit of 1; squares and powers of two stay finite up to them. */
const GRADIENT_LEAST = floats(-10);
const GRADIENT_GREATEST = floats(10);
/** 2·√(2/π), and 3·0.044715 times that: the derivative of 2u. */
const SLOPE_0 = floats(1.5957691);
const SLOPE_2 = floats(0.21406446);

/** g times the derivative of `geluTanh` at x: σ + x·(2u)'·σ·(1 - σ). Errors are at most 2.5e-7·|g|. */
// @ts-ignore: decorator
@inline
export function geluTanhGradient(g: v128, x: v128): v128 {
  const b = f32x4.pmin(f32x4.pmax(x, GRADIENT_LEAST), GRADIENT_GREATEST);
  const square = f32x4.mul(b, b);
  const e = exp2(f32x4.mul(b, mulAdd(POWER_3, square, POWER_1)));
  const sigma = f32x4.div(ONE, f32x4.add(e, ONE));
  const slope = f32x4.mul(b, mulAdd(SLOPE_2, square, SLOPE_0));
  const curve = f32x4.mul(f32x4.mul(e, sigma), sigma);
  return f32x4.mul(g, mulAdd(slope, curve, sigma));
}

/** ½ + x·P(x²)/Q(x²), with a Q that starts with 1. */
// @ts-ignore: decorator
@inline
function halfPlusOdd(x: v128, p0: v128, p2: v128, p4: v128, p6: v128, p8: v128, p10: v128, q2: v128, q4: v128, q6: v128, q8: v128, q10: v128): v128 {
  const z = f32x4.mul(x, x);
  let p = mulAdd(p10, z, p8);
  let q = mulAdd(q10, z, q8);
  p = mulAdd(p, z, p6);
  q = mulAdd(q, z, q6);
  p = mulAdd(p, z, p4);
  q = mulAdd(q, z, q4);
  p = mulAdd(p, z, p2);
  q = mulAdd(q, z, q2);
  p = mulAdd(p, z, p0);
  q = mulAdd(q, z, ONE);
  return f32x4.add(f32x4.div(f32x4.mul(x, p), q), HALF);
}

/**
 * Φ(x) - ½ as x·P(x²)/Q(x²) on [-5.5, 5.5], to 2^-27. Beyond, the normal distribution has less than 2^-25 of itself.
 */
const NORMAL_GREATEST = floats(5.5);
const NORMAL_LEAST = floats(-5.5);
const NORMAL_P0 = floats(0.39894223);
const NORMAL_P2 = floats(0.033852775);
const NORMAL_P4 = floats(0.0046772691);
const NORMAL_P6 = floats(0.00016882704);
const NORMAL_P8 = floats(6.352132e-6);
const NORMAL_P10 = floats(2.2749337e-8);
const NORMAL_Q2 = floats(0.25152224);
const NORMAL_Q4 = floats(0.028645948);
const NORMAL_Q6 = floats(0.0018844525);
const NORMAL_Q8 = floats(7.364797e-5);
const NORMAL_Q10 = floats(1.1975042e-6);

/**
 * GELU by its definition, x·Φ(x); keeps the sign of zero, 0 below -5.5, NaN for -∞. Errors are at most 2.5e-7·|x|, and
 * from -1 up 5 ulp. (The usual sum of 1 and the error function is off by up to 3.8e-7·|x|.)
 */
// @ts-ignore: decorator
@inline
export function gelu(x: v128): v128 {
  const b = f32x4.pmin(f32x4.pmax(x, NORMAL_LEAST), NORMAL_GREATEST);
  const phi = halfPlusOdd(b, NORMAL_P0, NORMAL_P2, NORMAL_P4, NORMAL_P6, NORMAL_P8, NORMAL_P10, NORMAL_Q2, NORMAL_Q4, NORMAL_Q6, NORMAL_Q8, NORMAL_Q10);
  return f32x4.mul(x, v128.andnot(phi, f32x4.lt(x, NORMAL_LEAST)));
}

/** Φ(x) + x·φ(x) - ½ as x·P(x²)/Q(x²) on [-5.6, 5.6], to 2^-23. */
const SLOPE_GREATEST = floats(5.6);
const SLOPE_LEAST = floats(-5.6);
const SLOPE_P0 = floats(0.79788536);
const SLOPE_P2 = floats(-0.030975359);
const SLOPE_P4 = floats(0.014226069);
const SLOPE_P6 = floats(1.9751335e-5);
const SLOPE_P8 = floats(3.5899288e-5);
const SLOPE_P10 = floats(1.9216728e-7);
const SLOPE_Q2 = floats(0.29451957);
const SLOPE_Q4 = floats(0.04098374);
const SLOPE_Q6 = floats(0.0035226375);
const SLOPE_Q8 = floats(0.00019205181);
const SLOPE_Q10 = floats(8.928171e-6);

/** g times the derivative of `gelu` at x, Φ(x) + x·φ(x); 0 below -5.6. Errors are at most 4.5e-7·|g|. */
// @ts-ignore: decorator
@inline
export function geluGradient(g: v128, x: v128): v128 {
  const b = f32x4.pmin(f32x4.pmax(x, SLOPE_LEAST), SLOPE_GREATEST);
  const slope = halfPlusOdd(b, SLOPE_P0, SLOPE_P2, SLOPE_P4, SLOPE_P6, SLOPE_P8, SLOPE_P10, SLOPE_Q2, SLOPE_Q4, SLOPE_Q6, SLOPE_Q8, SLOPE_Q10);
  return f32x4.mul(g, v128.andnot(slope, f32x4.lt(x, SLOPE_LEAST)));
}

/** -log2(e) */
const NEGATIVE_LOG2_E = floats(-1.442695);

/** SiLU, x·σ(x); keeps the sign of zero, NaN for -∞. Errors are at most 1.2e-7·|x|, and from -1 up 2.5 ulp. */
// @ts-ignore: decorator
@inline
export function silu(x: v128): v128 {
  const t = f32x4.mul(x, NEGATIVE_LOG2_E);
  const e = exp2(f32x4.pmin(f32x4.pmax(t, POWER_LEAST), POWER_GREATEST));
  return f32x4.div(x, f32x4.add(e, ONE));
}

/** Beyond these the derivative of `silu` is 0 or 1 to the last bit of 1. */
const SILU_LEAST = floats(-80);
const SILU_GREATEST = floats(80);

/** g times the derivative of `silu` at x: σ·(1 + x·(1 - σ)). Errors are at most 2.5e-7·|g|. */
// @ts-ignore: decorator
@inline
export function siluGradient(g: v128, x: v128): v128 {
  const b = f32x4.pmin(f32x4.pmax(x, SILU_LEAST), SILU_GREATEST);
  const e = exp2(f32x4.mul(b, NEGATIVE_LOG2_E));
  const sigma = f32x4.div(ONE, f32x4.add(e, ONE));
  return f32x4.mul(f32x4.mul(g, sigma), mulAdd(f32x4.mul(b, e), sigma, ONE));
}

/** 2·atanh(s)/s for s² up to 1/9, to 2^-27.9. */
const ATANH_2 = floats(0.66666317);
const ATANH_4 = floats(0.4002491);
const ATANH_6 = floats(0.279606);
const ATANH_8 = floats(0.28178334);
/** e^x is a normal float above this. */
const EXP_LEAST = floats(-87);

/**
 * log(1 + e^x) as max(x, 0) + log(1 + u) with u = e^-|x|, where log(1 + u) = 2·atanh(u / (2 + u)). Error ≤ 3 ulp;
 * 0 from x = -87 down.
 */
// @ts-ignore: decorator
@inline
export function softplus(x: v128): v128 {
  const b = v128.or(x, SIGN);
  const u = v128.and(expNormal(b), f32x4.gt(b, EXP_LEAST));
  const s = f32x4.div(u, f32x4.add(u, TWO));
  const z = f32x4.mul(s, s);
  let p = mulAdd(ATANH_8, z, ATANH_6);
  p = mulAdd(p, z, ATANH_4);
  p = mulAdd(p, z, ATANH_2);
  p = mulAdd(p, z, TWO);
  return mulAdd(p, s, f32x4.pmax(x, ZERO));
}
