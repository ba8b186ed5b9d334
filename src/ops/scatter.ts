/** Writing elements and rows by index: replacing what is there, or combining with it. */
import { ArgumentError, DTypeError, ShapeError } from "../graph/errors.js";
import { knownValues } from "../graph/known.js";
import { broadcastShapes, formatShape, normalizeDim, type Shape, sizeOf } from "../graph/shape.js";
import { constant } from "../graph/sources.js";
import { apply, Tensor } from "../graph/tensor.js";
import { add, div, ge, logicalOr, lt, maximum, mul, ne, sub, where } from "./arithmetic.js";
import { to } from "./conversion.js";
import { cumsum } from "./cumulative.js";
import { asTensor, type OperatorTable } from "./define.js";
import { wholeNumbers } from "./helpers.js";
import {
  atLeastVector,
  expectIndex,
  expectSameRank,
  fromEnd,
  gatherPrimitive,
  type Scatter,
  scatterAddPrimitive,
  scatterInto,
  scatterMaximumPrimitive,
  scatterMinimumPrimitive,
  scatterMultiplyPrimitive,
  scatterReplacePrimitive,
} from "./index-primitives.js";
import { expand, reshape } from "./movement.js";

// ── By an index of every element ────────────────────────────────────────────────────────────────────────────────────

function checkScatter(op: string, input: Tensor, dim: number, index: Tensor, src: Tensor): number {
  expectIndex(op, index);
  expectSameRank(op, input, index);
  expectSameRank(op, src, index);
  if (src.dtype !== input.dtype) throw new DTypeError(`${op}: src is ${src.dtype} and input ${input.dtype}`);
  return normalizeDim(op, dim, input.ndim);
}

/**
 * `input` with elements of `src` at the places along `dim` that `index` gives:
 * `out[index[i][j]][j] = src[i][j]` for dim 0. Where a place is given twice the later element stays.
 * @param src a tensor at least as large as the index, or a number
 * @param options.reduce combine with what is there instead
 */
export function scatter(
  input: Tensor,
  dim: number,
  index: Tensor,
  src: Tensor | number,
  options: { reduce?: "add" | "multiply" | null } = {},
): Tensor {
  const source = src instanceof Tensor ? src : constant(src, index.shape, input.dtype);
  const how = options.reduce ?? "replace";
  if (how !== "replace" && how !== "add" && how !== "multiply") {
    throw new ArgumentError(`scatter: reduce must be "add" or "multiply", not ${JSON.stringify(how)}`);
  }
  const combination = {
    replace: scatterReplacePrimitive,
    add: scatterAddPrimitive,
    multiply: scatterMultiplyPrimitive,
  };
  const d = checkScatter("scatter", input, dim, index, source);
  return scatterInto(combination[how], "scatter", input, d, index, source);
}

/**
 * Vectors of zeros with a one where `input` says, as i32: `[..., numClasses]`.
 * @param input i32, from 0 to `numClasses - 1`
 * @param numClasses one more than the largest element if not given; the input's value must be known then
 * @throws IndexError when it runs, where an element is outside
 */
export function oneHot(input: Tensor, numClasses = -1): Tensor {
  expectIndex("oneHot", input);
  const classes = numClasses === -1 ? 1 + Math.max(-1, ...knownValues("oneHot", "the input", input)) : numClasses;
  if (!Number.isInteger(classes) || classes < 1) {
    throw new ArgumentError(`oneHot: numClasses must be a whole number from 1 up, not ${classes}`);
  }
  const index = reshape(input, [...input.shape, 1]);
  const zeros = constant(0, [...input.shape, classes], "i32");
  return scatterInto(scatterReplacePrimitive, "oneHot", zeros, input.ndim, index, constant(1, index.shape, "i32"));
}

/** `input` with every element of `src` added at the place along `dim` that `index` gives. */
export function scatterAdd(input: Tensor, dim: number, index: Tensor, src: Tensor): Tensor {
  const d = checkScatter("scatterAdd", input, dim, index, src);
  return scatterInto(scatterAddPrimitive, "scatterAdd", input, d, index, src);
}

/** How elements that meet in one place are reduced. */
export type ScatterReduction = "sum" | "prod" | "mean" | "amax" | "amin";

const COMBINATIONS: Readonly<Record<ScatterReduction, Scatter>> = {
  sum: scatterAddPrimitive,
  prod: scatterMultiplyPrimitive,
  mean: scatterAddPrimitive,
  amax: scatterMaximumPrimitive,
  amin: scatterMinimumPrimitive,
};

