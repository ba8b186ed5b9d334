/**
 * Normalization of channels over the batch (batch norm) or in groups (group norm), as primitives on `[N, C, area]`.
 *
 * The moments are a primitive of their own, whose value the others take as an input, so that each is computed once. They
 * are functions of the input all the same: the gradient of the input is the whole one, also through its moments, and
 * none flows to the moments.
 */
import { expectDType } from "../graph/dtype.js";
import type { Aval, KernelContext, Operand, Primitive, RefArray } from "../graph/primitive.js";
import { type Shape, sizeOf } from "../graph/shape.js";
import { constant } from "../graph/sources.js";
import { apply, type Tensor } from "../graph/tensor.js";
import { ChannelNormMode, Flag, Opcode } from "../isa.js";
import { add, mul, neg, sub } from "./arithmetic.js";
import { perInput } from "./define.js";
import { expand, narrow, permute, reshape } from "./movement.js";
import { mean, sum } from "./reduction.js";
import { floatBits } from "./rows.js";
import { rsqrt } from "./unary.js";

interface ChannelAttrs {
  /** Groups that the channels of each sample are in; 0 where every channel is normalized over the batch. */
  readonly groups: number;
  readonly eps: number;
}

// ── Sets of elements that share moments ─────────────────────────────────────────────────────────────────────────────

function setsOf([batch, channels]: Shape, groups: number): number {
  return groups === 0 ? (channels as number) : (batch as number) * groups;
}

/** `[N, C, area]` as a shape in which sets are made of whole dimensions, and which those are. */
function split([batch, channels, area]: Shape, groups: number): { shape: Shape; dims: number[] } {
  if (groups === 0) return { shape: [batch as number, channels as number, area as number], dims: [0, 2] };
  return { shape: [batch as number, groups, ((channels as number) / groups) * (area as number)], dims: [2] };
}

/** One number for each set, a vector, spread over the elements of its set. */
function spreadSets(perSet: Tensor, shape: Shape, groups: number): Tensor {
  const { shape: parts, dims } = split(shape, groups);
  const kept = parts.map((n, d) => (dims.includes(d) ? 1 : n));
  return reshape(expand(reshape(perSet, kept), parts), shape);
}

/** The mean of each set, spread over its elements. */
function setMean(x: Tensor, groups: number): Tensor {
  const { shape, dims } = split(x.shape, groups);
  return reshape(expand(mean(reshape(x, shape), dims, true), shape), x.shape);
}

/** One number for each channel, shaped to meet `[N, C, area]`. */
function perChannel(x: Tensor): Tensor {
  return reshape(x, [-1, 1]);
}

/** Examples `[examples, N, C, area]` as one tensor `[N, C, area]` with the same sets. */
function folded(x: Tensor, groups: number): Tensor {
  const [examples, batch, channels, area] = x.shape as [number, number, number, number];
  return groups === 0
    ? reshape(permute(x, 1, 0, 2, 3), [batch, examples * channels, area])
    : reshape(x, [examples * batch, channels, area]);
}

/** The undoing of {@link folded}. */
function unfolded(x: Tensor, examples: number, groups: number): Tensor {
  const [batch, channels, area] = x.shape as [number, number, number];
  return groups === 0
    ? permute(reshape(x, [batch, examples, channels / examples, area]), 1, 0, 2, 3)
    : reshape(x, [examples, batch / examples, channels, area]);
}

/** Moments of examples `[examples, 2, sets]` as those of one tensor. */
function foldedMoments(moments: Tensor): Tensor {
  return reshape(permute(moments, 1, 0, 2), [2, -1]);
}

/** Calls `visit` with every element's position, set and channel. */
function eachElement(
  [batch, channels, area]: Shape,
  groups: number,
  visit: (at: number, set: number, channel: number) => void,
): void {
  const perSet = groups === 0 ? 1 : (channels as number) / groups;
  for (let plane = 0; plane < (batch as number) * (channels as number); plane++) {
    const channel = plane % (channels as number);
    const set = groups === 0 ? channel : Math.floor(plane / perSet);
    for (let i = 0; i < (area as number); i++) visit(plane * (area as number) + i, set, channel);
  }
}

/** x̂ in float64, the scale of each set, and how many elements a set has. */
function normalized(x: RefArray, moments: Float64Array, { groups, eps }: ChannelAttrs) {
  const sets = setsOf(x.shape, groups);
  const scale = moments.slice(sets).map((variance) => 1 / Math.sqrt(variance + eps));
  const unit = new Float64Array(x.data.length);
  eachElement(x.shape, groups, (at, set) => {
    unit[at] = ((x.data[at] as number) - (moments[set] as number)) * (scale[set] as number);
  });
  return { unit, scale, size: x.data.length / sets };
}

// ── Primitives ──────────────────────────────────────────────────────────────────────────────────────────────────────

