/** Statistics: variances and norms, extremes together, and reductions that pass over NaN. */
import { type DType, expectDType } from "../graph/dtype.js";
import { ArgumentError, ShapeError } from "../graph/errors.js";
import { formatShape, normalizeDims, sameShape, sizeOf } from "../graph/shape.js";
import { nodeOf, Tensor } from "../graph/tensor.js";
import { abs, clamp, div, eq, mul, sub, where } from "./arithmetic.js";
import { movedim } from "./arrange.js";
import { to } from "./conversion.js";
import type { OperatorTable } from "./define.js";
import { diagonal } from "./diagonal.js";
import { matmul } from "./matmul.js";
import { reshape, transpose, unsqueeze } from "./movement.js";
import { amax, amin, type Dims, mean, type ReductionOptions, squareSum, sum } from "./reduction.js";
import { isnan, pow, sqrt, square } from "./unary.js";

// ── Variance ────────────────────────────────────────────────────────────────────────────────────────────────────────

/** How a variance is computed. */
export interface VarianceOptions {
  /** What is taken from the number of elements before dividing by it: 1 (the default) gives an unbiased estimate. */
  readonly correction?: number | null;
  /** `true` is correction 1, `false` correction 0. */
  readonly unbiased?: boolean | null;
  /** Keep the reduced dimensions, with size 1. */
  readonly keepdim?: boolean | null;
}

/** A reduction of `input` over `dims` that kept them, without them unless they are to be kept. */
function dropped(x: Tensor, dims: readonly number[], keepdim: boolean): Tensor {
  if (keepdim) return x;
  return reshape(
    x,
    x.shape.filter((_, i) => !dims.includes(i)),
  );
}

/** The dimensions that `dim` names; none named, or an empty list, are all. */
function dimsOf(op: string, dim: Dims | undefined, rank: number): number[] {
  return normalizeDims(op, Array.isArray(dim) && dim.length === 0 ? null : dim, rank);
}

function moments(
  op: string,
  input: Tensor,
  dim: Dims | undefined,
  options: VarianceOptions,
): { variance: Tensor; average: Tensor } {
  expectDType(op, "input", input.dtype, "f32");
  const correction = options.correction ?? (options.unbiased === false ? 0 : 1);
  const dims = dimsOf(op, dim, input.ndim);
  const average = mean(input, dims, true);
  const count = sizeOf(dims.map((d) => input.shape[d] as number));
  const variance = div(sum(square(sub(input, average)), dims, true), Math.max(0, count - correction));
  const keepdim = options.keepdim ?? false;
  return { variance: dropped(variance, dims, keepdim), average: dropped(average, dims, keepdim) };
}

/** The variance over `dim`, or of everything: `Σ(x - mean)² / (n - correction)`. */
function variance(input: Tensor, dim?: Dims, options: VarianceOptions = {}): Tensor {
  return moments("var", input, dim, options).variance;
}

// `var` is a name that only an export may have.
export { variance as var };

/** The square root of the variance. */
export function std(input: Tensor, dim?: Dims, options: VarianceOptions = {}): Tensor {
  return sqrt(moments("std", input, dim, options).variance);
}

/** The variance and the mean. */
export function varMean(input: Tensor, dim?: Dims, options: VarianceOptions = {}): [Tensor, Tensor] {
  const { variance, average } = moments("varMean", input, dim, options);
  return [variance, average];
}

/** The standard deviation and the mean. */
export function stdMean(input: Tensor, dim?: Dims, options: VarianceOptions = {}): [Tensor, Tensor] {
  const { variance, average } = moments("stdMean", input, dim, options);
  return [sqrt(variance), average];
}

/** How observations count in a covariance. */
export interface CovarianceOptions {
  /** 1 (if not given) gives an unbiased estimate; see {@link VarianceOptions}. */
  readonly correction?: number;
  /** How often each observation was made: whole numbers from 0 up, i32. */
  readonly fweights?: Tensor | null;
  /** How much each observation matters, from 0 up. */
  readonly aweights?: Tensor | null;
}

/** Checks one kind of weights; values are checked where they are known. */
function checkWeights(name: string, weights: Tensor, dtype: DType, observations: number): void {
  expectDType("cov", name, weights.dtype, dtype);
  if (!sameShape(weights.shape, [observations])) {
    throw new ShapeError(
      `cov: ${name} is ${formatShape(weights.shape)}, and must have one element an observation: [${observations}]`,
    );
  }
  const negative = nodeOf(weights).value?.find((w) => w < 0);
  if (negative !== undefined) throw new ArgumentError(`cov: ${name} must be 0 or more, and one is ${negative}`);
}

