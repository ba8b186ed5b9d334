/** Movement: the same elements in another shape or order, as views that move nothing. */
import type { DType } from "../graph/dtype.js";
import { ArgumentError, ShapeError } from "../graph/errors.js";
import { knownValues } from "../graph/known.js";
import type { Batch, Primitive, RefArray } from "../graph/primitive.js";
import {
  broadcastShapes,
  checkShape,
  formatShape,
  normalizeDim,
  normalizeDims,
  type Shape,
  sameShape,
  sizeOf,
} from "../graph/shape.js";
import { apply, Tensor } from "../graph/tensor.js";
import { expandView, type Layout, permuteView, reshapeView, sliceView, wholeView } from "../graph/view.js";
import { type OperatorTable, perInput, type Rule, readView } from "./define.js";

// ── Views ───────────────────────────────────────────────────────────────────────────────────────────────────────────

interface ViewSpec<A> {
  readonly name: string;
  shape(input: Shape, attrs: A): Shape;
  view(input: Layout, shape: Shape, attrs: A): Layout | null;
  readonly vjp: Rule<A>;
  readonly batch: Batch<Tensor, A>;
}

/** A primitive that only changes how its input's elements are addressed. */
function movement<A>(spec: ViewSpec<A>): Primitive<Tensor, A> {
  return {
    name: spec.name,
    infer: ([x], attrs) => {
      const { shape, dtype } = x as Tensor;
      return { shape: spec.shape(shape, attrs), dtype };
    },
    reference: ([x], out, attrs) => {
      const { data, shape } = x as RefArray;
      return readView(data, spec.view(wholeView(shape), out.shape, attrs) as Layout);
    },
    vjp: perInput(spec.vjp),
    batch: spec.batch,
    lowering: { kind: "view", view: spec.view },
    flops: () => 0,
  };
}

const reshapePrimitive = movement<{ shape: Shape }>({
  name: "reshape",
  shape: (_, { shape }) => shape,
  view: (input, shape) => reshapeView(input, shape),
  vjp: ({ g, inputs: [x] }) => reshape(g, (x as Tensor).shape),
  batch: ({ inputs: [x], attrs: { shape }, size }) => reshape(x as Tensor, size, shape),
});

const permutePrimitive = movement<{ order: readonly number[] }>({
  name: "permute",
  shape: (input, { order }) => order.map((d) => input[d] as number),
  view: (input, _, { order }) => permuteView(input, order),
  vjp: ({ g, attrs: { order } }) => permute(g, inverse(order)),
  batch: ({ inputs: [x], attrs: { order } }) => permute(x as Tensor, 0, ...order.map((d) => d + 1)),
});

const expandPrimitive = movement<{ shape: Shape }>({
  name: "expand",
  shape: (_, { shape }) => shape,
  view: (input, shape) => expandView(input, shape),
  // The reverse pass sums a cotangent back to the shape that its input had.
  vjp: ({ g }) => g,
  batch: ({ inputs: [input], attrs: { shape }, size }) => {
    const x = input as Tensor;
    const added = new Array<number>(shape.length + 1 - x.ndim).fill(1);
    return expand(reshape(x, size, added, x.shape.slice(1)), size, shape);
  },
});

/** Part of a dimension. */
export interface SliceAttrs {
  readonly dim: number;
  readonly start: number;
  readonly count: number;
  readonly step: number;
}

const slicePrimitive: Primitive<Tensor, SliceAttrs> = movement({
  name: "slice",
  shape: (input, { dim, count }) => input.map((size, i) => (i === dim ? count : size)),
  view: (input, _, { dim, start, count, step }) => sliceView(input, dim, start, count, step),
  vjp: ({ g, inputs: [x], attrs }) =>
    apply(placePrimitive, [g], { ...attrs, size: (x as Tensor).shape[attrs.dim] as number, value: 0 }),
  batch: ({ inputs: [x], attrs }) => apply(slicePrimitive, [x as Tensor], { ...attrs, dim: attrs.dim + 1 }),
});

function inverse(order: readonly number[]): number[] {
  const out = new Array<number>(order.length);
  order.forEach((d, i) => {
    out[d] = i;
  });
  return out;
}

/** Flattens `f(x, 2, 3)` and `f(x, [2, 3])` to the list. */
function list(sizes: readonly (number | Shape)[]): Shape {
  return sizes.flat();
}

