/**
 * The micro-operations of elementwise chains: the part of the instruction set (`isa.ts`) that grows with operators, read by
 * both compilers.
 */

/**
 * Micro-operations of an elementwise chain. Comparisons give 0 or 1 as i32. Conditions are true where not 0.
 * Names without a suffix act on f32; `I` on i32.
 */
export const enum MicroOp {
  Copy = 0,
  // f32 → f32
  Neg = 1,
  Abs = 2,
  Sqrt = 3,
  Reciprocal = 4,
  Exp = 5,
  Log = 6,
  Expm1 = 7,
  Log1p = 8,
  Sin = 9,
  Cos = 10,
  Tan = 11,
  Tanh = 12,
  Sigmoid = 13,
  Erf = 14,
  Floor = 15,
  Ceil = 16,
  Trunc = 17,
  /** To the nearest integer, ties to even. */
  Round = 18,
  /** -1, 0 or 1; NaN stays NaN. */
  Sign = 19,
  Asin = 20,
  Acos = 21,
  Atan = 22,
  /** x·Φ(x) by the formula with a hyperbolic tangent. */
  GeluTanh = 23,
  /** x·Φ(x) */
  Gelu = 24,
  /** x·σ(x) */
  Silu = 25,
  /** log(1 + e^x) */
  Softplus = 26,
  // f32 × f32 → f32
  Add = 32,
  Sub = 33,
  Mul = 34,
  Div = 35,
  Pow = 36,
  /** NaN if either is NaN. */
  Max = 37,
  /** NaN if either is NaN. */
  Min = 38,
  /** C's fmod: the result has the sign of the dividend. */
  Fmod = 39,
  Atan2 = 40,
  /** a times the derivative of `GeluTanh` at b. */
  GeluTanhGradient = 41,
  /** The larger of a and 0, which b is; NaN if a is NaN. */
  Relu = 42,
  /** a times the derivative of `Gelu` at b. */
  GeluGradient = 43,
  /** a times the derivative of `Silu` at b. */
  SiluGradient = 44,
  // f32 × f32 → bool
  Less = 48,
  LessEqual = 49,
  Equal = 50,
  NotEqual = 51,
  // i32 → i32
  NegI = 64,
  AbsI = 65,
  SignI = 66,
  /** bool → bool */
  Not = 67,
  /** Bitwise complement. */
  BitNot = 68,
  // i32 × i32 → i32 (wrapping)
  AddI = 80,
  SubI = 81,
  MulI = 82,
  /** Rounds towards zero; 0 where the divisor is 0. */
  DivI = 83,
  /** Sign of the dividend; 0 where the divisor is 0. */
  RemI = 84,
  MaxI = 85,
  MinI = 86,
  And = 87,
  Or = 88,
  Xor = 89,
  // i32 × i32 → bool
  LessI = 96,
  LessEqualI = 97,
  EqualI = 98,
  NotEqualI = 99,
  // conversions
  F32ToI32 = 112,
  I32ToF32 = 113,
  F32ToBool = 114,
  I32ToBool = 115,
  // three operands and more
  /** a ≠ 0 ? b : c, on whole lanes of any dtype. */
  Select = 128,
  // Several operations in one, of up to six operands. On the strict build each is rounded, as if it stood alone; on the
  // relaxed one a product is fused with what is added to it.
  /** a·b + c */
  MulAdd = 129,
  /** (a - b)·c + d */
  SubMulAdd = 130,
  /** a·b + c·d */
  MulAddMul = 131,
  /** a·b + (c·d)·e */
  MulAddMulMul = 132,
  /** √a·b + c */
  RootMulAdd = 133,
  /** a / (√b·c + d) */
  DivRoot = 134,
  /** a / (√b·c + d)·e + f */
  DivRootMulAdd = 135,
  /**
   * A `SubMulAdd` that runs together with the two micro-operations behind it, a `MulAddMulMul` and a `DivRootMulAdd`
   * whose a and b are the results of the first two: a step of Adam, bound by one division and one root.
   */
  AdamStep = 136,
  // sources: the value depends on the element's index in the linear space
  /** The index itself, as i32. */
  Iota = 144,
  /** 32 random bits from Philox4x32-10; a is a `Record` of four words: key low, key high, offset low, offset high. */
  RandomBits = 145,
}
