/** Losses of classification and regression. Each reduces its elements as asked: to their mean, their sum or not at all. */
import { ArgumentError, DTypeError, ShapeError } from "../graph/errors.js";
import { formatShape, type Shape, sameShape, sizeOf } from "../graph/shape.js";
import { constant } from "../graph/sources.js";
import { apply, type Tensor } from "../graph/tensor.js";
import { logsigmoid } from "./activation.js";
import { abs, add, clamp, div, gt, lt, mul, ne, neg, sub, where } from "./arithmetic.js";
import { xlogy } from "./binary.js";
import type { OperatorTable, Reduction } from "./define.js";
import { expectWeight, raised, reduceLoss } from "./helpers.js";
import { gatherPrimitive } from "./index-primitives.js";
import { indexSelect } from "./indexing.js";
import { linear } from "./matmul.js";
import { reshape, squeeze, unsqueeze } from "./movement.js";
import { sum } from "./reduction.js";
import { logSoftmax } from "./softmax.js";
import { rowCrossEntropy } from "./softmax-rows.js";
import { exp, log, square } from "./unary.js";

/** How a loss combines its elements. */
export interface LossOptions {
  /** `"mean"` is the default. */
  readonly reduction?: Reduction;
}

// ── Classification ──────────────────────────────────────────────────────────────────────────────────────────────────

/** Options of the losses over classes. */
export interface ClassLossOptions extends LossOptions {
  /** A factor for each class. */
  readonly weight?: Tensor | null;
  /** Targets with this index count for nothing. */
  readonly ignoreIndex?: number;
}

/** Which dimension holds the classes: 1 of a batch, 0 of a single sample. */
function classDim(op: string, input: Tensor): number {
  if (input.ndim === 0) throw new ShapeError(`${op}: input must be [C] or [N, C, ...], not a scalar`);
  return input.ndim === 1 ? 0 : 1;
}

function withoutDim(shape: Shape, dim: number): Shape {
  return shape.filter((_, i) => i !== dim);
}

/** Class indices taken apart: what counts, which class it picks, and with what factor. */
interface Targets {
  readonly counts: Tensor;
  /** 0 where nothing counts. */
  readonly index: Tensor;
  /** 0 where nothing counts. */
  readonly factor: Tensor;
}

function readTargets(op: string, input: Tensor, target: Tensor, options: ClassLossOptions): Targets {
  const dim = classDim(op, input);
  const expected = withoutDim(input.shape, dim);
  if (target.dtype !== "i32") throw new DTypeError(`${op}: target is ${target.dtype}; class indices must be i32`);
  if (!sameShape(target.shape, expected)) {
    throw new ShapeError(
      `${op}: target is ${formatShape(target.shape)}, and for input ${formatShape(input.shape)} must be ${formatShape(expected)}`,
    );
  }
  const { weight, ignoreIndex = -100 } = options;
  expectWeight(op, weight, input.shape[dim] as number);
  const counts = ne(target, ignoreIndex);
  const index = where(counts, target, 0);
  const factor = weight == null ? constant(1) : reshape(indexSelect(weight, 0, reshape(index, [-1])), target.shape);
  return { counts, index, factor: where(counts, factor, 0) };
}

/** `factor` times the element that each target picks, negated; and 0 where nothing counts. */
function pickedLoss(op: string, input: Tensor, { counts, index, factor }: Targets): Tensor {
  const dim = classDim(op, input);
  const picked = squeeze(apply(gatherPrimitive, [input, unsqueeze(index, dim)], { dim, op }), dim);
  return where(counts, neg(mul(picked, factor)), 0);
}

/**
 * The negative log likelihood of the target classes.
 * @param input log-probabilities `[N, C, ...]` or `[C]`
 * @param target class indices `[N, ...]` or a scalar, i32
 * @param options.reduction the mean is over the factors: Σ loss / Σ weight
 * @throws IndexError when it runs, where a target is not a class
 */
export function nllLoss(input: Tensor, target: Tensor, options: ClassLossOptions = {}): Tensor {
  const targets = readTargets("nllLoss", input, target, options);
  const losses = pickedLoss("nllLoss", input, targets);
  if ((options.reduction ?? "mean") !== "mean") return reduceLoss("nllLoss", losses, options.reduction);
  return div(sum(losses), sum(targets.factor));
}

