/**
 * What each micro-operation does to one vector of each operand.
 *
 * An operation is a type without fields: a generic loop over a block is then compiled anew around each operation's
 * body. (AssemblyScript does not fold a choice by a number passed to an inlined function: it compiles every arm at
 * every use, which took minutes.)
 */
import {
  erf,
  erfExponent,
  erfFar,
  exp,
  expm1,
  expOfPower,
  log,
  log1p,
  logNormal,
  powerOfTwo,
  sigmoid,
  sigmoidOf,
  tanh,
  tanhFar,
} from "./math";
import { gelu, geluGradient, geluTanh, geluTanhGradient, silu, siluGradient, softplus } from "./math-activation";
import { ints, ONE, SIGN, ZERO } from "./math-constants";
import { fmod, pow } from "./math-pow";
import { acos, asin, atan, atan2, cos, sin, tan } from "./math-trig";
import { mulAdd } from "./simd";

/** A comparison's lanes as bool: 0 or 1. */
// @ts-ignore: decorator
@inline
function toBool(mask: v128): v128 {
  return i32x4.shr_u(mask, 31);
}

/** -1, 0 or 1 as f32; NaN stays. */
// @ts-ignore: decorator
@inline
function signOf(x: v128): v128 {
  const sign = f32x4.sub(v128.and(f32x4.gt(x, ZERO), ONE), v128.and(f32x4.lt(x, ZERO), ONE));
  return v128.bitselect(sign, x, f32x4.eq(x, x));
}

/** x / y towards zero; 0 where y is 0, and wrapping where the quotient is 2³¹. */
// @ts-ignore: decorator
@inline
function divide(x: i32, y: i32): i32 {
  if (y == 0) return 0;
  return y == -1 ? -x : x / y;
}

/** x - y·(x / y), 0 where y is 0. */
// @ts-ignore: decorator
@inline
function remainder(x: i32, y: i32): i32 {
  return y == 0 ? 0 : x % y;
}

function divideLanes(x: v128, y: v128): v128 {
  let q = i32x4.splat(divide(i32x4.extract_lane(x, 0), i32x4.extract_lane(y, 0)));
  q = i32x4.replace_lane(q, 1, divide(i32x4.extract_lane(x, 1), i32x4.extract_lane(y, 1)));
  q = i32x4.replace_lane(q, 2, divide(i32x4.extract_lane(x, 2), i32x4.extract_lane(y, 2)));
  return i32x4.replace_lane(q, 3, divide(i32x4.extract_lane(x, 3), i32x4.extract_lane(y, 3)));
}

function remainderLanes(x: v128, y: v128): v128 {
  let r = i32x4.splat(remainder(i32x4.extract_lane(x, 0), i32x4.extract_lane(y, 0)));
  r = i32x4.replace_lane(r, 1, remainder(i32x4.extract_lane(x, 1), i32x4.extract_lane(y, 1)));
  r = i32x4.replace_lane(r, 2, remainder(i32x4.extract_lane(x, 2), i32x4.extract_lane(y, 2)));
  return i32x4.replace_lane(r, 3, remainder(i32x4.extract_lane(x, 3), i32x4.extract_lane(y, 3)));
}

@unmanaged export abstract class Unary { abstract apply(x: v128): v128; }
@unmanaged export abstract class Binary { abstract apply(x: v128, y: v128): v128; }
@unmanaged export abstract class Ternary { abstract apply(x: v128, y: v128, z: v128): v128; }
@unmanaged export abstract class Quaternary { abstract apply(x: v128, y: v128, z: v128, u: v128): v128; }
/** Five operands or six: an operation of five takes anything for the last. */
@unmanaged export abstract class Senary { abstract apply(a: v128, b: v128, c: v128, d: v128, e: v128, f: v128): v128; }

