/** Mathematical functions of one argument, and powers. Whole numbers and booleans are computed in f32. */
import { ArgumentError, DTypeError } from "../graph/errors.js";
import type { Primitive } from "../graph/primitive.js";
import { constant } from "../graph/sources.js";
import { apply, Tensor } from "../graph/tensor.js";
import { MicroOp } from "../micro-op.js";
import { abs, add, div, eq, ge, gt, logicalAnd, lt, mul, ne, neg, sub, trunc, where } from "./arithmetic.js";
import { toFloat } from "./conversion.js";
import { asTensor, elementwise, type OperatorTable, type Rule, type TensorLike } from "./define.js";
import { erfReference } from "./erf-reference.js";

type Unary = Primitive<Tensor, null>;

/** A primitive of one f32 argument. */
function mathematical(name: string, micro: MicroOp, reference: (x: number) => number, rule: Rule, flops = 16): Unary {
  return elementwise({ name, micro: { f32: micro }, reference: (x) => reference(x), vjp: [rule], flops });
}

// ── Exponentials and logarithms ─────────────────────────────────────────────────────────────────────────────────────

const expPrimitive: Unary = mathematical("exp", MicroOp.Exp, Math.exp, ({ g, out }) => mul(g, out));
const expm1Primitive: Unary = mathematical("expm1", MicroOp.Expm1, Math.expm1, ({ g, out }) => mul(g, add(out, 1)));
const logPrimitive: Unary = mathematical("log", MicroOp.Log, Math.log, ({ g, inputs: [x] }) => div(g, x as Tensor));
const log1pPrimitive: Unary = mathematical("log1p", MicroOp.Log1p, Math.log1p, ({ g, inputs: [x] }) =>
  div(g, add(x as Tensor, 1)),
);

/** `eˣ`. */
export function exp(input: Tensor): Tensor {
  return apply(expPrimitive, [toFloat(input)], null);
}

/** `2ˣ`. */
export function exp2(input: Tensor): Tensor {
  return pow(2, toFloat(input));
}

/** `eˣ - 1`, accurate near 0. */
export function expm1(input: Tensor): Tensor {
  return apply(expm1Primitive, [toFloat(input)], null);
}

/** The natural logarithm. */
export function log(input: Tensor): Tensor {
  return apply(logPrimitive, [toFloat(input)], null);
}

/** `log(1 + x)`, accurate near 0. */
export function log1p(input: Tensor): Tensor {
  return apply(log1pPrimitive, [toFloat(input)], null);
}

/** The logarithm to base 2. */
export function log2(input: Tensor): Tensor {
  return mul(log(input), Math.LOG2E);
}

/** The logarithm to base 10. */
export function log10(input: Tensor): Tensor {
  return mul(log(input), Math.LOG10E);
}

// ── Roots and reciprocals ───────────────────────────────────────────────────────────────────────────────────────────

const sqrtPrimitive: Unary = mathematical("sqrt", MicroOp.Sqrt, Math.sqrt, ({ g, out }) => div(g, mul(out, 2)), 1);
const reciprocalPrimitive: Unary = mathematical(
  "reciprocal",
  MicroOp.Reciprocal,
  (x) => 1 / x,
  ({ g, out }) => neg(mul(g, mul(out, out))),
  1,
);

/** The square root. Its gradient at 0 is infinite. */
export function sqrt(input: Tensor): Tensor {
  return apply(sqrtPrimitive, [toFloat(input)], null);
}

/** `1 / √x`. */
export function rsqrt(input: Tensor): Tensor {
  return reciprocal(sqrt(input));
}

/** `x²`. */
export function square(input: Tensor): Tensor {
  return mul(input, input);
}

/** `1 / x`. */
export function reciprocal(input: Tensor): Tensor {
  return apply(reciprocalPrimitive, [toFloat(input)], null);
}

// ── Trigonometry ────────────────────────────────────────────────────────────────────────────────────────────────────

