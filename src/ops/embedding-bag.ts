/** Bags of embeddings: the rows of a table that belong together, reduced to one. */
import { ArgumentError, DTypeError, ShapeError } from "../graph/errors.js";
import { formatShape, sameShape } from "../graph/shape.js";
import { constant } from "../graph/sources.js";
import type { Tensor } from "../graph/tensor.js";
import { div, eq, ge, logicalAnd, lt, maximum, mul, ne, sub, where } from "./arithmetic.js";
import { to } from "./conversion.js";
import { iota } from "./creation.js";
import type { OperatorTable } from "./define.js";
import { indexSelect } from "./indexing.js";
import { expand, narrow, reshape, select, unsqueeze } from "./movement.js";
import { sum } from "./reduction.js";
import { indexAdd, indexReduce } from "./scatter.js";

/** Options of {@link embeddingBag}. */
export interface EmbeddingBagOptions {
  /** Where each bag of a vector of indices starts, i32; the first is 0. */
  readonly offsets?: Tensor | null;
  /** How a bag is reduced; `"mean"` if not given. Empty bags give 0. */
  readonly mode?: "sum" | "mean" | "max";
  /** A factor for each index, with mode `"sum"`. */
  readonly perSampleWeights?: Tensor | null;
  /** The last offset is where the last bag ends. */
  readonly includeLastOffset?: boolean;
  /** Indices that count for nothing; negative ones count from the end of the table. */
  readonly paddingIdx?: number | null;
}

/** Which bag each index belongs to, how many there are, and whether an index belongs to one. */
interface Bags {
  readonly ids: Tensor;
  readonly count: number;
  readonly inside: Tensor | null;
}

function bagsOf(input: Tensor, { offsets, includeLastOffset = false }: EmbeddingBagOptions): Bags {
  if (input.ndim === 2) {
    if (offsets != null)
      throw new ArgumentError("embeddingBag: a matrix of indices has a bag in each row, and no offsets");
    const [count, length] = input.shape as [number, number];
    return { ids: reshape(expand(unsqueeze(iota(count), 1), [count, length]), [-1]), count, inside: null };
  }
  if (offsets == null || offsets.ndim !== 1 || offsets.dtype !== "i32") {
    throw new ArgumentError("embeddingBag: a vector of indices needs offsets, a vector of i32");
  }
  const count = offsets.numel - (includeLastOffset ? 1 : 0);
  const positions = iota(input.numel);
  const started = ge(unsqueeze(positions, 1), narrow(offsets, 0, 0, count));
  const ids = sub(sum(started, 1), 1);
  return { ids, count, inside: includeLastOffset ? lt(positions, select(offsets, 0, count)) : null };
}

/**
 * Rows of a table `[entries, features]`, reduced over bags of indices: `[bags, features]`.
 * @param input indices, i32: a matrix with a bag in each row, or a vector with `offsets`
 * @throws IndexError when it runs, where an index is not an entry
 */
export function embeddingBag(input: Tensor, weight: Tensor, options: EmbeddingBagOptions = {}): Tensor {
  const { mode = "mean", perSampleWeights, paddingIdx } = options;
  if (input.dtype !== "i32") throw new DTypeError(`embeddingBag: input is ${input.dtype}, and must be i32`);
  if (weight.ndim !== 2 || (input.ndim !== 1 && input.ndim !== 2)) {
    throw new ShapeError(
      `embeddingBag: input ${formatShape(input.shape)} must be a vector or a matrix, and weight ${formatShape(weight.shape)} a matrix`,
    );
  }
  if (perSampleWeights != null && (mode !== "sum" || !sameShape(perSampleWeights.shape, input.shape))) {
    throw new ArgumentError(
      `embeddingBag: perSampleWeights need mode "sum", not ${JSON.stringify(mode)}, and the shape of the input`,
    );
  }
  const { ids, count, inside } = bagsOf(input, options);
  const index = reshape(input, [-1]);
  const [entries, features] = weight.shape as [number, number];
  const padding = paddingIdx == null ? null : ne(index, paddingIdx < 0 ? paddingIdx + entries : paddingIdx);
  const counted = padding !== null && inside !== null ? logicalAnd(padding, inside) : (padding ?? inside);
  const rows = indexSelect(weight, 0, index);
  const kept = (x: Tensor, otherwise: number): Tensor =>
    counted === null ? x : where(unsqueeze(counted, 1), x, otherwise);
  const zeros = constant(0, [count, features]);
  switch (mode) {
    case "sum": {
      const scaled = perSampleWeights == null ? rows : mul(rows, reshape(perSampleWeights, [-1, 1]));
      return indexAdd(zeros, 0, ids, kept(scaled, 0));
    }
    case "mean": {
      const ones = counted === null ? constant(1, index.shape) : to(counted, "f32");
      const sizes = indexAdd(constant(0, [count]), 0, ids, ones);
      return div(indexAdd(zeros, 0, ids, kept(rows, 0)), unsqueeze(maximum(sizes, constant(1)), 1));
    }
    case "max": {
      const empty = Number.NEGATIVE_INFINITY;
      const largest = indexReduce(constant(empty, [count, features]), 0, ids, kept(rows, empty), "amax");
      return where(eq(largest, empty), 0, largest);
    }
    default:
      throw new ArgumentError(`embeddingBag: mode must be "sum", "mean" or "max", not ${JSON.stringify(mode)}`);
  }
}

/** The operators of this file. */
export default {
  embeddingBag: {
    fn: embeddingBag,
    params: ["input", "weight"],
    options: ["offsets", "mode", "perSampleWeights", "includeLastOffset", "paddingIdx"],
    samples: [
      "i32[3,4]<5; f32[5,2]",
      'i32[3,4]<5; f32[5,2]; {"mode":"max","paddingIdx":1}',
      'i32[3,4]<5; f32[5,2]; {"mode":"sum","perSampleWeights":"f32[3,4]"}',
      'i32[6]<5; f32[5,2]; {"mode":"mean","offsets":"i32[3]<1","paddingIdx":-1}',
    ],
  },
} satisfies OperatorTable;
