/**
 * Vector math on four f32 lanes: exponentials, logarithms and the activations built on them.
 *
 * Every function is right for every f32: subnormals, infinities, signed zeros; NaN gives NaN. Errors are stated in
 * units in the last place of the exact result, the larger of the two builds: exp, log, sigmoid, tanh and erf measured on
 * all 2³² floats, the others on every float of the binades around 1 in which they bend and every 61st elsewhere (bench/ulp.ts).
 * Polynomials are minimax fits (Remez) of the weighted relative error, named by the power of their term; ranges are
 * reduced in Cody and Waite's way ("Software Manual for the Elementary Functions", 1980).
 */
import {
  copySign,
  floats,
  HALF,
  INFINITY,
  ints,
  LEAST_NORMAL,
  NOT_A_NUMBER,
  ONE,
  ROUNDER,
  SIGN,
  SQRT_HALF_BITS,
  TWENTY_THREE,
  TWO,
  TWO_TO_23,
  ZERO,
} from "./math-constants";
import { mulAdd } from "./simd";

const LOG2_E = floats(1.44269504);
/** ln 2 in two parts; the first has 9 bits, so that its product with an exponent is exact. */
const LN2_HIGH = floats(0.693359375);
const LN2_LOW = floats(-2.12194440e-4);
const MINUS_LN2_HIGH = floats(-0.693359375);
const MINUS_LN2_LOW = floats(2.12194440e-4);

/**
 * e^r on [-ln 2 / 2, ln 2 / 2]. Near the minimax coefficients, but searched for the least error of the rounded sum on
 * both builds: those themselves leave 1.02 ulp with fused multiply-adds.
 */
const EXP_2 = floats(0.4999999);
const EXP_3 = floats(0.16666491);
const EXP_4 = floats(0.041669093);
const EXP_5 = floats(0.008372074);
const EXP_6 = floats(0.001379258);

/** x/ln 2 rounded to an integer, as the low bits of a sum with `ROUNDER`. */
// @ts-ignore: decorator
@inline
export function powerOfTwo(x: v128): v128 {
  return mulAdd(x, LOG2_E, ROUNDER);
}

/** x - n·ln 2. */
// @ts-ignore: decorator
@inline
function withoutPower(x: v128, n: v128): v128 {
  return mulAdd(n, MINUS_LN2_LOW, mulAdd(n, MINUS_LN2_HIGH, x));
}

/** e^r for r in [-ln 2 / 2, ln 2 / 2]. */
// @ts-ignore: decorator
@inline
function expReduced(r: v128): v128 {
  let p = mulAdd(EXP_6, r, EXP_5);
  p = mulAdd(p, r, EXP_4);
  p = mulAdd(p, r, EXP_3);
  p = mulAdd(p, r, EXP_2);
  // One operation less, where it does not round once more.
  if (ASC_FEATURE_RELAXED_SIMD) return mulAdd(mulAdd(p, r, ONE), r, ONE);
  return f32x4.add(mulAdd(p, f32x4.mul(r, r), r), ONE);
}

const EXP_LEAST = floats(-104);
const EXP_GREATEST = floats(89);

/** e^x. Error ≤ 0.991 ulp. */
// @ts-ignore: decorator
@inline
export function exp(x: v128): v128 {
  const bounded = f32x4.pmin(f32x4.pmax(x, EXP_LEAST), EXP_GREATEST);
  const power = powerOfTwo(bounded);
  const p = expReduced(withoutPower(bounded, f32x4.sub(power, ROUNDER)));
  // 2^n in two factors, each a normal float: n reaches from -150 to 128, and a subnormal result is rounded once.
  const half = i32x4.shl(i32x4.shr_s(power, 1), 23);
  const rest = i32x4.sub(i32x4.shl(power, 23), half);
  return f32x4.mul(f32x4.mul(p, i32x4.add(half, ONE)), i32x4.add(rest, ONE));
}

/**
 * e^x from `powerOfTwo(x)` where that is a normal float, anything elsewhere, also for NaN: the bits of `exp` at half its
 * price.
 */
