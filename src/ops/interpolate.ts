/**
 * Resampling of images and signals. Every mode is, along each dimension, a weighted sum of a few elements (taps) of the
 * input, so one dimension is resampled after the other.
 */
import { ArgumentError, ShapeError } from "../graph/errors.js";
import { formatShape, type Shape } from "../graph/shape.js";
import type { Tensor } from "../graph/tensor.js";
import { add, mul } from "./arithmetic.js";
import type { OperatorTable } from "./define.js";
import { tensorOf, wholeNumbers } from "./helpers.js";
import { indexSelect } from "./indexing.js";
import { reshape } from "./movement.js";

/** How elements between those of the input are found. */
export type InterpolationMode = "nearest" | "nearest-exact" | "linear" | "bilinear" | "trilinear" | "bicubic" | "area";

/** One term of the weighted sum, for every element of the output: which input, times what. */
interface Tap {
  readonly index: readonly number[];
  /** None: 1. */
  readonly weight: readonly number[] | null;
}

/** How a dimension of `size` elements becomes one of `count`; an output is `scale` inputs wide. */
interface Resampling {
  readonly size: number;
  readonly count: number;
  readonly scale: number;
  readonly alignCorners: boolean;
}

function outputs<T>({ count }: Resampling, at: (i: number) => T): T[] {
  return Array.from({ length: count }, (_, i) => at(i));
}

/** Where output `i` lies between the inputs. In f32, as PyTorch computes it: on an edge one ulp decides. */
function sourceOf({ size, count, scale, alignCorners }: Resampling, i: number): number {
  if (alignCorners) return count > 1 ? Math.fround(i * Math.fround((size - 1) / (count - 1))) : 0;
  return Math.fround(Math.fround(Math.fround(scale) * (i + 0.5)) - 0.5);
}

function nearestTaps(resampling: Resampling, shift: number): Tap[] {
  const { size, scale } = resampling;
  const index = outputs(resampling, (i) =>
    Math.min(Math.floor(Math.fround((i + shift) * Math.fround(scale))), size - 1),
  );
  return [{ index, weight: null }];
}

function linearTaps(resampling: Resampling): Tap[] {
  const { size } = resampling;
  const sources = outputs(resampling, (i) => Math.max(0, sourceOf(resampling, i)));
  const first = sources.map((x) => Math.min(Math.floor(x), size - 1));
  const share = sources.map((x, i) => x - (first[i] as number));
  return [
    { index: first, weight: share.map((t) => 1 - t) },
    { index: first.map((i) => Math.min(i + 1, size - 1)), weight: share },
  ];
}

/** Weights of four neighbours by cubic convolution with a = -3/4 (Keys 1981). */
function cubicTaps(resampling: Resampling): Tap[] {
  const { size } = resampling;
  const a = -0.75;
  const inner = (x: number): number => ((a + 2) * x - (a + 3)) * x * x + 1;
  const outer = (x: number): number => ((a * x - 5 * a) * x + 8 * a) * x - 4 * a;
  const sources = outputs(resampling, (i) => sourceOf(resampling, i));
  return [-1, 0, 1, 2].map((offset) => ({
    index: sources.map((x) => Math.max(0, Math.min(size - 1, Math.floor(x) + offset))),
    weight: sources.map((x) => {
      const distance = Math.abs(x - Math.floor(x) - offset);
      return distance <= 1 ? inner(distance) : outer(distance);
    }),
  }));
}

/** Means over windows that together cover the input, and overlap where it does not divide evenly. */
function areaTaps(resampling: Resampling): Tap[] {
  const { size, count } = resampling;
  const start = outputs(resampling, (i) => Math.floor((i * size) / count));
  const length = start.map((from, i) => Math.ceil(((i + 1) * size) / count) - from);
  return Array.from({ length: Math.max(0, ...length) }, (_, k) => ({
    index: start.map((from) => Math.min(from + k, size - 1)),
    weight: length.map((n) => (k < n ? 1 / n : 0)),
  }));
}

function tapsOf(mode: InterpolationMode, resampling: Resampling): Tap[] {
  switch (mode) {
    case "nearest":
      return nearestTaps(resampling, 0);
    case "nearest-exact":
      return nearestTaps(resampling, 0.5);
    case "area":
      return areaTaps(resampling);
    case "bicubic":
      return cubicTaps(resampling);
    default:
      return linearTaps(resampling);
  }
}

function resample(input: Tensor, dim: number, taps: readonly Tap[]): Tensor {
  const terms = taps.map(({ index, weight }) => {
    const picked = indexSelect(input, dim, wholeNumbers(index));
    if (weight === null) return picked;
    return mul(picked, reshape(tensorOf(weight), [-1, ...input.shape.slice(dim + 1).map(() => 1)]));
  });
  return terms.reduce((a, b) => add(a, b));
}

/** Dimensions that a mode resamples, where it does not take any number. */
const SPATIAL: Readonly<Partial<Record<InterpolationMode, number>>> = {
  linear: 1,
  bilinear: 2,
  trilinear: 3,
  bicubic: 2,
};
const MODES = ["nearest", "nearest-exact", "linear", "bilinear", "trilinear", "bicubic", "area"];

