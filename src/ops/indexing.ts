/** Selecting elements and rows by index, and adding into them. */
import { DTypeError, IndexError, ShapeError } from "../graph/errors.js";
import type { Aval, KernelContext, Operand, Primitive, RefArray } from "../graph/primitive.js";
import { formatShape, normalizeDim, type Shape, sizeOf } from "../graph/shape.js";
import { constant } from "../graph/sources.js";
import { apply, type Tensor } from "../graph/tensor.js";
import { Flag, Opcode, ScatterOp } from "../isa.js";
import { add, maximum, minimum, mul } from "./arithmetic.js";
import { type OperatorTable, perInput } from "./define.js";
import { expand, narrow, reshape } from "./movement.js";
import { pad } from "./padding.js";
import { amax, amin, argmax, argmin } from "./reduction.js";

interface IndexAttrs {
  readonly dim: number;
  /** Whose index it is, for messages. */
  readonly op: string;
}

/** A tensor around dimension `dim`: sizes before, of and after it. */
function around(shape: Shape, dim: number): { outer: number; size: number; inner: number } {
  return { outer: sizeOf(shape.slice(0, dim)), size: shape[dim] as number, inner: sizeOf(shape.slice(dim + 1)) };
}

/** Calls `visit` with the positions in `table` and in `picked` that an index connects, in the kernels' order. */
function connect(
  table: Shape,
  picked: Shape,
  index: RefArray,
  { dim, op }: IndexAttrs,
  visit: (table: number, picked: number) => void,
): void {
  const { outer, size, inner } = around(table, dim);
  const count = picked[dim] as number;
  const wholeRows = index.shape.length === 1 && picked.length !== 1;
  for (let at = 0; at < outer * count * inner; at++) {
    const j = Math.floor(at / inner) % count;
    const o = Math.floor(at / (inner * count));
    const entry = index.data[wholeRows ? j : at] as number;
    if (entry < 0 || entry >= size) {
      throw new IndexError(`${op}: index ${entry} is out of range for dimension ${dim}, which has ${size} entries`);
    }
    visit((o * size + entry) * inner + (at % inner), at);
  }
}

/** Emits a Gather or Scatter between `table` and `picked`, which differ in dimension `dim` only. */
function emitIndexed(
  context: KernelContext<IndexAttrs>,
  opcode: Opcode.Gather | Opcode.Scatter,
  operands: { table: Operand; picked: Operand; index: Operand },
): void {
  const { table, picked, index } = operands;
  const { dim } = context.attrs;
  const { outer, size, inner } = around(table.shape, dim);
  const count = picked.shape[dim] as number;
  const strides = index.shape.length === 1 && picked.shape.length !== 1 ? [0, 1, 0] : [count * inner, inner, 1];
  const sizes = [outer, size, count, inner, ...strides, ScatterOp.Add];
  if (opcode === Opcode.Gather) {
    context.emit(opcode, Flag.None, [picked, table, index, ...sizes], { reads: [table, index], writes: [picked] });
  } else {
    context.emit(opcode, Flag.None, [table, picked, index, ...sizes], {
      reads: [table, picked, index],
      writes: [table],
    });
  }
}

/** The second input indexes dimension `dim` of the first. */
const INDEX_CHECK = {
  input: 1,
  size: ([table]: readonly Aval[], { dim }: IndexAttrs): number => table?.shape[dim] as number,
};

/** Elements of the input along `dim`, by an index of the input's other sizes, or of one dimension for whole rows. */
const gatherPrimitive: Primitive<Tensor, IndexAttrs> = {
  name: "gather",
  infer([x, index], { dim }) {
    const { shape, dtype } = x as Tensor;
    const picked = (index as Tensor).shape;
    const count = picked.length === 1 ? (picked[0] as number) : (picked[dim] as number);
    return { shape: shape.map((n, i) => (i === dim ? count : n)), dtype };
  },
  reference([x, index], out, attrs) {
    const result = new Float64Array(sizeOf(out.shape));
    connect((x as RefArray).shape, out.shape, index as RefArray, attrs, (table, picked) => {
      result[picked] = (x as RefArray).data[table] as number;
    });
    return result;
  },
  vjp: perInput(
    ({ g, inputs: [x, index], attrs }) =>
      apply(scatterAddPrimitive, [constant(0, (x as Tensor).shape), index as Tensor, g], attrs),
    null,
  ),
  lowering: {
    kind: "kernel",
    checks: INDEX_CHECK,
    lower(context) {
      const operands = { table: context.contiguous(0), picked: context.output(), index: context.contiguous(1) };
      emitIndexed(context, Opcode.Gather, operands);
    },
  },
  flops: () => 0,
};

