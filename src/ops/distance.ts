/** Distances and similarities between vectors. */
import { ArgumentError, ShapeError } from "../graph/errors.js";
import { formatShape, normalizeDim } from "../graph/shape.js";
import type { Tensor } from "../graph/tensor.js";
import { add, div, gt, mul, sub, where } from "./arithmetic.js";
import type { OperatorTable } from "./define.js";
import { raised, wholeNumbers } from "./helpers.js";
import { indexSelect } from "./indexing.js";
import { broadcastTensors, unsqueeze } from "./movement.js";
import { sum } from "./reduction.js";
import { norm } from "./statistics.js";

/** The p-norm of `x1 - x2 + eps` over the last dimension. */
export function pairwiseDistance(x1: Tensor, x2: Tensor, p = 2, eps = 1e-6, keepdim = false): Tensor {
  return norm(add(sub(x1, x2), eps), p, -1, keepdim);
}

/**
 * The cosine of the angle between vectors along `dim`.
 * @param eps lengths below it count as it
 */
export function cosineSimilarity(x1: Tensor, x2: Tensor, dim = 1, eps = 1e-8): Tensor {
  const unit = (x: Tensor): Tensor => {
    const length = norm(x, 2, dim, true);
    // As in PyTorch the gradient is that of the length also where eps stands in for it.
    return div(x, raised(length, eps));
  };
  const [a, b] = broadcastTensors(x1, x2) as [Tensor, Tensor];
  return sum(mul(unit(a), unit(b)), dim);
}

const COMPUTE_MODES = [
  "use_mm_for_euclid_dist_if_necessary",
  "use_mm_for_euclid_dist",
  "donot_use_mm_for_euclid_dist",
] as const;

/**
 * The p-norms of the differences between every row of one stack of matrices and every row of another:
 * `[..., n, k]` and `[..., m, k]` give `[..., n, m]`.
 * @param computeMode taken as in PyTorch; all modes compute the differences themselves, the most accurate way
 */
export function cdist(
  x1: Tensor,
  x2: Tensor,
  p = 2,
  computeMode: (typeof COMPUTE_MODES)[number] = COMPUTE_MODES[0],
): Tensor {
  if (!COMPUTE_MODES.includes(computeMode)) {
    throw new ArgumentError(`cdist: computeMode must be one of ${COMPUTE_MODES.join(", ")}, not ${computeMode}`);
  }
  if (x1.ndim < 2 || x2.ndim < 2 || x1.shape.at(-1) !== x2.shape.at(-1)) {
    throw new ShapeError(
      `cdist: ${formatShape(x1.shape)} and ${formatShape(x2.shape)} must be matrices, or stacks of them, with rows of one length`,
    );
  }
  if (!(p >= 0)) throw new ArgumentError(`cdist: p must be 0 or more, not ${p}`);
  return norm(sub(unsqueeze(x1, -2), unsqueeze(x2, -3)), p, -1);
}

/** The p-norms of the differences between every two rows of a matrix: rows 0 and 1, 0 and 2, ..., 1 and 2, ... */
export function pdist(input: Tensor, p = 2): Tensor {
  if (input.ndim !== 2) throw new ShapeError(`pdist: input must be a matrix, not ${formatShape(input.shape)}`);
  if (!(p >= 0)) throw new ArgumentError(`pdist: p must be 0 or more, not ${p}`);
  const rows = Array.from({ length: input.shape[0] as number }, (_, i) => i);
  const pairs = rows.flatMap((i) => rows.slice(i + 1).map((j) => [i, j] as const));
  const row = (side: 0 | 1): Tensor => indexSelect(input, 0, wholeNumbers(pairs.map((pair) => pair[side])));
  return norm(sub(row(0), row(1)), p, 1);
}

/** The parts of `dim` whose p-norm exceeds `maxnorm`, scaled down to it. */
export function renorm(input: Tensor, p: number, dim: number, maxnorm: number): Tensor {
  if (input.ndim < 2) throw new ShapeError(`renorm: input must have 2 dimensions or more, not ${input.ndim}`);
  const d = normalizeDim("renorm", dim, input.ndim);
  const length = norm(
    input,
    p,
    input.shape.map((_, i) => i).filter((i) => i !== d),
    true,
  );
  return mul(input, where(gt(length, maxnorm), div(maxnorm, add(length, 1e-7)), 1));
}

/** The operators of this file. */
export default {
  pairwiseDistance: {
    fn: pairwiseDistance,
    params: ["x1", "x2", "p", "eps", "keepdim"],
    samples: ["f32[3,4]; f32[3,4]", "f32[4]; f32[3,4]; 3; 0.1; true"],
  },
  cosineSimilarity: {
    fn: cosineSimilarity,
    params: ["x1", "x2", "dim", "eps"],
    samples: ["f32[3,4]; f32[3,4]", "f32[2,1,4]; f32[3,4]; -1", "f32[4]; f32[4]; 0; 1e-3"],
  },
  cdist: {
    fn: cdist,
    params: ["x1", "x2", "p", "computeMode"],
    samples: ["f32[3,4]; f32[2,4]", "f32[2,3,4]; f32[2,4]; 1", "f32[3,4]; f32[2,4]; 3"],
  },
  pdist: { fn: pdist, params: ["input", "p"], samples: ["f32[4,3]", "f32[4,3]; 3"] },
  renorm: {
    fn: renorm,
    params: ["input", "p", "dim", "maxnorm"],
    samples: ["f32[3,4]; 2; 0; 1.5", "f32[3,4]; 1; 1; 1"],
  },
} satisfies OperatorTable;
