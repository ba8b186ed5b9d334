/** Rearrangements: dimensions moved, split and merged, elements rolled, turned and repeated, windows slid over them. */
import { ArgumentError, ShapeError } from "../graph/errors.js";
import { knownValues } from "../graph/known.js";
import type { Primitive, RefArray } from "../graph/primitive.js";
import { formatShape, normalizeDim, type Shape, sameShape } from "../graph/shape.js";
import { apply, Tensor } from "../graph/tensor.js";
import { type Layout, readView, wholeView } from "../graph/view.js";
import { add } from "./arithmetic.js";
import { type OperatorTable, perInput } from "./define.js";
import { wholeNumbers } from "./helpers.js";
import { indexSelect } from "./indexing.js";
import { cat } from "./join.js";
import {
  expand,
  flatten,
  flip,
  mergePlaced,
  narrow,
  permute,
  placed,
  reshape,
  select,
  transpose,
  unsqueeze,
} from "./movement.js";

// ── Dimensions ──────────────────────────────────────────────────────────────────────────────────────────────────────

/** All elements as a vector. */
export function ravel(input: Tensor): Tensor {
  return flatten(input);
}

/** The input in the shape of `other`. */
export function reshapeAs(input: Tensor, other: Tensor): Tensor {
  return reshape(input, other.shape);
}

/** `reshapeAs` under its other name. */
export function viewAs(input: Tensor, other: Tensor): Tensor {
  return reshapeAs(input, other);
}

/** The input itself. Kernels read any strides, so there is never a need to copy. */
export function contiguous(input: Tensor): Tensor {
  return input;
}

/** The transpose of the last two dimensions. */
export function adjoint(input: Tensor): Tensor {
  if (input.ndim < 2) throw new ShapeError(`adjoint: input must be matrices, not ${formatShape(input.shape)}`);
  return transpose(input, -2, -1);
}

/** The dimensions `source` moved to the places `destination`; the others keep their order. */
export function movedim(input: Tensor, source: number | Shape, destination: number | Shape): Tensor {
  const places = (name: string, dims: number | Shape): number[] => {
    const list = [dims].flat().map((d) => normalizeDim("movedim", d, input.ndim));
    if (new Set(list).size !== list.length)
      throw new ShapeError(`movedim: a dim appears twice in ${name} ${formatShape([dims].flat())}`);
    return list;
  };
  const [from, to] = [places("source", source), places("destination", destination)];
  if (from.length !== to.length) {
    throw new ShapeError(
      `movedim: source ${formatShape(from)} and destination ${formatShape(to)} must name as many dimensions`,
    );
  }
  const rest = input.shape.map((_, d) => d).filter((d) => !from.includes(d));
  const order = input.shape.map((_, d) =>
    to.includes(d) ? (from[to.indexOf(d)] as number) : (rest.shift() as number),
  );
  return permute(input, order);
}

/** A dimension split into several; one of `sizes` may be -1. */
export function unflatten(input: Tensor, dim: number, sizes: Shape): Tensor {
  const d = normalizeDim("unflatten", dim, input.ndim);
  if (sizes.length === 0) throw new ShapeError("unflatten: sizes must not be empty");
  const part = input.shape[d] ?? 1;
  const known = sizes.filter((n) => n !== -1).reduce((a, b) => a * b, 1);
  const full = sizes.map((n) => (n === -1 ? part / known : n));
  if (full.reduce((a, b) => a * b, 1) !== part) {
    throw new ShapeError(`unflatten: sizes ${formatShape(sizes)} do not multiply to dimension ${d}, which has ${part}`);
  }
  return reshape(input, [...input.shape.slice(0, d), ...full, ...input.shape.slice(d + 1)]);
}

function atLeast(input: Tensor, shape: (input: Shape) => Shape): Tensor;
function atLeast(input: readonly Tensor[], shape: (input: Shape) => Shape): Tensor[];
function atLeast(input: Tensor | readonly Tensor[], shape: (input: Shape) => Shape): Tensor | Tensor[] {
  return input instanceof Tensor ? reshape(input, shape(input.shape)) : input.map((x) => reshape(x, shape(x.shape)));
}

/** A scalar as a vector; everything else as it is. Given a list, each of its tensors. */
export function atleast1d(input: Tensor): Tensor;
export function atleast1d(input: readonly Tensor[]): Tensor[];
export function atleast1d(input: Tensor | readonly Tensor[]): Tensor | Tensor[] {
  return atLeast(input as Tensor, (shape) => (shape.length === 0 ? [1] : shape));
}

