/** Arithmetic, comparison and selection, element by element with broadcasting. */
import { DTypeError, ShapeError } from "../graph/errors.js";
import { formatShape } from "../graph/shape.js";
import { constant } from "../graph/sources.js";
import { apply, Tensor } from "../graph/tensor.js";
import { MicroOp } from "../micro-op.js";
import { operands, tensorOperands, to } from "./conversion.js";
import { asTensor, elementwise, expectTensor, type OperatorTable, type TensorLike } from "./define.js";

// ── Arithmetic ──────────────────────────────────────────────────────────────────────────────────────────────────────

const addPrimitive = elementwise({
  name: "add",
  micro: { f32: MicroOp.Add, i32: MicroOp.AddI, bool: MicroOp.Or },
  exact: true,
  reference: (a, b) => a + b,
  vjp: [({ g }) => g, ({ g }) => g],
});

const subPrimitive = elementwise({
  name: "sub",
  micro: { f32: MicroOp.Sub, i32: MicroOp.SubI },
  exact: true,
  reference: (a, b) => a - b,
  vjp: [({ g }) => g, ({ g }) => neg(g)],
});

const mulPrimitive = elementwise({
  name: "mul",
  micro: { f32: MicroOp.Mul, i32: MicroOp.MulI, bool: MicroOp.And },
  exact: true,
  forwards: ([a, b]) => (b === 1 ? 0 : a === 1 ? 1 : null),
  reference: (a, b) => a * b,
  vjp: [({ g, inputs: [, b] }) => mul(g, b as Tensor), ({ g, inputs: [a] }) => mul(g, a as Tensor)],
});

const divPrimitive = elementwise({
  name: "div",
  micro: { f32: MicroOp.Div },
  exact: true,
  forwards: ([, b]) => (b === 1 ? 0 : null),
  reference: (a, b) => a / b,
  vjp: [
    ({ g, inputs: [, b] }) => div(g, b as Tensor),
    ({ g, out, inputs: [, b] }) => neg(div(mul(g, out), b as Tensor)),
  ],
});

const divTruncI32Primitive = elementwise({
  name: "divTrunc",
  micro: { i32: MicroOp.DivI },
  reference: (a, b) => (b === 0 ? 0 : Math.trunc(a / b)),
});

const negPrimitive = elementwise({
  name: "neg",
  micro: { f32: MicroOp.Neg, i32: MicroOp.NegI },
  exact: true,
  reference: (a) => -a,
  vjp: [({ g }) => neg(g)],
});

/** `input + alpha · other`. */
export function add(input: TensorLike, other: TensorLike, options: { alpha?: number } = {}): Tensor {
  const { alpha = 1 } = options;
  const [x, y] = operands("add", input, other);
  return apply(addPrimitive, [x, alpha === 1 ? y : mul(y, alpha)], null);
}

/** `input - alpha · other`. */
export function sub(input: TensorLike, other: TensorLike, options: { alpha?: number } = {}): Tensor {
  const { alpha = 1 } = options;
  const [x, y] = operands("sub", input, other);
  if (x.dtype === "bool") throw new DTypeError("sub: bool tensors do not subtract; use logicalXor");
  return apply(subPrimitive, [x, alpha === 1 ? y : mul(y, alpha)], null);
}

/** Subtraction the other way round: `other - alpha · input`. */
export function rsub(input: Tensor, other: TensorLike, options: { alpha?: number } = {}): Tensor {
  expectTensor("rsub", "input", input);
  return sub(other, input, options);
}

/** `input · other`. */
export function mul(input: TensorLike, other: TensorLike): Tensor {
  return apply(mulPrimitive, operands("mul", input, other), null);
}

/**
 * `input / other`, in f32 for whole numbers too.
 * @param options.roundingMode `"floor"` or `"trunc"` round the quotient, and keep whole numbers whole
 */