/** What changes nothing. */
function identityOf(reduce: ScatterReduction): number {
  if (reduce === "prod") return 1;
  if (reduce === "amax") return Number.NEGATIVE_INFINITY;
  return reduce === "amin" ? Number.POSITIVE_INFINITY : 0;
}

/** Reduces by `combine`, which scatters a source, of the shape of `source`, into a base. */
function reduceScattered(
  op: string,
  input: Tensor,
  source: Tensor,
  reduce: ScatterReduction,
  includeSelf: boolean,
  combine: (how: Scatter, base: Tensor, source: Tensor) => Tensor,
): Tensor {
  if (!(reduce in COMBINATIONS)) {
    throw new ArgumentError(`${op}: reduce must be sum, prod, mean, amax or amin, not ${JSON.stringify(reduce)}`);
  }
  const identity = constant(identityOf(reduce), source.shape, input.dtype);
  const base = includeSelf ? input : combine(scatterReplacePrimitive, input, identity);
  const total = combine(COMBINATIONS[reduce], base, source);
  if (reduce !== "mean") return total;
  const own = constant(includeSelf ? 1 : 0, input.shape);
  const count = combine(scatterAddPrimitive, own, constant(1, source.shape));
  return div(total, maximum(count, constant(1)));
}

/**
 * The elements of `src` that `index` sends to one place along `dim`, reduced.
 * @param reduce sum, prod, mean, amax or amin; equal extremes share the gradient
 * @param options.includeSelf whether the element of the input in that place is one of them; it is if not given
 */
export function scatterReduce(
  input: Tensor,
  dim: number,
  index: Tensor,
  src: Tensor,
  reduce: ScatterReduction,
  options: { includeSelf?: boolean } = {},
): Tensor {
  const d = checkScatter("scatterReduce", input, dim, index, src);
  return reduceScattered("scatterReduce", input, src, reduce, options.includeSelf ?? true, (how, base, source) =>
    scatterInto(how, "scatterReduce", base, d, index, source),
  );
}

// ── By an index of rows ─────────────────────────────────────────────────────────────────────────────────────────────

/** Rows of `source` combined into those of `input` along `dim` that a vector gives. */
function scatterRows(how: Scatter, op: string, input: Tensor, dim: number, index: Tensor, source: Tensor): Tensor {
  expectIndex(op, index);
  if (index.ndim > 1) throw new ShapeError(`${op}: index must be a vector, not ${formatShape(index.shape)}`);
  if (source.dtype !== input.dtype) throw new DTypeError(`${op}: source is ${source.dtype} and input ${input.dtype}`);
  const d = normalizeDim(op, dim, input.ndim);
  const [base, rows, places] = [atLeastVector(input), atLeastVector(source), atLeastVector(index)];
  const expected = base.shape.map((n, i) => (i === d ? (places.shape[0] as number) : n));
  if (rows.ndim !== base.ndim || rows.shape.some((n, i) => n !== expected[i])) {
    throw new ShapeError(`${op}: source ${formatShape(source.shape)} must be ${formatShape(expected)}`);
  }
  return reshape(apply(how, [base, places, rows], { dim: d, op }), input.shape);
}

/** `input` with every row of `source` along `dim`, times `alpha`, added to the row that `index` gives. */
export function indexAdd(
  input: Tensor,
  dim: number,
  index: Tensor,
  source: Tensor,
  options: { alpha?: number } = {},
): Tensor {
  const { alpha = 1 } = options;
  return scatterRows(scatterAddPrimitive, "indexAdd", input, dim, index, alpha === 1 ? source : mul(source, alpha));
}

/** `input` with the rows along `dim` that `index` gives replaced by those of `source`. */
export function indexCopy(input: Tensor, dim: number, index: Tensor, source: Tensor): Tensor {
  return scatterRows(scatterReplacePrimitive, "indexCopy", input, dim, index, source);
}

/**
 * `input` with the rows along `dim` that `index` gives filled with `value`, a number or a scalar tensor. Negative
 * indices count from the end.
 */
export function indexFill(input: Tensor, dim: number, index: Tensor, value: Tensor | number): Tensor {
  const filling = to(asTensor(value, input.dtype, "indexFill"), input.dtype);
  if (filling.ndim > 0) throw new ShapeError(`indexFill: value must be a scalar, not ${formatShape(filling.shape)}`);
  expectIndex("indexFill", index);
  const d = normalizeDim("indexFill", dim, input.ndim);
  const size = input.shape[d] ?? 1;
  const marks = constant(1, index.shape, "i32");
  const marked = scatterRows(
    scatterReplacePrimitive,
    "indexFill",
    constant(0, [size], "i32"),
    0,
    fromEnd(index, size),
    marks,
  );
  // By a mask, so that the value's gradient counts a row once even if the index names it twice.
  const rows = reshape(
    ne(marked, 0),
    input.shape.map((n, i) => (i === d ? n : 1)),
  );
  return where(rows, filling, input);
}