const sinPrimitive: Unary = mathematical("sin", MicroOp.Sin, Math.sin, ({ g, inputs: [x] }) =>
  mul(g, cos(x as Tensor)),
);
const cosPrimitive: Unary = mathematical("cos", MicroOp.Cos, Math.cos, ({ g, inputs: [x] }) =>
  neg(mul(g, sin(x as Tensor))),
);
const tanPrimitive: Unary = mathematical("tan", MicroOp.Tan, Math.tan, ({ g, out }) => mul(g, add(mul(out, out), 1)));
const asinPrimitive: Unary = mathematical("asin", MicroOp.Asin, Math.asin, ({ g, inputs: [x] }) =>
  mul(g, rsqrt(sub(1, square(x as Tensor)))),
);
const acosPrimitive: Unary = mathematical("acos", MicroOp.Acos, Math.acos, ({ g, inputs: [x] }) =>
  neg(mul(g, rsqrt(sub(1, square(x as Tensor))))),
);
const atanPrimitive: Unary = mathematical("atan", MicroOp.Atan, Math.atan, ({ g, inputs: [x] }) =>
  div(g, add(square(x as Tensor), 1)),
);

/** The sine of an angle in radians. */
export function sin(input: Tensor): Tensor {
  return apply(sinPrimitive, [toFloat(input)], null);
}

/** The cosine of an angle in radians. */
export function cos(input: Tensor): Tensor {
  return apply(cosPrimitive, [toFloat(input)], null);
}

/** The tangent of an angle in radians. */
export function tan(input: Tensor): Tensor {
  return apply(tanPrimitive, [toFloat(input)], null);
}

/** The angle in [-π/2, π/2] whose sine is given. */
export function asin(input: Tensor): Tensor {
  return apply(asinPrimitive, [toFloat(input)], null);
}

/** The angle in [0, π] whose cosine is given. */
export function acos(input: Tensor): Tensor {
  return apply(acosPrimitive, [toFloat(input)], null);
}

/** The angle in [-π/2, π/2] whose tangent is given. */
export function atan(input: Tensor): Tensor {
  return apply(atanPrimitive, [toFloat(input)], null);
}

/** `sin(πx) / (πx)`, and 1 at 0. */
export function sinc(input: Tensor): Tensor {
  const x = mul(toFloat(input), Math.PI);
  const zero = eq(x, 0);
  const safe = where(zero, 1, x);
  return where(zero, 1, div(sin(safe), safe));
}

/** Degrees to radians. */
export function deg2rad(input: Tensor): Tensor {
  return mul(toFloat(input), Math.PI / 180);
}

/** Radians to degrees. */
export function rad2deg(input: Tensor): Tensor {
  return mul(toFloat(input), 180 / Math.PI);
}

// ── Hyperbolic functions ────────────────────────────────────────────────────────────────────────────────────────────

const tanhPrimitive: Unary = mathematical("tanh", MicroOp.Tanh, Math.tanh, ({ g, out }) =>
  mul(g, sub(1, mul(out, out))),
);
const sigmoidPrimitive: Unary = mathematical(
  "sigmoid",
  MicroOp.Sigmoid,
  (x) => 1 / (1 + Math.exp(-x)),
  ({ g, out }) => mul(g, mul(out, sub(1, out))),
);

/** The hyperbolic sine. Overflows from |x| = 88.7 on. */
export function sinh(input: Tensor): Tensor {
  const x = toFloat(input);
  // Near 0, where exponentials would cancel, both terms are small and of opposite sign.
  return mul(sub(expm1(x), expm1(neg(x))), 0.5);
}

/** The hyperbolic cosine. Overflows from |x| = 88.7 on. */
export function cosh(input: Tensor): Tensor {
  const x = toFloat(input);
  return mul(add(exp(x), exp(neg(x))), 0.5);
}

/** The hyperbolic tangent. */
export function tanh(input: Tensor): Tensor {
  return apply(tanhPrimitive, [toFloat(input)], null);
}

