/**
 * Constants of vector math, splatted once when the module starts and kept in globals.
 *
 * A `v128.const` inside a loop is built anew from immediates by V8 in Node 24, and one hoisted out of it is spilled for
 * want of registers by V8 in Node 20. A global is one load from memory on both: 1.0 and 0.9 ns for an element of exp,
 * against 1.6 and 1.7 ns with literals.
 */

/** 0, in a way that no compiler pass can fold: memory never has 2¹⁷ pages. */
// @ts-ignore: decorator
@inline
function unknownZero(): i32 {
  return memory.size() >>> 17;
}

/** Four lanes of an f32, for a global. */
// @ts-ignore: decorator
@inline
export function floats(value: f32): v128 {
  return i32x4.splat(reinterpret<i32>(value) + unknownZero());
}

/** Four lanes of an i32, for a global. */
// @ts-ignore: decorator
@inline
export function ints(value: i32): v128 {
  return i32x4.splat(value + unknownZero());
}

/** Two lanes of an f64, for a global. */
// @ts-ignore: decorator
@inline
export function doubles(value: f64): v128 {
  return i64x2.splat(reinterpret<i64>(value) + <i64>unknownZero());
}

/** All zero: a literal after all, it costs one instruction on every engine. */
export const ZERO = i32x4.splat(0);
export const HALF = floats(0.5);
export const ONE = floats(1);
export const TWO = floats(2);
export const INFINITY = floats(f32.POSITIVE_INFINITY);
export const NOT_A_NUMBER = floats(f32.NaN);
/** The sign bit of every lane. */
export const SIGN = ints(0x80000000);
/** The least normal float. */
export const LEAST_NORMAL = floats(1.17549435e-38);
/** 2²³, and its exponent: what makes a subnormal float normal. */
export const TWO_TO_23 = floats(8388608);
export const TWENTY_THREE = floats(23);
/** Bits of √½: subtracting them puts the exponent of the mantissa in [√½, √2) above bit 23. */
export const SQRT_HALF_BITS = ints(0x3f3504f3);
/** 1.5·2²³: adding it rounds a float below 2²² to an integer and leaves that integer in the low bits. */
export const ROUNDER = floats(12582912);
/** 1.5·2⁵²: the same for doubles. */
export const DOUBLE_ROUNDER = doubles(6755399441055744);
export const DOUBLE_ONE = doubles(1);


/** Magnitude of `x`, sign of `sign`; `x` is not negative where that is not. */
// @ts-ignore: decorator
@inline
export function copySign(x: v128, sign: v128): v128 {
  return v128.or(x, v128.and(sign, SIGN));
}
