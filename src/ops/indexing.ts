/** Selecting elements and rows by index. */
import { ArgumentError, DTypeError, ShapeError } from "../graph/errors.js";
import { knownValues } from "../graph/known.js";
import { broadcastShapes, formatShape, normalizeDim } from "../graph/shape.js";
import { constant } from "../graph/sources.js";
import { apply, detach, type Tensor } from "../graph/tensor.js";
import { expandView, readView, wholeView } from "../graph/view.js";
import { add, div, eq, maximum, minimum, mul, sub, where } from "./arithmetic.js";
import type { OperatorTable } from "./define.js";
import { wholeNumbers } from "./helpers.js";
import {
  atLeastVector,
  cutTo,
  expectIndex,
  expectSameRank,
  fromEnd,
  gatherPrimitive,
  scatterAddPrimitive,
} from "./index-primitives.js";
import { expand, reshape, unsqueeze } from "./movement.js";
import { amax, amin, argmax, argmin } from "./reduction.js";

/**
 * `out[i][j][k] = input[index[i][j][k]][j][k]` for dim 0, and likewise for others: elements along `dim`, one for each
 * element of `index`, an i32 tensor of as many dimensions.
 * @throws IndexError when it runs, where an index lies outside the dimension
 */
export function gather(input: Tensor, dim: number, index: Tensor): Tensor {
  expectIndex("gather", index);
  expectSameRank("gather", input, index);
  const d = normalizeDim("gather", dim, input.ndim);
  const picked = atLeastVector(index);
  const table = cutTo("gather", "input", atLeastVector(input), picked.shape, d);
  // An index of one row for many would be read as whole rows, so vectors stay vectors and the rest keep their rank.
  return reshape(apply(gatherPrimitive, [table, picked], { dim: d, op: "gather" }), index.shape);
}

/** Rows of the input along `dim`, one for each element of the vector `index`. */
export function indexSelect(input: Tensor, dim: number, index: Tensor): Tensor {
  expectIndex("indexSelect", index);
  if (index.ndim > 1) throw new ShapeError(`indexSelect: index must be a vector, not ${formatShape(index.shape)}`);
  const d = normalizeDim("indexSelect", dim, input.ndim);
  const out = apply(gatherPrimitive, [atLeastVector(input), atLeastVector(index)], { dim: d, op: "indexSelect" });
  return input.ndim === 0 ? reshape(out, []) : out;
}

/**
 * Elements along `dim` by an index that broadcasts against the input's other dimensions; without `dim`, by position.
 * Negative indices count from the end.
 */
export function takeAlongDim(input: Tensor, index: Tensor, dim?: number | null): Tensor {
  expectIndex("takeAlongDim", index);
  if (dim == null) return takeAlongDim(reshape(input, [-1]), reshape(index, [-1]), 0);
  expectSameRank("takeAlongDim", input, index);
  const d = normalizeDim("takeAlongDim", dim, input.ndim);
  const shape = index.shape.map((n, i) => (i === d ? n : Math.max(n, input.shape[i] as number)));
  const table = expand(
    input,
    shape.map((n, i) => (i === d ? (input.shape[i] as number) : n)),
  );
  const places = fromEnd(index, table.shape[d] as number);
  return gather(table, d, expand(places, shape));
}

/**
 * The elements where `mask` holds, in row-major order, as a vector. Mask and input broadcast.
 * @param mask decides the shape of the result, so its value must be known
 */
export function maskedSelect(input: Tensor, mask: Tensor): Tensor {
  if (mask.dtype !== "bool") throw new DTypeError(`maskedSelect: mask is ${mask.dtype}, and must be bool`);
  const shape = broadcastShapes("maskedSelect", input.shape, mask.shape);
  const known = Float64Array.from(knownValues("maskedSelect", "the mask", mask));
  const holds = readView(known, expandView(wholeView(mask.shape), shape));
  const places = Array.from(holds.keys()).filter((i) => holds[i] !== 0);
  return indexSelect(reshape(expand(input, shape), [-1]), 0, wholeNumbers(places));
}

/** Options of {@link embedding}. */
export interface EmbeddingOptions {
  /** No gradient flows to this entry; negative ones count from the end. */
  readonly paddingIdx?: number | null;
  /** Divide the gradient of an entry by how often it is looked up. */
  readonly scaleGradByFreq?: boolean;
}

/** The same values, with their gradients multiplied by `factor`. */
function withGradientScaled(x: Tensor, factor: Tensor): Tensor {
  const fixed = detach(x);
  return add(fixed, mul(sub(x, fixed), factor));
}

/**
 * Rows of a table `[entries, features]`, one for each element of `input` (i32, any shape): `[…, features]`.
 * @throws IndexError when it runs, where an index is not an entry
 */
