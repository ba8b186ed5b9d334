/**
 * Scans: a running sum or product, a linear recurrence, and where a running extreme stands. The derivatives of each are
 * scans again, so there are derivatives of any order, and none divides by an element that may be 0.
 */
import type { DType } from "../graph/dtype.js";
import { DTypeError } from "../graph/errors.js";
import type { Jvp, Primitive, RefArray } from "../graph/primitive.js";
import { type Shape, sizeOf } from "../graph/shape.js";
import { constant } from "../graph/sources.js";
import { apply, type Tensor } from "../graph/tensor.js";
import { Flag, Opcode, ScanOp } from "../isa.js";
import { add, mul } from "./arithmetic.js";
import { perInput, type Rule } from "./define.js";
import { cat } from "./join.js";
import { narrow } from "./movement.js";

interface ScanAttrs {
  readonly dim: number;
  /** From the last element to the first. */
  readonly backwards: boolean;
}

interface ScanSpec {
  readonly name: string;
  readonly op: Partial<Record<DType, ScanOp>>;
  readonly out?: DType;
  /** The outputs of one line of elements, in the order of the scan; some scans have a second input. */
  reference(line: Float64Array, factors: Float64Array, dtype: DType): ArrayLike<number>;
  readonly vjp?: readonly Rule<ScanAttrs>[];
  readonly jvp?: Jvp<Tensor, ScanAttrs>;
}

/** The positions of the elements of every line along `dim`, in the order of the scan. */
function linesOf(shape: Shape, { dim, backwards }: ScanAttrs): number[][] {
  const steps = shape[dim] as number;
  const inner = sizeOf(shape.slice(dim + 1));
  return Array.from({ length: sizeOf(shape) / steps }, (_, line) => {
    const start = Math.floor(line / inner) * steps * inner + (line % inner);
    return Array.from({ length: steps }, (_, j) => start + (backwards ? steps - 1 - j : j) * inner);
  });
}

/** A scan of the first input along `attrs.dim`, which is not empty. A second input has the shape of the first. */
function scanning(spec: ScanSpec): Primitive<Tensor, ScanAttrs> {
  const primitive: Primitive<Tensor, ScanAttrs> = {
    name: spec.name,
    infer([x]) {
      const { shape, dtype } = x as Tensor;
      if (spec.op[dtype] === undefined) throw new DTypeError(`${spec.name}: does not take ${dtype} tensors`);
      return { shape, dtype: spec.out ?? dtype };
    },
    reference([x, factors = x], out, attrs) {
      const result = new Float64Array(sizeOf(out.shape));
      const { data, dtype } = x as RefArray;
      for (const line of linesOf(out.shape, attrs)) {
        const pick = (from: Float64Array): Float64Array => Float64Array.from(line, (at) => from[at] as number);
        const values = spec.reference(pick(data), pick((factors as RefArray).data), dtype);
        line.forEach((at, j) => {
          result[at] = values[j] as number;
        });
      }
      return result;
    },
    vjp: spec.vjp === undefined ? null : perInput(...spec.vjp),
    ...(spec.jvp && { jvp: spec.jvp }),
    batch: ({ inputs, spread, attrs }) =>
      apply(
        primitive,
        inputs.map((_, i) => spread(i)),
        { ...attrs, dim: attrs.dim + 1 },
      ),
    lowering: {
      kind: "kernel",
      lower(context) {
        const { dim, backwards } = context.attrs;
        const input = context.contiguous(0);
        const factors = context.inputCount > 1 ? context.contiguous(1) : input;
        const out = context.output();
        const { shape } = out;
        const sizes = [sizeOf(shape.slice(0, dim)), shape[dim] as number, sizeOf(shape.slice(dim + 1))];
        const op = spec.op[input.dtype] as ScanOp;
        context.emit(Opcode.Scan, Flag.None, [op, out, input, factors, ...sizes, backwards ? 1 : 0], {
          reads: [input, factors],
          writes: [out],
        });
      },
    },
    flops: ([x]) => sizeOf((x as Tensor).shape),
  };
  return primitive;
}

/** In place of every element the one before it in the scan, and `first` in place of the first. */
function before(x: Tensor, { dim, backwards }: ScanAttrs, first: number): Tensor {
  const edge = constant(
    first,
    x.shape.map((n, d) => (d === dim ? 1 : n)),
  );
  const rest = narrow(x, dim, backwards ? 1 : 0, (x.shape[dim] as number) - 1);
  return cat(backwards ? [rest, edge] : [edge, rest], dim);
}

function opposite({ dim, backwards }: ScanAttrs): ScanAttrs {
  return { dim, backwards: !backwards };
}