export function div(
  input: TensorLike,
  other: TensorLike,
  options: { roundingMode?: "floor" | "trunc" | null } = {},
): Tensor {
  const { roundingMode = null } = options;
  if (roundingMode === null) return apply(divPrimitive, operands("div", input, other, true), null);
  if (roundingMode !== "floor" && roundingMode !== "trunc") {
    throw new DTypeError(`div: roundingMode must be null, "floor" or "trunc", not ${JSON.stringify(roundingMode)}`);
  }
  const [x, y] = operands("div", input, other);
  if (x.dtype === "f32") {
    const quotient = apply(divPrimitive, [x, y], null);
    return roundingMode === "floor" ? floor(quotient) : trunc(quotient);
  }
  const [a, b] = [to(x, "i32"), to(y, "i32")];
  const quotient = apply(divTruncI32Primitive, [a, b], null);
  if (roundingMode === "trunc") return quotient;
  // Rounding down differs from dropping the fraction where there is one and the signs differ.
  const inexact = ne(mul(quotient, b), a);
  return sub(quotient, to(logicalAnd(inexact, ne(lt(a, 0), lt(b, 0))), "i32"));
}

/** `-input`. */
export function neg(input: Tensor): Tensor {
  if (input.dtype === "bool") throw new DTypeError("neg: bool tensors have no negative; use logicalNot");
  return apply(negPrimitive, [input], null);
}

// ── Rounding ────────────────────────────────────────────────────────────────────────────────────────────────────────

function zeroGradient({ g }: { g: Tensor }): Tensor {
  return constant(0, g.shape);
}

const floorPrimitive = elementwise({
  name: "floor",
  micro: { f32: MicroOp.Floor },
  reference: Math.floor,
  vjp: [zeroGradient],
});

const ceilPrimitive = elementwise({
  name: "ceil",
  micro: { f32: MicroOp.Ceil },
  reference: Math.ceil,
  vjp: [zeroGradient],
});

const truncPrimitive = elementwise({
  name: "trunc",
  micro: { f32: MicroOp.Trunc },
  reference: Math.trunc,
  vjp: [zeroGradient],
});

const roundPrimitive = elementwise({
  name: "round",
  micro: { f32: MicroOp.Round },
  reference(x) {
    const rounded = Math.round(x);
    return rounded - x === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
  },
  vjp: [zeroGradient],
});

const signPrimitive = elementwise({
  name: "sign",
  micro: { f32: MicroOp.Sign, i32: MicroOp.SignI },
  reference: Math.sign,
  vjp: [zeroGradient],
});

const absPrimitive = elementwise({
  name: "abs",
  micro: { f32: MicroOp.Abs, i32: MicroOp.AbsI },
  reference: Math.abs,
  vjp: [({ g, inputs: [x] }) => mul(g, sign(x as Tensor))],
});

/** The largest whole number not above each element. */
export function floor(input: Tensor): Tensor {
  return input.dtype === "f32" ? apply(floorPrimitive, [input], null) : input;
}

/** The smallest whole number not below each element. */
export function ceil(input: Tensor): Tensor {
  return input.dtype === "f32" ? apply(ceilPrimitive, [input], null) : input;
}

/** Each element without its fraction. */
export function trunc(input: Tensor): Tensor {
  return input.dtype === "f32" ? apply(truncPrimitive, [input], null) : input;
}

/**
 * The nearest whole number, ties to the even one.
 * @param options.decimals round to this many digits after the point, or before it where negative
 */
export function round(input: Tensor, options: { decimals?: number } = {}): Tensor {
  const { decimals = 0 } = options;
  if (input.dtype !== "f32") return input;
  if (decimals === 0) return apply(roundPrimitive, [input], null);
  const scale = 10 ** Math.abs(decimals);
  return decimals > 0 ? div(round(mul(input, scale)), scale) : mul(round(div(input, scale)), scale);
}

/** -1, 0 or 1; NaN stays NaN. */
export function sign(input: Tensor): Tensor {
  return input.dtype === "bool" ? input : apply(signPrimitive, [input], null);
}

/** The absolute value. Its gradient at 0 is 0. */
export function abs(input: Tensor): Tensor {
  return input.dtype === "bool" ? input : apply(absPrimitive, [input], null);
}

