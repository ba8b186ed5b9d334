/** Diagonals and triangles of matrices. A diagonal is a view; its inverse places a vector on one. */
import { ShapeError } from "../graph/errors.js";
import type { Primitive, RefArray } from "../graph/primitive.js";
import { checkShape, formatShape, normalizeDim, type Shape, sameShape, sizeOf } from "../graph/shape.js";
import { constant } from "../graph/sources.js";
import { apply, type Tensor } from "../graph/tensor.js";
import { type Layout, readView, wholeView } from "../graph/view.js";
import { add, sub, where } from "./arithmetic.js";
import { type OperatorTable, perInput } from "./define.js";
import { lowerTriangle } from "./helpers.js";
import { reshape } from "./movement.js";
import { sum } from "./reduction.js";

interface DiagonalAttrs {
  /** Above the main diagonal, or below it where negative. */
  readonly offset: number;
  readonly dim1: number;
  readonly dim2: number;
}

/** Number of elements on a diagonal of a rows × columns matrix. */
function lengthOf(rows: number, columns: number, offset: number): number {
  return Math.max(0, offset >= 0 ? Math.min(rows, columns - offset) : Math.min(rows + offset, columns));
}

function diagonalShape(shape: Shape, { offset, dim1, dim2 }: DiagonalAttrs): Shape {
  const length = lengthOf(shape[dim1] as number, shape[dim2] as number, offset);
  return [...shape.filter((_, i) => i !== dim1 && i !== dim2), length];
}

/** The diagonal of a view: its two dimensions advance together. */
function diagonalView(input: Layout, { offset, dim1, dim2 }: DiagonalAttrs): Layout {
  const shape = diagonalShape(input.shape, { offset, dim1, dim2 });
  const [down, right] = [input.strides[dim1] as number, input.strides[dim2] as number];
  const start = shape.at(-1) === 0 ? 0 : offset >= 0 ? offset * right : -offset * down;
  return {
    shape,
    strides: [...input.strides.filter((_, i) => i !== dim1 && i !== dim2), down + right],
    offset: input.offset + start,
  };
}

/** The attributes where the examples come as a first dimension. */
function behindExamples({ offset, dim1, dim2 }: DiagonalAttrs): DiagonalAttrs {
  return { offset, dim1: dim1 + 1, dim2: dim2 + 1 };
}

const diagonalPrimitive: Primitive<Tensor, DiagonalAttrs> = {
  name: "diagonal",
  infer: ([x], attrs) => {
    const { shape, dtype } = x as Tensor;
    return { shape: diagonalShape(shape, attrs), dtype };
  },
  reference: ([x], _, attrs) => {
    const { data, shape } = x as RefArray;
    return readView(data, diagonalView(wholeView(shape), attrs));
  },
  vjp: perInput(({ g, inputs: [x], attrs }) =>
    apply(placeDiagonalPrimitive, [g], { ...attrs, shape: (x as Tensor).shape }),
  ),
  batch: ({ inputs: [x], attrs }) => apply(diagonalPrimitive, [x as Tensor], behindExamples(attrs)),
  lowering: { kind: "view", view: (input, _, attrs) => diagonalView(input, attrs) },
  flops: () => 0,
};

/** Zeros of a shape with the input on a diagonal: the transpose of taking the diagonal. */
const placeDiagonalPrimitive: Primitive<Tensor, DiagonalAttrs & { readonly shape: Shape }> = {
  name: "placeDiagonal",
  infer: ([x], { shape }) => ({ shape: checkShape("diagEmbed", shape), dtype: (x as Tensor).dtype }),
  reference([x], { shape }, attrs) {
    const result = new Float64Array(sizeOf(shape));
    const positions = readView(
      Float64Array.from(result, (_, i) => i),
      diagonalView(wholeView(shape), attrs),
    );
    positions.forEach((position, i) => {
      result[position] = (x as RefArray).data[i] as number;
    });
    return result;
  },
  vjp: perInput(({ g, attrs: { offset, dim1, dim2 } }) => apply(diagonalPrimitive, [g], { offset, dim1, dim2 })),
  jvp: ({ tangents: [x], attrs }) => apply(placeDiagonalPrimitive, [x as Tensor], attrs),
  batch: ({ inputs: [x], attrs, size }) =>
    apply(placeDiagonalPrimitive, [x as Tensor], { ...behindExamples(attrs), shape: [size, ...attrs.shape] }),
  lowering: {
    kind: "kernel",
    lower(context) {
      const out = context.output();
      context.fill(out, 0);
      context.copy({ ...out, ...diagonalView(out, context.attrs) }, context.input(0));
    },
  },
  flops: () => 0,
};

/** Checks and counts the two dimensions of a diagonal from 0. */
function planeOf(op: string, rank: number, dim1: number, dim2: number): [number, number] {
  if (rank < 2) throw new ShapeError(`${op}: needs at least 2 dimensions, not ${rank}`);
  const [a, b] = [normalizeDim(op, dim1, rank), normalizeDim(op, dim2, rank)];
  if (a === b) throw new ShapeError(`${op}: dim1 and dim2 must differ, and both are ${a}`);
  return [a, b];
}

