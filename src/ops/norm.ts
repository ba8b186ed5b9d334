/** Normalizations: inputs moved to mean 0 and variance 1, or to length 1, over some of their dimensions. */
import { ArgumentError, ShapeError } from "../graph/errors.js";
import { formatShape, type Shape, sameShape, sizeOf } from "../graph/shape.js";
import { constant } from "../graph/sources.js";
import { assign, detach, noGrad, type Tensor } from "../graph/tensor.js";
import { add, clamp, clone, div, mul, sub } from "./arithmetic.js";
import { type NormalizedChannels, normalizeChannels } from "./channel-norm.js";
import type { OperatorTable } from "./define.js";
import { narrow, reshape } from "./movement.js";
import { type RowNorm, rowLayerNorm, rowRmsNorm } from "./norm-rows.js";
import { pad } from "./padding.js";
import { mean } from "./reduction.js";
import { norm } from "./statistics.js";
import { pow, rsqrt, square } from "./unary.js";

/** What PyTorch adds where no eps is given: the distance from 1 to the next f32. */
const F32_EPSILON = 2 ** -23;

interface Normalized {
  readonly out: Tensor;
  readonly mean: Tensor;
  /** 1 / standard deviation. */
  readonly rstd: Tensor;
}

/** The input moved to mean 0 and variance 1 over `dims`. */
function standardize(input: Tensor, dims: readonly number[], eps: number): Normalized & { readonly variance: Tensor } {
  const average = mean(input, dims, true);
  const centered = sub(input, average);
  const variance = mean(square(centered), dims, true);
  const rstd = rsqrt(add(variance, eps));
  return { out: mul(centered, rstd), mean: average, rstd, variance };
}

function affine(x: Tensor, weight: Tensor | null | undefined, bias: Tensor | null | undefined): Tensor {
  const scaled = weight == null ? x : mul(x, weight);
  return bias == null ? scaled : add(scaled, bias);
}

/** The trailing dimensions that `normalizedShape` names. */
function trailingDims(
  op: string,
  input: Tensor,
  normalizedShape: Shape,
  parameters: Record<string, unknown>,
): number[] {
  const lead = input.ndim - normalizedShape.length;
  if (normalizedShape.length === 0 || lead < 0 || !sameShape(input.shape.slice(lead), normalizedShape)) {
    throw new ShapeError(
      `${op}: input ${formatShape(input.shape)} does not end in normalizedShape ${formatShape(normalizedShape)}`,
    );
  }
  for (const [name, parameter] of Object.entries(parameters) as [string, Tensor | null | undefined][]) {
    if (parameter != null && !sameShape(parameter.shape, normalizedShape)) {
      throw new ShapeError(
        `${op}: ${name} is ${formatShape(parameter.shape)}, and must be normalizedShape ${formatShape(normalizedShape)}`,
      );
    }
  }
  return normalizedShape.map((_, i) => lead + i);
}

/** A norm of rows, applied to the dimensions `normalizedShape` as one. */
function overRows(
  norm: RowNorm,
  input: Tensor,
  normalizedShape: Shape,
  weight: Tensor | null | undefined,
  bias: Tensor | null | undefined,
  eps: number,
): Tensor {
  if (input.numel === 0) return clone(input);
  const length = sizeOf(normalizedShape);
  const flat = (x: Tensor | null | undefined): Tensor | null => (x == null ? null : reshape(x, [length]));
  return reshape(norm(reshape(input, [-1, length]), flat(weight), flat(bias), eps), input.shape);
}

/** Layer normalization with the mean and the reciprocal standard deviation that it used, as size-1 dimensions. */
export function nativeLayerNorm(
  input: Tensor,
  normalizedShape: Shape,
  weight: Tensor | null | undefined,
  bias: Tensor | null | undefined,
  eps: number,
): [Tensor, Tensor, Tensor] {
  const dims = trailingDims("layerNorm", input, normalizedShape, { weight, bias });
  const { out, mean, rstd } = standardize(input, dims, eps);
  return [affine(out, weight, bias), mean, rstd];
}

/**
 * Layer normalization (Ba et al. 2016) over the trailing dimensions `normalizedShape`, then `· weight + bias`.
 * @param weight of shape `normalizedShape`, or none
 * @param bias of shape `normalizedShape`, or none
 */
export function layerNorm(
  input: Tensor,
  normalizedShape: Shape,
  weight?: Tensor | null,
  bias?: Tensor | null,
  eps = 1e-5,
): Tensor {
  trailingDims("layerNorm", input, normalizedShape, { weight, bias });
  return overRows(rowLayerNorm, input, normalizedShape, weight, bias, eps);
}

/**
 * Root mean square normalization (Zhang & Sennrich 2019): the input over `√(mean(x²) + eps)`, then `· weight`.
 * @param eps 2⁻²³ if none is given
 */