/**
 * The covariance matrix of variables in rows and observations in columns; of a single variable its variance.
 * @param input `[variables, observations]` or `[observations]`
 */
export function cov(input: Tensor, options: CovarianceOptions = {}): Tensor {
  const { correction = 1, fweights, aweights } = options;
  expectDType("cov", "input", input.dtype, "f32");
  if (input.ndim > 2)
    throw new ShapeError(`cov: input must have at most 2 dimensions, not ${formatShape(input.shape)}`);
  const x = input.ndim === 2 ? input : reshape(input, [1, -1]);
  const observations = x.shape[1] as number;
  if (fweights != null) checkWeights("fweights", fweights, "i32", observations);
  if (aweights != null) checkWeights("aweights", aweights, "f32", observations);
  const frequency = fweights == null ? null : to(fweights, "f32");
  const weights = frequency !== null && aweights != null ? mul(frequency, aweights) : (frequency ?? aweights ?? null);
  const total = weights === null ? observations : sum(weights);
  const average = weights === null ? mean(x, 1, true) : div(sum(mul(x, weights), 1, true), total);
  const centered = sub(x, average);
  // With importance weights the correction shrinks as they concentrate on few observations.
  const taken =
    weights !== null && aweights != null ? mul(div(sum(mul(weights, aweights)), total), correction) : correction;
  const freedom = total instanceof Tensor ? clamp(sub(total, taken), 0) : Math.max(0, observations - correction);
  const products = matmul(centered, transpose(weights === null ? centered : mul(centered, weights), 0, 1));
  const out = div(products, freedom);
  return input.ndim === 2 && x.shape[0] !== 1 ? out : reshape(out, []);
}

/** The correlation matrix of variables in rows and observations in columns; of a single variable 1. */
export function corrcoef(input: Tensor): Tensor {
  const covariance = cov(input);
  if (covariance.ndim === 0) return div(covariance, covariance);
  const deviation = sqrt(diagonal(covariance));
  return clamp(div(div(covariance, unsqueeze(deviation, 1)), deviation), -1, 1);
}

// ── Norms ───────────────────────────────────────────────────────────────────────────────────────────────────────────

/** `x^p` for x from 0 up, where a gradient at 0 that would be infinite is 0. */
function rootOrPower(x: Tensor, p: number): Tensor {
  if (p === 1) return x;
  const zero = eq(x, 0);
  return where(zero, p > 0 ? 0 : Number.POSITIVE_INFINITY, pow(where(zero, 1, x), p));
}

/** Each pass multiplies a small singular value by 3/2, and 40 passes one of 10⁻⁷ of the largest to 1. */
const POLAR_PASSES = 40;

/**
 * The sum of the singular values of a matrix, or of each of a stack of them: Σ A · P, where P is the polar factor of A by
 * the iteration X ← 3/2 X - 1/2 X Xᵀ X (Higham, "Functions of Matrices", 2008, ch. 8).
 */
export function nuclearNorm(input: Tensor, keepdim = false): Tensor {
  expectDType("nuclearNorm", "input", input.dtype, "f32");
  if (input.ndim < 2) throw new ShapeError(`nuclearNorm: input must be matrices, not ${formatShape(input.shape)}`);
  const length = norm(input, 2, [-2, -1], true);
  let x = div(input, where(eq(length, 0), 1, length));
  for (let pass = 0; pass < POLAR_PASSES; pass++) {
    x = sub(mul(x, 1.5), mul(matmul(matmul(x, transpose(x, -2, -1)), x), 0.5));
  }
  return sum(mul(input, x), [-2, -1], keepdim);
}

/**
 * The p-norm over `dim`, or of everything: `(Σ|x|^p)^(1/p)`; for ±∞ the largest or smallest magnitude, for 0 the number
 * of elements that are not 0. Its gradient where it is 0 is 0.
 * @param p a number, `"fro"` for the 2-norm, or `"nuc"` for the {@link nuclearNorm} of a matrix
 */