interface ChannelOperands {
  readonly moments?: Operand;
  readonly gradient?: Operand;
  readonly weight?: Operand;
  readonly bias?: Operand;
}

/** Appends a ChannelNorm of the first input; the others are named by the number of the input that holds them. */
function emitChannelNorm(
  context: KernelContext<ChannelAttrs>,
  mode: ChannelNormMode,
  inputs: Readonly<Partial<Record<keyof ChannelOperands, number>>>,
): void {
  const operand = (i: number | undefined): Operand | undefined => (i === undefined ? i : context.contiguous(i));
  const input = context.contiguous(0);
  const parts = [inputs.moments, inputs.gradient, inputs.weight, inputs.bias].map(operand);
  const out = context.output();
  const { groups, eps } = context.attrs;
  const words = [mode, out, input, ...parts.map((x) => x ?? 0), ...input.shape, groups, floatBits(eps)];
  const reads = [input, ...parts.filter((x) => x !== undefined)];
  context.emit(Opcode.ChannelNorm, Flag.None, words, { reads, writes: [out] });
}

/** `[2, sets]`: means, and biased variances. */
const momentsPrimitive: Primitive<Tensor, ChannelAttrs> = {
  name: "channelMoments",
  infer([x], { groups }) {
    const { shape, dtype } = x as Aval;
    expectDType(groups === 0 ? "batchNorm" : "groupNorm", "input", dtype, "f32");
    return { shape: [2, setsOf(shape, groups)], dtype };
  },
  reference([x], out, { groups }) {
    const { data, shape } = x as RefArray;
    const sets = out.shape[1] as number;
    const result = new Float64Array(2 * sets);
    const size = data.length / sets;
    const accumulate = (start: number, term: (at: number, set: number) => number): void =>
      eachElement(shape, groups, (at, set) => {
        result[start + set] = (result[start + set] as number) + term(at, set) / size;
      });
    accumulate(0, (at) => data[at] as number);
    accumulate(sets, (at, set) => ((data[at] as number) - (result[set] as number)) ** 2);
    return result;
  },
  vjp: perInput(({ g, out, inputs: [input], attrs: { groups } }) => {
    const x = input as Tensor;
    const sets = out.shape[1] as number;
    const row = (y: Tensor, i: number): Tensor => spreadSets(reshape(narrow(y, 0, i, 1), [sets]), x.shape, groups);
    const size = x.numel / sets;
    return add(mul(row(g, 0), 1 / size), mul(mul(row(g, 1), 2 / size), sub(x, row(out, 0))));
  }),
  batch({ size, attrs, spread }) {
    const all = apply(momentsPrimitive, [folded(spread(0), attrs.groups)], attrs);
    return permute(reshape(all, [2, size, -1]), 1, 0, 2);
  },
  lowering: { kind: "kernel", lower: (context) => emitChannelNorm(context, ChannelNormMode.Moments, {}) },
  flops: ([x]) => 4 * sizeOf((x as Tensor).shape),
};

function momentsOf(x: Tensor, attrs: ChannelAttrs): Tensor {
  return apply(momentsPrimitive, [x], attrs);
}

function ones(x: Tensor): Tensor {
  return constant(1, [x.shape[1] as number]);
}

function zeros(x: Tensor): Tensor {
  return constant(0, [x.shape[1] as number]);
}

/** x̂ */
function normal(x: Tensor, moments: Tensor, attrs: ChannelAttrs): Tensor {
  return apply(normPrimitive, [x, moments, ones(x), zeros(x)], attrs);
}

/** x̂ of examples. */
function normalOfExamples(x: Tensor, moments: Tensor, attrs: ChannelAttrs): Tensor {
  const { groups } = attrs;
  return unfolded(normal(folded(x, groups), foldedMoments(moments), attrs), x.shape[0] as number, groups);
}

/** One number for each channel, perhaps of each example, shaped to meet `[examples, N, C, area]`. */
function ofExamples(x: Tensor, batched: boolean | undefined): Tensor {
  return batched ? reshape(x, [x.shape[0] as number, 1, -1, 1]) : perChannel(x);
}

function inputGradient(x: Tensor, moments: Tensor, weight: Tensor, g: Tensor, attrs: ChannelAttrs): Tensor {
  return apply(gradientPrimitive, [x, moments, weight, g], attrs);
}