/** An odd function computed on |x|, where its formula is accurate. */
function odd(x: Tensor, positive: (magnitude: Tensor) => Tensor): Tensor {
  const negative = lt(x, 0);
  const y = positive(where(negative, neg(x), x));
  return where(negative, neg(y), y);
}

/** The inverse of the hyperbolic sine. */
export function asinh(input: Tensor): Tensor {
  return odd(toFloat(input), (x) => {
    // x² overflows where asinh is log(2x) to the last bit. Each branch gets arguments that it is finite for: a
    // gradient of 0 times infinity would be NaN.
    const large = gt(x, 1e9);
    const small = where(large, 1, x);
    const squared = square(small);
    const near = log1p(add(small, div(squared, add(sqrt(add(squared, 1)), 1))));
    return where(large, add(log(where(large, x, 1)), Math.LN2), near);
  });
}

/** The inverse of the hyperbolic cosine, from 0 up; NaN below 1. */
export function acosh(input: Tensor): Tensor {
  const excess = sub(toFloat(input), 1);
  return log1p(add(excess, mul(sqrt(excess), sqrt(add(excess, 2)))));
}

/** The inverse of the hyperbolic tangent; ±∞ at ±1 and NaN beyond. */
export function atanh(input: Tensor): Tensor {
  return odd(toFloat(input), (x) => mul(log1p(div(mul(x, 2), sub(1, x))), 0.5));
}

/** The logistic function `1 / (1 + e⁻ˣ)`. */
export function sigmoid(input: Tensor): Tensor {
  return apply(sigmoidPrimitive, [toFloat(input)], null);
}

/**
 * `log(x / (1 - x))`, the inverse of the sigmoid.
 * @param eps where given, x is first moved into [eps, 1 - eps], and no gradient flows where it moved
 */
export function logit(input: Tensor, eps?: number | null): Tensor {
  const x = toFloat(input);
  if (eps == null) return log(div(x, sub(1, x)));
  const outside = ne(lt(x, eps), gt(x, 1 - eps));
  const moved = where(lt(x, eps), eps, 1 - eps);
  const inside = where(outside, moved, x);
  return log(div(inside, sub(1, inside)));
}

// ── The error function ──────────────────────────────────────────────────────────────────────────────────────────────

const TWO_OVER_ROOT_PI = 2 / Math.sqrt(Math.PI);

const erfPrimitive: Unary = mathematical("erf", MicroOp.Erf, erfReference, ({ g, inputs: [x] }) =>
  mul(g, mul(exp(neg(square(x as Tensor))), TWO_OVER_ROOT_PI)),
);

/** The error function. */
export function erf(input: Tensor): Tensor {
  return apply(erfPrimitive, [toFloat(input)], null);
}

/** `1 - erf(x)`, to an absolute accuracy: it reaches 0 at x ≈ 4. */
export function erfc(input: Tensor): Tensor {
  return sub(1, erf(input));
}

// ── Powers ──────────────────────────────────────────────────────────────────────────────────────────────────────────

const powPrimitive: Primitive<Tensor, null> = elementwise({
  name: "pow",
  micro: { f32: MicroOp.Pow },
  // C's pow, unlike JavaScript's, holds 1 to every power and -1 to infinite ones for 1.
  reference: (x, y) => (x === 1 || (x === -1 && Math.abs(y) === Number.POSITIVE_INFINITY) ? 1 : x ** y),
  // The conventions at 0 are PyTorch's: d/dx x⁰ = 0, and d/dy 0ʸ = 0 for y ≥ 0.
  vjp: [
    ({ g, inputs: [base, exponent] }) => {
      const [x, y] = [base as Tensor, exponent as Tensor];
      return where(eq(y, 0), 0, mul(g, mul(y, pow(x, sub(y, 1)))));
    },
    ({ g, out, inputs: [base, exponent] }) => {
      const [x, y] = [base as Tensor, exponent as Tensor];
      const flat = logicalAnd(eq(x, 0), ge(y, 0));
      return where(flat, 0, mul(g, mul(out, log(where(flat, 1, x)))));
    },
  ],
  flops: 32,
});