/** A vector as a matrix of one row; matrices and larger as they are. Given a list, each of its tensors. */
export function atleast2d(input: Tensor): Tensor;
export function atleast2d(input: readonly Tensor[]): Tensor[];
export function atleast2d(input: Tensor | readonly Tensor[]): Tensor | Tensor[] {
  return atLeast(input as Tensor, (shape) => (shape.length >= 2 ? shape : [1, ...(shape.length === 1 ? shape : [1])]));
}

/** A vector as [1, n, 1] and a matrix as [m, n, 1]; larger as they are. Given a list, each of its tensors. */
export function atleast3d(input: Tensor): Tensor;
export function atleast3d(input: readonly Tensor[]): Tensor[];
export function atleast3d(input: Tensor | readonly Tensor[]): Tensor | Tensor[] {
  return atLeast(input as Tensor, (shape) => {
    if (shape.length >= 3) return shape;
    return shape.length === 2 ? [...shape, 1] : [1, shape[0] ?? 1, 1];
  });
}

// ── Order ───────────────────────────────────────────────────────────────────────────────────────────────────────────

/**
 * Elements moved along dimensions; those pushed out at the end come in at the start.
 * @param shifts how far, one for each of `dims`
 * @param dims none: the flattened tensor is rolled
 */
export function roll(input: Tensor, shifts: number | Shape, dims?: number | Shape | null): Tensor {
  const distances = [shifts].flat();
  const along = dims == null ? [] : [dims].flat();
  if (distances.length === 0) throw new ArgumentError("roll: shifts must not be empty");
  if (along.length === 0) {
    if (distances.length !== 1) throw new ArgumentError("roll: several shifts need as many dims");
    return reshape(roll(reshape(input, [-1]), distances, 0), input.shape);
  }
  if (distances.length !== along.length) {
    throw new ArgumentError(`roll: ${distances.length} shifts for ${along.length} dims; there must be as many`);
  }
  if (input.ndim === 0) throw new ShapeError("roll: a scalar has no dimension to roll along");
  return along.reduce<Tensor>((x, dim, i) => {
    const d = normalizeDim("roll", dim, x.ndim);
    const size = x.shape[d] as number;
    const shift = size === 0 ? 0 : (((distances[i] as number) % size) + size) % size;
    if (shift === 0) return x;
    return cat([narrow(x, d, size - shift, shift), narrow(x, d, 0, size - shift)], d);
  }, input);
}

/** Columns in reverse order. */
export function fliplr(input: Tensor): Tensor {
  if (input.ndim < 2) throw new ShapeError(`fliplr: input must have 2 dimensions or more, not ${input.ndim}`);
  return flip(input, 1);
}

/** Rows in reverse order. */
export function flipud(input: Tensor): Tensor {
  if (input.ndim < 1) throw new ShapeError("flipud: a scalar has no rows");
  return flip(input, 0);
}

/** Turned by `k` right angles in the plane of two dimensions, from the first towards the second. */
export function rot90(input: Tensor, k = 1, dims: Shape = [0, 1]): Tensor {
  if (dims.length !== 2) throw new ArgumentError(`rot90: dims must name 2 dimensions, not ${dims.length}`);
  if (input.ndim < 2) throw new ShapeError(`rot90: input must have 2 dimensions or more, not ${input.ndim}`);
  const [a, b] = dims.map((d) => normalizeDim("rot90", d, input.ndim)) as [number, number];
  if (a === b) throw new ArgumentError(`rot90: the two dims must differ, and both are ${a}`);
  switch (((k % 4) + 4) % 4) {
    case 1:
      return flip(transpose(input, a, b), a);
    case 2:
      return flip(input, [a, b]);
    case 3:
      return flip(transpose(input, a, b), b);
    default:
      return input;
  }
}

// ── Repetition ──────────────────────────────────────────────────────────────────────────────────────────────────────