export function norm(input: Tensor, p: number | "fro" | "nuc" | null = "fro", dim?: Dims, keepdim = false): Tensor {
  expectDType("norm", "input", input.dtype, "f32");
  if (p === "nuc") {
    const dims = dimsOf("norm", dim, input.ndim);
    if (dims.length !== 2) throw new ArgumentError(`norm: the nuclear norm is over 2 dimensions, not ${dims.length}`);
    const norms = nuclearNorm(movedim(input, dims, [-2, -1]), keepdim);
    return keepdim ? movedim(norms, [-2, -1], dims) : norms;
  }
  const order = p === "fro" || p === null ? 2 : p;
  if (typeof order !== "number" || Number.isNaN(order)) {
    throw new ArgumentError(`norm: p must be a number, "fro" or "nuc", not ${JSON.stringify(p)}`);
  }
  const magnitude = abs(input);
  switch (order) {
    case 0:
      return sum(to(to(input, "bool"), "f32"), dim, keepdim);
    case 2:
      return rootOrPower(squareSum(input, dim, keepdim), 0.5);
    case Number.POSITIVE_INFINITY:
      return amax(magnitude, dim, keepdim);
    case Number.NEGATIVE_INFINITY:
      return amin(magnitude, dim, keepdim);
    default:
      return rootOrPower(sum(rootOrPower(magnitude, order), dim, keepdim), 1 / order);
  }
}

/** The p-norm of the difference of two tensors, which broadcast. */
export function dist(input: Tensor, other: Tensor, p = 2): Tensor {
  return norm(sub(input, other), p);
}

// ── Extremes and NaN ────────────────────────────────────────────────────────────────────────────────────────────────

/** The smallest and the largest element along a dimension, or of everything. */
export function aminmax(
  input: Tensor,
  options: { dim?: number | null; keepdim?: boolean } = {},
): { min: Tensor; max: Tensor } {
  const { dim, keepdim = false } = options;
  return { min: amin(input, dim, keepdim), max: amax(input, dim, keepdim) };
}

/** The sum of the elements that are not NaN. */
export function nansum(input: Tensor, dim?: Dims, keepdim = false, options: ReductionOptions = {}): Tensor {
  return sum(where(isnan(input), 0, input), dim, keepdim, options);
}

/** The mean of the elements that are not NaN. */
export function nanmean(input: Tensor, dim?: Dims, keepdim = false, options: ReductionOptions = {}): Tensor {
  const x = options.dtype == null ? input : to(input, options.dtype);
  expectDType("nanmean", "input", x.dtype, "f32");
  return div(nansum(x, dim, keepdim), sum(to(eq(x, x), "f32"), dim, keepdim));
}

const VARIANCE_OPTIONS = ["correction", "unbiased", "keepdim"];

/** The operators of this file. */
export default {
  var: {
    fn: variance,
    params: ["input", "dim"],
    options: VARIANCE_OPTIONS,
    samples: ["f32[3,4]", 'f32[3,4]; 1; {"correction":0}', 'f32[2,3,4]; [0,2]; {"keepdim":true}'],
  },
  std: {
    fn: std,
    params: ["input", "dim"],
    options: VARIANCE_OPTIONS,
    samples: ["f32[3,4]", 'f32[3,4]; 0; {"unbiased":false}'],
  },
  varMean: { fn: varMean, params: ["input", "dim"], options: VARIANCE_OPTIONS, samples: ["f32[3,4]; 1"] },
  stdMean: { fn: stdMean, params: ["input", "dim"], options: VARIANCE_OPTIONS, samples: ["f32[3,4]; 1"] },
  cov: {
    fn: cov,
    params: ["input"],
    options: ["correction", "fweights", "aweights"],
    samples: ["f32[3,5]", 'f32[2,4]; {"fweights":"i32[4]<5","aweights":"f32[4]>0"}', 'f32[5]; {"correction":0}'],
  },
  corrcoef: { fn: corrcoef, params: ["input"], samples: ["f32[3,5]"] },
  norm: {
    fn: norm,
    params: ["input", "p", "dim", "keepdim"],
    samples: [
      "f32[3,4]",
      "f32[3,4]; 1; 1",
      "f32[3,4]; 3; [0,1]; true",
      "f32[3,4]; -1.5; 0",
      'f32[3,4]; "fro"; 1',
      "f32[3,4]; 0; 1",
    ],
  },
  nuclearNorm: { fn: nuclearNorm, params: ["input", "keepdim"], samples: ["f32[3,4]", "f32[2,3,2]; true"] },
  dist: { fn: dist, params: ["input", "other", "p"], samples: ["f32[3,4]; f32[4]; 3"] },
  aminmax: {
    fn: aminmax,
    params: ["input"],
    options: ["dim", "keepdim"],
    samples: ["f32[3,4]", 'f32[3,4]; {"dim":1,"keepdim":true}'],
  },
  nansum: {
    fn: nansum,
    params: ["input", "dim", "keepdim"],
    options: ["dtype"],
    samples: ["f32[3,4]; 1"],
  },
  nanmean: {
    fn: nanmean,
    params: ["input", "dim", "keepdim"],
    options: ["dtype"],
    samples: ["f32[3,4]; 1; true"],
  },
} satisfies OperatorTable;
