/** Reductions: sums, means, products, extremes and where they stand. */
import { type DType, expectDType } from "../graph/dtype.js";
import { DTypeError, ShapeError } from "../graph/errors.js";
import type { Jvp, Primitive, RefArray } from "../graph/primitive.js";
import { formatShape, normalizeDims, type Shape, sizeOf } from "../graph/shape.js";
import { apply, type Tensor } from "../graph/tensor.js";
import { permuteView, readView, wholeView } from "../graph/view.js";
import { ReduceOp } from "../isa.js";
import { div, eq, mul, ne, where } from "./arithmetic.js";
import { to, toFloat } from "./conversion.js";
import { type OperatorTable, perInput, type Rule } from "./define.js";
import { expand, reshape } from "./movement.js";

interface ReduceAttrs {
  /** Rising. The output is without them. */
  readonly dims: readonly number[];
}

interface ReduceSpec {
  readonly name: string;
  readonly op: Partial<Record<DType, ReduceOp>>;
  readonly out?: DType;
  /** Over the reduced elements in row-major order. */
  reference(values: Float64Array): number;
  readonly vjp: Rule<ReduceAttrs> | null;
  readonly jvp?: Jvp<Tensor, ReduceAttrs>;
}

function reduction(spec: ReduceSpec): Primitive<Tensor, ReduceAttrs> {
  return {
    name: spec.name,
    infer([x], { dims }) {
      const { shape, dtype } = x as Tensor;
      if (spec.op[dtype] === undefined) throw new DTypeError(`${spec.name}: does not take ${dtype} tensors`);
      return { shape: shape.filter((_, i) => !dims.includes(i)), dtype: spec.out ?? dtype };
    },
    reference([x], out, { dims }) {
      const { data, shape } = x as RefArray;
      const kept = shape.map((_, i) => i).filter((i) => !dims.includes(i));
      const ordered = readView(data, permuteView(wholeView(shape), [...kept, ...dims]));
      const length = sizeOf(dims.map((d) => shape[d] as number));
      return Float64Array.from({ length: sizeOf(out.shape) }, (_, i) =>
        spec.reference(ordered.subarray(i * length, (i + 1) * length)),
      );
    },
    vjp: spec.vjp === null ? null : perInput(spec.vjp),
    ...(spec.jvp && { jvp: spec.jvp }),
    lowering: { kind: "reduce", op: spec.op },
    flops: ([x]) => sizeOf((x as Tensor).shape),
  };
}

/** A reduced tensor spread again over the shape that it was reduced from. */
function spread(reduced: Tensor, shape: Shape, dims: readonly number[]): Tensor {
  return expand(reshape(reduced, keptShape(shape, dims)), shape);
}

function keptShape(shape: Shape, dims: readonly number[]): Shape {
  return shape.map((n, i) => (dims.includes(i) ? 1 : n));
}

const sumPrimitive = reduction({
  name: "sum",
  op: { f32: ReduceOp.SumF32, i32: ReduceOp.SumI32 },
  reference: (values) => values.reduce((a, b) => a + b, 0),
  vjp: ({ g, inputs: [x], attrs: { dims } }) => spread(g, (x as Tensor).shape, dims),
  jvp: ({ tangents: [x], attrs }) => apply(sumPrimitive, [x as Tensor], attrs),
});

const squareSumPrimitive = reduction({
  name: "squareSum",
  op: { f32: ReduceOp.SquareSumF32 },
  reference: (values) => values.reduce((a, b) => a + b * b, 0),
  vjp: ({ g, inputs: [x], attrs: { dims } }) => mul(mul(x as Tensor, 2), spread(g, (x as Tensor).shape, dims)),
  jvp: ({ tangents: [dx], inputs: [x], attrs }) => apply(sumPrimitive, [mul(mul(x as Tensor, 2), dx as Tensor)], attrs),
});

/** Elements equal to the extreme share its gradient evenly, as PyTorch's amax does. */
const extremeRule: Rule<ReduceAttrs> = ({ g, out, inputs: [x], attrs: { dims } }) => {
  const { shape } = x as Tensor;
  const ties = eq(x as Tensor, spread(out, shape, dims));
  const share = div(g, apply(sumPrimitive, [to(ties, "f32")], { dims }));
  return where(ties, spread(share, shape, dims), 0);
};

const maxPrimitive = reduction({
  name: "amax",
  op: { f32: ReduceOp.MaxF32, i32: ReduceOp.MaxI32, bool: ReduceOp.MaxI32 },
  reference: (values) => values.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY),
  vjp: extremeRule,
});

const minPrimitive = reduction({
  name: "amin",
  op: { f32: ReduceOp.MinF32, i32: ReduceOp.MinI32, bool: ReduceOp.MinI32 },
  reference: (values) => values.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY),
  vjp: extremeRule,
});

