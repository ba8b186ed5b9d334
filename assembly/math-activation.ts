/**
 * Activations on four f32 lanes that would take chains of a dozen micro-operations. Conventions as in math.ts.
 *
 * GELU by the formula with a hyperbolic tangent (Hendrycks & Gimpel 2016), ½·x·(1 + tanh(u)) with
 * u = √(2/π)·(x + 0.044715·x³), is x·σ(2u) = x / (1 + e^-2u): one exponential, and nothing cancels below 0. The power
 * is taken to base 2, whose reduction is exact. Its argument carries the rounding of u, so that errors relative to
 * results grow with |u| where x is negative; errors relative to x do not.
 */
import { floats, ONE, ROUNDER } from "./math-constants";
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
