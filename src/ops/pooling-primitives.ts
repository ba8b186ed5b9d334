/**
 * Pooling and its derivatives: the largest element of a window, where it is, the average, and what each hands back. The
 * gradients are linear in the cotangent and have each other's transposes as derivatives, so any order exists.
 */
import type { KernelContext, Operand, Primitive, RefArray } from "../graph/primitive.js";
import { type Shape, sizeOf } from "../graph/shape.js";
import { type AnyPrimitive, apply, type Node, nodeOf, Tensor } from "../graph/tensor.js";
import { Flag, Opcode, PoolMode } from "../isa.js";
import { le, where } from "./arithmetic.js";
import { batchAsItems } from "./batching.js";
import { perInput } from "./define.js";
import { gather } from "./indexing.js";
import { reshape } from "./movement.js";

/** Windows over the spatial dimensions, those from the third on; one number for each. */
export interface PoolWindows {
  /** Null: windows that adapt, from ⌊o·image/output⌋ to before ⌈(o+1)·image/output⌉. */
  readonly kernel: Shape | null;
  readonly stride: Shape;
  readonly padding: Shape;
  readonly dilation: Shape;
  /** What sums are divided by for an average; 0: by the number of elements. */
  readonly divisor: number;
  /** Whether padding counts as elements. */
  readonly countsPadding: boolean;
}

/** Windows and the spatial size of the computed tensor. */
export interface PoolAttrs extends PoolWindows {
  readonly size: Shape;
}

/** A window: which elements of the plane it holds, row-major, and how many an average counts. */
interface Window {
  readonly elements: readonly number[];
  readonly count: number;
}

/** The windows along one dimension. */
function windowsAlong(attrs: PoolWindows, d: number, image: number, output: number): Window[] {
  return Array.from({ length: output }, (_, o) => {
    if (attrs.kernel === null) {
      const start = Math.floor((o * image) / output);
      const end = Math.ceil(((o + 1) * image) / output);
      return { elements: Array.from({ length: end - start }, (_, i) => start + i), count: end - start };
    }
    const kernel = attrs.kernel[d] as number;
    const padding = attrs.padding[d] as number;
    const start = o * (attrs.stride[d] as number) - padding;
    const all = Array.from({ length: kernel }, (_, t) => start + t * (attrs.dilation[d] as number));
    const elements = all.filter((i) => i >= 0 && i < image);
    const padded = Math.min(start + kernel, image + padding) - start;
    return { elements, count: attrs.countsPadding ? padded : elements.length };
  });
}

/** All windows of a plane, in order. */
function windowsOf(attrs: PoolWindows, image: Shape, output: Shape): Window[] {
  let windows: Window[] = [{ elements: [0], count: 1 }];
  image.forEach((size, d) => {
    const along = windowsAlong(attrs, d, size, output[d] as number);
    windows = windows.flatMap((outer) =>
      along.map(({ elements, count }) => ({
        elements: outer.elements.flatMap((i) => elements.map((j) => i * size + j)),
        count: outer.count * count,
      })),
    );
  });
  return windows;
}

/** Calls `visit` for every window of every plane: the output's index, the window, and where the plane starts. */
function forEachWindow(
  attrs: PoolWindows,
  image: Shape,
  output: Shape,
  visit: (out: number, window: Window, plane: number) => void,
): void {
  const windows = windowsOf(attrs, image.slice(2), output.slice(2));
  const size = sizeOf(image.slice(2));
  for (let p = 0; p < sizeOf(image.slice(0, 2)); p++) {
    windows.forEach((window, o) => {
      visit(p * windows.length + o, window, p * size);
    });
  }
}

/** The first of the largest of a window's elements, or the first NaN, as an index within the plane. */
function largest(data: Float64Array, { elements }: Window, plane: number): number {
  return elements.reduce((best, i) => {
    const [x, y] = [data[plane + i] as number, data[plane + best] as number];
    return x > y || (Number.isNaN(x) && !Number.isNaN(y)) ? i : best;
  });
}

function divisorOf(attrs: PoolWindows, window: Window): number {
  return attrs.divisor === 0 ? window.count : attrs.divisor;
}