/** Every element's gradient is the product of the others, computed without dividing by zeros. */
const prodRule: Rule<ReduceAttrs> = ({ g, inputs: [input], attrs: { dims } }) => {
  const x = input as Tensor;
  const zero = eq(x, 0);
  const rest = apply(prodPrimitive, [where(zero, 1, x)], { dims });
  const zeros = apply(sumPrimitive, [to(zero, "f32")], { dims });
  const scaled = spread(mul(g, rest), x.shape, dims);
  const noZeros = where(eq(spread(zeros, x.shape, dims), 0), div(scaled, where(zero, 1, x)), 0);
  return where(zero, where(eq(spread(zeros, x.shape, dims), 1), scaled, 0), noZeros);
};

const prodPrimitive = reduction({
  name: "prod",
  op: { f32: ReduceOp.ProdF32, i32: ReduceOp.ProdI32 },
  reference: (values) => values.reduce((a, b) => a * b, 1),
  vjp: prodRule,
});

function argReduction(name: string, f32: ReduceOp, i32: ReduceOp, better: (a: number, b: number) => boolean) {
  return reduction({
    name,
    op: { f32, i32, bool: i32 },
    out: "i32",
    reference(values) {
      let best = 0;
      for (let i = 1; i < values.length; i++) {
        const [a, b] = [values[i] as number, values[best] as number];
        if (!Number.isNaN(b) && (Number.isNaN(a) || better(a, b))) best = i;
      }
      return best;
    },
    vjp: null,
  });
}

const argmaxPrimitive = argReduction("argmax", ReduceOp.ArgMaxF32, ReduceOp.ArgMaxI32, (a, b) => a > b);
const argminPrimitive = argReduction("argmin", ReduceOp.ArgMinF32, ReduceOp.ArgMinI32, (a, b) => a < b);

/** Which dimensions: one, several, or all where none is given. */
export type Dims = number | Shape | null;

/** The dimensions that `dim` names. An empty list means all, as in PyTorch. */
function reducedDims(op: string, dim: Dims | undefined, rank: number): number[] {
  return normalizeDims(op, Array.isArray(dim) && dim.length === 0 ? null : dim, rank);
}

function reduceOver(
  primitive: Primitive<Tensor, ReduceAttrs>,
  input: Tensor,
  dim: Dims | undefined,
  keepdim: boolean,
): Tensor {
  const dims = reducedDims(primitive.name, dim, input.ndim);
  const out = apply(primitive, [input], { dims });
  return keepdim ? reshape(out, keptShape(input.shape, dims)) : out;
}

/** Options of the reductions that compute in a dtype of the caller's choice. */
export interface ReductionOptions {
  /** Convert the input to this dtype first. */
  readonly dtype?: DType | null;
}

/** The input in the dtype to reduce in: the one asked for, else its own, where booleans count as whole numbers. */
function accumulated(input: Tensor, { dtype }: ReductionOptions): Tensor {
  return to(input, dtype ?? (input.dtype === "bool" ? "i32" : input.dtype));
}

/** The sum over `dim`, or over everything. Booleans are counted. */
export function sum(input: Tensor, dim?: Dims, keepdim = false, options: ReductionOptions = {}): Tensor {
  return reduceOver(sumPrimitive, accumulated(input, options), dim, keepdim);
}

/** The sum of the squares of f32 elements over `dim`, or of everything. No memory holds the squares meanwhile. */
export function squareSum(input: Tensor, dim?: Dims, keepdim = false): Tensor {
  return reduceOver(squareSumPrimitive, input, dim, keepdim);
}

/** The mean over `dim`, or over everything; of nothing it is NaN. */
export function mean(input: Tensor, dim?: Dims, keepdim = false, options: ReductionOptions = {}): Tensor {
  const x = accumulated(input, options);
  expectDType("mean", "input", x.dtype, "f32");
  const count = sizeOf(reducedDims("mean", dim, x.ndim).map((d) => x.shape[d] as number));
  return div(sum(x, dim, keepdim), count);
}

/** The product over `dim`, or over everything. */
export function prod(input: Tensor, dim?: Dims, keepdim = false, options: ReductionOptions = {}): Tensor {
  return reduceOver(prodPrimitive, accumulated(input, options), dim, keepdim);
}

function checkNotEmpty(op: string, input: Tensor, dim: Dims | undefined): void {
  const empty = reducedDims(op, dim, input.ndim).find((d) => input.shape[d] === 0);
  if (empty !== undefined) {
    throw new ShapeError(
      `${op}: dimension ${empty} of ${formatShape(input.shape)} is empty, and nothing has no extreme`,
    );
  }
}