export function embedding(input: Tensor, weight: Tensor, options: EmbeddingOptions = {}): Tensor {
  const { paddingIdx, scaleGradByFreq = false } = options;
  if (input.dtype !== "i32") throw new DTypeError(`embedding: input is ${input.dtype}, and must be i32`);
  if (weight.ndim !== 2)
    throw new ShapeError(`embedding: weight must be 2-D [entries, features], not ${formatShape(weight.shape)}`);
  const [entries, features] = weight.shape as [number, number];
  if (paddingIdx != null && !(Number.isInteger(paddingIdx) && paddingIdx >= -entries && paddingIdx < entries)) {
    throw new ArgumentError(`embedding: paddingIdx is ${paddingIdx}, and there are ${entries} entries`);
  }
  const index = reshape(input, [-1]);
  let rows = apply(gatherPrimitive, [weight, index], { dim: 0, op: "embedding" });
  if (scaleGradByFreq) {
    const attrs = { dim: 0, op: "embedding" };
    const counts = apply(scatterAddPrimitive, [constant(0, [entries]), index, constant(1, index.shape)], attrs);
    const own = apply(gatherPrimitive, [counts, index], attrs);
    rows = withGradientScaled(rows, div(1, unsqueeze(own, 1)));
  }
  if (paddingIdx != null) {
    const padding = eq(index, paddingIdx < 0 ? paddingIdx + entries : paddingIdx);
    rows = where(unsqueeze(padding, 1), detach(rows), rows);
  }
  return reshape(rows, [...input.shape, features]);
}

/** An extreme along a dimension, and where it stands (the first of equals). */
export interface ValuesAndIndices {
  readonly values: Tensor;
  /** i32. */
  readonly indices: Tensor;
}

function extremeAlong(
  input: Tensor,
  arg: (x: Tensor, dim: number, keepdim: boolean) => Tensor,
  dim: number,
  keepdim: boolean,
): ValuesAndIndices {
  if (input.ndim === 0) return { values: gather(input, dim, arg(input, dim, true)), indices: arg(input, dim, true) };
  const indices = arg(input, dim, true);
  const values = gather(input, dim, indices);
  if (keepdim) return { values, indices };
  const d = normalizeDim("max", dim, input.ndim);
  const shape = input.shape.filter((_, i) => i !== d);
  return { values: reshape(values, shape), indices: reshape(indices, shape) };
}

/**
 * The largest element of everything; or with a `dim`, the largest along it and where it stands; or with another
 * tensor, the larger of each pair of elements. With a `dim` the gradient goes to the element that is returned.
 */
export function max(input: Tensor): Tensor;
export function max(input: Tensor, other: Tensor): Tensor;
export function max(input: Tensor, dim: number, keepdim?: boolean): ValuesAndIndices;
export function max(input: Tensor, dim?: number | Tensor, keepdim = false): Tensor | ValuesAndIndices {
  if (dim === undefined) return amax(input);
  return typeof dim === "number" ? extremeAlong(input, argmax, dim, keepdim) : maximum(input, dim);
}

/** The smallest element; see {@link max}. */
export function min(input: Tensor): Tensor;
export function min(input: Tensor, other: Tensor): Tensor;
export function min(input: Tensor, dim: number, keepdim?: boolean): ValuesAndIndices;
export function min(input: Tensor, dim?: number | Tensor, keepdim = false): Tensor | ValuesAndIndices {
  if (dim === undefined) return amin(input);
  return typeof dim === "number" ? extremeAlong(input, argmin, dim, keepdim) : minimum(input, dim);
}

/** The operators of this file. */
export default {
  gather: {
    fn: gather,
    params: ["input", "dim", "index"],
    samples: ["f32[3,4]; 1; i32[3,2]<4", "f32[3,4]; 0; i32[2,3]<3", "f32[5]; 0; i32[7]<5"],
  },
  indexSelect: {
    fn: indexSelect,
    params: ["input", "dim", "index"],
    samples: ["f32[3,4]; 1; i32[5]<4", "f32[4]; 0; i32[2]<4"],
  },
  takeAlongDim: {
    fn: takeAlongDim,
    params: ["input", "index", "dim"],
    samples: ["f32[3,4]; i32[3,1]<4; 1", "f32[3,4]; i32[5]<12"],
  },
  maskedSelect: { fn: maskedSelect, params: ["input", "mask"], samples: ["f32[3,4]; bool[]"] },
  embedding: {
    fn: embedding,
    params: ["input", "weight"],
    options: ["paddingIdx", "scaleGradByFreq"],
    samples: ["i32[2,3]<5; f32[5,4]"],
  },
  max: { fn: max, params: ["input", "dim", "keepdim"], samples: ["f32[3,4]", "f32[3,4]; 1; true", "f32[3,4]; f32[4]"] },
  min: { fn: min, params: ["input", "dim", "keepdim"], samples: ["f32[3,4]", "f32[3,4]; 0", "f32[3,4]; f32[4]"] },
} satisfies OperatorTable;