export function rmsNorm(input: Tensor, normalizedShape: Shape, weight?: Tensor | null, eps?: number | null): Tensor {
  trailingDims("rmsNorm", input, normalizedShape, { weight });
  return overRows(rowRmsNorm, input, normalizedShape, weight, null, eps ?? F32_EPSILON);
}

/** A parameter with one element a channel, shaped to meet `[N, C, ...]`. */
function perChannel(op: string, name: string, parameter: Tensor | null | undefined, input: Tensor): Tensor | null {
  if (parameter == null) return null;
  const channels = input.shape[Math.min(1, input.ndim - 1)] as number;
  if (!sameShape(parameter.shape, [channels])) {
    throw new ShapeError(`${op}: ${name} is ${formatShape(parameter.shape)}, and must be [${channels}]`);
  }
  return reshape(parameter, [channels, ...input.shape.slice(2).map(() => 1)]);
}

/** Elements of a plane from which on kernels of their own pay: each plane is a loop. */
const KERNEL_AREA = 16;

/**
 * Channels moved to mean 0 and variance 1, over the batch or in groups, then `· weight + bias`.
 * @param groups how many groups the channels of each sample are in; 0 for every channel over the batch
 */
function overChannels(
  op: string,
  input: Tensor,
  weight: Tensor | null | undefined,
  bias: Tensor | null | undefined,
  groups: number,
  eps: number,
): NormalizedChannels {
  const [scale, shift] = [perChannel(op, "weight", weight, input), perChannel(op, "bias", bias, input)];
  const [batch, channels] = input.shape as [number, number];
  const area = sizeOf(input.shape.slice(2));
  if (area >= KERNEL_AREA && input.numel > 0) {
    const planes = reshape(input, [batch, channels, area]);
    const normalized = normalizeChannels(planes, weight ?? null, bias ?? null, groups, eps);
    return { ...normalized, out: reshape(normalized.out, input.shape) };
  }
  const shape = groups === 0 ? [batch, channels, area] : [batch, groups, (channels / groups) * area];
  const { out, mean, variance } = standardize(reshape(input, shape), groups === 0 ? [0, 2] : [2], eps);
  const flat = (x: Tensor): Tensor => reshape(x, [x.numel]);
  return { out: affine(reshape(out, input.shape), scale, shift), mean: flat(mean), variance: flat(variance) };
}

/** Throws unless the channels of `[N, C, ...]` divide into groups. */
function checkGroups(op: string, input: Tensor, groups: number): void {
  if (input.ndim < 2) throw new ShapeError(`${op}: input must be [N, C, ...], not ${formatShape(input.shape)}`);
  const channels = input.shape[1] as number;
  if (!Number.isInteger(groups) || groups < 1 || channels % groups !== 0) {
    throw new ArgumentError(
      `${op}: the ${channels} channels of ${formatShape(input.shape)} do not divide into ${groups} groups`,
    );
  }
}

/**
 * Group normalization (Wu & He 2018): mean 0 and variance 1 over each group of channels, then `· weight + bias`.
 * @param input `[N, C, ...]`
 * @param weight `[C]` or none
 * @param bias `[C]` or none
 */
export function groupNorm(
  input: Tensor,
  numGroups: number,
  weight?: Tensor | null,
  bias?: Tensor | null,
  eps = 1e-5,
): Tensor {
  checkGroups("groupNorm", input, numGroups);
  return overChannels("groupNorm", input, weight, bias, numGroups, eps).out;
}

/** Group normalization with the `[N, groups]` means and reciprocal standard deviations that it used. */
export function nativeGroupNorm(
  input: Tensor,
  weight: Tensor | null | undefined,
  bias: Tensor | null | undefined,
  batch: number,
  channels: number,
  area: number,
  groups: number,
  eps: number,
): [Tensor, Tensor, Tensor] {
  if (input.numel !== batch * channels * area) {
    throw new ShapeError(
      `nativeGroupNorm: ${formatShape(input.shape)} is not ${batch} × ${channels} × ${area} elements`,
    );
  }
  checkGroups("nativeGroupNorm", input, groups);
  const { out, mean, variance } = overChannels("nativeGroupNorm", input, weight, bias, groups, eps);
  return [out, reshape(mean, [batch, groups]), reshape(rsqrt(add(variance, eps)), [batch, groups])];
}

// ── Over batches ────────────────────────────────────────────────────────────────────────────────────────────────────

/** `running` moved towards `latest`, in place. */
function track(op: string, running: Tensor | null | undefined, latest: Tensor, momentum: number): void {
  if (running == null) return;
  noGrad(() => assign(op, running, add(mul(running, 1 - momentum), mul(detach(latest), momentum))));
}

/** The biased variance that normalization uses as the unbiased one that is tracked. */
function unbiased(variance: Tensor, count: number): Tensor {
  return mul(variance, count / (count - 1));
}

