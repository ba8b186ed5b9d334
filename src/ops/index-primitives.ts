/** Gather and the scatters: the primitives behind all indexing, and the checks that indexing operators share. */
import type { DType } from "../graph/dtype.js";
import { DTypeError, IndexError, ShapeError } from "../graph/errors.js";
import type { Aval, BatchContext, KernelContext, Operand, Primitive, RefArray } from "../graph/primitive.js";
import { formatShape, type Shape, sizeOf } from "../graph/shape.js";
import { constant } from "../graph/sources.js";
import { apply, type Tensor } from "../graph/tensor.js";
import { Flag, Opcode, ScatterOp } from "../isa.js";
import { add, div, eq, lt, mul, where } from "./arithmetic.js";
import { to } from "./conversion.js";
import { perInput, type Rule } from "./define.js";
import { cat } from "./join.js";
import { expand, narrow, permute, reshape } from "./movement.js";

/** Along which dimension an index selects. */
export interface IndexAttrs {
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
  operation: ScatterOp,
  operands: { table: Operand; picked: Operand; index: Operand },
): void {
  const { table, picked, index } = operands;
  const { dim } = context.attrs;
  const { outer, size, inner } = around(table.shape, dim);
  const count = picked.shape[dim] as number;
  const strides = index.shape.length === 1 && picked.shape.length !== 1 ? [0, 1, 0] : [count * inner, inner, 1];
  const sizes = [outer, size, count, inner, ...strides, operation];
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

/** The number of dimensions that input `i` has for one example. */
function exampleRank({ inputs, batched }: BatchContext<Tensor, IndexAttrs>, i: number): number {
  return (inputs[i] as Tensor).ndim - (batched[i] ? 1 : 0);
}

/** The index of every example in full: of the shape of what it picks, `shape` for one example. */
function indexOfExamples(context: BatchContext<Tensor, IndexAttrs>, shape: Shape): Tensor {
  const { inputs, batched, size, attrs } = context;
  if (exampleRank(context, 1) !== 1) return context.spread(1);
  const rows = shape.map((n, d) => (d === attrs.dim ? n : 1));
  return expand(reshape(inputs[1] as Tensor, batched[1] ? size : 1, rows), size, shape);
}

/** Elements of the input along `dim`, by an index of the input's other sizes, or of one dimension for whole rows. */
export const gatherPrimitive: Primitive<Tensor, IndexAttrs> = {
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
      scattered(scatterAddPrimitive, constant(0, (x as Tensor).shape), index as Tensor, g, attrs),
    null,
  ),
  jvp: ({ tangents: [x], inputs: [, index], attrs }) => apply(gatherPrimitive, [x as Tensor, index as Tensor], attrs),
  batch(context) {
    const { attrs, batched } = context;
    const [table, index] = context.inputs as [Tensor, Tensor];
    const behind = { ...attrs, dim: attrs.dim + 1 };
    const rows = exampleRank(context, 1) === 1;
    if (rows && !batched[1]) return apply(gatherPrimitive, [table, index], behind);
    if (rows && !batched[0]) {
      // Rows of one table for all examples: one longer list of rows, cut into examples again.
      const all = apply(gatherPrimitive, [table, reshape(index, index.numel)], attrs);
      const cut = reshape(all, table.shape.slice(0, attrs.dim), index.shape, table.shape.slice(attrs.dim + 1));
      return permute(cut, attrs.dim, ...cut.shape.map((_, d) => d).filter((d) => d !== attrs.dim));
    }
    const shape = batched[0] ? table.shape.slice(1) : [...table.shape];
    shape[attrs.dim] = index.shape.at(rows ? -1 : attrs.dim - shape.length) as number;
    return apply(gatherPrimitive, [context.spread(0), indexOfExamples(context, shape)], behind);
  },
  lowering: {
    kind: "kernel",
    checks: INDEX_CHECK,
    lower(context) {
      const operands = { table: context.contiguous(0), picked: context.output(), index: context.contiguous(1) };
      emitIndexed(context, Opcode.Gather, ScatterOp.Add, operands);
    },
  },
  flops: () => 0,
};

// ── Scatters ────────────────────────────────────────────────────────────────────────────────────────────────────────

/** A scatter: what it does with a scattered element and what is there. */
export type Scatter = Primitive<Tensor, IndexAttrs>;

interface ScatterSpec {
  readonly name: string;
  readonly op: Partial<Record<DType, ScatterOp>>;
  combine(present: number, scattered: number): number;
  /** Rules for the base and for the source. */
  readonly base: Rule<IndexAttrs>;
  readonly source: Rule<IndexAttrs>;
  /** Whether the result is linear in base and source together: then tangents are scattered as they are. */
  readonly linear?: boolean;
}