// @ts-ignore: decorator
@inline
export function expOfPower(x: v128, power: v128): v128 {
  const p = expReduced(withoutPower(x, f32x4.sub(power, ROUNDER)));
  return i32x4.add(p, i32x4.shl(power, 23));
}

/** e^x where that is a normal float, anything elsewhere, also for NaN. Error as of `exp`. */
// @ts-ignore: decorator
@inline
export function expNormal(x: v128): v128 {
  return expOfPower(x, powerOfTwo(x));
}

/** `ROUNDER` + 127: the low bits of a sum with it are the exponent field of a power of two, 0 for 2^-127. */
const EXPONENT_ROUNDER = floats(12583039);
/** x/ln 2 rounds to -127, below which all is 0 as well. */
const EXP_FALLEN = floats(-88);

/**
 * e^x·2^-m, where `rounder` is `scaledRounder` of a number that m·ln 2 is next to, |x| ≤ 512, and the result a normal
 * float; NaN for NaN. Error ≤ 0.991 ulp.
 */
// @ts-ignore: decorator
@inline
export function expScaled(x: v128, rounder: v128): v128 {
  const field = mulAdd(x, LOG2_E, rounder);
  const p = expReduced(withoutPower(x, f32x4.sub(field, rounder)));
  // A product, unlike a sum of bits, keeps NaN.
  return f32x4.mul(p, i32x4.shl(field, 23));
}

/** What `expScaled` takes to divide by a power of two next to e^x. */
// @ts-ignore: decorator
@inline
export function scaledRounder(x: v128): v128 {
  return f32x4.sub(EXPONENT_ROUNDER, f32x4.nearest(f32x4.mul(x, LOG2_E)));
}

/** e^x for x ≤ 0, and 0 below e^-87.7 (8.3e-39); NaN for NaN. Error ≤ 0.991 ulp, where that is a normal float. */
// @ts-ignore: decorator
@inline
export function expFalling(x: v128): v128 {
  return expScaled(f32x4.pmax(x, EXP_FALLEN), EXPONENT_ROUNDER);
}

/** e^r - 1 on [-ln 2 / 2, ln 2 / 2], to 2^-31.9. */
const EXPM1_2 = HALF;
const EXPM1_3 = floats(0.16666666);
const EXPM1_4 = floats(0.041666355);
const EXPM1_5 = floats(0.008333375);
const EXPM1_6 = floats(0.0013940973);
const EXPM1_7 = floats(0.00019856614);
const EXPM1_LEAST = floats(-20);

/** e^x - 1; keeps the sign of zero. Error ≤ 1.48 ulp. */
// @ts-ignore: decorator
@inline
export function expm1(x: v128): v128 {
  const bounded = f32x4.pmin(f32x4.pmax(x, EXPM1_LEAST), EXP_GREATEST);
  const power = powerOfTwo(bounded);
  const n = f32x4.sub(power, ROUNDER);
  const r = withoutPower(bounded, n);
  let p = mulAdd(EXPM1_7, r, EXPM1_6);
  p = mulAdd(p, r, EXPM1_5);
  p = mulAdd(p, r, EXPM1_4);
  p = mulAdd(p, r, EXPM1_3);
  p = mulAdd(p, r, EXPM1_2);
  const q = mulAdd(p, f32x4.mul(r, r), r);
  // 2·(2^(n-1)·q + (2^(n-1) - ½)): half the scale, because 2^128 is no float.
  const scale = i32x4.add(i32x4.shl(power, 23), HALF);
  const sum = mulAdd(scale, q, f32x4.sub(scale, HALF));
  const near = f32x4.eq(n, ZERO);
  return copySign(f32x4.abs(v128.bitselect(q, f32x4.add(sum, sum), near)), x);
}

/** log(1 + f) for 1 + f in [√½, √2], to 2^-27.3. */
const LOG_3 = floats(0.3333333);
const LOG_4 = floats(-0.2500082);
const LOG_5 = floats(0.20001228);
const LOG_6 = floats(-0.16623358);
const LOG_7 = floats(0.14201744);
const LOG_8 = floats(-0.13160156);
const LOG_9 = floats(0.1276166);
const LOG_10 = floats(-0.076346576);
const MINUS_HALF = floats(-0.5);