@unmanaged export class Neg extends Unary { @inline apply(x: v128): v128 { return f32x4.neg(x); } }
@unmanaged export class Abs extends Unary { @inline apply(x: v128): v128 { return f32x4.abs(x); } }
@unmanaged export class Sqrt extends Unary { @inline apply(x: v128): v128 { return f32x4.sqrt(x); } }
@unmanaged export class Reciprocal extends Unary { @inline apply(x: v128): v128 { return f32x4.div(ONE, x); } }
@unmanaged export class Floor extends Unary { @inline apply(x: v128): v128 { return f32x4.floor(x); } }
@unmanaged export class Ceil extends Unary { @inline apply(x: v128): v128 { return f32x4.ceil(x); } }
@unmanaged export class Trunc extends Unary { @inline apply(x: v128): v128 { return f32x4.trunc(x); } }
@unmanaged export class Round extends Unary { @inline apply(x: v128): v128 { return f32x4.nearest(x); } }
@unmanaged export class Sign extends Unary { @inline apply(x: v128): v128 { return signOf(x); } }
@unmanaged export class NegI extends Unary { @inline apply(x: v128): v128 { return i32x4.neg(x); } }
@unmanaged export class AbsI extends Unary { @inline apply(x: v128): v128 { return i32x4.abs(x); } }
@unmanaged export class SignI extends Unary {
  @inline apply(x: v128): v128 { return i32x4.sub(i32x4.shr_s(x, 31), i32x4.gt_s(x, ZERO)); }
}
@unmanaged export class Not extends Unary { @inline apply(x: v128): v128 { return toBool(i32x4.eq(x, ZERO)); } }
@unmanaged export class BitNot extends Unary { @inline apply(x: v128): v128 { return v128.not(x); } }
@unmanaged export class F32ToI32 extends Unary { @inline apply(x: v128): v128 { return i32x4.trunc_sat_f32x4_s(x); } }
@unmanaged export class I32ToF32 extends Unary { @inline apply(x: v128): v128 { return f32x4.convert_i32x4_s(x); } }
@unmanaged export class F32ToBool extends Unary { @inline apply(x: v128): v128 { return toBool(f32x4.ne(x, ZERO)); } }
@unmanaged export class I32ToBool extends Unary { @inline apply(x: v128): v128 { return toBool(i32x4.ne(x, ZERO)); } }
@unmanaged export class Expm1 extends Unary { @inline apply(x: v128): v128 { return expm1(x); } }
@unmanaged export class Log1p extends Unary { @inline apply(x: v128): v128 { return log1p(x); } }
@unmanaged export class Sin extends Unary { @inline apply(x: v128): v128 { return sin(x); } }
@unmanaged export class Cos extends Unary { @inline apply(x: v128): v128 { return cos(x); } }
@unmanaged export class Tan extends Unary { @inline apply(x: v128): v128 { return tan(x); } }
@unmanaged export class TanhFar extends Unary { @inline apply(x: v128): v128 { return tanhFar(x); } }
@unmanaged export class ErfExponent extends Unary { @inline apply(x: v128): v128 { return erfExponent(x); } }
@unmanaged export class ErfFar extends Unary { @inline apply(x: v128): v128 { return erfFar(x); } }
@unmanaged export class Asin extends Unary { @inline apply(x: v128): v128 { return asin(x); } }
@unmanaged export class Acos extends Unary { @inline apply(x: v128): v128 { return acos(x); } }
@unmanaged export class Atan extends Unary { @inline apply(x: v128): v128 { return atan(x); } }
@unmanaged export class GeluTanh extends Unary { @inline apply(x: v128): v128 { return geluTanh(x); } }
@unmanaged export class Gelu extends Unary { @inline apply(x: v128): v128 { return gelu(x); } }
@unmanaged export class Silu extends Unary { @inline apply(x: v128): v128 { return silu(x); } }
@unmanaged export class Softplus extends Unary { @inline apply(x: v128): v128 { return softplus(x); } }
@unmanaged export class Copy extends Unary { @inline apply(x: v128): v128 { return x; } }

