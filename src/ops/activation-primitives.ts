/** Activations with kernels of their own: each is one micro-operation, and so is its gradient. */
import type { Primitive } from "../graph/primitive.js";
import { apply, type Tensor } from "../graph/tensor.js";
import { MicroOp } from "../micro-op.js";
import { add, mul, sub } from "./arithmetic.js";
import { elementwise, type Rule } from "./define.js";
import { erfReference } from "./erf-reference.js";
import { exp, sigmoid } from "./unary.js";

/** A function of one tensor, and the primitive that is the first of two inputs times its derivative at the second. */
function withGradient(
  name: string,
  [micro, gradientMicro]: readonly [MicroOp, MicroOp],
  reference: (x: number) => number,
  slope: (x: number) => number,
  curvature: (x: Tensor) => Tensor,
): Primitive<Tensor, null> {
  const gradientRule: Rule = ({ g, inputs: [, x] }) => apply(gradient, [g, x as Tensor], null);
  const gradient: Primitive<Tensor, null> = elementwise({
    name: `${name}Gradient`,
    micro: { f32: gradientMicro },
    reference: (g, x) => g * slope(x),
    vjp: [gradientRule, ({ g, inputs: [h, x] }) => mul(mul(g, h as Tensor), curvature(x as Tensor))],
    flops: 26,
  });
  return elementwise({
    name,
    micro: { f32: micro },
    reference,
    vjp: [({ g, inputs: [x] }) => apply(gradient, [g, x as Tensor], null)],
    flops: 20,
  });
}

// ── GELU ────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** The distribution function of the normal distribution, in float64. */
function normal(x: number): number {
  return (1 + erfReference(x * Math.SQRT1_2)) / 2;
}

const ROOT_TWO_PI = Math.sqrt(2 * Math.PI);

/** `x · Φ(x)`; the second derivative is (2 - x²)·φ(x). */
export const geluPrimitive = /* @__PURE__ */ withGradient(
  "gelu",
  [MicroOp.Gelu, MicroOp.GeluGradient],
  (x) => x * normal(x),
  (x) => normal(x) + (Math.abs(x) < 40 ? (x * Math.exp((-x * x) / 2)) / ROOT_TWO_PI : 0),
  (x) => {
    const squared = mul(x, x);
    return mul(mul(sub(2, squared), exp(mul(squared, -0.5))), 1 / ROOT_TWO_PI);
  },
);

const ROOT_TWO_OVER_PI = Math.sqrt(2 / Math.PI);

/** The logistic function of 2·√(2/π)·(x + 0.044715·x³), in float64. */
function geluSigmoid(x: number): number {
  return 1 / (1 + Math.exp(-2 * ROOT_TWO_OVER_PI * x * (1 + 0.044715 * x * x)));
}

/** `x · σ(v)` with v = 2·√(2/π)·(x + 0.044715·x³). */
export const geluTanhPrimitive = /* @__PURE__ */ withGradient(
  "geluTanh",
  [MicroOp.GeluTanh, MicroOp.GeluTanhGradient],
  (x) => x * geluSigmoid(x),
  (x) => {
    // Flat from here on; squares of larger numbers overflow.
    const b = Math.max(-40, Math.min(40, x));
    const s = geluSigmoid(b);
    return s + 2 * ROOT_TWO_OVER_PI * b * (1 + 3 * 0.044715 * b * b) * s * (1 - s);
  },
  // σ·(1 - σ)·(2·v' + x·((1 - 2σ)·v'² + v''))
  (x) => {
    const squared = mul(x, x);
    const s = sigmoid(mul(x, add(mul(squared, 2 * 0.044715 * ROOT_TWO_OVER_PI), 2 * ROOT_TWO_OVER_PI)));
    const slope = add(mul(squared, 6 * 0.044715 * ROOT_TWO_OVER_PI), 2 * ROOT_TWO_OVER_PI);
    const bend = add(mul(sub(1, mul(s, 2)), mul(slope, slope)), mul(x, 12 * 0.044715 * ROOT_TWO_OVER_PI));
    return mul(mul(s, sub(1, s)), add(mul(slope, 2), mul(x, bend)));
  },
);

// ── Of the logistic function ────────────────────────────────────────────────────────────────────────────────────────

function logistic(x: number): number {
  return 1 / (1 + Math.exp(-x));
}

/** `x · σ(x)`; the second derivative is σ·(1 - σ)·(2 + x·(1 - 2σ)). */
export const siluPrimitive = /* @__PURE__ */ withGradient(
  "silu",
  [MicroOp.Silu, MicroOp.SiluGradient],
  (x) => x * logistic(x),
  (x) => {
    const b = Math.max(-700, x);
    return logistic(b) * (1 + b * logistic(-b));
  },
  (x) => {
    const s = sigmoid(x);
    return mul(mul(s, sub(1, s)), add(mul(x, sub(1, mul(s, 2))), 2));
  },
);

/** `log(1 + e^x)`. */
export const softplusPrimitive: Primitive<Tensor, null> = /* @__PURE__ */ elementwise({
  name: "softplus",
  micro: { f32: MicroOp.Softplus },
  reference: (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x))),
  vjp: [({ g, inputs: [x] }) => mul(g, sigmoid(x as Tensor))],
  flops: 24,
});