/**
 * The same elements, in row-major order, in another shape.
 * @param shape sizes, one of which may be -1: it is what remains
 * @throws ShapeError where the numbers of elements differ
 * @example reshape(x, [2, -1])
 */
export function reshape(input: Tensor, ...shape: (number | Shape)[]): Tensor {
  const wanted = list(shape);
  const size = input.numel;
  const holes = wanted.filter((n) => n === -1).length;
  if (holes > 1) throw new ShapeError(`reshape: only one dimension of ${formatShape(wanted)} can be -1`);
  const known = sizeOf(wanted.filter((n) => n !== -1));
  const fits = holes === 0 ? known === size : known !== 0 && size % known === 0;
  if (!fits) {
    throw new ShapeError(
      `reshape: shape ${formatShape(wanted)} is invalid for ${formatShape(input.shape)}, which has ${size} elements`,
    );
  }
  const full = checkShape("reshape", holes === 0 ? wanted : wanted.map((n) => (n === -1 ? size / known : n)));
  return sameShape(full, input.shape) ? input : apply(reshapePrimitive, [input], { shape: full });
}

/** `reshape` under its other name. */
export const view: (input: Tensor, ...shape: (number | Shape)[]) => Tensor = reshape;

/** The dimensions in another order: dimension `i` of the result is `dims[i]` of the input. */
export function permute(input: Tensor, ...dims: (number | Shape)[]): Tensor {
  const wanted = list(dims);
  if (wanted.length !== input.ndim) {
    throw new ShapeError(`permute: ${wanted.length} dims for a tensor of shape ${formatShape(input.shape)}`);
  }
  const order = wanted.map((d) => normalizeDim("permute", d, input.ndim));
  normalizeDims("permute", order, input.ndim);
  return order.every((d, i) => d === i) ? input : apply(permutePrimitive, [input], { order });
}

/** Two dimensions exchanged. */
export function transpose(input: Tensor, dim0: number, dim1: number): Tensor {
  const a = normalizeDim("transpose", dim0, input.ndim);
  const b = normalizeDim("transpose", dim1, input.ndim);
  if (input.ndim === 0) return input;
  const order = input.shape.map((_, i) => (i === a ? b : i === b ? a : i));
  return permute(input, order);
}

/** A matrix's transpose; vectors and scalars stay as they are. */
export function t(input: Tensor): Tensor {
  if (input.ndim > 2) {
    throw new ShapeError(`t: expected at most 2 dimensions, not shape ${formatShape(input.shape)}; use transpose`);
  }
  return input.ndim === 2 ? permute(input, [1, 0]) : input;
}

/**
 * Size-1 dimensions stretched, and dimensions added in front, without copying.
 * @param shape sizes; -1 keeps the size
 */
export function expand(input: Tensor, ...shape: (number | Shape)[]): Tensor {
  const wanted = list(shape);
  const lead = wanted.length - input.ndim;
  const fail = (): never => {
    throw new ShapeError(`expand: ${formatShape(input.shape)} does not expand to ${formatShape(wanted)}`);
  };
  if (lead < 0) fail();
  const full = wanted.map((size, i) => {
    const have = i < lead ? undefined : (input.shape[i - lead] as number);
    if (size === -1) return have ?? fail();
    return have === undefined || have === size || have === 1 ? size : fail();
  });
  checkShape("expand", full);
  return sameShape(full, input.shape) ? input : apply(expandPrimitive, [input], { shape: full });
}

/** `expand`, where the new shape has no -1. */
export function broadcastTo(input: Tensor, shape: Shape): Tensor {
  return expand(input, shape);
}

/** `input` expanded to the shape of `other`. */
export function expandAs(input: Tensor, other: Tensor): Tensor {
  return expand(input, other.shape);
}

/** All tensors expanded to the shape that they broadcast to. */
export function broadcastTensors(...tensors: Tensor[]): Tensor[] {
  const shape = tensors.reduce<Shape>((s, x) => broadcastShapes("broadcastTensors", s, x.shape), []);
  return tensors.map((x) => expand(x, shape));
}

/**
 * Elements `start` to `end` (exclusive) of a dimension, in steps of `step`; negative ends count from the back, and
 * both are cut to the dimension, as in Python.
 */