/**
 * The rows of `source` that `index` sends to one row of the input along `dim`, reduced.
 * @param reduce prod, mean, amax or amin; equal extremes share the gradient
 * @param options.includeSelf whether the row of the input is one of them; it is if not given
 */
export function indexReduce(
  input: Tensor,
  dim: number,
  index: Tensor,
  source: Tensor,
  reduce: ScatterReduction,
  options: { includeSelf?: boolean } = {},
): Tensor {
  return reduceScattered("indexReduce", input, source, reduce, options.includeSelf ?? true, (how, base, rows) =>
    scatterRows(how, "indexReduce", base, dim, index, rows),
  );
}

// ── By position ─────────────────────────────────────────────────────────────────────────────────────────────────────

/** The elements in the places that `index` gives among all elements in row-major order; negative ones from the end. */
export function take(input: Tensor, index: Tensor): Tensor {
  expectIndex("take", index);
  const places = reshape(fromEnd(index, input.numel), [-1]);
  return reshape(apply(gatherPrimitive, [reshape(input, [-1]), places], { dim: 0, op: "take" }), index.shape);
}

/**
 * `input` with the elements of `source` in the places that `index` gives among all elements in row-major order.
 * @param accumulate add to what is there
 */
export function put(input: Tensor, index: Tensor, source: Tensor, accumulate = false): Tensor {
  expectIndex("put", index);
  if (source.numel !== index.numel) {
    throw new ShapeError(`put: source has ${source.numel} elements, and index ${index.numel}`);
  }
  const places = reshape(fromEnd(index, input.numel), [-1]);
  const how = accumulate ? scatterAddPrimitive : scatterReplacePrimitive;
  return reshape(scatterRows(how, "put", reshape(input, [-1]), 0, places, reshape(source, [-1])), input.shape);
}

/** Index tensors as whole numbers: a mask, whose value must be known, is the places where it holds. */
function asPlaces(indices: readonly Tensor[]): Tensor[] {
  return indices.flatMap((index) => {
    if (index.dtype !== "bool") return [index];
    if (index.ndim !== 1) throw new ShapeError(`indexPut: masks must be vectors, not ${formatShape(index.shape)}`);
    const mask = knownValues("indexPut", "a mask", index);
    return [wholeNumbers(mask.flatMap((holds, i) => (holds ? [i] : [])))];
  });
}

/**
 * `input[indices] = values`: one index tensor for each of the first dimensions, which broadcast.
 * @param indices i32, negative ones count from the end; or masks of vectors
 * @param values broadcast to the shape of the indices followed by the remaining dimensions
 * @param options.accumulate add to what is there
 */
export function indexPut(
  input: Tensor,
  indices: readonly Tensor[],
  values: Tensor,
  options: { accumulate?: boolean } = {},
): Tensor {
  const places = asPlaces(indices);
  const count = places.length;
  if (count === 0 || count > input.ndim) {
    throw new ShapeError(`indexPut: ${count} indices for input ${formatShape(input.shape)}`);
  }
  const shape = places.reduce<Shape>((s, x) => broadcastShapes("indexPut", s, x.shape), []);
  const [front, rest] = [input.shape.slice(0, count), input.shape.slice(count)];
  const flat = places.reduce<Tensor>(
    (total, index, i) => {
      expectIndex("indexPut", index);
      const size = front[i] as number;
      const place = fromEnd(index, size);
      // A place outside of its dimension would be one inside of the table.
      const outside = logicalOr(lt(place, 0), ge(place, size));
      return where(logicalOr(lt(total, 0), outside), -1, add(mul(total, size), place));
    },
    constant(0, [], "i32"),
  );
  const table = reshape(input, [sizeOf(front), ...rest]);
  const rows = reshape(expand(values, [...shape, ...rest]), [sizeOf(shape), ...rest]);
  const how = options.accumulate ? scatterAddPrimitive : scatterReplacePrimitive;
  return reshape(scatterRows(how, "indexPut", table, 0, reshape(expand(flat, shape), [-1]), rows), input.shape);
}

