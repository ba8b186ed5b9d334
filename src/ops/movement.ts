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
import { constant } from "../graph/sources.js";
import { type AnyPrimitive, apply, nodeOf, Tensor } from "../graph/tensor.js";
import { expandView, type Layout, permuteView, readView, reshapeView, sliceView, wholeView } from "../graph/view.js";
import { type OperatorTable, perInput, type Rule } from "./define.js";

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

/** Part of a dimension: `count` elements from `start` on, `step` apart. */
interface Part {
  readonly start: number;
  readonly count: number;
  readonly step: number;
}

/** Part of which dimension. */
interface SliceAttrs extends Part {
  readonly dim: number;
}

const slicePrimitive: Primitive<Tensor, SliceAttrs> = movement({
  name: "slice",
  shape: (input, { dim, count }) => input.map((size, i) => (i === dim ? count : size)),
  view: (input, _, { dim, start, count, step }) => sliceView(input, dim, start, count, step),
  vjp: ({ g, inputs: [x], attrs: { dim, ...part } }) =>
    placed([g], { dim, size: (x as Tensor).shape[dim] as number, value: 0, parts: [part] }),
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
  if (x.ndim !== 0 || x.dtype !== "i32") {
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

// ── Place ───────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Which parts of a dimension of what size. */
interface PlaceAttrs {
  readonly dim: number;
  /** Size of the dimension in the output. */
  readonly size: number;
  /** What stands where no input reaches. */
  readonly value: number;
  /** Where each input goes; they do not overlap. */
  readonly parts: readonly Part[];
}

/** The bits of a number as the dtype stores it. */
function bitsOf(value: number, dtype: DType): number {
  return dtype === "f32" ? (new Int32Array(Float32Array.of(value).buffer)[0] as number) : value | 0;
}

/**
 * The layout of parts that follow one another, where all of them lie in one buffer as the whole would: each as far
 * behind the one before as their elements are apart.
 */
function adjoining(views: readonly Layout[], shape: Shape, { dim, size, parts }: PlaceAttrs): Layout | null {
  const [first, second] = views as [Layout, Layout];
  const count = parts[0]?.count as number;
  const pitch = count > 1 || second === undefined ? first.strides[dim] : (second.offset - first.offset) / count;
  let end = 0;
  for (const [i, { start, step }] of parts.entries()) {
    const { shape, strides, offset } = views[i] as Layout;
    const alike = strides.every((s, d) => shape[d] === 1 || s === (d === dim ? pitch : first.strides[d]));
    if (!alike || start !== end || step !== 1 || offset !== first.offset + start * (pitch as number)) return null;
    end += shape[dim] as number;
  }
  if (end !== size) return null;
  return { shape, strides: first.strides.map((s, d) => (d === dim ? (pitch as number) : s)), offset: first.offset };
}

/** The inverse of slices: the inputs placed within one dimension of a larger tensor that is `value` elsewhere. */
const placePrimitive: Primitive<Tensor, PlaceAttrs> = {
  name: "place",
  infer: ([x], { dim, size }) => {
    const { shape, dtype } = x as Tensor;
    return {
      shape: checkShape(
        "place",
        shape.map((n, i) => (i === dim ? size : n)),
      ),
      dtype,
    };
  },
  reference(inputs, out, { dim, value, parts }) {
    const result = new Float64Array(sizeOf(out.shape)).fill(value);
    const positions = Float64Array.from(result, (_, i) => i);
    for (const [k, { start, count, step }] of parts.entries()) {
      readView(positions, sliceView(wholeView(out.shape), dim, start, count, step)).forEach((position, i) => {
        result[position] = inputs[k]?.data[i] as number;
      });
    }
    return result;
  },
  vjp: ({ g, attrs: { dim, parts } }, i) => apply(slicePrimitive, [g], { dim, ...(parts[i] as Part) }),
  jvp: ({ tangents, inputs, attrs }) =>
    apply(
      placePrimitive,
      tangents.map((x, i) => x ?? constant(0, (inputs[i] as Tensor).shape)),
      { ...attrs, value: 0 },
    ),
  batch: ({ inputs, spread, attrs }) =>
    apply(
      placePrimitive,
      inputs.map((_, i) => spread(i)),
      { ...attrs, dim: attrs.dim + 1 },
    ),
  joined: adjoining,
  lowering: {
    kind: "kernel",
    lower(context) {
      const { dim, size, value, parts } = context.attrs;
      const out = context.output();
      const covered = parts.reduce((sum, { count }) => sum + count, 0);
      if (covered < size) context.fill(out, bitsOf(value, out.dtype));
      for (const [i, { start, count, step }] of parts.entries())
        context.copy({ ...out, ...sliceView(out, dim, start, count, step) }, context.input(i));
    },
  },
  flops: () => 0,
};

/**
 * Tensors placed within one dimension of a larger tensor that is `attrs.value` elsewhere.
 * @param inputs of one dtype, and in other dimensions of one size
 */
export function placed(inputs: readonly Tensor[], attrs: PlaceAttrs): Tensor {
  return apply(placePrimitive, inputs, attrs);
}

/** Whether no element is in both, as far as that is seen without counting them. */
function areApart(a: Part, b: Part): boolean {
  const first = ({ start, count, step }: Part): number => Math.min(start, start + (count - 1) * step);
  const last = ({ start, count, step }: Part): number => Math.max(start, start + (count - 1) * step);
  const interlaced = Math.abs(a.step) === Math.abs(b.step) && (a.start - b.start) % a.step !== 0;
  return interlaced || last(a) < first(b) || last(b) < first(a);
}

/**
 * Fewer terms of the same sum: those that are placed among zeros, one beside the other, become one. Gradients of the parts
 * of a tensor are put together so, where filling each up with zeros and adding them would take several times as long.
 */
export function mergePlaced(terms: readonly Tensor[]): Tensor[] {
  const merged: Tensor[] = [];
  const groups: { inputs: Tensor[]; parts: Part[]; attrs: PlaceAttrs; at: number }[] = [];
  for (const term of terms) {
    const { primitive, inputs: nodes, attrs } = nodeOf(term);
    const own = primitive === (placePrimitive as AnyPrimitive) && nodes.length > 0 ? (attrs as PlaceAttrs) : null;
    const inputs = nodes.map((node) => new Tensor(node));
    const group = groups.at(-1);
    if (own?.value !== 0) {
      merged.push(term);
    } else if (group?.attrs.dim === own.dim && own.parts.every((x) => group.parts.every((y) => areApart(x, y)))) {
      group.inputs.push(...inputs);
      group.parts.push(...own.parts);
    } else {
      groups.push({ inputs, parts: [...own.parts], attrs: own, at: merged.length });
      merged.push(term);
    }
  }
  for (const { inputs, parts, attrs, at } of groups) {
    if (parts.length === attrs.parts.length) continue;
    const order = [...parts.keys()].sort((a, b) => (parts[a] as Part).start - (parts[b] as Part).start);
    merged[at] = placed(
      order.map((i) => inputs[i] as Tensor),
      { ...attrs, parts: order.map((i) => parts[i] as Part) },
    );
  }
  return merged;
}

/** The operators of this file. */
export default {
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
} satisfies OperatorTable;