/** The first input with elements of the third combined into it where the index, the second, says. */
function scattering(spec: ScatterSpec): Primitive<Tensor, IndexAttrs> {
  const primitive: Primitive<Tensor, IndexAttrs> = {
    name: spec.name,
    infer: ([base], { op }) => {
      const { shape, dtype } = base as Tensor;
      if (spec.op[dtype] === undefined) throw new DTypeError(`${op}: does not take ${dtype} tensors`);
      return { shape, dtype };
    },
    reference([base, index, source], _, attrs) {
      const result = Float64Array.from((base as RefArray).data);
      const { data, shape } = source as RefArray;
      connect((base as RefArray).shape, shape, index as RefArray, attrs, (table, picked) => {
        result[table] = spec.combine(result[table] as number, data[picked] as number);
      });
      return result;
    },
    vjp: perInput(spec.base, null, spec.source),
    ...(spec.linear && {
      jvp: ({ tangents: [base, , source], inputs, attrs }) => {
        const [x, index, y] = inputs as [Tensor, Tensor, Tensor];
        return apply(primitive, [base ?? constant(0, x.shape), index, source ?? constant(0, y.shape)], attrs);
      },
    }),
    batch(context) {
      const { attrs, batched, inputs } = context;
      const source = context.spread(2);
      const shared = !batched[1] && inputs[1]?.ndim === 1;
      const index = shared ? (inputs[1] as Tensor) : indexOfExamples(context, source.shape.slice(1));
      return apply(primitive, [context.spread(0), index, source], { ...attrs, dim: attrs.dim + 1 });
    },
    lowering: {
      kind: "kernel",
      checks: INDEX_CHECK,
      lower(context) {
        const table = context.output();
        context.copy(table, context.input(0));
        const operands = { table, picked: context.contiguous(2), index: context.contiguous(1) };
        emitIndexed(context, Opcode.Scatter, spec.op[table.dtype] as ScatterOp, operands);
      },
    },
    flops: ([, , source]) => sizeOf((source as Tensor).shape),
  };
  return primitive;
}

function picked(table: Tensor, index: Tensor, attrs: IndexAttrs): Tensor {
  return apply(gatherPrimitive, [table, index], attrs);
}

function scattered(how: Scatter, base: Tensor, index: Tensor, source: Tensor, attrs: IndexAttrs): Tensor {
  return apply(how, [base, index, source], attrs);
}

/** An extreme's gradient goes in even shares to all that equal it: the base, and elements of the source. */
function extremeShare(g: Tensor, out: Tensor, base: Tensor, index: Tensor, source: Tensor, attrs: IndexAttrs): Tensor {
  const fromSource = to(eq(source, picked(out, index, attrs)), "f32");
  return div(g, scattered(scatterAddPrimitive, to(eq(base, out), "f32"), index, fromSource, attrs));
}

function extremeScatter(name: string, op: ScatterOp, combine: (a: number, b: number) => number): ScatterSpec {
  return {
    name,
    op: { f32: op },
    combine,
    base: ({ g, out, inputs, attrs }) => {
      const [base, index, source] = inputs as [Tensor, Tensor, Tensor];
      return where(eq(base, out), extremeShare(g, out, base, index, source, attrs), 0);
    },
    source: ({ g, out, inputs, attrs }) => {
      const [base, index, source] = inputs as [Tensor, Tensor, Tensor];
      const share = extremeShare(g, out, base, index, source, attrs);
      return where(eq(source, picked(out, index, attrs)), picked(share, index, attrs), 0);
    },
  };
}

/** A factor's gradient is the product of the other factors; a zero is left out of the product to find its own. */
const multiplySpec: ScatterSpec = {
  name: "scatterMultiply",
  op: { f32: ScatterOp.Multiply },
  combine: (present, factor) => present * factor,
  base: ({ g, inputs, attrs }) => {
    const [base, index, source] = inputs as [Tensor, Tensor, Tensor];
    const ones = constant(1, base.shape);
    return mul(g, scattered(scatterMultiplyPrimitive, ones, index, source, attrs));
  },
  source: ({ g, out, inputs, attrs }) => {
    const [base, index, source] = inputs as [Tensor, Tensor, Tensor];
    const zero = eq(source, 0);
    const zeros = scattered(scatterAddPrimitive, constant(0, base.shape), index, to(zero, "f32"), attrs);
    const others = scattered(scatterMultiplyPrimitive, base, index, where(zero, 1, source), attrs);
    const ofZero = where(eq(picked(zeros, index, attrs), 1), picked(mul(g, others), index, attrs), 0);
    return where(zero, ofZero, div(picked(mul(g, out), index, attrs), where(zero, 1, source)));
  },
};