// ── Comparison ──────────────────────────────────────────────────────────────────────────────────────────────────────

function comparison(name: string, f32: MicroOp, i32: MicroOp, reference: (a: number, b: number) => boolean) {
  return elementwise({
    name,
    micro: { f32, i32, bool: i32 },
    out: "bool",
    reference: (a, b) => (reference(a, b) ? 1 : 0),
  });
}

const ltPrimitive = comparison("lt", MicroOp.Less, MicroOp.LessI, (a, b) => a < b);
const lePrimitive = comparison("le", MicroOp.LessEqual, MicroOp.LessEqualI, (a, b) => a <= b);
const eqPrimitive = comparison("eq", MicroOp.Equal, MicroOp.EqualI, (a, b) => a === b);
const nePrimitive = comparison("ne", MicroOp.NotEqual, MicroOp.NotEqualI, (a, b) => a !== b);

/** Where `input < other`. */
export function lt(input: TensorLike, other: TensorLike): Tensor {
  return apply(ltPrimitive, operands("lt", input, other), null);
}

/** Where `input <= other`. */
export function le(input: TensorLike, other: TensorLike): Tensor {
  return apply(lePrimitive, operands("le", input, other), null);
}

/** Where `input > other`. */
export function gt(input: TensorLike, other: TensorLike): Tensor {
  const [x, y] = operands("gt", input, other);
  return apply(ltPrimitive, [y, x], null);
}

/** Where `input >= other`. */
export function ge(input: TensorLike, other: TensorLike): Tensor {
  const [x, y] = operands("ge", input, other);
  return apply(lePrimitive, [y, x], null);
}

/** Where `input == other`. NaN equals nothing. */
export function eq(input: TensorLike, other: TensorLike): Tensor {
  return apply(eqPrimitive, operands("eq", input, other), null);
}

/** Where `input != other`. */
export function ne(input: TensorLike, other: TensorLike): Tensor {
  return apply(nePrimitive, operands("ne", input, other), null);
}

// ── Logic and selection ─────────────────────────────────────────────────────────────────────────────────────────────

const andPrimitive = elementwise({
  name: "logicalAnd",
  micro: { bool: MicroOp.And },
  reference: (a, b) => a & b,
});

const orPrimitive = elementwise({
  name: "logicalOr",
  micro: { bool: MicroOp.Or },
  reference: (a, b) => a | b,
});

const notPrimitive = elementwise({
  name: "logicalNot",
  micro: { bool: MicroOp.Not },
  reference: (a) => (a === 0 ? 1 : 0),
});

const wherePrimitive = elementwise({
  name: "where",
  micro: { f32: MicroOp.Select, i32: MicroOp.Select, bool: MicroOp.Select },
  reference: (condition, a, b) => (condition !== 0 ? a : b),
  vjp: [
    null,
    ({ g, inputs: [condition] }) => where(condition as Tensor, g, 0),
    ({ g, inputs: [condition] }) => where(condition as Tensor, 0, g),
  ],
});

/** Where both are not zero. */
export function logicalAnd(input: Tensor, other: Tensor): Tensor {
  return apply(andPrimitive, [to(input, "bool"), to(other, "bool")], null);
}

/** Where either is not zero. */
export function logicalOr(input: Tensor, other: Tensor): Tensor {
  return apply(orPrimitive, [to(input, "bool"), to(other, "bool")], null);
}

/** Where one is zero and the other is not. */
export function logicalXor(input: Tensor, other: Tensor): Tensor {
  return ne(to(input, "bool"), to(other, "bool"));
}

/** Where it is zero. */
export function logicalNot(input: Tensor): Tensor {
  return apply(notPrimitive, [to(input, "bool")], null);
}

/** The elements of `input` where `condition` holds, those of `other` elsewhere. */
export function where(condition: Tensor, input: TensorLike, other: TensorLike): Tensor {
  if (condition.dtype === "f32") throw new DTypeError("where: condition is f32, and must be bool or i32");
  const bothNumbers = !(input instanceof Tensor) && !(other instanceof Tensor);
  const [x, y] = bothNumbers ? [asTensor(input), asTensor(other)] : operands("where", input, other);
  return apply(wherePrimitive, [condition, x, y], null);
}