/** The first input with elements of the third added where the index says: the transpose of a gather. */
const scatterAddPrimitive: Primitive<Tensor, IndexAttrs> = {
  name: "scatterAdd",
  infer: ([base]) => {
    const { shape, dtype } = base as Tensor;
    if (dtype !== "f32") throw new DTypeError(`scatterAdd: input is ${dtype}, and must be f32`);
    return { shape, dtype };
  },
  reference([base, index, source], _, attrs) {
    const result = Float64Array.from((base as RefArray).data);
    connect((base as RefArray).shape, (source as RefArray).shape, index as RefArray, attrs, (table, picked) => {
      result[table] = (result[table] as number) + ((source as RefArray).data[picked] as number);
    });
    return result;
  },
  vjp: perInput(
    ({ g }) => g,
    null,
    ({ g, inputs: [, index], attrs }) => apply(gatherPrimitive, [g, index as Tensor], attrs),
  ),
  lowering: {
    kind: "kernel",
    checks: INDEX_CHECK,
    lower(context) {
      const table = context.output();
      context.copy(table, context.input(0));
      const operands = { table, picked: context.contiguous(2), index: context.contiguous(1) };
      emitIndexed(context, Opcode.Scatter, operands);
    },
  },
  flops: ([, , source]) => sizeOf((source as Tensor).shape),
};

function expectIndex(op: string, index: Tensor): void {
  if (index.dtype !== "i32") throw new DTypeError(`${op}: index is ${index.dtype}, and must be i32`);
}

function expectSameRank(op: string, input: Tensor, index: Tensor): void {
  if (Math.max(input.ndim, 1) !== Math.max(index.ndim, 1)) {
    throw new ShapeError(
      `${op}: index ${formatShape(index.shape)} must have as many dimensions as input ${formatShape(input.shape)}`,
    );
  }
}

/** A scalar as a vector of one element: index operators treat them alike. */
function atLeastVector(x: Tensor): Tensor {
  return x.ndim === 0 ? reshape(x, [1]) : x;
}

/** `x` cut to the sizes of `index` in every dimension but `dim`. */
function cutTo(op: string, what: string, x: Tensor, index: Shape, dim: number | null): Tensor {
  return index.reduce((out, size, d) => {
    if (d === dim || size === out.shape[d]) return out;
    if (size > (out.shape[d] as number)) {
      throw new ShapeError(
        `${op}: index ${formatShape(index)} exceeds ${what} ${formatShape(x.shape)} in dimension ${d}`,
      );
    }
    return narrow(out, d, 0, size);
  }, x);
}

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

/** `input` with every element of `src` added at the place along `dim` that `index` gives. */
export function scatterAdd(input: Tensor, dim: number, index: Tensor, src: Tensor): Tensor {
  expectIndex("scatterAdd", index);
  expectSameRank("scatterAdd", input, index);
  expectSameRank("scatterAdd", src, index);
  if (src.dtype !== input.dtype) throw new DTypeError(`scatterAdd: src is ${src.dtype} and input ${input.dtype}`);
  const d = normalizeDim("scatterAdd", dim, input.ndim);
  const [base, picked] = [atLeastVector(input), atLeastVector(index)];
  const source = cutTo("scatterAdd", "src", atLeastVector(src), picked.shape, null);
  const attrs = { dim: d, op: "scatterAdd" };
  const region = cutTo("scatterAdd", "input", base, picked.shape, d);
  if (region === base) return reshape(apply(scatterAddPrimitive, [base, picked, source], attrs), input.shape);
  const added = apply(scatterAddPrimitive, [constant(0, region.shape), picked, source], attrs);
  const widths = base.shape
    .map((n, i) => [0, n - (region.shape[i] as number)])
    .reverse()
    .flat();
  return add(base, pad(added, widths));
}

