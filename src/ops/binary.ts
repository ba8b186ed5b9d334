/** Functions of two and three tensors, element by element with broadcasting, beyond plain arithmetic. */
import type { Primitive } from "../graph/primitive.js";
import { apply, detach, type Tensor } from "../graph/tensor.js";
import { MicroOp } from "../micro-op.js";
import {
  abs,
  add,
  clamp,
  div,
  eq,
  ge,
  le,
  logicalAnd,
  logicalOr,
  lt,
  maximum,
  mul,
  ne,
  neg,
  sub,
  trunc,
  where,
} from "./arithmetic.js";
import { operands, tensorOperands } from "./conversion.js";
import { elementwise, expectTensor, type OperatorTable, type TensorLike } from "./define.js";
import { all } from "./reduction.js";
import { exp, exp2, isfinite, isnan, log, log1p, reciprocal, sqrt, square } from "./unary.js";

// ── Remainders ──────────────────────────────────────────────────────────────────────────────────────────────────────

const fmodPrimitive: Primitive<Tensor, null> = elementwise({
  name: "fmod",
  micro: { f32: MicroOp.Fmod, i32: MicroOp.RemI },
  reference: (a, b) => a % b,
  vjp: [({ g }) => g, ({ g, inputs: [a, b] }) => neg(mul(g, trunc(div(a as Tensor, b as Tensor))))],
  flops: 8,
});

/** What remains of a division that is rounded towards zero: the sign is the dividend's, as in C. */
export function fmod(input: Tensor, other: TensorLike): Tensor {
  expectTensor("fmod", "input", input);
  return apply(fmodPrimitive, operands("fmod", input, other), null);
}

/** What remains of a division that is rounded down: the sign is the divisor's, as in Python. */
export function remainder(input: TensorLike, other: TensorLike): Tensor {
  const [a, b] = operands("remainder", input, other);
  const rest = apply(fmodPrimitive, [a, b], null);
  const wrongSide = logicalAnd(ne(rest, 0), ne(lt(rest, 0), lt(b, 0)));
  return where(wrongSide, add(rest, b), rest);
}

/** The quotient, rounded down; whole numbers stay whole. */
export function floorDivide(input: TensorLike, other: TensorLike): Tensor {
  return div(input, other, { roundingMode: "floor" });
}

// ── Geometry ────────────────────────────────────────────────────────────────────────────────────────────────────────

const atan2Primitive: Primitive<Tensor, null> = elementwise({
  name: "atan2",
  micro: { f32: MicroOp.Atan2 },
  reference: (a, b) => Math.atan2(a, b),
  vjp: [
    ({ g, inputs: [y, x] }) => mul(g, div(x as Tensor, squaredLength(y as Tensor, x as Tensor))),
    ({ g, inputs: [y, x] }) => neg(mul(g, div(y as Tensor, squaredLength(y as Tensor, x as Tensor)))),
  ],
  flops: 24,
});

function squaredLength(a: Tensor, b: Tensor): Tensor {
  return add(square(a), square(b));
}

/** Both operands in f32. */
function floats(op: string, input: Tensor, other: Tensor): [Tensor, Tensor] {
  tensorOperands(op, input, other);
  return operands(op, input, other, true);
}

/** The angle of the point (other, input) in radians, from -π to π. */
export function atan2(input: Tensor, other: Tensor): Tensor {
  return apply(atan2Primitive, floats("atan2", input, other), null);
}

/** `√(input² + other²)`, without overflow of the squares. */
export function hypot(input: Tensor, other: Tensor): Tensor {
  const [a, b] = floats("hypot", input, other);
  const scale = detach(maximum(abs(a), abs(b)));
  const safe = where(eq(scale, 0), 1, scale);
  return mul(safe, sqrt(squaredLength(div(a, safe), div(b, safe))));
}

