/**
 * Trigonometry on four f32 lanes: circular functions and their inverses. Conventions as in math.ts.
 *
 * Arguments are reduced in f64, where a two-part π/2 leaves an exact enough remainder up to 2²⁰ quarter turns; beyond,
 * Payne and Hanek's method ("Radian Reduction for Trigonometric Functions", SIGNUM Newsletter 18, 1983) multiplies by
 * the bits of 2/π that matter.
 */
import { copySign, DOUBLE_ROUNDER, doubles, floats, HALF, ints, ONE, SIGN, ZERO } from "./math-constants";
import { mulAdd } from "./simd";

/** Below this (2²⁰ quarter turns) the f64 reduction holds. */
const REDUCIBLE: f32 = 1647099;
const REDUCIBLE_LANES = floats(REDUCIBLE);
const TWO_OVER_PI: f64 = 0.63661977236758134308;
const TWO_OVER_PI_LANES = doubles(TWO_OVER_PI);
/** π/2 in two parts: the first has 33 bits, so that its product with a number of quarter turns is exact. */
const HALF_PI_HIGH: f64 = 1.57079632673412561417;
const HALF_PI_LOW: f64 = 6.07710050650619224932e-11;
const HALF_PI_HIGH_LANES = doubles(HALF_PI_HIGH);
const HALF_PI_LOW_LANES = doubles(HALF_PI_LOW);
/** π/2 · 2⁻⁶² */
const HALF_PI_2_62: f64 = 3.4061215800865545e-19;

/** The nearest number of quarter turns in two f64 lanes, as the low bits of a sum with `DOUBLE_ROUNDER`. */
// @ts-ignore: decorator
@inline
function quarterTurns(x: v128): v128 {
  return f64x2.add(f64x2.mul(x, TWO_OVER_PI_LANES), DOUBLE_ROUNDER);
}

/** What is left of two f64 lanes without `turns` quarter turns: in [-π/4, π/4]. */
// @ts-ignore: decorator
@inline
function remainder(x: v128, turns: v128): v128 {
  const n = f64x2.sub(turns, DOUBLE_ROUNDER);
  return f64x2.sub(f64x2.sub(x, f64x2.mul(n, HALF_PI_HIGH_LANES)), f64x2.mul(n, HALF_PI_LOW_LANES));
}

/** Lanes 2 and 3 in place of 0 and 1. */
// @ts-ignore: decorator
@inline
export function upper(x: v128): v128 {
  return i8x16.shuffle(x, x, 8, 9, 10, 11, 12, 13, 14, 15, 8, 9, 10, 11, 12, 13, 14, 15);
}

/** Four f64 lanes as four f32 lanes. */
// @ts-ignore: decorator
@inline
export function joinFloats(low: v128, high: v128): v128 {
  const first = f32x4.demote_f64x2_zero(low);
  const second = f32x4.demote_f64x2_zero(high);
  return i8x16.shuffle(first, second, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23);
}

/** The low 32 bits of each 64-bit lane. */
// @ts-ignore: decorator
@inline
function lowWords(low: v128, high: v128): v128 {
  return i8x16.shuffle(low, high, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27);
}