/** Options of {@link interpolate}. */
export interface InterpolationOptions {
  /** Output size over input size, one number or one for each dimension, where `size` is not given. */
  readonly scaleFactor?: number | Shape | null;
  /** `"nearest"` if not given. */
  readonly mode?: InterpolationMode;
  /** Whether the first and last elements of input and output coincide, instead of their outer edges. */
  readonly alignCorners?: boolean | null;
  /** Take the scale from the sizes, which are whole, instead of from `scaleFactor`. */
  readonly recomputeScaleFactor?: boolean | null;
}

function checkInterpolation(input: Tensor, size: unknown, options: InterpolationOptions): void {
  const { scaleFactor, mode = "nearest", alignCorners } = options;
  if (!MODES.includes(mode))
    throw new ArgumentError(`interpolate: mode must be one of ${MODES.join(", ")}, not ${mode}`);
  const spatial = SPATIAL[mode];
  if (input.ndim < 3 || (spatial !== undefined && input.ndim !== spatial + 2)) {
    const wanted = spatial === undefined ? "[N, C, ...]" : `[N, C] and ${spatial} more dimensions`;
    throw new ShapeError(`interpolate: mode ${mode} takes ${wanted}, not ${formatShape(input.shape)}`);
  }
  if ((size == null) === (scaleFactor == null)) {
    throw new ArgumentError("interpolate: give either size or scaleFactor");
  }
  if (alignCorners != null && spatial === undefined) {
    throw new ArgumentError(`interpolate: alignCorners has no meaning with mode ${mode}`);
  }
}

/** One number for each of `rank` dimensions. */
function each(name: string, value: number | Shape, rank: number): Shape {
  const list = typeof value === "number" ? new Array<number>(rank).fill(value) : value;
  if (list.length !== rank) {
    throw new ShapeError(
      `interpolate: ${name} ${formatShape(list)} must have one number for each of ${rank} dimensions`,
    );
  }
  return list;
}

/**
 * The input `[N, C, ...]` resampled to another size.
 * @param size sizes of the dimensions after the first two, or one number for all
 */
export function interpolate(input: Tensor, size?: number | Shape | null, options: InterpolationOptions = {}): Tensor {
  checkInterpolation(input, size, options);
  const { scaleFactor, mode = "nearest", alignCorners, recomputeScaleFactor } = options;
  const spatial = input.shape.slice(2);
  const factors = scaleFactor == null ? null : each("scaleFactor", scaleFactor, spatial.length);
  const sizes =
    size == null ? spatial.map((n, i) => Math.floor(n * (factors?.[i] as number))) : each("size", size, spatial.length);
  if ([...sizes, ...spatial].some((n) => !Number.isInteger(n) || n < 1)) {
    throw new ShapeError(`interpolate: sizes ${formatShape(spatial)} to ${formatShape(sizes)}: all must be 1 or more`);
  }
  return spatial.reduce<Tensor>((out, from, i) => {
    const count = sizes[i] as number;
    const factor = recomputeScaleFactor ? undefined : factors?.[i];
    const scale = factor === undefined ? from / count : 1 / factor;
    return resample(out, i + 2, tapsOf(mode, { size: from, count, scale, alignCorners: alignCorners ?? false }));
  }, input);
}

/** Options of the upsamplings. */
export interface UpsampleOptions {
  /** Sizes of the output after the first two dimensions. */
  readonly size?: number | Shape | null;
  /** Output size over input size, where `size` is not given. */
  readonly scaleFactor?: number | Shape | null;
}

/** `interpolate` with mode `"nearest"`. */
export function upsampleNearest(input: Tensor, options: UpsampleOptions = {}): Tensor {
  return interpolate(input, options.size, { scaleFactor: options.scaleFactor ?? null, mode: "nearest" });
}

/** `interpolate` with mode `"bilinear"` and aligned corners. */
export function upsampleBilinear(input: Tensor, options: UpsampleOptions = {}): Tensor {
  const { size, scaleFactor = null } = options;
  return interpolate(input, size, { scaleFactor, mode: "bilinear", alignCorners: true });
}

/** The operators of this file. */
export default {
  interpolate: {
    fn: interpolate,
    params: ["input", "size"],
    options: ["scaleFactor", "mode", "alignCorners", "recomputeScaleFactor"],
    samples: [
      "f32[2,1,3]; 5",
      'f32[2,1,4]; 6; {"mode":"linear","alignCorners":true}',
      'f32[1,2,3,4]; [5,3]; {"mode":"bilinear"}',
      'f32[1,1,4,4]; null; {"mode":"bicubic","scaleFactor":1.5}',
      'f32[1,1,5,4]; [3,6]; {"mode":"area"}',
    ],
  },
  upsampleNearest: {
    fn: upsampleNearest,
    params: ["input"],
    options: ["size", "scaleFactor"],
    samples: ['f32[1,2,3,2]; {"scaleFactor":2}'],
  },
  upsampleBilinear: {
    fn: upsampleBilinear,
    params: ["input"],
    options: ["size", "scaleFactor"],
    samples: ['f32[1,2,3,2]; {"size":[4,5]}'],
  },
} satisfies OperatorTable;