export function slice(input: Tensor, dim = 0, start?: number | null, end?: number | null, step = 1): Tensor {
  if (input.ndim === 0) throw new ShapeError("slice: a scalar has no dimension to slice");
  if (!Number.isInteger(step) || step < 1)
    throw new ArgumentError(`slice: step must be a whole number from 1 up, not ${step}`);
  const d = normalizeDim("slice", dim, input.ndim);
  const size = input.shape[d] as number;
  const cut = (at: number): number => Math.max(0, Math.min(size, at < 0 ? at + size : at));
  const from = cut(start ?? 0);
  const to = cut(end ?? size);
  const count = Math.max(0, Math.ceil((to - from) / step));
  if (count === size && step === 1) return input;
  return apply(slicePrimitive, [input], { dim: d, start: from, count, step });
}

/** A place that a scalar tensor gives; its value must be known. */
function placeOf(op: string, x: Tensor): number {
  if (x.ndim !== 0 || x.dtype === "f32") {
    throw new ShapeError(
      `${op}: start must be a whole number or a scalar of them, not ${x.dtype}${formatShape(x.shape)}`,
    );
  }
  return knownValues(op, "start", x)[0] as number;
}

/**
 * `length` elements of a dimension from `start` on.
 * @param start a whole number, or a scalar tensor whose value is known
 */
export function narrow(input: Tensor, dim: number, start: number | Tensor, length: number): Tensor {
  if (start instanceof Tensor) return narrow(input, dim, placeOf("narrow", start), length);
  if (input.ndim === 0) throw new ShapeError("narrow: a scalar has no dimension to narrow");
  const d = normalizeDim("narrow", dim, input.ndim);
  const size = input.shape[d] as number;
  if (start < -size || start > size) {
    throw new ShapeError(`narrow: start ${start} is out of range: expected ${-size} to ${size} for dimension ${d}`);
  }
  const from = start < 0 ? start + size : start;
  if (length < 0 || from + length > size) {
    throw new ShapeError(
      `narrow: ${length} elements from ${from} on pass the end of dimension ${d}, which has ${size}`,
    );
  }
  return slice(input, d, from, from + length);
}

/** The part of a dimension at `index`, without that dimension. */
export function select(input: Tensor, dim: number, index: number): Tensor {
  if (input.ndim === 0) throw new ShapeError("select: a scalar has no dimension to select from");
  const d = normalizeDim("select", dim, input.ndim);
  const size = input.shape[d] as number;
  if (!Number.isInteger(index) || index < -size || index >= size) {
    throw new ShapeError(`select: index ${index} is out of range: expected ${-size} to ${size - 1} for dimension ${d}`);
  }
  const at = index < 0 ? index + size : index;
  return squeeze(slice(input, d, at, at + 1), d);
}

/** Every given dimension in reverse order. */
export function flip(input: Tensor, dims: number | Shape): Tensor {
  return normalizeDims("flip", dims, input.ndim).reduce((x, dim) => {
    const count = x.shape[dim] as number;
    return count < 2 ? x : apply(slicePrimitive, [x], { dim, start: count - 1, count, step: -1 });
  }, input);
}

/** Without size-1 dimensions: all of them, or those of `dim` that have size 1. */
export function squeeze(input: Tensor, dim?: number | Shape | null): Tensor {
  const drop = new Set(normalizeDims("squeeze", dim, input.ndim));
  return reshape(
    input,
    input.shape.filter((size, i) => size !== 1 || !drop.has(i)),
  );
}

/** With a new size-1 dimension at `dim`. */
export function unsqueeze(input: Tensor, dim: number): Tensor {
  const d = normalizeDim("unsqueeze", dim, input.ndim + 1);
  return reshape(input, [...input.shape.slice(0, d), 1, ...input.shape.slice(d)]);
}

/** Dimensions `startDim` to `endDim` merged into one. */
export function flatten(input: Tensor, startDim = 0, endDim = -1): Tensor {
  const from = normalizeDim("flatten", startDim, input.ndim);
  const to = normalizeDim("flatten", endDim, input.ndim);
  if (from > to) throw new ShapeError(`flatten: startDim ${startDim} comes after endDim ${endDim}`);
  const { shape } = input;
  return reshape(input, [...shape.slice(0, from), sizeOf(shape.slice(from, to + 1)), ...shape.slice(to + 1)]);
}

// ── Place ─────────────────────────────────────────────────────────────────────────────────────────────