interface BatchNormArguments {
  readonly runningMean: Tensor | null | undefined;
  readonly runningVar: Tensor | null | undefined;
  readonly weight: Tensor | null | undefined;
  readonly bias: Tensor | null | undefined;
  /** Normalize with the statistics of the input, and track them; else with the running ones. */
  readonly training: boolean;
  readonly momentum: number;
  readonly eps: number;
}

function batchStatistics(input: Tensor, options: BatchNormArguments): Normalized {
  const op = "batchNorm";
  if (input.ndim < 2 && input.numel > 0) {
    throw new ShapeError(`${op}: input must be [N, C, ...], not ${formatShape(input.shape)}`);
  }
  // Nothing has no statistics, and is normalized already.
  if (input.numel === 0) return { out: clone(input), mean: constant(0, [0]), rstd: constant(0, [0]) };
  const { runningMean, runningVar, weight, bias, momentum, eps } = options;
  const channel = (name: string, x: Tensor | null | undefined): Tensor | null => perChannel(op, name, x, input);
  const [oldMean, oldVar] = [channel("runningMean", runningMean), channel("runningVar", runningVar)];
  if (!options.training) {
    if (oldMean === null || oldVar === null) {
      throw new ArgumentError(`${op}: without training the running mean and variance are needed`);
    }
    const rstd = rsqrt(add(oldVar, eps));
    const out = affine(mul(sub(input, oldMean), rstd), channel("weight", weight), channel("bias", bias));
    return { out, mean: oldMean, rstd };
  }
  const count = input.numel / (input.shape[1] as number);
  if (count < 2) {
    throw new ShapeError(
      `${op}: training needs more than 1 value for each channel, and input is ${formatShape(input.shape)}`,
    );
  }
  const { out, mean, variance } = overChannels(op, input, weight, bias, 0, eps);
  track(op, runningMean, mean, momentum);
  track(op, runningVar, unbiased(variance, count), momentum);
  return { out, mean, rstd: rsqrt(add(variance, eps)) };
}

/**
 * Batch normalization (Ioffe & Szegedy 2015): each channel moved to mean 0 and variance 1 over the batch, then
 * `· weight + bias`.
 * @param input `[N, C, ...]`
 * @param runningMean `[C]`; in training it is moved towards the batch's mean in place, else it is the mean
 * @param runningVar `[C]`, likewise
 * @param momentum how far the running statistics move
 */
export function batchNorm(
  input: Tensor,
  runningMean: Tensor | null | undefined,
  runningVar: Tensor | null | undefined,
  weight?: Tensor | null,
  bias?: Tensor | null,
  training = false,
  momentum = 0.1,
  eps = 1e-5,
): Tensor {
  return batchStatistics(input, { runningMean, runningVar, weight, bias, training, momentum, eps }).out;
}

/** Batch normalization with the means and reciprocal standard deviations that training used, `[C]`; else `[0]`. */
export function nativeBatchNorm(
  input: Tensor,
  weight: Tensor | null | undefined,
  bias: Tensor | null | undefined,
  runningMean: Tensor | null | undefined,
  runningVar: Tensor | null | undefined,
  training: boolean,
  momentum: number,
  eps: number,
): [Tensor, Tensor, Tensor] {
  const options = { runningMean, runningVar, weight, bias, training, momentum, eps };
  const { out, mean, rstd } = batchStatistics(input, options);
  return training ? [out, mean, rstd] : [out, constant(0, [0]), constant(0, [0])];
}

/**
 * Instance normalization (Ulyanov et al. 2016): each channel of each sample moved to mean 0 and variance 1, then
 * `· weight + bias`.
 * @param input `[N, C, ...]`
 * @param runningMean `[C]`, moved towards the mean over the batch in place; without `useInputStats` it is the mean
 * @param runningVar `[C]`, likewise
 */
export function instanceNorm(
  input: Tensor,
  runningMean?: Tensor | null,
  runningVar?: Tensor | null,
  weight?: Tensor | null,
  bias?: Tensor | null,
  useInputStats = true,
  momentum = 0.1,
  eps = 1e-5,
): Tensor {
  if (!useInputStats) return batchNorm(input, runningMean, runningVar, weight, bias, false, momentum, eps);
  const op = "instanceNorm";
  const count = sizeOf(input.shape.slice(2));
  if (input.ndim < 3 || count < 2) {
    throw new ShapeError(
      `${op}: input must be [N, C, ...] with more than 1 value a channel, not ${formatShape(input.shape)}`,
    );
  }
  const { out, mean: average, variance } = overChannels(op, input, weight, bias, input.shape[1] as number, eps);
  const overBatch = (x: Tensor): Tensor => mean(reshape(x, input.shape.slice(0, 2)), 0);
  track(op, runningMean, overBatch(average), momentum);
  track(op, runningVar, overBatch(unbiased(variance, count)), momentum);
  return out;
}