/** Appends the instruction; `image` and `gradient` where the mode has them. */
function emitPool(
  context: KernelContext<PoolAttrs>,
  mode: PoolMode,
  operands: { output: Operand; image: Operand | null; gradient: Operand | null },
): void {
  const { output, image, gradient } = operands;
  const { kernel, stride, padding, dilation, divisor, countsPadding } = context.attrs;
  const plane = (image ?? gradient) as Operand;
  const target = gradient ?? output;
  const spatial = (list: Shape, fill: number): number[] => [...new Array(3 - list.length).fill(fill), ...list];
  const planes = sizeOf(plane.shape.slice(0, 2));
  if (sizeOf(target.shape) === 0) return;
  const fields = [
    ...[planes, ...spatial(plane.shape.slice(2), 1), ...(kernel === null ? [0, 0, 0] : spatial(kernel, 1))],
    ...[...spatial(output.shape.slice(2), 1), ...spatial(stride, 1), ...spatial(padding, 0), ...spatial(dilation, 1)],
    ...[divisor, countsPadding ? 1 : 0],
  ];
  context.emit(Opcode.Pool, Flag.None, [mode, output, image ?? 0, gradient ?? 0, ...fields], {
    reads: [output, image].filter((x): x is Operand => x !== null && x !== target),
    writes: [target],
  });
}

function pooledShape(x: { shape: Shape } | undefined, size: Shape): Shape {
  return [...(x as { shape: Shape }).shape.slice(0, 2), ...size];
}

/** The largest element of every window. */
const maxPrimitive: Primitive<Tensor, PoolAttrs> = {
  name: "maxPool",
  infer: ([x], { size }) => ({ shape: pooledShape(x, size), dtype: "f32" }),
  reference([x], { shape }, attrs) {
    const { data, shape: image } = x as RefArray;
    const result = new Float64Array(sizeOf(shape));
    forEachWindow(attrs, image, shape, (out, window, plane) => {
      result[out] = data[plane + largest(data, window, plane)] as number;
    });
    return result;
  },
  vjp: perInput(({ g, inputs: [x], attrs }) =>
    apply(maxGradientPrimitive, [x as Tensor, g], { ...attrs, size: (x as Tensor).shape.slice(2) }),
  ),
  batch: (context) => batchAsItems(maxPrimitive, [0], context),
  lowering: {
    kind: "kernel",
    lower(context) {
      const image = context.contiguous(0);
      emitPool(context, PoolMode.Max, { output: context.output(), image, gradient: null });
    },
  },
  // A comparison is no arithmetic: the result is exact.
  flops: () => 0,
};

/** Where in its plane the largest element of every window is. */
const maxIndexPrimitive: Primitive<Tensor, PoolAttrs> = {
  name: "maxPoolIndex",
  infer: ([x], { size }) => ({ shape: pooledShape(x, size), dtype: "i32" }),
  reference([x], { shape }, attrs) {
    const { data, shape: image } = x as RefArray;
    const result = new Float64Array(sizeOf(shape));
    forEachWindow(attrs, image, shape, (out, window, plane) => {
      result[out] = largest(data, window, plane);
    });
    return result;
  },
  vjp: null,
  batch: (context) => batchAsItems(maxIndexPrimitive, [0], context),
  lowering: {
    kind: "kernel",
    lower(context) {
      const image = context.contiguous(0);
      emitPool(context, PoolMode.MaxIndex, { output: context.output(), image, gradient: null });
    },
  },
  flops: () => 0,
};

/** The first input says where the largest elements are; there the elements of the second are added up, all else is 0. */
const maxGradientPrimitive: Primitive<Tensor, PoolAttrs> = {
  name: "maxPoolGradient",
  infer: ([x]) => ({ shape: (x as Tensor).shape, dtype: "f32" }),
  reference([x, g], { shape }, attrs) {
    const { data } = x as RefArray;
    const cotangent = g as RefArray;
    const result = new Float64Array(sizeOf(shape));
    forEachWindow(attrs, shape, cotangent.shape, (out, window, plane) => {
      const at = plane + largest(data, window, plane);
      result[at] = (result[at] as number) + (cotangent.data[out] as number);
    });
    return result;
  },
  vjp: perInput(null, ({ g, inputs: [x, y], attrs }) => {
    const { shape } = y as Tensor;
    const index = maxPoolIndex(x as Tensor, { ...attrs, size: shape.slice(2) });
    const flat = (z: Tensor): Tensor => reshape(z, [...z.shape.slice(0, 2), sizeOf(z.shape.slice(2))]);
    return reshape(gather(flat(g), 2, flat(index)), shape);
  }),
  batch: (context) => batchAsItems(maxGradientPrimitive, [0, 1], context),
  lowering: {
    kind: "kernel",
    lower(context) {
      const [image, output] = [context.contiguous(0), context.contiguous(1)];
      emitPool(context, PoolMode.MaxGradient, { output, image, gradient: context.output() });
    },
  },
  // A window's largest element is 0 or below where the window's cotangent goes to such an element.
  positive(x, [image, g], attrs) {
    if (nodeOf(image as Tensor) !== nodeOf(x)) return null;
    const pooled = maxPool(x, { ...attrs, size: (g as Tensor).shape.slice(2) });
    return apply(maxGradientPrimitive, [x, where(le(pooled, 0), 0, g as Tensor)], attrs);
  },
  flops: ([, g]) => sizeOf((g as Tensor).shape),
};