/** The magnitude of `input` with the sign of `other`, where -0 is negative. No gradient flows to `other`. */
export function copysign(input: Tensor, other: TensorLike): Tensor {
  expectTensor("copysign", "input", input);
  const [a, b] = operands("copysign", input, other, true);
  const sign = detach(b);
  const negative = lt(where(eq(sign, 0), reciprocal(sign), sign), 0);
  const magnitude = abs(a);
  return where(negative, neg(magnitude), magnitude);
}

/**
 * Where `|input - other| ≤ atol + rtol · |other|`, or both are the same infinity.
 * @param options.equalNan whether two NaN are close
 */
export function isclose(
  input: Tensor,
  other: Tensor,
  options: { rtol?: number; atol?: number; equalNan?: boolean } = {},
): Tensor {
  const { rtol = 1e-5, atol = 1e-8, equalNan = false } = options;
  const [a, b] = floats("isclose", input, other);
  // An infinite tolerance would take every number for infinity.
  const near = logicalAnd(le(abs(sub(a, b)), add(mul(abs(b), rtol), atol)), isfinite(b));
  const close = logicalOr(eq(a, b), near);
  return equalNan ? logicalOr(close, logicalAnd(isnan(a), isnan(b))) : close;
}

/** Whether all elements are close, see {@link isclose}: a bool scalar. */
export function allclose(
  input: Tensor,
  other: Tensor,
  options: { rtol?: number; atol?: number; equalNan?: boolean } = {},
): Tensor {
  return all(isclose(input, other, options));
}

// ── Extremes ────────────────────────────────────────────────────────────────────────────────────────────────────────

/** The larger of each pair of elements; a NaN loses against a number. */
export function fmax(input: Tensor, other: Tensor): Tensor {
  const [a, b] = tensorOperands("fmax", input, other);
  return where(logicalOr(ge(a, b), isnan(b)), a, b);
}

/** The smaller of each pair of elements; a NaN loses against a number. */
export function fmin(input: Tensor, other: Tensor): Tensor {
  const [a, b] = tensorOperands("fmin", input, other);
  return where(logicalOr(le(a, b), isnan(b)), a, b);
}

/** Each element, but no less than that of `min`. */
export function clampMin(input: Tensor, min: Tensor): Tensor {
  const [x, bound] = tensorOperands("clampMin", input, min, "; clamp(input, min) takes numbers");
  return clamp(x, bound);
}

/** Each element, but no more than that of `max`. */
export function clampMax(input: Tensor, max: Tensor): Tensor {
  const [x, bound] = tensorOperands("clampMax", input, max, "; clamp(input, null, max) takes numbers");
  return clamp(x, null, bound);
}

// ── Logarithms and exponentials of two arguments ────────────────────────────────────────────────────────────────────

/** The larger of two numbers, and how far below it the other is. Equal infinities are 0 apart. */
function apart(a: Tensor, b: Tensor): { larger: Tensor; below: Tensor } {
  return { larger: maximum(a, b), below: neg(abs(where(eq(a, b), 0, sub(a, b)))) };
}

/** `log(eᵃ + eᵇ)`, without overflow. */
export function logaddexp(input: Tensor, other: Tensor): Tensor {
  const { larger, below } = apart(...floats("logaddexp", input, other));
  return add(larger, log1p(exp(below)));
}

/** `log₂(2ᵃ + 2ᵇ)`, without overflow. */
export function logaddexp2(input: Tensor, other: Tensor): Tensor {
  const { larger, below } = apart(...floats("logaddexp2", input, other));
  return add(larger, mul(log1p(exp(mul(below, Math.LN2))), Math.LOG2E));
}

/** `input · log(other)`, and 0 where the input is 0, also for `other` from 0 down. */
export function xlogy(input: TensorLike, other: TensorLike): Tensor {
  const [x, y] = operands("xlogy", input, other, true);
  const nothing = logicalAnd(eq(x, 0), le(y, 0));
  return where(nothing, 0, mul(x, log(where(nothing, 1, y))));
}

/** `input · 2^other`. */
export function ldexp(input: Tensor, other: Tensor): Tensor {
  const [x, exponent] = floats("ldexp", input, other);
  return mul(x, exp2(exponent));
}

