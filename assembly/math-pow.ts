/**
 * Powers and remainders on four f32 lanes. Conventions as in math.ts.
 *
 * A power is computed in f64 as 2^(y·log2 x): y multiplies the logarithm's relative error by up to 2⁷, and f64 has the
 * bits to spare.
 */
import {
  DOUBLE_ONE,
  DOUBLE_ROUNDER,
  doubles,
  HALF,
  INFINITY,
  LEAST_NORMAL,
  ONE,
  SIGN,
  SQRT_HALF_BITS,
  TWENTY_THREE,
  TWO_TO_23,
  ZERO,
} from "./math-constants";
import { joinFloats, upper } from "./math-trig";

/** log2((1 + s)/(1 - s)) for (1 + s)/(1 - s) in [√½, √2], to a relative 2^-45. */
const LOG2_1 = doubles(2.8853900817778499);
const LOG2_3 = doubles(0.96179669411347677);
const LOG2_5 = doubles(0.57707794232106264);
const LOG2_7 = doubles(0.41220925725026108);
const LOG2_9 = doubles(0.31990548062262399);
const LOG2_11 = doubles(0.28290346374348903);
/** 2^r on [-½, ½], to 2^-39. */
const EXP2_1 = doubles(0.69314718053502855);
const EXP2_2 = doubles(0.2402265069573744);
const EXP2_3 = doubles(0.05550410976105039);
const EXP2_4 = doubles(0.0096181291835799706);
const EXP2_5 = doubles(0.0013333422647083518);
const EXP2_6 = doubles(0.00015403436509581447);
const EXP2_7 = doubles(1.5316461574910505e-5);
const EXP2_8 = doubles(1.3259646250270379e-6);
/** Powers of two that are no floats. */
const EXP2_LEAST = doubles(-200);
const EXP2_GREATEST = doubles(200);

// @ts-ignore: decorator
@inline
function multiplyAdd(a: v128, b: v128, c: v128): v128 {
  return f64x2.add(f64x2.mul(a, b), c);
}

/** y·log2(m·2^e) for m in [√½, √2), to a relative 2^-45. */
// @ts-ignore: decorator
@inline
function exponentOf(m: v128, e: v128, y: v128): v128 {
  const s = f64x2.div(f64x2.sub(m, DOUBLE_ONE), f64x2.add(m, DOUBLE_ONE));
  const z = f64x2.mul(s, s);
  let p = multiplyAdd(LOG2_11, z, LOG2_9);
  p = multiplyAdd(p, z, LOG2_7);
  p = multiplyAdd(p, z, LOG2_5);
  p = multiplyAdd(p, z, LOG2_3);
  p = multiplyAdd(p, z, LOG2_1);
  return f64x2.mul(y, f64x2.add(e, f64x2.mul(s, p)));
}

/** 2^t, infinite or 0 where a float would be. */
// @ts-ignore: decorator
@inline
function exp2(t: v128): v128 {
  const bounded = f64x2.pmin(f64x2.pmax(t, EXP2_LEAST), EXP2_GREATEST);
  const rounded = f64x2.add(bounded, DOUBLE_ROUNDER);
  const r = f64x2.sub(bounded, f64x2.sub(rounded, DOUBLE_ROUNDER));
  let p = multiplyAdd(EXP2_8, r, EXP2_7);
  p = multiplyAdd(p, r, EXP2_6);
  p = multiplyAdd(p, r, EXP2_5);
  p = multiplyAdd(p, r, EXP2_4);
  p = multiplyAdd(p, r, EXP2_3);
  p = multiplyAdd(p, r, EXP2_2);
  p = multiplyAdd(p, r, EXP2_1);
  p = multiplyAdd(p, r, DOUBLE_ONE);
  return f64x2.mul(p, i64x2.add(i64x2.shl(rounded, 52), DOUBLE_ONE));
}

/**
 * x^y with all of C99's special cases: x^0 and 1^y are 1 even for NaN; negative x has powers for integer y only.
 * Error ≤ 0.501 ulp on random pairs.
 */
// @ts-ignore: decorator
@inline
export function pow(x: v128, y: v128): v128 {
  const a = f32x4.abs(x);
  const tiny = f32x4.lt(a, LEAST_NORMAL);
  const scaled = v128.bitselect(f32x4.mul(a, TWO_TO_23), a, tiny);
  const exponent = i32x4.shr_s(i32x4.sub(scaled, SQRT_HALF_BITS), 23);
  const m = i32x4.sub(scaled, i32x4.shl(exponent, 23));
  const e = f32x4.sub(f32x4.convert_i32x4_s(exponent), v128.and(tiny, TWENTY_THREE));
  const low = exponentOf(f64x2.promote_low_f32x4(m), f64x2.promote_low_f32x4(e), f64x2.promote_low_f32x4(y));
  const high = exponentOf(
    f64x2.promote_low_f32x4(upper(m)),
    f64x2.promote_low_f32x4(upper(e)),
    f64x2.promote_low_f32x4(upper(y)),
  );
  let result = joinFloats(exp2(low), exp2(high));
  // 0^y and ∞^y are 0 or ∞ by the sign of y.
  const growing = v128.xor(f32x4.eq(a, ZERO), f32x4.gt(y, ZERO));
  const limit = v128.or(f32x4.eq(a, ZERO), f32x4.eq(a, INFINITY));
  result = v128.bitselect(v128.and(growing, INFINITY), result, limit);
  const whole = f32x4.eq(f32x4.nearest(y), y);
  const half = f32x4.mul(y, HALF);
  const odd = v128.andnot(whole, f32x4.eq(f32x4.nearest(half), half));
  result = v128.xor(result, v128.and(v128.and(x, odd), SIGN));
  const undefinedPower = v128.andnot(v128.and(f32x4.lt(x, ZERO), f32x4.lt(a, INFINITY)), whole);
  const unordered = v128.or(f32x4.ne(x, x), f32x4.ne(y, y));
  result = v128.or(result, v128.or(undefinedPower, unordered));
  const unit = v128.or(f32x4.eq(y, ZERO), f32x4.eq(x, ONE));
  const bounded = v128.and(f32x4.eq(a, ONE), f32x4.eq(f32x4.abs(y), INFINITY));
  return v128.bitselect(ONE, result, v128.or(unit, bounded));
}

/** C's fmod, exact: the sign is that of x; NaN where x is infinite or y is 0. */
// @ts-ignore: decorator
@inline
export function fmod(x: v128, y: v128): v128 {
  let result = f32x4.splat(f32x4.extract_lane(x, 0) % f32x4.extract_lane(y, 0));
  result = f32x4.replace_lane(result, 1, f32x4.extract_lane(x, 1) % f32x4.extract_lane(y, 1));
  result = f32x4.replace_lane(result, 2, f32x4.extract_lane(x, 2) % f32x4.extract_lane(y, 2));
  return f32x4.replace_lane(result, 3, f32x4.extract_lane(x, 3) % f32x4.extract_lane(y, 3));
}