/** Where within a dimension of what size. */
export interface PlaceAttrs extends SliceAttrs {
  /** Size of the dimension in the output. */
  readonly size: number;
  /** What stands where the input does not reach. */
  readonly value: number;
}

/** The bits of a number as the dtype stores it. */
function bitsOf(value: number, dtype: DType): number {
  return dtype === "f32" ? (new Int32Array(Float32Array.of(value).buffer)[0] as number) : value | 0;
}

/** The inverse of a slice: the input placed within one dimension of a larger tensor that is `value` elsewhere. */
export const placePrimitive: Primitive<Tensor, PlaceAttrs> = {
  name: "place",
  infer: ([x], { dim, size }) => {
    const { shape, dtype } = x as Tensor;
    return {
      shape: checkShape(
        "pad",
        shape.map((n, i) => (i === dim ? size : n)),
      ),
      dtype,
    };
  },
  reference([x], out, { dim, start, count, step, value }) {
    const result = new Float64Array(sizeOf(out.shape)).fill(value);
    const positions = Float64Array.from(result, (_, i) => i);
    readView(positions, sliceView(wholeView(out.shape), dim, start, count, step)).forEach((position, i) => {
      result[position] = (x as RefArray).data[i] as number;
    });
    return result;
  },
  vjp: perInput(({ g, attrs: { dim, start, count, step } }) => apply(slicePrimitive, [g], { dim, start, count, step })),
  jvp: ({ tangents: [x], attrs }) => apply(placePrimitive, [x as Tensor], { ...attrs, value: 0 }),
  batch: ({ inputs: [x], attrs }) => apply(placePrimitive, [x as Tensor], { ...attrs, dim: attrs.dim + 1 }),
  lowering: {
    kind: "kernel",
    lower(context) {
      const { dim, start, count, step, value } = context.attrs;
      const out = context.output();
      context.fill(out, bitsOf(value, out.dtype));
      context.copy({ ...out, ...sliceView(out, dim, start, count, step) }, context.input(0));
    },
  },
  flops: () => 0,
};

/** The operators of this file. */
export const movementOperators: OperatorTable = {
  reshape: {
    fn: reshape,
    params: ["input", "...shape"],
    samples: ["f32[2,6]; [3,-1]", "f32[]; [1,1]", "f32[0,3]; [3,0]"],
  },
  view: { fn: view, params: ["input", "...shape"], samples: ["f32[2,6]; [3,4]"] },
  permute: { fn: permute, params: ["input", "...dims"], samples: ["f32[2,3,4]; [2,0,1]", "f32[2,3]; [-1,0]"] },
  transpose: { fn: transpose, params: ["input", "dim0", "dim1"], samples: ["f32[2,3,4]; 0; -1"] },
  t: { fn: t, params: ["input"], samples: ["f32[2,3]", "f32[3]"] },
  expand: { fn: expand, params: ["input", "...shape"], samples: ["f32[3,1]; [2,-1,4]", "f32[1]; [0]"] },
  broadcastTo: { fn: broadcastTo, params: ["input", "shape"], samples: ["f32[3,1]; [2,3,4]"] },
  expandAs: { fn: expandAs, params: ["input", "other"], samples: ["f32[3,1]; f32[3,4]"] },
  broadcastTensors: { fn: broadcastTensors, params: ["...tensors"], samples: ["f32[3,1]; f32[4]"] },
  slice: {
    fn: slice,
    params: ["input", "dim", "start", "end", "step"],
    samples: ["f32[5,4]; 0; 1; -1; 2", "f32[5]; 0; 3; 2"],
  },
  narrow: { fn: narrow, params: ["input", "dim", "start", "length"], samples: ["f32[5,4]; 1; 1; 2"] },
  select: { fn: select, params: ["input", "dim", "index"], samples: ["f32[5,4]; 1; -1"] },
  flip: { fn: flip, params: ["input", "dims"], samples: ["f32[5,4]; [0,1]", "f32[3,2]; 0"] },
  squeeze: { fn: squeeze, params: ["input", "dim"], samples: ["f32[1,3,1]", "f32[1,3,1]; 0"] },
  unsqueeze: { fn: unsqueeze, params: ["input", "dim"], samples: ["f32[3,2]; 1", "f32[]; -1"] },
  flatten: { fn: flatten, params: ["input", "startDim", "endDim"], samples: ["f32[2,3,4]; 1", "f32[]"] },
};