/** The loss of each target from rows of logits at once; null where it must be composed of log-probabilities. */
function rowLosses(input: Tensor, { counts, index, factor }: Targets, smoothing: number, weighted: boolean) {
  const classes = input.shape.at(-1) as number;
  const rows = input.ndim <= 2 && classes > 0;
  if (!rows || (weighted && smoothing > 0)) return null;
  const losses = rowCrossEntropy(
    "crossEntropy",
    reshape(input, [-1, classes]),
    reshape(index, [index.numel]),
    smoothing,
  );
  return where(counts, mul(reshape(losses, index.shape), factor), 0);
}

function composedLosses(input: Tensor, dim: number, targets: Targets, smoothing: number, perClass: Tensor | null) {
  const logProbabilities = logSoftmax(input, dim);
  const losses = pickedLoss("crossEntropy", logProbabilities, targets);
  if (smoothing === 0) return losses;
  const weighted = perClass === null ? logProbabilities : mul(logProbabilities, perClass);
  const spread = where(targets.counts, neg(sum(weighted, dim)), 0);
  return add(mul(losses, 1 - smoothing), mul(spread, smoothing / (input.shape[dim] as number)));
}

/**
 * The cross entropy between logits and target classes: `-log softmax(input)[target]`.
 * @param input logits `[N, C, ...]` or `[C]`
 * @param target class indices `[N, ...]` (i32), or probabilities of the input's shape (f32)
 * @param options.weight a factor for each class
 * @param options.ignoreIndex targets with this index count for nothing
 * @param options.labelSmoothing from 0 to 1: how much of each target is spread evenly over all classes
 * @throws IndexError when it runs, where a target is not a class
 */
export function crossEntropy(
  input: Tensor,
  target: Tensor,
  options: ClassLossOptions & { labelSmoothing?: number } = {},
): Tensor {
  const { weight, labelSmoothing = 0, reduction = "mean" } = options;
  if (!(labelSmoothing >= 0 && labelSmoothing <= 1)) {
    throw new ArgumentError(`crossEntropy: labelSmoothing must be from 0 to 1, not ${labelSmoothing}`);
  }
  const dim = classDim("crossEntropy", input);
  const classes = input.shape[dim] as number;
  const perClass = weight == null ? null : reshape(weight, [classes, ...input.shape.slice(dim + 1).map(() => 1)]);
  if (target.dtype === "f32") {
    if (!sameShape(target.shape, input.shape)) {
      throw new ShapeError(
        `crossEntropy: target probabilities are ${formatShape(target.shape)}, and must be ${formatShape(input.shape)} like the input`,
      );
    }
    expectWeight("crossEntropy", weight, classes);
    const smooth = labelSmoothing === 0 ? target : add(mul(target, 1 - labelSmoothing), labelSmoothing / classes);
    const weighted = perClass === null ? smooth : mul(smooth, perClass);
    return reduceLoss("crossEntropy", neg(sum(mul(logSoftmax(input, dim), weighted), dim)), reduction);
  }
  const targets = readTargets("crossEntropy", input, target, options);
  const losses =
    rowLosses(input, targets, labelSmoothing, weight != null) ??
    composedLosses(input, dim, targets, labelSmoothing, perClass);
  if (reduction !== "mean") return reduceLoss("crossEntropy", losses, reduction);
  return div(sum(losses), sum(targets.factor));
}

/**
 * The cross entropy of a linear layer's output: `crossEntropy(input × linearWeightᵀ + linearBias, target)`.
 * @param input `[N, in]` or `[in]`
 * @param linearWeight `[C, ..., in]`: the logits are `[N, C, ...]`
 * @param target as {@link crossEntropy} takes it
 * @param options.linearBias `[C, ...]` or none
 */
