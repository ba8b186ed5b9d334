/** Losses that ask for a margin: between classes, between pairs, between triplets. */
import { ArgumentError, DTypeError, ShapeError } from "../graph/errors.js";
import { broadcastShapes, formatShape, sameShape } from "../graph/shape.js";
import type { Tensor } from "../graph/tensor.js";
import { logsigmoid } from "./activation.js";
import { add, clamp, div, eq, ge, logicalAnd, logicalNot, minimum, mul, ne, neg, sub, where } from "./arithmetic.js";
import { to } from "./conversion.js";
import { iota } from "./creation.js";
import { cumprod } from "./cumulative.js";
import type { OperatorTable } from "./define.js";
import { cosineSimilarity, pairwiseDistance } from "./distance.js";
import { expectWeight, reduceLoss } from "./helpers.js";
import { gather, indexSelect } from "./indexing.js";
import type { LossOptions, WeightedLossOptions } from "./loss.js";
import { reshape, squeeze, unsqueeze } from "./movement.js";
import { amax, mean, sum } from "./reduction.js";
import { square } from "./unary.js";

/** Options of losses with a margin. */
export interface MarginOptions extends LossOptions {
  /** How far apart is far enough. */
  readonly margin?: number;
}

// ── Pairs ───────────────────────────────────────────────────────────────────────────────────────────────────────────

/** For targets 1 and -1: the input itself, and `max(0, margin - input)`. The margin is 1 if not given. */
export function hingeEmbeddingLoss(input: Tensor, target: Tensor, options: MarginOptions = {}): Tensor {
  const apart = where(ne(target, 1), clamp(sub(options.margin ?? 1, input), 0), 0);
  const together = where(ne(target, -1), input, 0);
  return reduceLoss("hingeEmbeddingLoss", add(apart, together), options.reduction);
}

/** `max(0, -target · (input1 - input2) + margin)`: target 1 wants input1 larger, -1 smaller. The margin is 0 if not given. */
export function marginRankingLoss(input1: Tensor, input2: Tensor, target: Tensor, options: MarginOptions = {}): Tensor {
  if (input1.ndim !== input2.ndim || input1.ndim !== target.ndim) {
    throw new ShapeError(
      `marginRankingLoss: ${[input1, input2, target].map((x) => formatShape(x.shape)).join(", ")} must have as many dimensions`,
    );
  }
  const losses = clamp(add(neg(mul(target, sub(input1, input2))), options.margin ?? 0), 0);
  return reduceLoss("marginRankingLoss", losses, options.reduction);
}

/** `log(1 + e^(-target · input))` for targets 1 and -1. */
export function softMarginLoss(input: Tensor, target: Tensor, options: LossOptions = {}): Tensor {
  return reduceLoss("softMarginLoss", neg(logsigmoid(mul(target, input))), options.reduction);
}

/**
 * For vectors `[N, D]` or `[D]` and targets 1 and -1: `1 - cos` of their angle, and `max(0, cos - margin)`. The margin
 * is 0 if not given.
 */
export function cosineEmbeddingLoss(
  input1: Tensor,
  input2: Tensor,
  target: Tensor,
  options: MarginOptions = {},
): Tensor {
  if (target.ndim > 1 || input1.ndim !== target.ndim + 1 || input2.ndim !== target.ndim + 1) {
    throw new ShapeError(
      `cosineEmbeddingLoss: inputs ${formatShape(input1.shape)} and ${formatShape(input2.shape)} must have one dimension more than target ${formatShape(target.shape)}, which is a vector or a scalar`,
    );
  }
  const cosine = cosineSimilarity(input1, input2, -1, 1e-12);
  const apart = where(eq(target, -1), clamp(sub(cosine, options.margin ?? 0), 0), 0);
  const losses = where(eq(target, 1), sub(1, cosine), apart);
  return reduceLoss("cosineEmbeddingLoss", losses, options.reduction);
}

// ── Triplets ────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Options of the losses over triplets. */
export interface TripletOptions extends MarginOptions {
  /** Take the distance of the negative from the positive where that is less than from the anchor. */
  readonly swap?: boolean;
}