/** The average of every window. */
const averagePrimitive: Primitive<Tensor, PoolAttrs> = {
  name: "averagePool",
  infer: ([x], { size }) => ({ shape: pooledShape(x, size), dtype: "f32" }),
  reference([x], { shape }, attrs) {
    const { data, shape: image } = x as RefArray;
    const result = new Float64Array(sizeOf(shape));
    forEachWindow(attrs, image, shape, (out, window, plane) => {
      const total = window.elements.reduce((sum, i) => sum + (data[plane + i] as number), 0);
      result[out] = total / divisorOf(attrs, window);
    });
    return result;
  },
  vjp: perInput(({ g, inputs: [x], attrs }) =>
    apply(averageGradientPrimitive, [g], { ...attrs, size: (x as Tensor).shape.slice(2) }),
  ),
  batch: (context) => batchAsItems(averagePrimitive, [0], context),
  lowering: {
    kind: "kernel",
    lower(context) {
      const image = context.contiguous(0);
      emitPool(context, PoolMode.Average, { output: context.output(), image, gradient: null });
    },
  },
  flops: ([x]) => sizeOf((x as Tensor).shape),
};

/** Every element, divided as for the average, added to all elements of its window. */
const averageGradientPrimitive: Primitive<Tensor, PoolAttrs> = {
  name: "averagePoolGradient",
  infer: ([g], { size }) => ({ shape: pooledShape(g, size), dtype: "f32" }),
  reference([g], { shape }, attrs) {
    const cotangent = g as RefArray;
    const result = new Float64Array(sizeOf(shape));
    forEachWindow(attrs, shape, cotangent.shape, (out, window, plane) => {
      const share = (cotangent.data[out] as number) / divisorOf(attrs, window);
      for (const i of window.elements) result[plane + i] = (result[plane + i] as number) + share;
    });
    return result;
  },
  vjp: perInput(({ g, inputs: [y], attrs }) => averagePool(g, { ...attrs, size: (y as Tensor).shape.slice(2) })),
  batch: (context) => batchAsItems(averageGradientPrimitive, [0], context),
  lowering: {
    kind: "kernel",
    lower(context) {
      const output = context.contiguous(0);
      emitPool(context, PoolMode.AverageGradient, { output, image: null, gradient: context.output() });
    },
  },
  flops: (_, { shape }) => sizeOf(shape),
};

/**
 * A tensor whose planes have the same sums as those of `g [N, C, ...]`, and perhaps fewer elements: a max-pool hands each
 * element of its cotangent back to one place.
 */
export function withSameSums(g: Tensor): Tensor {
  const { primitive, inputs } = nodeOf(g);
  return primitive === (maxGradientPrimitive as AnyPrimitive) ? new Tensor(inputs[1] as Node) : g;
}

/** The largest element of every window of `x [N, C, ...]`. */
export function maxPool(x: Tensor, attrs: PoolAttrs): Tensor {
  return apply(maxPrimitive, [x], attrs);
}

/** Where in its plane each of them is, counted row-major, as i32: the first of equals. */
export function maxPoolIndex(x: Tensor, attrs: PoolAttrs): Tensor {
  return apply(maxIndexPrimitive, [x], attrs);
}

/** The average of every window of `x [N, C, ...]`. */
export function averagePool(x: Tensor, attrs: PoolAttrs): Tensor {
  return apply(averagePrimitive, [x], attrs);
}