@unmanaged export class Add extends Binary { @inline apply(x: v128, y: v128): v128 { return f32x4.add(x, y); } }
@unmanaged export class Sub extends Binary { @inline apply(x: v128, y: v128): v128 { return f32x4.sub(x, y); } }
@unmanaged export class Mul extends Binary { @inline apply(x: v128, y: v128): v128 { return f32x4.mul(x, y); } }
@unmanaged export class Div extends Binary { @inline apply(x: v128, y: v128): v128 { return f32x4.div(x, y); } }
@unmanaged export class Max extends Binary { @inline apply(x: v128, y: v128): v128 { return f32x4.max(x, y); } }
@unmanaged export class Relu extends Binary {
  // A fifth of the instructions of `max`. Adding 0 makes 0 of -0.
  @inline apply(x: v128, zero: v128): v128 { return f32x4.add(f32x4.pmax(x, zero), zero); }
}
@unmanaged export class Min extends Binary { @inline apply(x: v128, y: v128): v128 { return f32x4.min(x, y); } }
@unmanaged export class Pow extends Binary { @inline apply(x: v128, y: v128): v128 { return pow(x, y); } }
@unmanaged export class Fmod extends Binary { @inline apply(x: v128, y: v128): v128 { return fmod(x, y); } }
@unmanaged export class Atan2 extends Binary { @inline apply(x: v128, y: v128): v128 { return atan2(x, y); } }
@unmanaged export class Tanh extends Binary { @inline apply(x: v128, y: v128): v128 { return tanh(x, y); } }
@unmanaged export class Erf extends Binary { @inline apply(x: v128, y: v128): v128 { return erf(x, y); } }
@unmanaged export class GeluTanhGradient extends Binary {
  @inline apply(x: v128, y: v128): v128 { return geluTanhGradient(x, y); }
}
@unmanaged export class GeluGradient extends Binary {
  @inline apply(x: v128, y: v128): v128 { return geluGradient(x, y); }
}
@unmanaged export class SiluGradient extends Binary {
  @inline apply(x: v128, y: v128): v128 { return siluGradient(x, y); }
}
@unmanaged export class Less extends Binary { @inline apply(x: v128, y: v128): v128 { return toBool(f32x4.lt(x, y)); } }
@unmanaged export class LessEqual extends Binary {
  @inline apply(x: v128, y: v128): v128 { return toBool(f32x4.le(x, y)); }
}
@unmanaged export class Equal extends Binary {
  @inline apply(x: v128, y: v128): v128 { return toBool(f32x4.eq(x, y)); }
}
@unmanaged export class NotEqual extends Binary {
  @inline apply(x: v128, y: v128): v128 { return toBool(f32x4.ne(x, y)); }
}
@unmanaged export class AddI extends Binary { @inline apply(x: v128, y: v128): v128 { return i32x4.add(x, y); } }
@unmanaged export class SubI extends Binary { @inline apply(x: v128, y: v128): v128 { return i32x4.sub(x, y); } }
@unmanaged export class MulI extends Binary { @inline apply(x: v128, y: v128): v128 { return i32x4.mul(x, y); } }
@unmanaged export class DivI extends Binary { @inline apply(x: v128, y: v128): v128 { return divideLanes(x, y); } }
@unmanaged export class RemI extends Binary { @inline apply(x: v128, y: v128): v128 { return remainderLanes(x, y); } }
@unmanaged export class MaxI extends Binary { @inline apply(x: v128, y: v128): v128 { return i32x4.max_s(x, y); } }
@unmanaged export class MinI extends Binary { @inline apply(x: v128, y: v128): v128 { return i32x4.min_s(x, y); } }
@unmanaged export class And extends Binary { @inline apply(x: v128, y: v128): v128 { return v128.and(x, y); } }
@unmanaged export class Or extends Binary { @inline apply(x: v128, y: v128): v128 { return v128.or(x, y); } }
@unmanaged export class Xor extends Binary { @inline apply(x: v128, y: v128): v128 { return v128.xor(x, y); } }
@unmanaged export class LessI extends Binary {
  @inline apply(x: v128, y: v128): v128 { return toBool(i32x4.lt_s(x, y)); }
}
@unmanaged export class LessEqualI extends Binary {
  @inline apply(x: v128, y: v128): v128 { return toBool(i32x4.le_s(x, y)); }
}
@unmanaged export class EqualI extends Binary {
  @inline apply(x: v128, y: v128): v128 { return toBool(i32x4.eq(x, y)); }
}
@unmanaged export class NotEqualI extends Binary {
  @inline apply(x: v128, y: v128): v128 { return toBool(i32x4.ne(x, y)); }
}

@unmanaged export class MulAdd extends Ternary {
  @inline apply(x: v128, y: v128, z: v128): v128 { return mulAdd(x, y, z); }
}
@unmanaged export class Select extends Ternary {
  @inline apply(x: v128, y: v128, z: v128): v128 { return v128.bitselect(y, z, i32x4.ne(x, ZERO)); }
}