/** `input` with `value`, a number or a scalar tensor, wherever `mask` holds. */
export function maskedFill(input: Tensor, mask: Tensor, value: TensorLike): Tensor {
  if (mask.dtype !== "bool") throw new DTypeError(`maskedFill: mask is ${mask.dtype}, and must be bool`);
  const filling = to(asTensor(value, input.dtype, "maskedFill"), input.dtype);
  if (filling.ndim > 0) {
    throw new ShapeError(`maskedFill: value must be a scalar, not ${formatShape(filling.shape)}; use where`);
  }
  return where(mask, filling, input);
}

// ── Extremes ────────────────────────────────────────────────────────────────────────────────────────────────────────

/** The gradient of an extreme goes to the larger (smaller) operand; equal ones share it, as in PyTorch. */
function extremeGradient(g: Tensor, mine: Tensor, other: Tensor, better: (a: Tensor, b: Tensor) => Tensor): Tensor {
  return where(better(mine, other), g, where(eq(mine, other), mul(g, 0.5), 0));
}

function extreme(
  name: string,
  f32: MicroOp,
  i32: MicroOp,
  bool: MicroOp,
  reference: (a: number, b: number) => number,
  better: (a: Tensor, b: Tensor) => Tensor,
) {
  return elementwise({
    name,
    micro: { f32, i32, bool },
    reference,
    vjp: [
      ({ g, inputs: [a, b] }) => extremeGradient(g, a as Tensor, b as Tensor, better),
      ({ g, inputs: [a, b] }) => extremeGradient(g, b as Tensor, a as Tensor, better),
    ],
  });
}

const maximumPrimitive = extreme("maximum", MicroOp.Max, MicroOp.MaxI, MicroOp.Or, (a, b) => Math.max(a, b), gt);
const minimumPrimitive = extreme("minimum", MicroOp.Min, MicroOp.MinI, MicroOp.And, (a, b) => Math.min(a, b), lt);

/** The larger of each pair of elements; NaN if either is. */
export function maximum(input: Tensor, other: Tensor): Tensor {
  return apply(maximumPrimitive, tensorOperands("maximum", input, other), null);
}

/** The smaller of each pair of elements; NaN if either is. */
export function minimum(input: Tensor, other: Tensor): Tensor {
  return apply(minimumPrimitive, tensorOperands("minimum", input, other), null);
}

/**
 * Each element moved into [min, max]; either bound may be missing. The gradient passes where the element was inside,
 * bounds included.
 */
export function clamp(input: Tensor, min?: TensorLike | null, max?: TensorLike | null): Tensor {
  if (min == null && max == null) throw new DTypeError("clamp: at least one of min and max must be given");
  let out = input;
  if (min != null) {
    const [x, bound] = operands("clamp", out, min);
    out = where(lt(x, bound), bound, x);
  }
  if (max != null) {
    const [x, bound] = operands("clamp", out, max);
    out = where(gt(x, bound), bound, x);
  }
  return out;
}

const clonePrimitive = elementwise({
  name: "clone",
  micro: { f32: MicroOp.Copy, i32: MicroOp.Copy, bool: MicroOp.Copy },
  forwards: () => 0,
  reference: (x) => x,
  vjp: [({ g }) => g],
  flops: 0,
});

/** A copy: the same value; gradients pass. */
export function clone(input: Tensor): Tensor {
  return apply(clonePrimitive, [input], null);
}