/** The largest element over `dim`, or of everything; equal ones share the gradient. NaN if there is one. */
export function amax(input: Tensor, dim?: Dims, keepdim = false): Tensor {
  checkNotEmpty("amax", input, dim);
  return reduceOver(maxPrimitive, input, dim, keepdim);
}

/** The smallest element over `dim`, or of everything; equal ones share the gradient. NaN if there is one. */
export function amin(input: Tensor, dim?: Dims, keepdim = false): Tensor {
  checkNotEmpty("amin", input, dim);
  return reduceOver(minPrimitive, input, dim, keepdim);
}

/** The index of the largest element along `dim` (the first of equals), or within all elements in row-major order. */
export function argmax(input: Tensor, dim?: number | null, keepdim = false): Tensor {
  checkNotEmpty("argmax", input, dim);
  return reduceOver(argmaxPrimitive, input, dim, keepdim);
}

/** The index of the smallest element along `dim` (the first of equals), or within all elements in row-major order. */
export function argmin(input: Tensor, dim?: number | null, keepdim = false): Tensor {
  checkNotEmpty("argmin", input, dim);
  return reduceOver(argminPrimitive, input, dim, keepdim);
}

/** Whether any element is not zero, over `dim` or of everything. */
export function any(input: Tensor, dim?: Dims, keepdim = false): Tensor {
  return ne(sum(to(input, "bool"), dim, keepdim), 0);
}

/** Whether every element is not zero, over `dim` or of everything. */
export function all(input: Tensor, dim?: Dims, keepdim = false): Tensor {
  return eq(sum(eq(toFloat(input), 0), dim, keepdim), 0);
}

/** How many elements are not zero, over `dim` or of everything, as i32. */
export function countNonzero(input: Tensor, dim?: Dims): Tensor {
  return sum(to(input, "bool"), dim);
}

/** The sum of `input` over the dimensions that broadcasting `shape` to it would add or stretch: the undoing of that. */
export function sumToSize(input: Tensor, ...size: (number | Shape)[]): Tensor {
  const shape = size.flat();
  const lead = input.ndim - shape.length;
  const fits = lead >= 0 && shape.every((n, i) => n === 1 || n === input.shape[i + lead]);
  if (!fits) {
    throw new ShapeError(`sumToSize: ${formatShape(shape)} does not broadcast to ${formatShape(input.shape)}`);
  }
  const dims = input.shape.map((_, i) => i).filter((i) => i < lead || (shape[i - lead] === 1 && input.shape[i] !== 1));
  return dims.length === 0 ? reshape(input, shape) : reshape(apply(sumPrimitive, [input], { dims }), shape);
}

/** The operators of this file. */
export default {
  sum: {
    fn: sum,
    params: ["input", "dim", "keepdim"],
    options: ["dtype"],
    samples: [
      "f32[3,4]",
      'bool[3,4]; 1; false; {"dtype":"f32"}',
      "f32[3,4]; 0",
      "f32[2,3,4]; [0,2]; true",
      "f32[0,3]; 0",
      "f32[]",
    ],
  },
  squareSum: { fn: squareSum, params: ["input", "dim", "keepdim"], samples: ["f32[3,4]", "f32[3,4]; 0; true"] },
  mean: {
    fn: mean,
    params: ["input", "dim", "keepdim"],
    options: ["dtype"],
    samples: ["f32[3,4]", "f32[3,4]; -1; true", 'i32[3]<5; 0; false; {"dtype":"f32"}'],
  },
  prod: { fn: prod, params: ["input", "dim", "keepdim"], options: ["dtype"], samples: ["f32[3,4]", "f32[3,4]; 1"] },
  amax: { fn: amax, params: ["input", "dim", "keepdim"], samples: ["f32[3,4]", "f32[3,4]; [0]; true"] },
  amin: { fn: amin, params: ["input", "dim", "keepdim"], samples: ["f32[3,4]", "f32[3,4]; 1"] },
  argmax: { fn: argmax, params: ["input", "dim", "keepdim"], samples: ["f32[3,4]", "f32[3,4]; 1"], discrete: true },
  argmin: { fn: argmin, params: ["input", "dim", "keepdim"], samples: ["f32[3,4]", "f32[3,4]; 1"], discrete: true },
  any: { fn: any, params: ["input", "dim", "keepdim"], samples: ["bool[3,4]; 1"], discrete: true },
  all: { fn: all, params: ["input", "dim", "keepdim"], samples: ["bool[3,4]; 1"], discrete: true },
  countNonzero: { fn: countNonzero, params: ["input", "dim"], samples: ["f32[3,4]; 1", "bool[3,4]"], discrete: true },
  sumToSize: { fn: sumToSize, params: ["input", "...size"], samples: ["f32[2,3,4]; [3,1]"] },
} satisfies OperatorTable;