/** a / (√b·c + d) */
// @ts-ignore: decorator
@inline
export function divRoot(a: v128, b: v128, c: v128, d: v128): v128 {
  return f32x4.div(a, mulAdd(f32x4.sqrt(b), c, d));
}

@unmanaged export class RootMulAdd extends Ternary {
  @inline apply(x: v128, y: v128, z: v128): v128 { return mulAdd(f32x4.sqrt(x), y, z); }
}
@unmanaged export class SubMulAdd extends Quaternary {
  @inline apply(x: v128, y: v128, z: v128, u: v128): v128 { return mulAdd(f32x4.sub(x, y), z, u); }
}
@unmanaged export class MulAddMul extends Quaternary {
  @inline apply(x: v128, y: v128, z: v128, u: v128): v128 { return mulAdd(x, y, f32x4.mul(z, u)); }
}
@unmanaged export class MulAddMulMul extends Senary {
  @inline apply(a: v128, b: v128, c: v128, d: v128, e: v128, f: v128): v128 {
    return mulAdd(a, b, f32x4.mul(f32x4.mul(c, d), e));
  }
}
@unmanaged export class DivRoot extends Quaternary {
  @inline apply(x: v128, y: v128, z: v128, u: v128): v128 { return divRoot(x, y, z, u); }
}
@unmanaged export class DivRootMulAdd extends Senary {
  @inline apply(a: v128, b: v128, c: v128, d: v128, e: v128, f: v128): v128 { return mulAdd(divRoot(a, b, c, d), e, f); }
}

/** A function that costs less where all that it is applied to is of ordinary size. */
@unmanaged
export abstract class Guarded extends Unary {
  /** A first step, that tells whether the argument is ordinary. */
  abstract begin(x: v128): v128;
  /** Bits to gather from the first steps of many. */
  abstract peculiarity(begun: v128): v128;
  /** Whether one of those, by the bits of all, was not ordinary. */
  abstract isPeculiar(seen: v128): bool;
  /** The bits of `apply` for an ordinary argument, anything for others. */
  abstract finish(x: v128, begun: v128): v128;
}

/** Of an integer in the low bits of a sum with `ROUNDER` these are left, less `LEAST_POWER`, if it is in [-64, 63]. */
const FEW_BITS = ints(127);
const LEAST_POWER = ints(0x4b400000 - 64);

/** Functions of e^x, ordinary for |x| ≤ 44, where it and 1/e^x are normal floats; `begin` gives the power of two. */
@unmanaged
abstract class Exponential extends Guarded {
  @inline peculiarity(begun: v128): v128 { return i32x4.sub(begun, LEAST_POWER); }
  @inline isPeculiar(seen: v128): bool { return v128.any_true(v128.andnot(seen, FEW_BITS)); }
}

@unmanaged
export class Exp extends Exponential {
  @inline apply(x: v128): v128 { return exp(x); }
  @inline begin(x: v128): v128 { return powerOfTwo(x); }
  @inline finish(x: v128, begun: v128): v128 { return expOfPower(x, begun); }
}

@unmanaged
export class Sigmoid extends Exponential {
  @inline apply(x: v128): v128 { return sigmoid(x); }
  @inline begin(x: v128): v128 { return powerOfTwo(v128.or(x, SIGN)); }
  @inline finish(x: v128, begun: v128): v128 { return sigmoidOf(x, expOfPower(v128.or(x, SIGN), begun)); }
}

/** Less this, the bits of normal floats above 0 are the least integers, up to `LEAST_TO_GREATEST`; all others follow. */
const NORMAL_BIAS = ints(0x80800000);
const LEAST_TO_GREATEST = ints(0xfeffffff);

/** The logarithm, ordinary for normal floats above 0. */
@unmanaged
export class Log extends Guarded {
  @inline apply(x: v128): v128 { return log(x); }
  @inline begin(x: v128): v128 { return i32x4.sub(x, NORMAL_BIAS); }
  @inline peculiarity(begun: v128): v128 { return i32x4.gt_s(begun, LEAST_TO_GREATEST); }
  @inline isPeculiar(seen: v128): bool { return v128.any_true(seen); }
  @inline finish(x: v128, begun: v128): v128 { return logNormal(x); }
}