// Where an index appears more than once, elements are taken in rising order. A bundler may drop those that nobody uses.

/** Adds to what is there. */
export const scatterAddPrimitive: Scatter = /* @__PURE__ */ scattering({
  name: "scatterAdd",
  op: { f32: ScatterOp.Add, i32: ScatterOp.AddI32 },
  combine: (present, addend) => present + addend,
  base: ({ g }) => g,
  source: ({ g, inputs: [, index], attrs }) => picked(g, index as Tensor, attrs),
  linear: true,
});

/** Replaces what is there. */
export const scatterReplacePrimitive: Scatter = /* @__PURE__ */ scattering({
  name: "scatterReplace",
  op: { f32: ScatterOp.Replace, i32: ScatterOp.Replace, bool: ScatterOp.Replace },
  combine: (_, replacement) => replacement,
  base: ({ g, inputs: [, index, source], attrs }) =>
    scattered(scatterReplacePrimitive, g, index as Tensor, constant(0, (source as Tensor).shape), attrs),
  source: ({ g, inputs: [, index], attrs }) => picked(g, index as Tensor, attrs),
  linear: true,
});

/** Multiplies what is there. */
export const scatterMultiplyPrimitive: Scatter = /* @__PURE__ */ scattering(multiplySpec);

/** The greater of what is there and what comes. */
export const scatterMaximumPrimitive: Scatter = /* @__PURE__ */ scattering(
  /* @__PURE__ */ extremeScatter("scatterMaximum", ScatterOp.Maximum, (a, b) => Math.max(a, b)),
);

/** The lesser of what is there and what comes. */
export const scatterMinimumPrimitive: Scatter = /* @__PURE__ */ scattering(
  /* @__PURE__ */ extremeScatter("scatterMinimum", ScatterOp.Minimum, (a, b) => Math.min(a, b)),
);

// ── Shared checks and fittings ──────────────────────────────────────────────────────────────────────────────────────

/** Throws unless an index is of whole numbers. */
export function expectIndex(op: string, index: Tensor): void {
  if (index.dtype !== "i32") throw new DTypeError(`${op}: index is ${index.dtype}, and must be i32`);
}

/** Places of a dimension, where negative indices count from its end. Those outside stay outside: kernels reject them. */
export function fromEnd(index: Tensor, size: number): Tensor {
  return where(lt(index, 0), add(index, size), index);
}

/** Throws unless input and index have as many dimensions; a scalar counts as a vector. */
export function expectSameRank(op: string, input: Tensor, index: Tensor): void {
  if (Math.max(input.ndim, 1) !== Math.max(index.ndim, 1)) {
    throw new ShapeError(
      `${op}: index ${formatShape(index.shape)} must have as many dimensions as input ${formatShape(input.shape)}`,
    );
  }
}

/** A scalar as a vector of one element: index operators treat them alike. */
export function atLeastVector(x: Tensor): Tensor {
  return x.ndim === 0 ? reshape(x, [1]) : x;
}

/** `x` cut to the sizes of `index` in every dimension but `dim`. */
export function cutTo(op: string, what: string, x: Tensor, index: Shape, dim: number | null): Tensor {
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
 * `source` combined into `input` along `dim` where `index` says. Index and source may be smaller than the input in other
 * dimensions: the rest of the input stays as it is.
 */
export function scatterInto(
  how: Scatter,
  op: string,
  input: Tensor,
  dim: number,
  index: Tensor,
  source: Tensor,
): Tensor {
  const [base, places] = [atLeastVector(input), atLeastVector(index)];
  const region = cutTo(op, "input", base, places.shape, dim);
  const cut = cutTo(op, "src", atLeastVector(source), places.shape, null);
  let out = scattered(how, region, places, cut, { dim, op });
  for (let d = base.ndim - 1; d >= 0; d--) {
    const [have, size] = [out.shape[d] as number, base.shape[d] as number];
    if (d === dim || have === size) continue;
    // What lies beyond the region in this dimension, cut to it in the dimensions before.
    const before = base.shape.map((n, i) => (i < d && i !== dim ? (places.shape[i] as number) : n));
    const beyond = narrow(cutTo(op, "input", base, before, null), d, have, size - have);
    out = cat([out, beyond], d);
  }
  return reshape(out, input.shape);
}