/** A whole number to a whole power, by squaring. */
function wholePower(base: Tensor, exponent: number): Tensor {
  if (exponent < 0) {
    throw new ArgumentError(`pow: whole numbers have no whole power ${exponent}; convert to f32 first`);
  }
  let out: Tensor = constant(1, base.shape, "i32");
  let factor = base;
  for (let rest = exponent; rest > 0; rest = Math.floor(rest / 2)) {
    if (rest % 2 === 1) out = mul(out, factor);
    if (rest > 1) factor = mul(factor, factor);
  }
  return out;
}

/**
 * `input` to the power of `exponent`; either may be a number. Whole numbers stay whole for exponents that are whole
 * numbers from 0 up.
 */
export function pow(input: TensorLike, exponent: TensorLike): Tensor {
  if (!(input instanceof Tensor) && !(exponent instanceof Tensor)) {
    throw new DTypeError("pow: at least one of input and exponent must be a tensor");
  }
  if (typeof exponent === "number" && input instanceof Tensor) {
    if (input.dtype === "i32" && Number.isInteger(exponent)) return wholePower(input, exponent);
    const x = toFloat(input);
    if (exponent === 2) return mul(x, x);
    if (exponent === 0.5) return sqrt(x);
    if (exponent === -1) return reciprocal(x);
  } else if (input instanceof Tensor && input.dtype !== "f32" && asTensor(exponent).dtype !== "f32") {
    throw new DTypeError(
      `pow: ${input.dtype} to the power of a tensor of ${(exponent as Tensor).dtype} is not supported; convert one to f32`,
    );
  }
  return apply(powPrimitive, [toFloat(input), toFloat(exponent)], null);
}

/** `pow` in floating point, whatever the operands. */
export function floatPower(input: TensorLike, exponent: TensorLike): Tensor {
  const [x, y] = [input, exponent].map((z) => (z instanceof Tensor ? toFloat(z) : z)) as [TensorLike, TensorLike];
  return pow(x, y);
}

// ── Parts and tests of numbers ──────────────────────────────────────────────────────────────────────────────────────

/** The fraction, with the sign of the number. */
export function frac(input: Tensor): Tensor {
  return sub(input, trunc(input));
}

/** The input itself. */
export function positive(input: Tensor): Tensor {
  if (input.dtype === "bool") throw new DTypeError("positive: bool tensors have no sign");
  return input;
}

/** Where it is NaN. */
export function isnan(input: Tensor): Tensor {
  return ne(input, input);
}

/** Where it is +∞ or -∞. */
export function isinf(input: Tensor): Tensor {
  return eq(abs(toFloat(input)), Number.POSITIVE_INFINITY);
}

/** Where it is neither infinite nor NaN. */
export function isfinite(input: Tensor): Tensor {
  return lt(abs(toFloat(input)), Number.POSITIVE_INFINITY);
}

const F32_MAX = 3.4028234663852886e38;

/**
 * NaN replaced by `nan`, and infinities by `posinf` and `neginf`: by default the largest and the least finite f32. No
 * gradient flows where an element was replaced.
 */
export function nanToNum(input: Tensor, nan?: number | null, posinf?: number | null, neginf?: number | null): Tensor {
  if (input.dtype !== "f32") return input;
  const finite = where(isnan(input), nan ?? 0, input);
  const below = where(eq(finite, Number.POSITIVE_INFINITY), posinf ?? F32_MAX, finite);
  return where(eq(below, Number.NEGATIVE_INFINITY), neginf ?? -F32_MAX, below);
}