/** x̂·weight + bias, of x, its moments, the weight and the bias. */
const normPrimitive: Primitive<Tensor, ChannelAttrs> = {
  name: "channelNorm",
  infer([x, , weight, bias], { groups }) {
    for (const [argument, { dtype }] of Object.entries({ weight: weight as Aval, bias: bias as Aval })) {
      expectDType(groups === 0 ? "batchNorm" : "groupNorm", argument, dtype, "f32");
    }
    return x as Aval;
  },
  reference(inputs, _, attrs) {
    const [x, moments, weight, bias] = inputs as [RefArray, RefArray, RefArray, RefArray];
    const { unit } = normalized(x, moments.data, attrs);
    eachElement(x.shape, attrs.groups, (at, _set, c) => {
      unit[at] = (unit[at] as number) * (weight.data[c] as number) + (bias.data[c] as number);
    });
    return unit;
  },
  vjp: perInput(
    ({ g, inputs: [x, moments, weight], attrs }) =>
      inputGradient(x as Tensor, moments as Tensor, weight as Tensor, g, attrs),
    null,
    ({ g, inputs: [x, moments], attrs }) => apply(weightPrimitive, [x as Tensor, moments as Tensor, g], attrs),
    ({ g }) => sum(g, [0, 2]),
  ),
  batch({ batched, inputs, spread, attrs }) {
    const [, , weight, bias] = inputs as [Tensor, Tensor, Tensor, Tensor];
    const scaled = mul(normalOfExamples(spread(0), spread(1), attrs), ofExamples(weight, batched[2]));
    return add(scaled, ofExamples(bias, batched[3]));
  },
  lowering: {
    kind: "kernel",
    lower: (context) => emitChannelNorm(context, ChannelNormMode.Normalize, { moments: 1, weight: 2, bias: 3 }),
  },
  flops: ([x]) => 3 * sizeOf((x as Tensor).shape),
};

/** `normPrimitive` of groups, of x, the weight and the bias: it reads x from memory once for the moments and for x̂. */
const groupNormPrimitive: Primitive<Tensor, ChannelAttrs> = {
  name: "groupNorm",
  infer([x, weight, bias], attrs) {
    return normPrimitive.infer([x as Aval, x as Aval, weight as Aval, bias as Aval], attrs);
  },
  reference(inputs, out, attrs) {
    const [x, weight, bias] = inputs as [RefArray, RefArray, RefArray];
    const shape = [2, setsOf(x.shape, attrs.groups)];
    const moments = {
      shape,
      dtype: "f32" as const,
      data: momentsPrimitive.reference([x], { shape, dtype: "f32" }, attrs),
    };
    return normPrimitive.reference([x, moments, weight, bias], out, attrs);
  },
  vjp: perInput(
    ({ g, inputs: [x, weight], attrs }) =>
      inputGradient(x as Tensor, momentsOf(x as Tensor, attrs), weight as Tensor, g, attrs),
    ({ g, inputs: [x], attrs }) => apply(weightPrimitive, [x as Tensor, momentsOf(x as Tensor, attrs), g], attrs),
    ({ g }) => sum(g, [0, 2]),
  ),
  batch({ size, batched, inputs, spread, attrs }) {
    const [, weight, bias] = inputs as [Tensor, Tensor, Tensor];
    const x = folded(spread(0), attrs.groups);
    const unit = apply(groupNormPrimitive, [x, ones(x), zeros(x)], attrs);
    const scaled = mul(unfolded(unit, size, attrs.groups), ofExamples(weight, batched[1]));
    return add(scaled, ofExamples(bias, batched[2]));
  },
  lowering: {
    kind: "kernel",
    lower: (context) => emitChannelNorm(context, ChannelNormMode.GroupNorm, { weight: 1, bias: 2 }),
  },
  flops: ([x]) => 7 * sizeOf((x as Tensor).shape),
};