export function linearCrossEntropy(
  input: Tensor,
  linearWeight: Tensor,
  target: Tensor,
  options: Parameters<typeof crossEntropy>[2] & { linearBias?: Tensor | null } = {},
): Tensor {
  const { linearBias, ...lossOptions } = options;
  const [outer, inner] = [linearWeight.shape.slice(0, -1), linearWeight.shape.at(-1)];
  if (input.ndim < 1 || input.ndim > 2 || linearWeight.ndim < 2 || input.shape.at(-1) !== inner) {
    throw new ShapeError(
      `linearCrossEntropy: input ${formatShape(input.shape)} must be [N, in] or [in] for linearWeight ${formatShape(linearWeight.shape)}, which must be [C, ..., in]`,
    );
  }
  if (input.ndim === 1 && outer.length > 1) {
    throw new ShapeError(
      `linearCrossEntropy: linearWeight ${formatShape(linearWeight.shape)} needs an input [N, ${inner}], not ${formatShape(input.shape)}`,
    );
  }
  if (linearBias != null && !sameShape(linearBias.shape, outer)) {
    throw new ShapeError(
      `linearCrossEntropy: linearBias is ${formatShape(linearBias.shape)}, and must be ${formatShape(outer)}`,
    );
  }
  if (target.dtype === "f32" && lossOptions.ignoreIndex !== undefined) {
    throw new ArgumentError("linearCrossEntropy: ignoreIndex has no meaning for targets that are probabilities");
  }
  const bias = linearBias == null ? null : reshape(linearBias, [-1]);
  const logits = linear(input, reshape(linearWeight, [sizeOf(outer), -1]), bias);
  return crossEntropy(reshape(logits, [...input.shape.slice(0, -1), ...outer]), target, lossOptions);
}

/** Options of losses whose elements may be weighted. */
export interface WeightedLossOptions extends LossOptions {
  /** A factor for each element; broadcasts. */
  readonly weight?: Tensor | null;
}

function weighted(losses: Tensor, weight: Tensor | null | undefined): Tensor {
  return weight == null ? losses : mul(losses, weight);
}

function expectSameShape(op: string, input: Tensor, target: Tensor): void {
  if (!sameShape(input.shape, target.shape)) {
    throw new ShapeError(
      `${op}: target ${formatShape(target.shape)} must have the shape of the input, ${formatShape(input.shape)}`,
    );
  }
}

/**
 * The binary cross entropy of probabilities: `-(target · log(input) + (1 - target) · log(1 - input))`. Logarithms
 * count as -100 at least, as in PyTorch, so that the loss is finite.
 */
export function binaryCrossEntropy(input: Tensor, target: Tensor, options: WeightedLossOptions = {}): Tensor {
  expectSameShape("binaryCrossEntropy", input, target);
  const bounded = (p: Tensor): Tensor => clamp(log(p), -100);
  const losses = neg(add(mul(target, bounded(input)), mul(sub(1, target), bounded(sub(1, input)))));
  return reduceLoss("binaryCrossEntropy", weighted(losses, options.weight), options.reduction);
}

/**
 * The binary cross entropy of `sigmoid(input)`, without overflow.
 * @param options.posWeight a factor for the positive part of each element; broadcasts
 */
export function binaryCrossEntropyWithLogits(
  input: Tensor,
  target: Tensor,
  options: WeightedLossOptions & { posWeight?: Tensor | null } = {},
): Tensor {
  expectSameShape("binaryCrossEntropyWithLogits", input, target);
  const { posWeight } = options;
  const positive = posWeight == null ? constant(1) : add(mul(sub(posWeight, 1), target), 1);
  const losses = sub(mul(sub(1, target), input), mul(positive, logsigmoid(input)));
  return reduceLoss("binaryCrossEntropyWithLogits", weighted(losses, options.weight), options.reduction);
}

/**
 * The Kullback-Leibler divergence of log-probabilities from target probabilities: `target · (log(target) - input)`.
 * @param options.logTarget the target is log-probabilities too
 * @param options.reduction `"batchmean"` divides the sum by the size of dimension 0, which makes it the divergence
 */
export function klDiv(
  input: Tensor,
  target: Tensor,
  options: { reduction?: Reduction | "batchmean"; logTarget?: boolean } = {},
): Tensor {
  const { reduction = "mean", logTarget = false } = options;
  const losses = logTarget ? mul(exp(target), sub(target, input)) : sub(xlogy(target, target), mul(target, input));
  if (reduction === "batchmean") return div(sum(losses), input.shape[0] ?? 1);
  return reduceLoss("klDiv", losses, reduction);
}

// ── Regression ──────────────────────────────────────────────────────────────────────────────────────────────────────

/** `(input - target)²`. */
export function mseLoss(input: Tensor, target: Tensor, options: WeightedLossOptions = {}): Tensor {
  return reduceLoss("mseLoss", weighted(square(sub(input, target)), options.weight), options.reduction);
}

