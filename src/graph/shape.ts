/** Arithmetic of shapes: sizes, strides, dimensions and broadcasting, with the errors that users see. */
import { describe } from "./describe.js";
import { ShapeError } from "./errors.js";

/** Sizes of each dimension, outermost first. A scalar's is empty. */
export type Shape = readonly number[];

/** PyTorch's limit too, and far above what anything useful has. */
const MAX_RANK = 64;

/** How a shape reads in messages and printed graphs: `[2,3]`. */
export function formatShape(shape: Shape): string {
  return `[${shape.join(",")}]`;
}

/** Number of elements. */
export function sizeOf(shape: Shape): number {
  let n = 1;
  for (let i = 0; i < shape.length; i++) n *= shape[i] as number;
  return n;
}

/** Whether two shapes are the same. */
export function sameShape(a: Shape, b: Shape): boolean {
  if (a === b) return true;
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** Row-major strides, in elements. */
export function contiguousStrides(shape: Shape): number[] {
  const strides = new Array<number>(shape.length);
  let stride = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    strides[i] = stride;
    stride *= shape[i] as number;
  }
  return strides;
}

/**
 * Checks sizes given by a user.
 * @throws ShapeError where one is not a whole number from 0 up, where there are more than 64, or where the elements
 * are more than 2³⁰ (4 GiB, all that a 32-bit memory can address).
 */
export function checkShape(op: string, shape: Shape): Shape {
  if (!Array.isArray(shape)) {
    throw new ShapeError(`${op}: shape must be a list of sizes, as [2,3], not ${describe(shape)}`);
  }
  if (shape.length > MAX_RANK) {
    throw new ShapeError(`${op}: ${shape.length} dimensions, and tensors have at most ${MAX_RANK}`);
  }
  for (const size of shape) {
    if (!Number.isInteger(size) || size < 0) {
      throw new ShapeError(`${op}: shape ${formatShape(shape)} must hold whole numbers from 0 up`);
    }
  }
  if (sizeOf(shape) > 2 ** 30) {
    throw new ShapeError(
      `${op}: shape ${formatShape(shape)} has ${sizeOf(shape)} elements (${4 * sizeOf(shape)} bytes), more than the 2^30 that a 32-bit memory holds`,
    );
  }
  return shape;
}

/**
 * A dimension as an index from 0 up; negative ones count from the end. A scalar has the dimensions 0 and -1, as in
 * PyTorch.
 * @throws ShapeError outside the range.
 */
export function normalizeDim(op: string, dim: number, rank: number): number {
  if (!Number.isInteger(dim)) throw new ShapeError(`${op}: dim must be a whole number, not ${describe(dim)}`);
  const span = Math.max(rank, 1);
  if (dim < -span || dim >= span) {
    throw new ShapeError(`${op}: dim ${dim} is out of range: expected ${-span} to ${span - 1} for ${rank} dimensions`);
  }
  return dim < 0 ? dim + span : dim;
}

/**
 * Several dimensions as rising, distinct indexes. None given, or null, means all of them.
 * @throws ShapeError outside the range, or where one appears twice.
 */
export function normalizeDims(op: string, dims: number | Shape | null | undefined, rank: number): number[] {
  if (dims == null) return Array.from({ length: rank }, (_, i) => i);
  const list = Array.isArray(dims) ? (dims as Shape) : [dims as number];
  const seen = new Set<number>();
  for (const dim of list) {
    const d = normalizeDim(op, dim, rank);
    if (seen.has(d)) throw new ShapeError(`${op}: dim ${d} appears twice in dim=${formatShape(list)}`);
    seen.add(d);
  }
  return [...seen].filter((d) => d < rank).sort((a, b) => a - b);
}

/**
 * The shape that two shapes broadcast to, by NumPy's and PyTorch's rule: aligned from the right, sizes must be equal
 * or one of them 1.
 * @throws ShapeError naming the first dimension that does not fit.
 */
export function broadcastShapes(op: string, a: Shape, b: Shape): Shape {
  if (sameShape(a, b)) return a;
  const rank = Math.max(a.length, b.length);
  const out = new Array<number>(rank);
  for (let i = 1; i <= rank; i++) {
    const x = a[a.length - i] ?? 1;
    const y = b[b.length - i] ?? 1;
    if (x !== y && x !== 1 && y !== 1) {
      throw new ShapeError(
        `${op}: shapes ${formatShape(a)} and ${formatShape(b)} do not broadcast: dimension ${rank - i} is ${x} against ${y} (sizes must be equal, or one of them 1)`,
      );
    }
    out[rank - i] = x === 1 ? y : x;
  }
  return out;
}