/** `input` with the places where `mask` holds taken, in row-major order, from the start of `source`. */
export function maskedScatter(input: Tensor, mask: Tensor, source: Tensor): Tensor {
  if (mask.dtype !== "bool") throw new DTypeError(`maskedScatter: mask is ${mask.dtype}, and must be bool`);
  if (source.dtype !== input.dtype) {
    throw new DTypeError(`maskedScatter: source is ${source.dtype} and input ${input.dtype}`);
  }
  const shape = broadcastShapes("maskedScatter", input.shape, mask.shape);
  const holds = expand(mask, shape);
  const order = sub(cumsum(to(reshape(holds, [-1]), "i32"), 0), 1);
  const from = maximum(order, constant(0, [], "i32"));
  const taken = apply(gatherPrimitive, [reshape(source, [-1]), from], { dim: 0, op: "maskedScatter" });
  return where(holds, reshape(taken, shape), input);
}

/** The operators of this file. */
export default {
  scatter: {
    fn: scatter,
    params: ["input", "dim", "index", "src"],
    options: ["reduce"],
    // One place in each column: where places repeat, PyTorch's gradient is that of the last element, given to all.
    samples: [
      "f32[3,4]; 0; i32[1,4]<3; f32[1,4]",
      "f32[3,4]; 0; i32[1,3]<3; f32[2,4]",
      "f32[3,4]; 1; i32[3,6]<4; 2.5",
      'f32[3,4]; 1; i32[3,6]<4; f32[3,6]; {"reduce":"multiply"}',
    ],
  },
  oneHot: { fn: oneHot, params: ["input", "numClasses"], samples: ["i32[2,3]<5; 5", "i32[]<3; 4"], discrete: true },
  scatterAdd: {
    fn: scatterAdd,
    params: ["input", "dim", "index", "src"],
    samples: ["f32[3,4]; 1; i32[3,2]<4; f32[3,2]", "f32[3,4]; 0; i32[2,3]<3; f32[4,4]", "f32[5]; 0; i32[7]<5; f32[7]"],
  },
  scatterReduce: {
    fn: scatterReduce,
    params: ["input", "dim", "index", "src", "reduce"],
    options: ["includeSelf"],
    samples: [
      'f32[3,4]; 1; i32[3,6]<4; f32[3,6]; "sum"; {"includeSelf":false}',
      'f32[3,4]; 1; i32[2,6]<4; f32[3,6]; "prod"',
      'f32[3,4]; 1; i32[3,6]<4; f32[3,6]; "mean"; {"includeSelf":false}',
      'f32[3,4]; 0; i32[5,4]<3; f32[5,4]; "amax"',
      'f32[3,4]; 0; i32[5,4]<3; f32[5,4]; "amin"; {"includeSelf":false}',
    ],
  },
  indexAdd: {
    fn: indexAdd,
    params: ["input", "dim", "index", "source"],
    options: ["alpha"],
    samples: ["f32[3,4]; 1; i32[5]<4; f32[3,5]", 'f32[5]; 0; i32[3]<5; f32[3]; {"alpha":2}'],
  },
  indexCopy: {
    fn: indexCopy,
    params: ["input", "dim", "index", "source"],
    samples: ["f32[3,4]; 1; i32[1]<4; f32[3,1]"],
  },
  indexFill: {
    fn: indexFill,
    params: ["input", "dim", "index", "value"],
    samples: ["f32[3,4]; 1; i32[2]<4; 1.5", "f32[3,4]; 0; i32[5]<3; f32[]"],
  },
  indexReduce: {
    fn: indexReduce,
    params: ["input", "dim", "index", "source", "reduce"],
    options: ["includeSelf"],
    samples: [
      'f32[3,4]; 1; i32[5]<4; f32[3,5]; "prod"',
      'f32[3,4]; 0; i32[5]<3; f32[5,4]; "amax"; {"includeSelf":false}',
      'f32[3,4]; 0; i32[5]<3; f32[5,4]; "mean"',
    ],
  },
  take: { fn: take, params: ["input", "index"], samples: ["f32[3,4]; i32[2,3]<12"] },
  put: {
    fn: put,
    params: ["input", "index", "source", "accumulate"],
    samples: ["f32[3,4]; i32[6]<12; f32[2,3]; true", "f32[3,4]; i32[1]<12; f32[]"],
  },
  indexPut: {
    fn: indexPut,
    params: ["input", "indices", "values"],
    options: ["accumulate"],
    samples: [
      'f32[3,4]; ["i32[5]<3"]; f32[4]; {"accumulate":true}',
      'f32[3,4,2]; ["i32[2,1]<3","i32[3]<4"]; f32[3,2]; {"accumulate":true}',
    ],
  },
  maskedScatter: { fn: maskedScatter, params: ["input", "mask", "source"], samples: ["f32[3,4]; bool[4]; f32[12]"] },
} satisfies OperatorTable;