/** `|input - target|`. */
export function l1Loss(input: Tensor, target: Tensor, options: WeightedLossOptions = {}): Tensor {
  return reduceLoss("l1Loss", weighted(abs(sub(input, target)), options.weight), options.reduction);
}

/**
 * The absolute error, and the square where it is below `beta`: `d² / (2 · beta)` and `|d| - beta / 2`.
 * @param options.beta 1 if not given; 0 makes it the {@link l1Loss}
 */
export function smoothL1Loss(input: Tensor, target: Tensor, options: LossOptions & { beta?: number } = {}): Tensor {
  const { beta = 1 } = options;
  if (!(beta >= 0)) throw new ArgumentError(`smoothL1Loss: beta must be 0 or more, not ${beta}`);
  if (beta === 0) return l1Loss(input, target, options);
  const distance = abs(sub(input, target));
  const losses = where(lt(distance, beta), mul(square(distance), 0.5 / beta), sub(distance, 0.5 * beta));
  return reduceLoss("smoothL1Loss", losses, options.reduction);
}

/**
 * Half the square of the error, and linear beyond `delta`: `d² / 2` and `delta · (|d| - delta / 2)` (Huber 1964).
 * @param options.delta 1 if not given
 */
export function huberLoss(
  input: Tensor,
  target: Tensor,
  options: WeightedLossOptions & { delta?: number } = {},
): Tensor {
  const { delta = 1 } = options;
  if (!(delta > 0)) throw new ArgumentError(`huberLoss: delta must be above 0, not ${delta}`);
  const distance = abs(sub(input, target));
  const losses = where(gt(distance, delta), mul(sub(distance, 0.5 * delta), delta), mul(square(distance), 0.5));
  return reduceLoss("huberLoss", weighted(losses, options.weight), options.reduction);
}

/** What the parts of a likelihood that do not depend on the input add. */
export interface LikelihoodOptions extends LossOptions {
  /** Add the terms that do not depend on the input. */
  readonly full?: boolean;
  /** Keeps a logarithm or a quotient finite. */
  readonly eps?: number;
}

/**
 * The negative log likelihood of counts under a Poisson distribution of the given rate.
 * @param options.logInput whether the input is the logarithm of the rate; it is if not given
 * @param options.full add Stirling's approximation of `log(target!)` for targets above 1
 */
export function poissonNllLoss(
  input: Tensor,
  target: Tensor,
  options: LikelihoodOptions & { logInput?: boolean } = {},
): Tensor {
  const { logInput = true, full = false, eps = 1e-8 } = options;
  let losses = logInput ? sub(exp(input), mul(target, input)) : sub(input, mul(target, log(add(input, eps))));
  if (full) {
    const many = gt(target, 1);
    const n = where(many, target, 1);
    const stirling = add(sub(mul(n, log(n)), n), mul(log(mul(n, 2 * Math.PI)), 0.5));
    losses = add(losses, where(many, stirling, 0));
  }
  return reduceLoss("poissonNllLoss", losses, options.reduction);
}

/** The variance as it meets the input: of its shape, or with one element a sample (a row of the last dimension). */
function alignedVariance(input: Tensor, variance: Tensor): Tensor {
  if (sameShape(variance.shape, input.shape)) return variance;
  const samples = input.shape.slice(0, -1);
  if (sameShape(variance.shape, samples) && input.ndim > 0) return unsqueeze(variance, -1);
  if (sameShape(variance.shape, [...samples, 1])) return variance;
  throw new ShapeError(
    `gaussianNllLoss: variance is ${formatShape(variance.shape)}, and for input ${formatShape(input.shape)} must have its shape, or one element a sample`,
  );
}

/**
 * The negative log likelihood of targets under normal distributions of the given means (input) and variances.
 * @param options.eps smaller variances count as it; 1e-6 if not given
 */
export function gaussianNllLoss(
  input: Tensor,
  target: Tensor,
  variance: Tensor,
  options: LikelihoodOptions = {},
): Tensor {
  const { full = false, eps = 1e-6 } = options;
  const spread = raised(alignedVariance(input, variance), eps);
  const losses = mul(add(log(spread), div(square(sub(input, target)), spread)), 0.5);
  return reduceLoss("gaussianNllLoss", full ? add(losses, 0.5 * Math.log(2 * Math.PI)) : losses, options.reduction);
}

const CLASS_OPTIONS = ["weight", "ignoreIndex", "reduction"];