function tripletLoss(
  op: string,
  [anchor, positive, negative]: readonly [Tensor, Tensor, Tensor],
  distance: (a: Tensor, b: Tensor) => Tensor,
  { margin = 1, swap = false, reduction }: TripletOptions,
): Tensor {
  if (!(margin > 0)) throw new ArgumentError(`${op}: margin must be above 0, not ${margin}`);
  if (anchor.ndim !== positive.ndim || anchor.ndim !== negative.ndim) {
    const shapes = [anchor, positive, negative].map((x) => formatShape(x.shape)).join(", ");
    throw new ShapeError(`${op}: anchor, positive and negative must have as many dimensions, and are ${shapes}`);
  }
  broadcastShapes(op, broadcastShapes(op, anchor.shape, positive.shape), negative.shape);
  const near = distance(anchor, positive);
  const direct = distance(anchor, negative);
  const far = swap ? minimum(direct, distance(positive, negative)) : direct;
  return reduceLoss(op, clamp(add(sub(near, far), margin), 0), reduction);
}

/**
 * `max(0, |anchor - positive| - |anchor - negative| + margin)` with p-norms over the last dimension. The margin is 1 if
 * not given.
 */
export function tripletMarginLoss(
  anchor: Tensor,
  positive: Tensor,
  negative: Tensor,
  options: TripletOptions & { p?: number; eps?: number } = {},
): Tensor {
  const { p = 2, eps = 1e-6 } = options;
  const distance = (a: Tensor, b: Tensor): Tensor => pairwiseDistance(a, b, p, eps);
  return tripletLoss("tripletMarginLoss", [anchor, positive, negative], distance, options);
}

/** {@link tripletMarginLoss} with another distance: a function of two tensors. */
export function tripletMarginWithDistanceLoss(
  anchor: Tensor,
  positive: Tensor,
  negative: Tensor,
  options: TripletOptions & { distanceFunction?: ((a: Tensor, b: Tensor) => Tensor) | null } = {},
): Tensor {
  const distance = options.distanceFunction ?? ((a, b) => pairwiseDistance(a, b));
  return tripletLoss("tripletMarginWithDistanceLoss", [anchor, positive, negative], distance, options);
}

// ── Classes ─────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Scores as `[N, C]`, where a vector is one sample and a scalar one class. */
function asBatch(op: string, input: Tensor): Tensor {
  if (input.ndim > 2 || input.shape.at(-1) === 0) {
    throw new ShapeError(`${op}: input must be [N, C] or [C] with at least one class, not ${formatShape(input.shape)}`);
  }
  return input.ndim === 2 ? input : reshape(input, [1, -1]);
}

/**
 * `Σ max(0, margin - input[target] + input[i])^p / C` over the classes but the target.
 * @param input scores `[N, C]` or `[C]`
 * @param target class indices `[N]` or a scalar, i32
 * @param options.p 1 (if not given) or 2
 * @param options.margin 1 if not given
 * @param options.weight a factor for each class
 */
export function multiMarginLoss(
  input: Tensor,
  target: Tensor,
  options: MarginOptions & { p?: 1 | 2; weight?: Tensor | null } = {},
): Tensor {
  const { p = 1, margin = 1, weight } = options;
  const scores = asBatch("multiMarginLoss", input);
  const [samples, classes] = scores.shape as [number, number];
  if (p !== 1 && p !== 2) throw new ArgumentError(`multiMarginLoss: p must be 1 or 2, not ${p}`);
  if (target.dtype !== "i32")
    throw new DTypeError(`multiMarginLoss: target is ${target.dtype}; class indices must be i32`);
  if (target.numel !== samples || target.ndim > 1) {
    throw new ShapeError(`multiMarginLoss: target is ${formatShape(target.shape)}, and must be [${samples}]`);
  }
  expectWeight("multiMarginLoss", weight, classes);
  const index = reshape(target, [samples, 1]);
  const hinge = clamp(add(sub(scores, gather(scores, 1, index)), margin), 0);
  const powers = p === 1 ? hinge : square(hinge);
  const factor = weight == null ? null : unsqueeze(indexSelect(weight, 0, reshape(target, [samples])), 1);
  const others = where(eq(iota(classes), index), 0, factor === null ? powers : mul(powers, factor));
  const losses = div(sum(others, 1), classes);
  return reduceLoss("multiMarginLoss", input.ndim < 2 ? squeeze(losses, 0) : losses, options.reduction);
}

/**
 * `Σ max(0, 1 - (input[target] - input[i])) / C` over the target classes and over the others.
 * @param input scores `[N, C]` or `[C]`
 * @param target class indices of the input's shape, i32: those before the first negative one count
 */