/** The diagonal `offset` above the main one of two dimensions, as a new last dimension. A view. */
export function diagonal(input: Tensor, offset = 0, dim1 = 0, dim2 = 1): Tensor {
  const [a, b] = planeOf("diagonal", input.ndim, dim1, dim2);
  return apply(diagonalPrimitive, [input], { offset, dim1: a, dim2: b });
}

/** Matrices with the last dimension of the input on the diagonal `offset` above the main one, and 0 elsewhere. */
export function diagEmbed(input: Tensor, offset = 0, dim1 = -2, dim2 = -1): Tensor {
  if (input.ndim === 0) throw new ShapeError("diagEmbed: a scalar has no dimension to place on a diagonal");
  const [a, b] = planeOf("diagEmbed", input.ndim + 1, dim1, dim2);
  const size = (input.shape.at(-1) as number) + Math.abs(offset);
  const shape = input.shape.slice(0, -1);
  for (const d of [Math.min(a, b), Math.max(a, b)]) shape.splice(d, 0, size);
  return apply(placeDiagonalPrimitive, [input], { offset, dim1: a, dim2: b, shape });
}

/** A matrix's diagonal, or the matrix that has a vector on its diagonal. */
export function diag(input: Tensor, offset = 0): Tensor {
  if (input.ndim !== 1 && input.ndim !== 2) {
    throw new ShapeError(`diag: input must be a vector or a matrix, not ${formatShape(input.shape)}`);
  }
  return input.ndim === 1 ? diagEmbed(input, offset) : diagonal(input, offset);
}

/** The matrix that has all elements of the input on its diagonal. */
export function diagflat(input: Tensor, offset = 0): Tensor {
  return diagEmbed(reshape(input, [-1]), offset);
}

/** The input with a diagonal replaced by `src`. */
export function diagonalScatter(input: Tensor, src: Tensor, offset = 0, dim1 = 0, dim2 = 1): Tensor {
  const [a, b] = planeOf("diagonalScatter", input.ndim, dim1, dim2);
  const attrs = { offset, dim1: a, dim2: b };
  const expected = diagonalShape(input.shape, attrs);
  if (!sameShape(src.shape, expected)) {
    throw new ShapeError(
      `diagonalScatter: src is ${formatShape(src.shape)}, and the diagonal ${formatShape(expected)}`,
    );
  }
  const old = apply(diagonalPrimitive, [input], attrs);
  return add(input, apply(placeDiagonalPrimitive, [sub(src, old)], { ...attrs, shape: input.shape }));
}

/** The sum of the diagonal of a matrix. */
export function trace(input: Tensor): Tensor {
  if (input.ndim !== 2) throw new ShapeError(`trace: input must be a matrix, not ${formatShape(input.shape)}`);
  return sum(diagonal(input));
}

/** Where an element of the last two dimensions is on or below the diagonal `offset` above the main one. */
function lowerMask(op: string, input: Tensor, offset: number): Tensor {
  if (input.ndim < 2) {
    throw new ShapeError(`${op}: input must have at least 2 dimensions, not shape ${formatShape(input.shape)}`);
  }
  const [rows, columns] = input.shape.slice(-2) as [number, number];
  return lowerTriangle(rows, columns, offset);
}

/** The elements on and below a diagonal of the last two dimensions, and 0 above. */
export function tril(input: Tensor, diagonal = 0): Tensor {
  return where(lowerMask("tril", input, diagonal), input, constant(0, [], input.dtype));
}

/** The elements on and above a diagonal of the last two dimensions, and 0 below. */
export function triu(input: Tensor, diagonal = 0): Tensor {
  return where(lowerMask("triu", input, diagonal - 1), constant(0, [], input.dtype), input);
}

/** The operators of this file. */
export default {
  diagonal: {
    fn: diagonal,
    params: ["input", "offset", "dim1", "dim2"],
    samples: ["f32[3,4]", "f32[3,4]; -1", "f32[2,3,4]; 1; 1; 2", "f32[2,3,4]; 0; 2; 0", "f32[2,3]; 5"],
  },
  diagEmbed: {
    fn: diagEmbed,
    params: ["input", "offset", "dim1", "dim2"],
    samples: ["f32[3]", "f32[2,3]; 1", "f32[2,3]; -1; 0; 2"],
  },
  diag: { fn: diag, params: ["input", "diagonal"], samples: ["f32[3,4]; 1", "f32[3]; -1"] },
  diagflat: { fn: diagflat, params: ["input", "offset"], samples: ["f32[2,2]; 1"] },
  diagonalScatter: {
    fn: diagonalScatter,
    params: ["input", "src", "offset", "dim1", "dim2"],
    samples: ["f32[3,4]; f32[3]", "f32[2,3,4]; f32[2,2]; -1; 1; 2"],
  },
  trace: { fn: trace, params: ["input"], samples: ["f32[3,4]"] },
  tril: { fn: tril, params: ["input", "diagonal"], samples: ["f32[3,4]", "f32[2,3,4]; -1"] },
  triu: { fn: triu, params: ["input", "diagonal"], samples: ["f32[3,4]", "f32[2,3,4]; 1"] },
} satisfies OperatorTable;