// ── Three operands ──────────────────────────────────────────────────────────────────────────────────────────────────

/** From `input` (weight 0) to `end` (weight 1) along a straight line. */
export function lerp(input: Tensor, end: Tensor, weight: TensorLike): Tensor {
  return add(input, mul(sub(end, input), weight));
}

/** `input + value · tensor1 · tensor2`. */
export function addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, options: { value?: number } = {}): Tensor {
  return add(input, mul(tensor1, tensor2), { alpha: options.value ?? 1 });
}

/** `input + value · tensor1 / tensor2`. */
export function addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, options: { value?: number } = {}): Tensor {
  return add(input, div(tensor1, tensor2), { alpha: options.value ?? 1 });
}

/** The operators of this file. */
export default {
  fmod: { fn: fmod, params: ["input", "other"], samples: ["f32[3,4]; f32[4]in(0.5,2)", "f32[3]; 0.7", "i32[5]<9; 4"] },
  remainder: {
    fn: remainder,
    params: ["input", "other"],
    samples: ["f32[3,4]; f32[4]in(-2,-0.5)", "f32[5]; 0.7", "i32[5]<9; -4"],
  },
  floorDivide: { fn: floorDivide, params: ["input", "other"], samples: ["f32[3,4]; f32[4]>0", "i32[5]<9; -4"] },
  atan2: { fn: atan2, params: ["input", "other"], samples: ["f32[3,4]; f32[4]"] },
  hypot: { fn: hypot, params: ["input", "other"], samples: ["f32[3,4]; f32[4]"] },
  isclose: {
    fn: isclose,
    params: ["input", "other"],
    options: ["rtol", "atol", "equalNan"],
    samples: ["f32[3,4]; f32[4]", 'f32[3]; f32[3]; {"atol":1,"equalNan":true}'],
    discrete: true,
  },
  allclose: {
    fn: allclose,
    params: ["input", "other"],
    options: ["rtol", "atol", "equalNan"],
    samples: ["f32[3,4]; f32[4]", 'f32[3]; f32[3]; {"atol":9}'],
    discrete: true,
  },
  copysign: { fn: copysign, params: ["input", "other"], samples: ["f32[3,4]; f32[4]", "f32[3]; -1"] },
  fmax: { fn: fmax, params: ["input", "other"], samples: ["f32[3,4]; f32[4]"] },
  fmin: { fn: fmin, params: ["input", "other"], samples: ["f32[3,4]; f32[4]"] },
  clampMin: { fn: clampMin, params: ["input", "min"], samples: ["f32[3,4]; f32[4]"] },
  clampMax: { fn: clampMax, params: ["input", "max"], samples: ["f32[3,4]; f32[4]"] },
  logaddexp: { fn: logaddexp, params: ["input", "other"], samples: ["f32[3,4]; f32[4]"] },
  logaddexp2: { fn: logaddexp2, params: ["input", "other"], samples: ["f32[3,4]; f32[4]"] },
  xlogy: { fn: xlogy, params: ["input", "other"], samples: ["f32[3,4]; f32[4]>0", "f32[3]; 2"] },
  ldexp: { fn: ldexp, params: ["input", "other"], samples: ["f32[3,4]; f32[4]"] },
  lerp: {
    fn: lerp,
    params: ["input", "end", "weight"],
    samples: ["f32[3,4]; f32[4]; 0.3", "f32[4]; f32[4]; f32[3,1]"],
  },
  addcmul: {
    fn: addcmul,
    params: ["input", "tensor1", "tensor2"],
    options: ["value"],
    samples: ['f32[3,4]; f32[3,1]; f32[4]; {"value":0.5}'],
  },
  addcdiv: {
    fn: addcdiv,
    params: ["input", "tensor1", "tensor2"],
    options: ["value"],
    samples: ['f32[3,4]; f32[3,1]; f32[4]>0; {"value":0.5}'],
  },
} satisfies OperatorTable;