export function multilabelMarginLoss(input: Tensor, target: Tensor, options: LossOptions = {}): Tensor {
  const scores = asBatch("multilabelMarginLoss", input);
  if (!sameShape(input.shape, target.shape)) {
    throw new ShapeError(
      `multilabelMarginLoss: target is ${formatShape(target.shape)}, and must be ${formatShape(input.shape)} like the input`,
    );
  }
  if (target.dtype !== "i32") {
    throw new DTypeError(`multilabelMarginLoss: target is ${target.dtype}; class indices must be i32`);
  }
  const classes = scores.shape[1] as number;
  const labels = reshape(target, scores.shape);
  const counts = to(cumprod(to(ge(labels, 0), "i32"), 1), "bool");
  const index = where(counts, labels, 0);
  // [sample, label, class]
  const picks = logicalAnd(unsqueeze(counts, 2), eq(unsqueeze(index, 2), iota(classes)));
  const isTarget = to(amax(to(picks, "i32"), 1, true), "bool");
  const hinge = clamp(sub(1, sub(unsqueeze(gather(scores, 1, index), 2), unsqueeze(scores, 1))), 0);
  const compared = logicalAnd(unsqueeze(counts, 2), logicalNot(isTarget));
  const losses = div(sum(where(compared, hinge, 0), [1, 2]), classes);
  return reduceLoss("multilabelMarginLoss", input.ndim < 2 ? squeeze(losses, 0) : losses, options.reduction);
}

/** The mean over the classes of the binary cross entropy of `sigmoid(input)`. */
export function multilabelSoftMarginLoss(input: Tensor, target: Tensor, options: WeightedLossOptions = {}): Tensor {
  const losses = neg(add(mul(target, logsigmoid(input)), mul(sub(1, target), logsigmoid(neg(input)))));
  const weightedLosses = options.weight == null ? losses : mul(losses, options.weight);
  return reduceLoss("multilabelSoftMarginLoss", mean(weightedLosses, -1), options.reduction);
}

const MARGIN_OPTIONS = ["margin", "reduction"];

/** The operators of this file. */
export default {
  hingeEmbeddingLoss: {
    fn: hingeEmbeddingLoss,
    params: ["input", "target"],
    options: MARGIN_OPTIONS,
    samples: ['f32[6]; i32[6]<3; {"margin":0.5}'],
  },
  marginRankingLoss: {
    fn: marginRankingLoss,
    params: ["input1", "input2", "target"],
    options: MARGIN_OPTIONS,
    samples: ['f32[6]; f32[6]; f32[6]; {"margin":0.5}'],
  },
  softMarginLoss: {
    fn: softMarginLoss,
    params: ["input", "target"],
    options: ["reduction"],
    samples: ['f32[3,4]; f32[3,4]; {"reduction":"sum"}'],
  },
  cosineEmbeddingLoss: {
    fn: cosineEmbeddingLoss,
    params: ["input1", "input2", "target"],
    options: MARGIN_OPTIONS,
    samples: ['f32[4,3]; f32[4,3]; i32[4]<2; {"margin":0.1}'],
  },
  tripletMarginLoss: {
    fn: tripletMarginLoss,
    params: ["anchor", "positive", "negative"],
    options: ["margin", "p", "eps", "swap", "reduction"],
    samples: ["f32[3,4]; f32[3,4]; f32[3,4]", 'f32[3,4]; f32[3,4]; f32[3,4]; {"swap":true,"margin":2,"p":3}'],
  },
  tripletMarginWithDistanceLoss: {
    fn: tripletMarginWithDistanceLoss,
    params: ["anchor", "positive", "negative"],
    options: ["distanceFunction", "margin", "swap", "reduction"],
    samples: ["f32[3,4]; f32[3,4]; f32[3,4]"],
  },
  multiMarginLoss: {
    fn: multiMarginLoss,
    params: ["input", "target"],
    options: ["p", "margin", "weight", "reduction"],
    samples: ["f32[3,4]; i32[3]<4", 'f32[3,4]; i32[3]<4; {"p":2,"weight":"f32[4]>0"}', "f32[4]; i32[]<4"],
  },
  multilabelMarginLoss: {
    fn: multilabelMarginLoss,
    params: ["input", "target"],
    options: ["reduction"],
    samples: ["f32[3,4]; i32[3,4]<4"],
  },
  multilabelSoftMarginLoss: {
    fn: multilabelSoftMarginLoss,
    params: ["input", "target"],
    options: ["weight", "reduction"],
    samples: ['f32[3,4]; f32[3,4]in(0,1); {"weight":"f32[4]"}'],
  },
} satisfies OperatorTable;