/** log(1 + f) + n·ln 2 for 1 + f in [√½, √2]. */
// @ts-ignore: decorator
@inline
function logReduced(f: v128, n: v128): v128 {
  let p = mulAdd(LOG_10, f, LOG_9);
  p = mulAdd(p, f, LOG_8);
  p = mulAdd(p, f, LOG_7);
  p = mulAdd(p, f, LOG_6);
  p = mulAdd(p, f, LOG_5);
  p = mulAdd(p, f, LOG_4);
  p = mulAdd(p, f, LOG_3);
  const z = f32x4.mul(f, f);
  let tail = mulAdd(n, LN2_LOW, f32x4.mul(f32x4.mul(p, f), z));
  tail = mulAdd(z, MINUS_HALF, tail);
  return mulAdd(n, LN2_HIGH, f32x4.add(f, tail));
}

/** log x for normal floats above 0, anything elsewhere: the bits of `log`. */
// @ts-ignore: decorator
@inline
export function logNormal(x: v128): v128 {
  const exponent = i32x4.shr_s(i32x4.sub(x, SQRT_HALF_BITS), 23);
  const f = f32x4.sub(i32x4.sub(x, i32x4.shl(exponent, 23)), ONE);
  return logReduced(f, f32x4.convert_i32x4_s(exponent));
}

/** The natural logarithm: log(0) is -∞, below 0 it is NaN. Error ≤ 0.87 ulp. */
// @ts-ignore: decorator
@inline
export function log(x: v128): v128 {
  const tiny = f32x4.lt(x, LEAST_NORMAL);
  const scaled = v128.bitselect(f32x4.mul(x, TWO_TO_23), x, tiny);
  const exponent = i32x4.shr_s(i32x4.sub(scaled, SQRT_HALF_BITS), 23);
  const f = f32x4.sub(i32x4.sub(scaled, i32x4.shl(exponent, 23)), ONE);
  const n = f32x4.sub(f32x4.convert_i32x4_s(exponent), v128.and(tiny, TWENTY_THREE));
  return logEdges(x, logReduced(f, n));
}

/** `result`, but what log gives where `x` is 0, negative, infinite or NaN. */
// @ts-ignore: decorator
@inline
function logEdges(x: v128, result: v128): v128 {
  const inside = v128.and(f32x4.gt(x, ZERO), f32x4.lt(x, INFINITY));
  const below = v128.bitselect(v128.or(INFINITY, SIGN), NOT_A_NUMBER, f32x4.eq(x, ZERO));
  const edge = v128.bitselect(INFINITY, below, f32x4.eq(x, INFINITY));
  return v128.bitselect(result, edge, inside);
}

const GREATEST_SHIFT = ints(127);

/** log(1 + x): log1p(-1) is -∞, below -1 it is NaN; keeps the sign of zero. Error ≤ 1.45 ulp. */
// @ts-ignore: decorator
@inline
export function log1p(x: v128): v128 {
  const sum = f32x4.add(x, ONE);
  const exponent = i32x4.shr_s(i32x4.sub(sum, SQRT_HALF_BITS), 23);
  // 2^-n·(1 + x) - 1 as 2^-n·x + (2^-n - 1) keeps the bits of x that 1 + x rounds away.
  const scale = i32x4.sub(ONE, i32x4.shl(i32x4.min_s(exponent, GREATEST_SHIFT), 23));
  const f = f32x4.add(i32x4.sub(x, i32x4.shl(exponent, 23)), f32x4.sub(scale, ONE));
  const result = logEdges(sum, logReduced(f, f32x4.convert_i32x4_s(exponent)));
  return v128.bitselect(x, result, f32x4.eq(x, ZERO));
}

/** tanh(x) on [0, 0.625], to 2^-27.8. */
const TANH_3 = floats(-0.3333328);
const TANH_5 = floats(0.13331442);
const TANH_7 = floats(-0.053739715);
const TANH_9 = floats(0.020639088);
const TANH_11 = floats(-0.0057049873);
const TANH_NEAR_SQUARE = floats(0.390625);
const TANH_FLAT = floats(10);