/** The whole tensor repeated along each dimension; extra counts add dimensions in front. */
export function repeat(input: Tensor, ...repeats: (number | Shape)[]): Tensor {
  const counts = repeats.flat();
  if (counts.length < input.ndim) {
    throw new ShapeError(
      `repeat: ${counts.length} counts for shape ${formatShape(input.shape)}; give one for each dimension`,
    );
  }
  if (counts.some((n) => !Number.isInteger(n) || n < 0)) {
    throw new ArgumentError(`repeat: counts ${formatShape(counts)} must be whole numbers from 0 up`);
  }
  const shape = [...counts.slice(input.ndim).map(() => 1), ...input.shape];
  const alone = shape.flatMap((n) => [1, n]);
  const spread = shape.flatMap((n, i) => [counts[i] as number, n]);
  return reshape(
    expand(reshape(input, alone), spread),
    shape.map((n, i) => n * (counts[i] as number)),
  );
}

/** `repeat`, where counts may be missing in front. */
export function tile(input: Tensor, ...dims: (number | Shape)[]): Tensor {
  const counts = dims.flat();
  return repeat(input, [...new Array<number>(Math.max(0, input.ndim - counts.length)).fill(1), ...counts]);
}

/** How often each part of a dimension of `size` is repeated. */
function countsOf(repeats: number | Shape | Tensor, size: number): number[] {
  const given = repeats instanceof Tensor ? knownValues("repeatInterleave", "repeats", repeats) : [repeats].flat();
  const counts = given.length === 1 ? new Array<number>(size).fill(given[0] as number) : given;
  if (counts.length !== size) {
    throw new ShapeError(`repeatInterleave: ${counts.length} repeats for a dimension of ${size}`);
  }
  if (counts.some((n) => !Number.isInteger(n) || n < 0)) {
    throw new ArgumentError(`repeatInterleave: repeats ${formatShape(counts)} must be whole numbers from 0 up`);
  }
  return counts;
}

/**
 * Every part of a dimension repeated in place.
 * @param repeats how often: one number for all or one for each; a tensor's value must be known
 * @param dim none: the elements of the flattened tensor are repeated
 * @param options.outputSize what the sizes must add up to
 */
export function repeatInterleave(
  input: Tensor,
  repeats: number | Shape | Tensor,
  dim?: number | null,
  options: { outputSize?: number | null } = {},
): Tensor {
  if (dim == null && input.ndim !== 1) return repeatInterleave(reshape(input, [-1]), repeats, 0, options);
  const d = normalizeDim("repeatInterleave", dim ?? 0, input.ndim);
  const counts = countsOf(repeats, input.shape[d] as number);
  const index = counts.flatMap((n, i) => new Array<number>(n).fill(i));
  if (options.outputSize != null && options.outputSize !== index.length) {
    throw new ShapeError(
      `repeatInterleave: the repeats add up to ${index.length}, and outputSize is ${options.outputSize}`,
    );
  }
  return indexSelect(input, d, wholeNumbers(index));
}

// ── Windows and slices ──────────────────────────────────────────────────────────────────────────────────────────────

interface UnfoldAttrs {
  readonly dim: number;
  readonly size: number;
  readonly step: number;
}

function windows(shape: Shape, { dim, size, step }: UnfoldAttrs): Shape {
  const count = Math.floor(((shape[dim] as number) - size) / step) + 1;
  return [...shape.map((n, i) => (i === dim ? count : n)), size];
}

/** Overlapping windows of one dimension, as a view. */
function unfoldView(input: Layout, attrs: UnfoldAttrs): Layout {
  const stride = input.strides[attrs.dim] as number;
  return {
    shape: windows(input.shape, attrs),
    strides: [...input.strides.map((s, i) => (i === attrs.dim ? s * attrs.step : s)), stride],
    offset: input.offset,
  };
}

const unfoldPrimitive: Primitive<Tensor, UnfoldAttrs> = {
  name: "unfold",
  infer: ([x], attrs) => {
    const { shape, dtype } = x as Tensor;
    return { shape: windows(shape, attrs), dtype };
  },
  reference: ([x], _, attrs) => {
    const { data, shape } = x as RefArray;
    return readView(data, unfoldView(wholeView(shape), attrs));
  },
  // Windows may overlap, so each position within them is placed by itself and the results are added.
  vjp: perInput(({ g, inputs: [x], attrs: { dim, size, step } }) => {
    const count = g.shape[dim] as number;
    const whole = (x as Tensor).shape[dim] as number;
    const terms = Array.from({ length: size }, (_, start) =>
      placed([select(g, -1, start)], { dim, size: whole, value: 0, parts: [{ start, count, step }] }),
    );
    return mergePlaced(terms).reduce((a, b) => add(a, b));
  }),
  batch: ({ inputs: [x], attrs }) => apply(unfoldPrimitive, [x as Tensor], { ...attrs, dim: attrs.dim + 1 }),
  lowering: { kind: "view", view: (input, _, attrs) => unfoldView(input, attrs) },
  flops: () => 0,
};