/** The operators of this file. */
export default {
  exp: { fn: exp, params: ["input"], samples: ["f32[3,4]", "f32[]", "f32[0,2]"] },
  exp2: { fn: exp2, params: ["input"], samples: ["f32[3,4]"] },
  expm1: { fn: expm1, params: ["input"], samples: ["f32[3,4]"] },
  log: { fn: log, params: ["input"], samples: ["f32[3,4]>0"] },
  log1p: { fn: log1p, params: ["input"], samples: ["f32[3,4]>0"] },
  log2: { fn: log2, params: ["input"], samples: ["f32[3,4]>0"] },
  log10: { fn: log10, params: ["input"], samples: ["f32[3,4]>0"] },
  sqrt: { fn: sqrt, params: ["input"], samples: ["f32[3,4]>0"] },
  rsqrt: { fn: rsqrt, params: ["input"], samples: ["f32[3,4]>0"] },
  square: { fn: square, params: ["input"], samples: ["f32[3,4]"] },
  reciprocal: { fn: reciprocal, params: ["input"], samples: ["f32[3,4]>0"] },
  sin: { fn: sin, params: ["input"], samples: ["f32[3,4]"] },
  cos: { fn: cos, params: ["input"], samples: ["f32[3,4]"] },
  tan: { fn: tan, params: ["input"], samples: ["f32[3,4]in(-1,1)"] },
  asin: { fn: asin, params: ["input"], samples: ["f32[3,4]in(-0.9,0.9)"] },
  acos: { fn: acos, params: ["input"], samples: ["f32[3,4]in(-0.9,0.9)"] },
  atan: { fn: atan, params: ["input"], samples: ["f32[3,4]"] },
  sinc: { fn: sinc, params: ["input"], samples: ["f32[3,4]"] },
  deg2rad: { fn: deg2rad, params: ["input"], samples: ["f32[3,4]"] },
  rad2deg: { fn: rad2deg, params: ["input"], samples: ["f32[3,4]"] },
  sinh: { fn: sinh, params: ["input"], samples: ["f32[3,4]"] },
  cosh: { fn: cosh, params: ["input"], samples: ["f32[3,4]"] },
  tanh: { fn: tanh, params: ["input"], samples: ["f32[3,4]"] },
  asinh: { fn: asinh, params: ["input"], samples: ["f32[3,4]"] },
  acosh: { fn: acosh, params: ["input"], samples: ["f32[3,4]in(1.5,4)"] },
  atanh: { fn: atanh, params: ["input"], samples: ["f32[3,4]in(-0.9,0.9)"] },
  sigmoid: { fn: sigmoid, params: ["input"], samples: ["f32[3,4]"] },
  logit: { fn: logit, params: ["input", "eps"], samples: ["f32[3,4]in(0.1,0.9)", "f32[3,4]in(-0.5,1.5); 0.2"] },
  erf: { fn: erf, params: ["input"], samples: ["f32[3,4]"] },
  erfc: { fn: erfc, params: ["input"], samples: ["f32[3,4]"] },
  pow: {
    fn: pow,
    params: ["input", "exponent"],
    samples: ["f32[3,4]>0; f32[4]", "f32[3,4]; 3", "f32[3,4]; 2", "f32[3]>0; -0.5", "2.5; f32[3,4]", "i32[3]<4; 3"],
  },
  floatPower: { fn: floatPower, params: ["input", "exponent"], samples: ["f32[3,4]>0; f32[3,1]", "i32[4]<5; 2"] },
  frac: { fn: frac, params: ["input"], samples: ["f32[3,4]"] },
  positive: { fn: positive, params: ["input"], samples: ["f32[3,4]"] },
  isnan: { fn: isnan, params: ["input"], samples: ["f32[3,4]"], discrete: true },
  isinf: { fn: isinf, params: ["input"], samples: ["f32[3,4]"], discrete: true },
  isfinite: { fn: isfinite, params: ["input"], samples: ["f32[3,4]"], discrete: true },
  nanToNum: {
    fn: nanToNum,
    params: ["input", "nan", "posinf", "neginf"],
    samples: ["f32[3,4]", "f32[3,4]; 0; 1; -1"],
  },
} satisfies OperatorTable;