/** The gradient of x, also through its moments, of x, its moments, the weight and the gradient of what is normalized. */
const gradientPrimitive: Primitive<Tensor, ChannelAttrs> = {
  name: "channelNormGradient",
  infer: ([x]) => ({ shape: (x as Aval).shape, dtype: "f32" }),
  reference(inputs, _, attrs) {
    const [x, moments, weight, g] = inputs as [RefArray, RefArray, RefArray, RefArray];
    const { unit, scale, size } = normalized(x, moments.data, attrs);
    const [level, slope] = [new Float64Array(scale.length), new Float64Array(scale.length)];
    const a = new Float64Array(unit.length);
    eachElement(x.shape, attrs.groups, (at, set, c) => {
      a[at] = (g.data[at] as number) * (weight.data[c] as number);
      level[set] = (level[set] as number) + (a[at] as number) / size;
      slope[set] = (slope[set] as number) + ((a[at] as number) * (unit[at] as number)) / size;
    });
    eachElement(x.shape, attrs.groups, (at, set) => {
      const centered = (a[at] as number) - (level[set] as number) - (unit[at] as number) * (slope[set] as number);
      a[at] = (scale[set] as number) * centered;
    });
    return a;
  },
  vjp: perInput(
    // As of the norms of rows, see norm-rows.ts, with means over sets.
    ({ g: h, inputs, attrs }) => {
      const [x, moments, weight, g] = inputs as [Tensor, Tensor, Tensor, Tensor];
      const { groups, eps } = attrs;
      const over = (y: Tensor): Tensor => setMean(y, groups);
      const unit = normal(x, moments, attrs);
      const variance = reshape(narrow(moments, 0, 1, 1), [moments.shape[1] as number]);
      const scale = spreadSets(rsqrt(add(variance, eps)), x.shape, groups);
      const a = mul(g, perChannel(weight));
      const [slopeA, slopeH] = [over(mul(a, unit)), over(mul(h, unit))];
      const q = sub(sub(over(mul(h, a)), mul(slopeH, slopeA)), mul(over(h), over(a)));
      const ofNormal = neg(mul(scale, add(mul(h, slopeA), mul(a, slopeH))));
      return sub(inputGradient(x, moments, ones(x), ofNormal, attrs), mul(mul(mul(scale, scale), unit), q));
    },
    null,
    ({ g: h, inputs: [x, moments, , g], attrs }) =>
      sum(mul(g as Tensor, inputGradient(x as Tensor, moments as Tensor, ones(x as Tensor), h, attrs)), [0, 2]),
    ({ g: h, inputs: [x, moments, weight], attrs }) =>
      mul(perChannel(weight as Tensor), inputGradient(x as Tensor, moments as Tensor, ones(x as Tensor), h, attrs)),
  ),
  batch({ batched, inputs, spread, size, attrs }) {
    const { groups } = attrs;
    const [x, moments] = [folded(spread(0), groups), foldedMoments(spread(1))];
    const a = folded(mul(spread(3), ofExamples(inputs[2] as Tensor, batched[2])), groups);
    return unfolded(inputGradient(x, moments, ones(x), a, attrs), size, groups);
  },
  lowering: {
    kind: "kernel",
    lower: (context) => emitChannelNorm(context, ChannelNormMode.Gradient, { moments: 1, weight: 2, gradient: 3 }),
  },
  flops: ([x]) => 10 * sizeOf((x as Tensor).shape),
};

/** Σ gradient·x̂ for every channel, of x, its moments and the gradient. */
const weightPrimitive: Primitive<Tensor, ChannelAttrs> = {
  name: "channelNormWeight",
  infer: ([x]) => ({ shape: [(x as Aval).shape[1] as number], dtype: "f32" }),
  reference(inputs, out, attrs) {
    const [x, moments, g] = inputs as [RefArray, RefArray, RefArray];
    const { unit } = normalized(x, moments.data, attrs);
    const result = new Float64Array(sizeOf(out.shape));
    eachElement(x.shape, attrs.groups, (at, _, c) => {
      result[c] = (result[c] as number) + (unit[at] as number) * (g.data[at] as number);
    });
    return result;
  },
  vjp: perInput(
    ({ g: h, inputs: [x, moments, g], attrs }) => inputGradient(x as Tensor, moments as Tensor, h, g as Tensor, attrs),
    null,
    ({ g: h, inputs: [x, moments], attrs }) =>
      apply(normPrimitive, [x as Tensor, moments as Tensor, h, zeros(x as Tensor)], attrs),
  ),
  batch: ({ spread, attrs }) => sum(mul(normalOfExamples(spread(0), spread(1), attrs), spread(2)), [1, 3]),
  lowering: {
    kind: "kernel",
    lower: (context) => emitChannelNorm(context, ChannelNormMode.WeightGradient, { moments: 1, gradient: 2 }),
  },
  flops: ([x]) => 5 * sizeOf((x as Tensor).shape),
};

/** A normalized tensor, and the mean and the biased variance of every set that it was normalized with. */
export interface NormalizedChannels {
  readonly out: Tensor;
  readonly mean: Tensor;
  readonly variance: Tensor;
}

/**
 * Each set of planes moved to mean 0 and variance 1, then `· weight + bias` of its channel.
 * @param x `[N, C, area]`, not empty
 * @param weight `[C]` or null
 * @param bias `[C]` or null
 * @param groups how many groups the channels of each sample are in, a divisor of C; 0: sets are channels, over the batch
 * @throws DTypeError unless all are f32
 */
export function normalizeChannels(
  x: Tensor,
  weight: Tensor | null,
  bias: Tensor | null,
  groups: number,
  eps: number,
): NormalizedChannels {
  const attrs = { groups, eps: Math.fround(eps) };
  const moments = momentsOf(x, attrs);
  const row = (i: number): Tensor => reshape(narrow(moments, 0, i, 1), [moments.shape[1] as number]);
  const parameters = [weight ?? ones(x), bias ?? zeros(x)];
  const out =
    groups === 0
      ? apply(normPrimitive, [x, moments, ...parameters], attrs)
      : apply(groupNormPrimitive, [x, ...parameters], attrs);
  return { out, mean: row(0), variance: row(1) };
}