/** All windows of `size` elements of a dimension, `step` apart, as a new last dimension. A view. */
export function unfold(input: Tensor, dimension: number, size: number, step: number): Tensor {
  const dim = normalizeDim("unfold", dimension, input.ndim);
  const x = input.ndim === 0 ? reshape(input, [1]) : input;
  const length = x.shape[dim] as number;
  if (!Number.isInteger(size) || size < 1 || size > length) {
    throw new ShapeError(`unfold: size must be 1 to ${length}, which dimension ${dim} has, not ${size}`);
  }
  if (!Number.isInteger(step) || step < 1) throw new ArgumentError(`unfold: step must be 1 or more, not ${step}`);
  const out = apply(unfoldPrimitive, [x], { dim, size, step });
  return input.ndim === 0 ? reshape(out, [size]) : out;
}

/** The input with the part of `dim` at `index` replaced by `src`. */
export function selectScatter(input: Tensor, src: Tensor, dim: number, index: number): Tensor {
  const d = normalizeDim("selectScatter", dim, input.ndim);
  const old = select(input, d, index);
  if (!sameShape(old.shape, src.shape)) {
    throw new ShapeError(`selectScatter: src is ${formatShape(src.shape)}, and must be ${formatShape(old.shape)}`);
  }
  const size = input.shape[d] as number;
  const at = index < 0 ? index + size : index;
  return cat([narrow(input, d, 0, at), unsqueeze(src, d), narrow(input, d, at + 1, size - at - 1)], d);
}

/** The operators of this file. */
export default {
  ravel: { fn: ravel, params: ["input"], samples: ["f32[2,3]"] },
  reshapeAs: { fn: reshapeAs, params: ["input", "other"], samples: ["f32[2,3]; f32[3,2]"] },
  viewAs: { fn: viewAs, params: ["input", "other"], samples: ["f32[2,3]; f32[6]"] },
  contiguous: { fn: contiguous, params: ["input"], samples: ["f32[2,3]"] },
  adjoint: { fn: adjoint, params: ["input"], samples: ["f32[2,3,4]"] },
  movedim: {
    fn: movedim,
    params: ["input", "source", "destination"],
    samples: ["f32[2,3,4]; [0,-1]; [2,0]", "f32[2,3,4]; 0; 1"],
  },
  unflatten: { fn: unflatten, params: ["input", "dim", "sizes"], samples: ["f32[2,6]; 1; [3,-1]"] },
  atleast1d: { fn: atleast1d, params: ["input"], samples: ["f32[]", '["f32[]","f32[2]"]'] },
  atleast2d: { fn: atleast2d, params: ["input"], samples: ["f32[]", "f32[3]"] },
  atleast3d: { fn: atleast3d, params: ["input"], samples: ["f32[]", "f32[3]", "f32[2,3]"] },
  roll: { fn: roll, params: ["input", "shifts", "dims"], samples: ["f32[3,4]; [1,-1]; [0,1]", "f32[3,4]; 2"] },
  fliplr: { fn: fliplr, params: ["input"], samples: ["f32[2,3]"] },
  flipud: { fn: flipud, params: ["input"], samples: ["f32[2,3]"] },
  rot90: { fn: rot90, params: ["input", "k", "dims"], samples: ["f32[2,3]", "f32[2,3,4]; -1; [1,2]", "f32[2,3]; 2"] },
  repeat: { fn: repeat, params: ["input", "...repeats"], samples: ["f32[2,3]; [2,1,2]", "f32[2]; [0]"] },
  tile: { fn: tile, params: ["input", "...dims"], samples: ["f32[2,3]; [2]", "f32[3]; [2,2]"] },
  repeatInterleave: {
    fn: repeatInterleave,
    params: ["input", "repeats", "dim"],
    options: ["outputSize"],
    samples: ["f32[2,3]; 2", "f32[2,3]; [1,0,2]; 1"],
  },
  unfold: {
    fn: unfold,
    params: ["input", "dimension", "size", "step"],
    samples: ["f32[2,7]; 1; 3; 2", "f32[5,2]; 0; 2; 3"],
  },
  selectScatter: { fn: selectScatter, params: ["input", "src", "dim", "index"], samples: ["f32[2,3]; f32[2]; 1; -2"] },
} satisfies OperatorTable;