/** The gradient of the first input of a recurrence with these factors. */
function pulledBack(g: Tensor, factors: Tensor, attrs: ScanAttrs): Tensor {
  return apply(linearPrimitive, [g, before(factors, opposite(attrs), 0)], opposite(attrs));
}

function accumulate(combine: (state: number, x: number, factor: number) => number, start: number) {
  return (line: Float64Array, factors: Float64Array, dtype: DType): Float64Array => {
    let state = start;
    return line.map((x, j) => {
      const next = combine(state, x, factors[j] as number);
      state = dtype === "f32" ? next : next | 0;
      return state;
    });
  };
}

const sumPrimitive: Primitive<Tensor, ScanAttrs> = scanning({
  name: "cumsum",
  op: { f32: ScanOp.SumF32, i32: ScanOp.SumI32 },
  reference: /* @__PURE__ */ accumulate((state, x) => state + x, 0),
  vjp: [({ g, attrs }) => apply(sumPrimitive, [g], opposite(attrs))],
  jvp: ({ tangents: [x], attrs }) => apply(sumPrimitive, [x as Tensor], attrs),
});

// Everyday code uses the running sum alone: a bundler may drop the others.

/** h = factor · (h before) + x, from h = 0 on. */
const linearPrimitive: Primitive<Tensor, ScanAttrs> = /* @__PURE__ */ scanning({
  name: "linearScan",
  op: { f32: ScanOp.LinearF32 },
  reference: /* @__PURE__ */ accumulate((state, x, factor) => factor * state + x, 0),
  vjp: [
    ({ g, inputs: [, factors], attrs }) => pulledBack(g, factors as Tensor, attrs),
    ({ g, out, inputs: [, factors], attrs }) => mul(pulledBack(g, factors as Tensor, attrs), before(out, attrs, 0)),
  ],
  jvp({ tangents: [x, factors], out, inputs, attrs }) {
    const moved = factors == null ? null : mul(factors, before(out, attrs, 0));
    const sum = x == null ? moved : moved === null ? x : add(x, moved);
    return apply(linearPrimitive, [sum as Tensor, inputs[1] as Tensor], attrs);
  },
});

const productPrimitive: Primitive<Tensor, ScanAttrs> = /* @__PURE__ */ scanning({
  name: "cumprod",
  op: { f32: ScanOp.ProdF32, i32: ScanOp.ProdI32 },
  reference: (line, factors, dtype) =>
    accumulate(dtype === "f32" ? (state, x) => state * x : Math.imul, 1)(line, factors, dtype),
  // Element k is a factor of all products from k on: of what is before it, and of a recurrence over what follows.
  vjp: [({ g, out, inputs: [x], attrs }) => mul(before(out, attrs, 1), pulledBack(g, x as Tensor, attrs))],
  jvp: ({ tangents: [t], out, inputs: [x], attrs }) =>
    apply(linearPrimitive, [mul(t as Tensor, before(out, attrs, 1)), x as Tensor], attrs),
});

function extremeIndex(name: string, f32: ScanOp, i32: ScanOp, sign: number): Primitive<Tensor, ScanAttrs> {
  return scanning({
    name,
    op: { f32, i32, bool: i32 },
    out: "i32",
    reference(line) {
      let best = 0;
      return line.map((x, j) => {
        if (Number.isNaN(x) || sign * x >= sign * (line[best] as number)) best = j;
        return best;
      });
    },
  });
}

const maxIndexPrimitive = /* @__PURE__ */ extremeIndex("cummaxIndex", ScanOp.MaxIndexF32, ScanOp.MaxIndexI32, 1);
const minIndexPrimitive = /* @__PURE__ */ extremeIndex("cumminIndex", ScanOp.MinIndexF32, ScanOp.MinIndexI32, -1);

/** The sum of the elements up to each one along `dim`. */
export const runningSum = (x: Tensor, dim: number): Tensor => apply(sumPrimitive, [x], { dim, backwards: false });

/** The product of the elements up to each one along `dim`. */
export const runningProduct = (x: Tensor, dim: number): Tensor =>
  apply(productPrimitive, [x], { dim, backwards: false });

/** Where the largest of the elements up to each one along `dim` stands, i32: the last of equals, or the last NaN. */
export const runningMaximum = (x: Tensor, dim: number): Tensor =>
  apply(maxIndexPrimitive, [x], { dim, backwards: false });

/** Where the smallest stands; see {@link runningMaximum}. */
export const runningMinimum = (x: Tensor, dim: number): Tensor =>
  apply(minIndexPrimitive, [x], { dim, backwards: false });
