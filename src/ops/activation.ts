/** Activation functions: what stands between the layers of a network. All are computed in f32. */
import { ArgumentError, ShapeError } from "../graph/errors.js";
import { formatShape, normalizeDim } from "../graph/shape.js";
import { constant } from "../graph/sources.js";
import { apply, nodeOf, Tensor } from "../graph/tensor.js";
import { MicroOp } from "../micro-op.js";
import { geluPrimitive, geluTanhPrimitive, siluPrimitive, softplusPrimitive } from "./activation-primitives.js";
import { abs, add, div, ge, gt, le, logicalAnd, lt, mul, neg, sub, where } from "./arithmetic.js";
import { toFloat } from "./conversion.js";
import { elementwise, type OperatorTable } from "./define.js";
import { narrow, reshape } from "./movement.js";
import { expm1, sigmoid, tanh } from "./unary.js";

// ── Piecewise linear ────────────────────────────────────────────────────────────────────────────────────────────────

/** `g` with zeros where `x` is 0 or below, if what computes `g` has a cheaper way than to select afterwards. */
function positivePart(g: Tensor, x: Tensor): Tensor | null {
  const { primitive, inputs, attrs } = nodeOf(g);
  return (
    primitive.positive?.(
      x,
      inputs.map((node) => new Tensor(node)),
      attrs,
    ) ?? null
  );
}

/** The second input is 0. The gradient is told from the output, which the next layer needs anyway; NaN passes it on. */
const reluPrimitive = elementwise({
  name: "relu",
  micro: { f32: MicroOp.Relu, i32: MicroOp.MaxI },
  reference: (x, zero) => Math.max(x, zero),
  vjp: [({ g, out }) => positivePart(g, out) ?? where(le(out, 0), 0, g), null],
});

/** `max(x, 0)`. Its gradient at 0 is 0. */
export function relu(input: Tensor): Tensor {
  return apply(reluPrimitive, [input, constant(0, [], input.dtype)], null);
}

/** The elements above `threshold`, and `value` for the rest. */
export function threshold(input: Tensor, threshold: number, value: number): Tensor {
  // Selected by what is below, so that NaN stays NaN.
  return where(le(input, threshold), value, input);
}

/**
 * Each element moved into [minVal, maxVal]. Unlike with {@link clamp}, no gradient flows at the bounds.
 * @throws ArgumentError where minVal is above maxVal
 */
export function hardtanh(input: Tensor, minVal = -1, maxVal = 1): Tensor {
  if (minVal > maxVal) throw new ArgumentError(`hardtanh: minVal ${minVal} is greater than maxVal ${maxVal}`);
  return where(le(input, minVal), minVal, where(ge(input, maxVal), maxVal, input));
}

/** `min(max(x, 0), 6)`. */
export function relu6(input: Tensor): Tensor {
  return hardtanh(input, 0, 6);
}

/** `x` above 0, and `negativeSlope · x` below. */
export function leakyRelu(input: Tensor, negativeSlope = 0.01): Tensor {
  return where(gt(input, 0), input, mul(input, negativeSlope));
}

/**
 * `x` above 0, and `weight · x` below, with one weight for all or one for each channel (dimension 1).
 * @param weight a scalar or a vector
 */
export function prelu(input: Tensor, weight: Tensor): Tensor {
  if (weight.ndim > 1) {
    throw new ShapeError(`prelu: weight must be a scalar or a vector, not ${formatShape(weight.shape)}`);
  }
  if (weight.numel === 1) return where(gt(input, 0), input, mul(reshape(weight, []), input));
  const channels = input.ndim > 1 ? (input.shape[1] as number) : 1;
  if (input.ndim === 0 || weight.numel !== channels) {
    throw new ShapeError(
      `prelu: weight ${formatShape(weight.shape)} must have 1 element or one for each channel of ${formatShape(input.shape)}`,
    );
  }
  const slope = reshape(weight, [channels, ...input.shape.slice(2).map(() => 1)]);
  return where(gt(input, 0), input, mul(slope, input));
}

