/** Views: how a tensor's elements lie in a buffer. Movement operators lower to these instead of to copies. */
import { contiguousStrides, type Shape, sizeOf } from "./shape.js";

/** Where the elements of a tensor lie: element [i…] is at `offset + Σ i·stride`, all in elements. */
export interface Layout {
  readonly shape: Shape;
  readonly strides: readonly number[];
  readonly offset: number;
}

/** The row-major view of a whole buffer. */
export function wholeView(shape: Shape): Layout {
  return { shape, strides: contiguousStrides(shape), offset: 0 };
}

/** Whether the elements follow one another in row-major order. Size-1 dimensions may have any stride. */
export function isContiguous(view: Layout): boolean {
  let expected = 1;
  for (let i = view.shape.length - 1; i >= 0; i--) {
    const size = view.shape[i] as number;
    if (size === 0) return true;
    if (size !== 1 && view.strides[i] !== expected) return false;
    expected *= size;
  }
  return true;
}

/** The view with dimensions reordered. */
export function permuteView(view: Layout, order: readonly number[]): Layout {
  return {
    shape: order.map((d) => view.shape[d] as number),
    strides: order.map((d) => view.strides[d] as number),
    offset: view.offset,
  };
}

/** The view broadcast to `shape`: new and stretched dimensions have stride 0. */
export function expandView(view: Layout, shape: Shape): Layout {
  const lead = shape.length - view.shape.length;
  const strides = shape.map((size, i) =>
    i < lead || view.shape[i - lead] !== size ? 0 : (view.strides[i - lead] as number),
  );
  return { shape, strides, offset: view.offset };
}

/** The view with `count` elements of dimension `dim`, from `start` on in steps of `step` (negative ones run back). */
export function sliceView(view: Layout, dim: number, start: number, count: number, step: number): Layout {
  const stride = view.strides[dim] as number;
  return {
    shape: view.shape.map((size, i) => (i === dim ? count : size)),
    strides: view.strides.map((s, i) => (i === dim ? s * step : s)),
    offset: view.offset + start * stride,
  };
}

/**
 * The view seen as another shape of as many elements, or null where strides cannot express it and a copy is needed.
 * Dimensions are matched in groups of equal products, each of which must be evenly strided.
 */
export function reshapeView(view: Layout, shape: Shape): Layout | null {
  const strides = new Array<number>(shape.length).fill(0);
  if (shape.includes(0)) return { shape, strides, offset: view.offset };
  const from = view.shape.map((size, i) => ({ size, stride: view.strides[i] as number })).filter((d) => d.size !== 1);
  let j = shape.length - 1;
  let i = from.length - 1;
  while (i >= 0) {
    let have = (from[i] as { size: number }).size;
    const inner = (from[i] as { stride: number }).stride;
    let want = 1;
    let stride = inner;
    while (true) {
      while (want < have && j >= 0) {
        strides[j] = stride;
        want *= shape[j] as number;
        stride *= shape[j] as number;
        j--;
      }
      if (want === have) break;
      // The wanted group reaches past this dimension: the next outer one must continue its stride.
      const outer = from[i - 1];
      const here = from[i] as { size: number; stride: number };
      if (outer === undefined || outer.stride !== here.stride * here.size) return null;
      have *= outer.size;
      i--;
    }
    i--;
  }
  return { shape, strides, offset: view.offset };
}

/** The elements of a view in row-major order. */
export function readView(data: Float64Array, view: Layout): Float64Array {
  const out = new Float64Array(sizeOf(view.shape));
  const index = new Array<number>(view.shape.length).fill(0);
  let at = view.offset;
  for (let i = 0; i < out.length; i++) {
    out[i] = data[at] as number;
    for (let d = index.length - 1; d >= 0; d--) {
      at += view.strides[d] as number;
      if (++(index[d] as number) < (view.shape[d] as number)) break;
      at -= (view.strides[d] as number) * (view.shape[d] as number);
      index[d] = 0;
    }
  }
  return out;
}

/** One dimension of several operands walked together. */
export interface LoopDim {
  readonly size: number;
  /** The stride of each operand. */
  readonly strides: readonly number[];
}

/**
 * The fewest dimensions that walk several operands together in row-major order: size-1 dimensions are dropped, and
 * neighbours merge where every operand's outer stride continues its inner one.
 */
export function collapse(shape: Shape, operands: readonly (readonly number[])[]): LoopDim[] {
  const dims: LoopDim[] = [];
  for (let d = 0; d < shape.length; d++) {
    const size = shape[d] as number;
    if (size === 1) continue;
    const strides = operands.map((s) => s[d] as number);
    const outer = dims.at(-1);
    if (outer?.strides.every((s, k) => s === (strides[k] as number) * size)) {
      dims[dims.length - 1] = { size: outer.size * size, strides };
    } else {
      dims.push({ size, strides });
    }
  }
  return dims;
}