/** The operators of this file. */
export default {
  add: {
    fn: add,
    params: ["input", "other"],
    options: ["alpha"],
    samples: [
      "f32[3,4]; f32[3,4]",
      "f32[3,1]; f32[4]",
      "f32[2,3]; 2.5",
      'f32[5]; f32[5]; {"alpha":-0.5}',
      "f32[0,3]; f32[1,3]",
    ],
  },
  sub: {
    fn: sub,
    params: ["input", "other"],
    options: ["alpha"],
    samples: ["f32[3,4]; f32[4]", 'f32[2]; 3; {"alpha":2}'],
  },
  rsub: { fn: rsub, params: ["input", "other"], options: ["alpha"], samples: ["f32[3,4]; f32[4]", "f32[2]; 3"] },
  mul: {
    fn: mul,
    params: ["input", "other"],
    samples: ["f32[3,4]; f32[3,4]", "f32[3,1]; f32[1,4]", "f32[]; f32[2,2]", "f32[2]; -2"],
  },
  div: {
    fn: div,
    params: ["input", "other"],
    options: ["roundingMode"],
    samples: [
      "f32[3,4]; f32[4]>0",
      "f32[2]; 0.3",
      'f32[5]; 0.7; {"roundingMode":"floor"}',
      'i32[5]<9; 2; {"roundingMode":"trunc"}',
    ],
  },
  neg: { fn: neg, params: ["input"], samples: ["f32[3,4]", "f32[]"] },
  floor: { fn: floor, params: ["input"], samples: ["f32[3,4]"] },
  ceil: { fn: ceil, params: ["input"], samples: ["f32[3,4]"] },
  trunc: { fn: trunc, params: ["input"], samples: ["f32[3,4]"] },
  round: { fn: round, params: ["input"], options: ["decimals"], samples: ["f32[3,4]", 'f32[7]; {"decimals":1}'] },
  sign: { fn: sign, params: ["input"], samples: ["f32[3,4]"] },
  abs: { fn: abs, params: ["input"], samples: ["f32[3,4]"] },
  lt: { fn: lt, params: ["input", "other"], samples: ["f32[3,4]; f32[4]", "i32[5]<3; 1"], discrete: true },
  le: { fn: le, params: ["input", "other"], samples: ["f32[3,4]; f32[4]", "i32[5]<3; 1"], discrete: true },
  gt: { fn: gt, params: ["input", "other"], samples: ["f32[3,4]; f32[4]", "i32[5]<3; 1"], discrete: true },
  ge: { fn: ge, params: ["input", "other"], samples: ["f32[3,4]; f32[4]", "i32[5]<3; 1"], discrete: true },
  eq: { fn: eq, params: ["input", "other"], samples: ["f32[3,4]; f32[4]", "i32[5]<3; 1"], discrete: true },
  ne: { fn: ne, params: ["input", "other"], samples: ["f32[3,4]; f32[4]", "i32[5]<3; 1"], discrete: true },
  logicalAnd: { fn: logicalAnd, params: ["input", "other"], samples: ["bool[3,4]; bool[4]"], discrete: true },
  logicalOr: { fn: logicalOr, params: ["input", "other"], samples: ["bool[3,4]; bool[4]"], discrete: true },
  logicalXor: { fn: logicalXor, params: ["input", "other"], samples: ["bool[3,4]; f32[4]"], discrete: true },
  logicalNot: { fn: logicalNot, params: ["input"], samples: ["bool[3,4]"], discrete: true },
  where: {
    fn: where,
    params: ["condition", "input", "other"],
    samples: ["bool[3,4]; f32[3,4]; f32[4]", "bool[3,1]; f32[]; f32[3,4]", "bool[4]; f32[4]; 0"],
  },
  maskedFill: {
    fn: maskedFill,
    params: ["input", "mask", "value"],
    samples: ["f32[3,4]; bool[3,4]; 2", "f32[3,4]; bool[4]; f32[]"],
  },
  maximum: { fn: maximum, params: ["input", "other"], samples: ["f32[3,4]; f32[4]", "i32[3]<4; i32[]<4"] },
  minimum: { fn: minimum, params: ["input", "other"], samples: ["f32[3,4]; f32[4]", "i32[3]<4; i32[]<4"] },
  clamp: { fn: clamp, params: ["input", "min", "max"], samples: ["f32[3,4]; -0.5; 0.5", "f32[3,4]; null; f32[4]"] },
  clone: { fn: clone, params: ["input"], samples: ["f32[3,4]"] },
} satisfies OperatorTable;