/** The sigmoid made of straight lines: 0 up to -3, 1 from 3 on. */
export function hardsigmoid(input: Tensor): Tensor {
  return div(relu6(add(input, 3)), 6);
}

/** `x · hardsigmoid(x)`. */
export function hardswish(input: Tensor): Tensor {
  return mul(input, hardsigmoid(input));
}

/** The elements outside of [-lambd, lambd], and 0 for the rest. */
export function hardshrink(input: Tensor, lambd = 0.5): Tensor {
  return where(logicalAnd(ge(input, -lambd), le(input, lambd)), 0, input);
}

/** Each element moved towards 0 by `lambd`, and 0 for those that would cross it. */
export function softshrink(input: Tensor, lambd = 0.5): Tensor {
  if (!(lambd >= 0)) throw new ArgumentError(`softshrink: lambd must be 0 or more, not ${lambd}`);
  // 0 · x, not 0: NaN stays NaN.
  return where(gt(input, lambd), sub(input, lambd), where(lt(input, -lambd), add(input, lambd), mul(input, 0)));
}

// ── Exponential ─────────────────────────────────────────────────────────────────────────────────────────────────────

/** `x` above 0, and `alpha · (eˣ - 1)` below. */
export function elu(input: Tensor, alpha = 1): Tensor {
  const above = gt(input, 0);
  // Where x is above 0 its exponential is not wanted and may be infinite: 0 · ∞ would make the gradient NaN.
  return where(above, input, mul(expm1(where(above, 0, input)), alpha));
}

/** `scale · elu(x, alpha)` with the constants of self-normalizing networks (Klambauer et al. 2017). */
export function selu(input: Tensor): Tensor {
  return mul(elu(input, 1.6732632423543772), 1.0507009873554805);
}

/** `x` above 0, and `alpha · (e^(x / alpha) - 1)` below: smooth for every alpha. */
export function celu(input: Tensor, alpha = 1): Tensor {
  if (alpha === 0) throw new ArgumentError("celu: alpha must not be 0");
  const above = gt(input, 0);
  return where(above, input, mul(expm1(div(where(above, 0, input), alpha)), alpha));
}

/** `log(1 + e^(beta · x)) / beta`, and `x` itself where `beta · x` is above `threshold`. */
export function softplus(input: Tensor, beta = 1, threshold = 20): Tensor {
  const x = toFloat(input);
  const smooth = (scaled: Tensor): Tensor => apply(softplusPrimitive, [scaled], null);
  // From 17 on log(1 + e^x) is x in f32, and its derivative 1.
  if (threshold >= 17) return beta === 1 ? smooth(x) : div(smooth(mul(x, beta)), beta);
  const scaled = mul(x, beta);
  const straight = gt(scaled, threshold);
  return where(straight, x, div(smooth(where(straight, 0, scaled)), beta));
}

/** `log(sigmoid(x))`, without underflow. */
export function logsigmoid(input: Tensor): Tensor {
  return neg(apply(softplusPrimitive, [neg(toFloat(input))], null));
}

/** `x · sigmoid(x)`, also called swish. */
export function silu(input: Tensor): Tensor {
  return apply(siluPrimitive, [toFloat(input)], null);
}

/** `x · tanh(softplus(x))`. */
export function mish(input: Tensor): Tensor {
  return mul(input, tanh(softplus(input)));
}

/**
 * `x · Φ(x)`, where Φ is the distribution function of the normal distribution.
 * @param options.approximate `"tanh"` computes Φ by a formula with the hyperbolic tangent (Hendrycks & Gimpel 2016)
 */