/** The hyperbolic tangent of |x| where that is at least 0.625: 1 - 2 / (e^2|x| + 1). */
// @ts-ignore: decorator
@inline
export function tanhFar(x: v128): v128 {
  const b = f32x4.pmin(f32x4.abs(x), TANH_FLAT);
  return f32x4.sub(ONE, f32x4.div(TWO, f32x4.add(expNormal(f32x4.add(b, b)), ONE)));
}

/** The hyperbolic tangent from `tanhFar(x)`; keeps the sign of zero. Error ≤ 1.37 ulp. */
// @ts-ignore: decorator
@inline
export function tanh(x: v128, far: v128): v128 {
  const z = f32x4.mul(x, x);
  let p = mulAdd(TANH_11, z, TANH_9);
  p = mulAdd(p, z, TANH_7);
  p = mulAdd(p, z, TANH_5);
  p = mulAdd(p, z, TANH_3);
  const near = mulAdd(f32x4.mul(p, z), x, x);
  // NaN is not far: the exponential of it may be a number.
  return copySign(v128.bitselect(far, near, f32x4.ge(z, TANH_NEAR_SQUARE)), x);
}

/** 1 / (1 + e^-x), with a small relative error also where the result is tiny. Error ≤ 2.41 ulp. */
// @ts-ignore: decorator
@inline
export function sigmoid(x: v128): v128 {
  return sigmoidOf(x, exp(v128.or(x, SIGN)));
}

/** The sigmoid of x from e^-|x|: over 1 + e^-|x| stands 1, or below 0 e^-|x|. */
// @ts-ignore: decorator
@inline
export function sigmoidOf(x: v128, e: v128): v128 {
  const numerator = v128.bitselect(e, ONE, f32x4.lt(x, ZERO));
  return f32x4.div(numerator, f32x4.add(e, ONE));
}

/** erf(x) - x on [0, 1], to 2^-29.6 of erf. */
const ERF_1 = floats(0.128379166);
const ERF_3 = floats(-0.37612626);
const ERF_5 = floats(0.112835854);
const ERF_7 = floats(-0.026853813);
const ERF_9 = floats(0.0051883277);
const ERF_11 = floats(-0.00080101937);
const ERF_13 = floats(7.8538615e-5);
/** log(1 - erf(x)) on [1, 4], so that erf is good to 2^-29.8. */
const ERFC_0 = floats(-0.00034152673);
const ERFC_1 = floats(-1.1270891);
const ERFC_2 = floats(-0.63814485);
const ERFC_3 = floats(-0.10310674);
const ERFC_4 = floats(0.021838056);
const ERFC_5 = floats(-0.0029476567);
const ERFC_6 = floats(0.00018637907);
const ERF_FLAT = floats(4);

/** log(1 - erf |x|) where |x| is at least 1. */
// @ts-ignore: decorator
@inline
export function erfExponent(x: v128): v128 {
  const b = f32x4.pmin(f32x4.abs(x), ERF_FLAT);
  let q = mulAdd(ERFC_6, b, ERFC_5);
  q = mulAdd(q, b, ERFC_4);
  q = mulAdd(q, b, ERFC_3);
  q = mulAdd(q, b, ERFC_2);
  q = mulAdd(q, b, ERFC_1);
  return mulAdd(q, b, ERFC_0);
}

/** The error function of |x| where that is at least 1, from `erfExponent(x)`. */
// @ts-ignore: decorator
@inline
export function erfFar(exponent: v128): v128 {
  return f32x4.sub(ONE, expNormal(exponent));
}

/** The error function from `erfFar(x)`; keeps the sign of zero. Error ≤ 1.48 ulp. */
// @ts-ignore: decorator
@inline
export function erf(x: v128, far: v128): v128 {
  const z = f32x4.mul(x, x);
  let p = mulAdd(ERF_13, z, ERF_11);
  p = mulAdd(p, z, ERF_9);
  p = mulAdd(p, z, ERF_7);
  p = mulAdd(p, z, ERF_5);
  p = mulAdd(p, z, ERF_3);
  p = mulAdd(p, z, ERF_1);
  return copySign(v128.bitselect(far, mulAdd(p, x, x), f32x4.ge(z, ONE)), x);
}