/** The operators of this file. */
export default {
  nllLoss: {
    fn: nllLoss,
    params: ["input", "target"],
    options: CLASS_OPTIONS,
    samples: [
      "f32[4,3]; i32[4]<3",
      'f32[4,3]; i32[4]<3; {"weight":"f32[3]>0","ignoreIndex":1}',
      'f32[2,3,2]; i32[2,2]<3; {"reduction":"none"}',
      'f32[3]; i32[]<3; {"reduction":"sum"}',
    ],
  },
  crossEntropy: {
    fn: crossEntropy,
    params: ["input", "target"],
    options: [...CLASS_OPTIONS, "labelSmoothing"],
    samples: [
      "f32[4,3]; i32[4]<3",
      'f32[4,3]; i32[4]<3; {"weight":"f32[3]>0","ignoreIndex":1,"labelSmoothing":0.1}',
      'f32[2,3,2]; i32[2,2]<3; {"reduction":"none"}',
      'f32[4,3]; f32[4,3]in(0,1); {"weight":"f32[3]>0","labelSmoothing":0.2}',
      'f32[3]; i32[]<3; {"reduction":"sum"}',
    ],
  },
  linearCrossEntropy: {
    fn: linearCrossEntropy,
    params: ["input", "linearWeight", "target"],
    options: ["linearBias", ...CLASS_OPTIONS, "labelSmoothing"],
    samples: ['f32[4,5]; f32[3,5]; i32[4]<3; {"linearBias":"f32[3]"}', "f32[4,5]; f32[3,2,5]; i32[4,2]<3"],
  },
  binaryCrossEntropy: {
    fn: binaryCrossEntropy,
    params: ["input", "target"],
    options: ["weight", "reduction"],
    samples: [
      "f32[3,4]in(0.1,0.9); f32[3,4]in(0,1)",
      'f32[4]in(0.1,0.9); f32[4]in(0,1); {"weight":"f32[4]","reduction":"sum"}',
    ],
  },
  binaryCrossEntropyWithLogits: {
    fn: binaryCrossEntropyWithLogits,
    params: ["input", "target"],
    options: ["weight", "reduction", "posWeight"],
    samples: ["f32[3,4]; f32[3,4]in(0,1)", 'f32[3,4]; f32[3,4]in(0,1); {"weight":"f32[4]","posWeight":"f32[4]>0"}'],
  },
  klDiv: {
    fn: klDiv,
    params: ["input", "target"],
    options: ["reduction", "logTarget"],
    samples: ['f32[3,4]; f32[3,4]>0; {"reduction":"batchmean"}', 'f32[3,4]; f32[3,4]; {"logTarget":true}'],
  },
  mseLoss: {
    fn: mseLoss,
    params: ["input", "target"],
    options: ["weight", "reduction"],
    samples: ["f32[3,4]; f32[3,4]", 'f32[3,4]; f32[4]; {"reduction":"none"}'],
  },
  l1Loss: {
    fn: l1Loss,
    params: ["input", "target"],
    options: ["weight", "reduction"],
    samples: ["f32[3,4]; f32[3,4]"],
  },
  smoothL1Loss: {
    fn: smoothL1Loss,
    params: ["input", "target"],
    options: ["reduction", "beta"],
    samples: ["f32[3,4]; f32[3,4]", 'f32[3,4]; f32[3,4]; {"beta":0.5,"reduction":"sum"}'],
  },
  huberLoss: {
    fn: huberLoss,
    params: ["input", "target"],
    options: ["weight", "reduction", "delta"],
    samples: ["f32[3,4]; f32[3,4]", 'f32[3,4]; f32[3,4]; {"delta":0.5,"weight":"f32[4]"}'],
  },
  poissonNllLoss: {
    fn: poissonNllLoss,
    params: ["input", "target"],
    options: ["logInput", "full", "eps", "reduction"],
    samples: ["f32[3,4]; f32[3,4]>0", 'f32[3,4]>0; f32[3,4]in(0.5,3); {"logInput":false,"full":true}'],
  },
  gaussianNllLoss: {
    fn: gaussianNllLoss,
    params: ["input", "target", "var"],
    options: ["full", "eps", "reduction"],
    samples: ["f32[3,4]; f32[3,4]; f32[3,4]>0", 'f32[3,4]; f32[3,4]; f32[3]>0; {"full":true}'],
  },
} satisfies OperatorTable;