export function gelu(input: Tensor, options: { approximate?: "none" | "tanh" } = {}): Tensor {
  const { approximate = "none" } = options;
  if (approximate === "none") return apply(geluPrimitive, [toFloat(input)], null);
  if (approximate === "tanh") return apply(geluTanhPrimitive, [toFloat(input)], null);
  throw new ArgumentError(`gelu: approximate must be "none" or "tanh", not ${JSON.stringify(approximate)}`);
}

/** `x / (1 + |x|)`. */
export function softsign(input: Tensor): Tensor {
  return div(input, add(abs(input), 1));
}

/** `x - tanh(x)`. */
export function tanhshrink(input: Tensor): Tensor {
  return sub(input, tanh(input));
}

/** The first half of a dimension times the sigmoid of the second half. */
export function glu(input: Tensor, dim = -1): Tensor {
  if (input.ndim === 0) throw new ShapeError("glu: a scalar has no dimension to halve");
  const d = normalizeDim("glu", dim, input.ndim);
  const size = input.shape[d] as number;
  if (size % 2 !== 0) throw new ShapeError(`glu: dimension ${d} of ${formatShape(input.shape)} must have an even size`);
  return mul(narrow(input, d, 0, size / 2), sigmoid(narrow(input, d, size / 2, size / 2)));
}

/** The operators of this file. */
export default {
  relu: { fn: relu, params: ["input"], samples: ["f32[3,4]", "f32[]"] },
  threshold: { fn: threshold, params: ["input", "threshold", "value"], samples: ["f32[3,4]; 0.1; -2"] },
  hardtanh: { fn: hardtanh, params: ["input", "minVal", "maxVal"], samples: ["f32[3,4]", "f32[3,4]; -0.5; 0.25"] },
  relu6: { fn: relu6, params: ["input"], samples: ["f32[3,4]in(-3,9)"] },
  leakyRelu: { fn: leakyRelu, params: ["input", "negativeSlope"], samples: ["f32[3,4]", "f32[3,4]; 0.2"] },
  prelu: { fn: prelu, params: ["input", "weight"], samples: ["f32[2,3,4]; f32[3]", "f32[3,4]; f32[]"] },
  hardsigmoid: { fn: hardsigmoid, params: ["input"], samples: ["f32[3,4]in(-5,5)"] },
  hardswish: { fn: hardswish, params: ["input"], samples: ["f32[3,4]in(-5,5)"] },
  hardshrink: { fn: hardshrink, params: ["input", "lambd"], samples: ["f32[3,4]", "f32[3,4]; 0.1"] },
  softshrink: { fn: softshrink, params: ["input", "lambd"], samples: ["f32[3,4]", "f32[3,4]; 0.1"] },
  elu: { fn: elu, params: ["input", "alpha"], samples: ["f32[3,4]", "f32[3,4]; 0.7"] },
  selu: { fn: selu, params: ["input"], samples: ["f32[3,4]"] },
  celu: { fn: celu, params: ["input", "alpha"], samples: ["f32[3,4]", "f32[3,4]; 0.7"] },
  softplus: { fn: softplus, params: ["input", "beta", "threshold"], samples: ["f32[3,4]", "f32[3,4]; 2; 0.5"] },
  logsigmoid: { fn: logsigmoid, params: ["input"], samples: ["f32[3,4]"] },
  silu: { fn: silu, params: ["input"], samples: ["f32[3,4]"] },
  mish: { fn: mish, params: ["input"], samples: ["f32[3,4]"] },
  gelu: {
    fn: gelu,
    params: ["input"],
    options: ["approximate"],
    samples: ["f32[3,4]", 'f32[3,4]; {"approximate":"tanh"}'],
  },
  softsign: { fn: softsign, params: ["input"], samples: ["f32[3,4]"] },
  tanhshrink: { fn: tanhshrink, params: ["input"], samples: ["f32[3,4]"] },
  glu: { fn: glu, params: ["input", "dim"], samples: ["f32[3,4]", "f32[4,3]; 0"] },
} satisfies OperatorTable;