/** Rows of the input along `dim`, one for each element of the vector `index`. */
export function indexSelect(input: Tensor, dim: number, index: Tensor): Tensor {
  expectIndex("indexSelect", index);
  if (index.ndim > 1) throw new ShapeError(`indexSelect: index must be a vector, not ${formatShape(index.shape)}`);
  const d = normalizeDim("indexSelect", dim, input.ndim);
  const out = apply(gatherPrimitive, [atLeastVector(input), atLeastVector(index)], { dim: d, op: "indexSelect" });
  return input.ndim === 0 ? reshape(out, []) : out;
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
  expectIndex("indexAdd", index);
  if (index.ndim > 1) throw new ShapeError(`indexAdd: index must be a vector, not ${formatShape(index.shape)}`);
  const d = normalizeDim("indexAdd", dim, input.ndim);
  const [base, rows, picked] = [atLeastVector(input), atLeastVector(source), atLeastVector(index)];
  const expected = base.shape.map((n, i) => (i === d ? (picked.shape[0] as number) : n));
  if (rows.ndim !== base.ndim || rows.shape.some((n, i) => n !== expected[i])) {
    throw new ShapeError(`indexAdd: source ${formatShape(source.shape)} must be ${formatShape(expected)}`);
  }
  const scaled = alpha === 1 ? rows : mul(rows, alpha);
  return reshape(apply(scatterAddPrimitive, [base, picked, scaled], { dim: d, op: "indexAdd" }), input.shape);
}

/** Elements along `dim` by an index that broadcasts against the input's other dimensions; without `dim`, by position. */
export function takeAlongDim(input: Tensor, index: Tensor, dim?: number | null): Tensor {
  if (dim == null) return gather(reshape(input, [-1]), 0, reshape(index, [-1]));
  expectSameRank("takeAlongDim", input, index);
  const d = normalizeDim("takeAlongDim", dim, input.ndim);
  const shape = index.shape.map((n, i) => (i === d ? n : Math.max(n, input.shape[i] as number)));
  const table = expand(
    input,
    shape.map((n, i) => (i === d ? (input.shape[i] as number) : n)),
  );
  return gather(table, d, expand(index, shape));
}

/**
 * Rows of a table `[entries, features]`, one for each element of `input` (i32, any shape): `[…, features]`.
 * @throws IndexError when it runs, where an index is not an entry
 */
export function embedding(input: Tensor, weight: Tensor): Tensor {
  if (input.dtype !== "i32") throw new DTypeError(`embedding: input is ${input.dtype}, and must be i32`);
  if (weight.ndim !== 2)
    throw new ShapeError(`embedding: weight must be 2-D [entries, features], not ${formatShape(weight.shape)}`);
  const rows = apply(gatherPrimitive, [weight, reshape(input, [-1])], { dim: 0, op: "embedding" });
  return reshape(rows, [...input.shape, weight.shape[1] as number]);
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
export const indexingOperators: OperatorTable = {
  gather: {
    fn: gather,
    params: ["input", "dim", "index"],
    samples: ["f32[3,4]; 1; i32[3,2]<4", "f32[3,4]; 0; i32[2,3]<3", "f32[5]; 0; i32[7]<5"],
  },
  scatterAdd: {
    fn: scatterAdd,
    params: ["input", "dim", "index", "src"],
    samples: ["f32[3,4]; 1; i32[3,2]<4; f32[3,2]", "f32[3,4]; 0; i32[2,3]<3; f32[4,4]", "f32[5]; 0; i32[7]<5; f32[7]"],
  },
  indexSelect: {
    fn: indexSelect,
    params: ["input", "dim", "index"],
    samples: ["f32[3,4]; 1; i32[5]<4", "f32[4]; 0; i32[2]<4"],
  },
  indexAdd: {
    fn: indexAdd,
    params: ["input", "dim", "index", "source"],
    options: ["alpha"],
    samples: ["f32[3,4]; 1; i32[5]<4; f32[3,5]", 'f32[5]; 0; i32[3]<5; f32[3]; {"alpha":2}'],
  },
  takeAlongDim: {
    fn: takeAlongDim,
    params: ["input", "index", "dim"],
    samples: ["f32[3,4]; i32[3,1]<4; 1", "f32[3,4]; i32[5]<12"],
  },
  embedding: { fn: embedding, params: ["input", "weight"], samples: ["i32[2,3]<5; f32[5,4]"] },
  max: { fn: max, params: ["input", "dim", "keepdim"], samples: ["f32[3,4]", "f32[3,4]; 1; true", "f32[3,4]; f32[4]"] },
  min: { fn: min, params: ["input", "dim", "keepdim"], samples: ["f32[3,4]", "f32[3,4]; 0", "f32[3,4]; f32[4]"] },
};