/** The high 32 bits of each 64-bit lane. */
// @ts-ignore: decorator
@inline
function highWords(low: v128, high: v128): v128 {
  return i8x16.shuffle(low, high, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
}

/** sin and cos on [-π/4, π/4], to 2^-28 and 2^-33. */
const SIN_3 = floats(-0.16666655);
const SIN_5 = floats(0.00833216);
const SIN_7 = floats(-0.00019515216);
const COS_4 = floats(0.041666646);
const COS_6 = floats(-0.0013887315);
const COS_8 = floats(2.4433082e-5);
const MINUS_HALF = floats(-0.5);
const ONE_QUADRANT = ints(1);
const TWO_QUADRANTS = ints(2);

/** sin of `quadrant` quarter turns plus `r`. */
// @ts-ignore: decorator
@inline
function sinReduced(r: v128, quadrant: v128): v128 {
  const z = f32x4.mul(r, r);
  let s = mulAdd(SIN_7, z, SIN_5);
  s = mulAdd(s, z, SIN_3);
  s = mulAdd(f32x4.mul(s, z), r, r);
  let c = mulAdd(COS_8, z, COS_6);
  c = mulAdd(c, z, COS_4);
  c = f32x4.add(mulAdd(MINUS_HALF, z, ONE), f32x4.mul(c, f32x4.mul(z, z)));
  const odd = i32x4.shr_s(i32x4.shl(quadrant, 31), 31);
  const sign = i32x4.shl(v128.and(quadrant, TWO_QUADRANTS), 30);
  return v128.xor(v128.bitselect(c, s, odd), sign);
}

/** tan on [-π/4, π/4], to 2^-29.6. */
const TAN_3 = floats(0.3333335);
const TAN_5 = floats(0.13332662);
const TAN_7 = floats(0.054060034);
const TAN_9 = floats(0.021281559);
const TAN_11 = floats(0.010837481);
const TAN_13 = floats(8.737008e-5);
const TAN_15 = floats(0.0043773674);
const MINUS_ONE = floats(-1);

/** tan of `quadrant` quarter turns plus `r`. */
// @ts-ignore: decorator
@inline
function tanReduced(r: v128, quadrant: v128): v128 {
  const z = f32x4.mul(r, r);
  let p = mulAdd(TAN_15, z, TAN_13);
  p = mulAdd(p, z, TAN_11);
  p = mulAdd(p, z, TAN_9);
  p = mulAdd(p, z, TAN_7);
  p = mulAdd(p, z, TAN_5);
  p = mulAdd(p, z, TAN_3);
  const t = mulAdd(f32x4.mul(p, z), r, r);
  const odd = i32x4.shr_s(i32x4.shl(quadrant, 31), 31);
  return v128.bitselect(f32x4.div(MINUS_ONE, t), t, odd);
}

/**
 * Bits 32·`index` - 32 to 32·`index` - 1 of 2/π after the binary point, for an index of at most 7. That it can trap
 * matters: Binaryen takes a call without any effect for cheap, and runs it before the branch that should avoid it.
 */
function twoOverPi(index: i32): u64 {
  if (index > 7) unreachable();
  switch (index) {
    case 0:
      return 0;
    case 1:
      return 0xa2f9836e;
    case 2:
      return 0x4e441529;
    case 3:
      return 0xfc2757d1;
    case 4:
      return 0xf534ddc0;
    case 5:
      return 0xdb629599;
    case 6:
      return 0x3c439041;
    default:
      return 0xfe5163ab;
  }
}

/** |x| modulo a full turn in units of 2⁻⁶⁴ turns, for |x| from `REDUCIBLE` to the greatest float. */
function phase(x: f32): u64 {
  const pattern = reinterpret<u32>(x);
  const mantissa = <u64>((pattern & 0x7fffff) | 0x800000);
  // |x| is mantissa·2^e, e = exponent - 150: bits of 2/π worth more than 2^(1 - e) only add whole turns.
  const exponent = <i32>((pattern >> 23) & 0xff);
  const skip = exponent - 150 - 2 + 32;
  const first = skip >> 5;
  const shift = <u64>(skip & 31);
  let high = (twoOverPi(first) << 32) | twoOverPi(first + 1);
  let low = (twoOverPi(first + 2) << 32) | twoOverPi(first + 3);
  if (shift) {
    high = (high << shift) | (low >> (64 - shift));
    low <<= shift;
  }
  return mantissa * high + ((mantissa * (low >> 32)) >> 32);
}

/** Reduces one float of any size: the remainder's bits below, the number of quarter turns (modulo 4) above. */
function reduceLane(x: f32): u64 {
  let turns: u64;
  let r: f64;
  if (abs(x) < REDUCIBLE) {
    const n = nearest(<f64>x * TWO_OVER_PI);
    turns = <u64>(<i64>n);
    r = <f64>x - n * HALF_PI_HIGH - n * HALF_PI_LOW;
  } else {
    const angle = x < 0 ? 0 - phase(x) : phase(x);
    turns = (angle + 0x2000000000000000) >> 62;
    r = <f64>(<i64>(angle - (turns << 62))) * HALF_PI_2_62;
    if (!(abs(x) < f32.POSITIVE_INFINITY)) r = f64.NaN;
  }
  return (turns << 32) | <u64>reinterpret<u32>(<f32>r);
}

/** Reduces lanes 0 and 1, floats of any size. */
function reducePair(x: v128): v128 {
  const first = reduceLane(f32x4.extract_lane(x, 0));
  return i64x2.replace_lane(i64x2.splat(first), 1, reduceLane(f32x4.extract_lane(x, 1)));
}

// @ts-ignore: decorator
@inline
function reducible(x: v128): bool {
  return i32x4.bitmask(f32x4.lt(f32x4.abs(x), REDUCIBLE_LANES)) == 15;
}

function sinHuge(x: v128, shift: i32): v128 {
  const low = reducePair(x);
  const high = reducePair(upper(x));
  return sinReduced(lowWords(low, high), i32x4.add(highWords(low, high), i32x4.splat(shift)));
}

function tanHuge(x: v128): v128 {
  const low = reducePair(x);
  const high = reducePair(upper(x));
  return tanReduced(lowWords(low, high), highWords(low, high));
}

/** The sine of x plus `shift` (0 or 1) quarter turns. */
// @ts-ignore: decorator
@inline
function sinShifted(x: v128, shift: i32): v128 {
  if (!reducible(x)) return sinHuge(x, shift);
  const low = f64x2.promote_low_f32x4(x);
  const high = f64x2.promote_low_f32x4(upper(x));
  const turnsLow = quarterTurns(low);
  const turnsHigh = quarterTurns(high);
  const r = joinFloats(remainder(low, turnsLow), remainder(high, turnsHigh));
  let quadrant = lowWords(turnsLow, turnsHigh);
  if (shift) quadrant = i32x4.add(quadrant, ONE_QUADRANT);
  return sinReduced(r, quadrant);
}

/** The tangent without regard to the sign of zero. */
// @ts-ignore: decorator
@inline
function tanUnsigned(x: v128): v128 {
  if (!reducible(x)) return tanHuge(x);
  const low = f64x2.promote_low_f32x4(x);
  const high = f64x2.promote_low_f32x4(upper(x));
  const turnsLow = quarterTurns(low);
  const turnsHigh = quarterTurns(high);
  const r = joinFloats(remainder(low, turnsLow), remainder(high, turnsHigh));
  return tanReduced(r, lowWords(turnsLow, turnsHigh));
}

/** The sine; keeps the sign of zero, NaN for infinities. Error ≤ 1.6 ulp. */
// @ts-ignore: decorator
@inline
export function sin(x: v128): v128 {
  return v128.bitselect(x, sinShifted(x, 0), f32x4.eq(x, ZERO));
}

/** The cosine; NaN for infinities. Error ≤ 1.6 ulp. */
// @ts-ignore: decorator
@inline
export function cos(x: v128): v128 {
  return sinShifted(x, 1);
}

/** The tangent; keeps the sign of zero, NaN for infinities. Error ≤ 2.6 ulp. */
// @ts-ignore: decorator
@inline
export function tan(x: v128): v128 {
  return v128.bitselect(x, tanUnsigned(x), f32x4.eq(x, ZERO));
}

/** asin on [0, ½], to 2^-27.6. */
const ASIN_3 = floats(0.16666752);
const ASIN_5 = floats(0.074952886);
const ASIN_7 = floats(0.04547161);
const ASIN_9 = floats(0.024172952);
const ASIN_11 = floats(0.04217823);
const HALF_PI = floats(1.57079637);
const PI = floats(3.14159274);

/** asin over [0, ½] of a, whose square is z. */
// @ts-ignore: decorator
@inline
function asinReduced(a: v128, z: v128): v128 {
  let p = mulAdd(ASIN_11, z, ASIN_9);
  p = mulAdd(p, z, ASIN_7);
  p = mulAdd(p, z, ASIN_5);
  p = mulAdd(p, z, ASIN_3);
  return mulAdd(f32x4.mul(p, z), a, a);
}

/**
 * The arc sine; keeps the sign of zero, NaN outside [-1, 1]. Error ≤ 2.45 ulp. Beyond ½ it is
 * π/2 - 2·asin(√((1 - x)/2)).
 */
// @ts-ignore: decorator
@inline
export function asin(x: v128): v128 {
  const a = f32x4.abs(x);
  const far = f32x4.gt(a, HALF);
  const halved = f32x4.mul(f32x4.sub(ONE, a), HALF);
  const z = v128.bitselect(halved, f32x4.mul(a, a), far);
  const p = asinReduced(v128.bitselect(f32x4.sqrt(halved), a, far), z);
  return copySign(v128.bitselect(f32x4.sub(HALF_PI, f32x4.add(p, p)), p, far), x);
}

/** The arc cosine; NaN outside [-1, 1]. Error ≤ 1.29 ulp. */
// @ts-ignore: decorator
@inline
export function acos(x: v128): v128 {
  const a = f32x4.abs(x);
  const far = f32x4.gt(a, HALF);
  const halved = f32x4.mul(f32x4.sub(ONE, a), HALF);
  const z = v128.bitselect(halved, f32x4.mul(a, a), far);
  const p = asinReduced(v128.bitselect(f32x4.sqrt(halved), a, far), z);
  const signed = v128.xor(p, v128.and(x, SIGN));
  const near = f32x4.sub(HALF_PI, signed);
  const negative = v128.and(f32x4.lt(x, ZERO), PI);
  return v128.bitselect(f32x4.add(negative, f32x4.add(signed, signed)), near, far);
}

/** atan on [0, tan(π/8)], to 2^-30.5. */
const ATAN_3 = floats(-0.33333316);
const ATAN_5 = floats(0.19998471);
const ATAN_7 = floats(-0.14243528);
const ATAN_9 = floats(0.10593772);
const ATAN_11 = floats(-0.060781103);
const TAN_EIGHTH_PI = floats(0.41421357);
const QUARTER_PI = floats(0.785398185);
const QUARTER = floats(0.25);
/** A quarter of 2¹²⁸: sums of two smaller numbers do not overflow. */
const HUGE = floats(8.507059e37);

/** The angle of the point (x, y) for x, y ≥ 0, not both 0 or both infinite. */
// @ts-ignore: decorator
@inline
function quadrantAngle(y: v128, x: v128): v128 {
  const steep = f32x4.gt(y, x);
  const lesser = f32x4.pmin(y, x);
  const greater = f32x4.pmax(y, x);
  // Above tan(π/8) the angle is π/4 more than that of the point turned back by as much.
  const turned = f32x4.gt(lesser, f32x4.mul(greater, TAN_EIGHTH_PI));
  const numerator = v128.bitselect(f32x4.sub(lesser, greater), lesser, turned);
  const denominator = v128.bitselect(f32x4.add(lesser, greater), greater, turned);
  const t = f32x4.div(numerator, denominator);
  const z = f32x4.mul(t, t);
  let p = mulAdd(ATAN_11, z, ATAN_9);
  p = mulAdd(p, z, ATAN_7);
  p = mulAdd(p, z, ATAN_5);
  p = mulAdd(p, z, ATAN_3);
  const angle = f32x4.add(mulAdd(f32x4.mul(p, z), t, t), v128.and(turned, QUARTER_PI));
  return v128.bitselect(f32x4.sub(HALF_PI, angle), angle, steep);
}

/** The arc tangent; keeps the sign of zero. Error ≤ 2.63 ulp. */
// @ts-ignore: decorator
@inline
export function atan(x: v128): v128 {
  return copySign(quadrantAngle(f32x4.abs(x), ONE), x);
}

/**
 * The angle of the point (x, y), in (-π, π], with C99's results for zeros and infinities. Error ≤ 2.8 ulp on random
 * pairs.
 */
// @ts-ignore: decorator
@inline
export function atan2(y: v128, x: v128): v128 {
  let up = f32x4.abs(y);
  let along = f32x4.abs(x);
  const same = f32x4.eq(up, along);
  // Points on the diagonal, those at infinity too, are (1, 1); the origin is (1, 0).
  const origin = v128.and(same, f32x4.eq(up, ZERO));
  up = v128.bitselect(ONE, up, same);
  along = v128.bitselect(ONE, along, same);
  up = v128.andnot(up, origin);
  // Sums must not overflow. Where a quarter of the greater one is still huge, what the lesser loses does not matter.
  const huge = f32x4.gt(f32x4.pmax(up, along), HUGE);
  const factor = v128.bitselect(QUARTER, ONE, huge);
  const angle = quadrantAngle(f32x4.mul(up, factor), f32x4.mul(along, factor));
  const left = i32x4.shr_s(x, 31);
  const result = copySign(v128.bitselect(f32x4.sub(PI, angle), angle, left), y);
  const unordered = v128.or(f32x4.ne(x, x), f32x4.ne(y, y));
  return v128.or(result, unordered);
}