// ── To a length ─────────────────────────────────────────────────────────────────────────────────────────────────────

/** The input divided by its p-norm along `dim`, or by `eps` where the norm is less. */
export function normalize(input: Tensor, p = 2, dim: number | Shape = 1, eps = 1e-12): Tensor {
  return div(input, clamp(norm(input, p, dim, true), eps));
}

/**
 * Local response normalization (Krizhevsky et al. 2012): the input over `(k + alpha · mean)^beta`, where the mean is
 * that of the squares of `size` neighbouring channels.
 * @param input `[N, C, ...]`
 */
export function localResponseNorm(input: Tensor, size: number, alpha = 1e-4, beta = 0.75, k = 1): Tensor {
  if (input.ndim < 3) {
    throw new ShapeError(`localResponseNorm: input must have 3 dimensions or more, not ${formatShape(input.shape)}`);
  }
  if (!Number.isInteger(size) || size < 1)
    throw new ArgumentError(`localResponseNorm: size must be 1 or more, not ${size}`);
  if (input.numel === 0) return clone(input);
  const channels = input.shape[1] as number;
  const widths = [...input.shape.slice(2).flatMap(() => [0, 0]), Math.floor(size / 2), Math.floor((size - 1) / 2)];
  const squares = pad(square(input), widths);
  const total = Array.from({ length: size }, (_, i) => narrow(squares, 1, i, channels)).reduce((a, b) => add(a, b));
  return div(input, pow(add(mul(total, alpha / size), k), beta));
}

/** The operators of this file. */
export default {
  layerNorm: {
    fn: layerNorm,
    params: ["input", "normalizedShape", "weight", "bias", "eps"],
    samples: ["f32[3,4]; [4]; f32[4]; f32[4]", "f32[2,3,4]; [3,4]", "f32[2,5]; [5]; null; f32[5]; 0.1"],
  },
  nativeLayerNorm: {
    fn: nativeLayerNorm,
    params: ["input", "normalizedShape", "weight", "bias", "eps"],
    samples: ["f32[3,4]; [4]; f32[4]; f32[4]; 0.01"],
  },
  rmsNorm: {
    fn: rmsNorm,
    params: ["input", "normalizedShape", "weight", "eps"],
    samples: ["f32[3,4]; [4]; f32[4]", "f32[2,3,4]; [3,4]; null; 0.1"],
  },
  groupNorm: {
    fn: groupNorm,
    params: ["input", "numGroups", "weight", "bias", "eps"],
    samples: ["f32[2,4,3]; 2; f32[4]; f32[4]", "f32[2,4]; 2", "f32[2,4,17]; 2; f32[4]; f32[4]; 0.01"],
  },
  nativeGroupNorm: {
    fn: nativeGroupNorm,
    params: ["input", "weight", "bias", "N", "C", "HxW", "group", "eps"],
    samples: ["f32[2,4,3]; f32[4]; f32[4]; 2; 4; 3; 2; 0.01", "f32[2,2,17]; f32[2]; null; 2; 2; 17; 2; 0.01"],
  },
  batchNorm: {
    fn: batchNorm,
    params: ["input", "runningMean", "runningVar", "weight", "bias", "training", "momentum", "eps"],
    samples: [
      "f32[4,3,2]; null; null; f32[3]; f32[3]; true",
      "f32[4,3]; f32[3]; f32[3]>0; f32[3]; null",
      "f32[3,2,3,6]; null; null; f32[2]; f32[2]; true",
    ],
  },
  nativeBatchNorm: {
    fn: nativeBatchNorm,
    params: ["input", "weight", "bias", "runningMean", "runningVar", "training", "momentum", "eps"],
    samples: [
      "f32[4,3,2]; f32[3]; f32[3]; null; null; true; 0.1; 0.01",
      "f32[3,2,17]; f32[2]; f32[2]; null; null; true; 0.1; 0.01",
    ],
  },
  instanceNorm: {
    fn: instanceNorm,
    params: ["input", "runningMean", "runningVar", "weight", "bias", "useInputStats", "momentum", "eps"],
    samples: ["f32[2,3,4]; null; null; f32[3]; f32[3]", "f32[2,2,16]; null; null; f32[2]; null"],
  },
  normalize: {
    fn: normalize,
    params: ["input", "p", "dim", "eps"],
    samples: ["f32[3,4]", "f32[2,3,4]; 1; -1", "f32[3,4]; 2; 0; 0.01"],
  },
  localResponseNorm: {
    fn: localResponseNorm,
    params: ["input", "size", "alpha", "beta", "k"],
    samples: ["f32[2,4,3]; 3", "f32[2,4,3]; 2; 0.5; 0.6; 1.5"],
  },
} satisfies OperatorTable;
