/** Sampling of images and volumes at given places. */
import { ArgumentError, ShapeError } from "../graph/errors.js";
import { contiguousStrides, formatShape, sizeOf } from "../graph/shape.js";
import { detach, type Tensor } from "../graph/tensor.js";
import { hardtanh } from "./activation.js";
import { abs, add, clamp, div, eq, floor, ge, le, logicalAnd, mul, round, sub, where } from "./arithmetic.js";
import { fmod } from "./binary.js";
import { to } from "./conversion.js";
import type { OperatorTable } from "./define.js";
import { gather } from "./indexing.js";
import { expand, reshape, select } from "./movement.js";

/** Options of {@link gridSample}. */
export interface GridSampleOptions {
  /** How values between elements are found; `"bilinear"` (in volumes: trilinear) if not given. */
  readonly mode?: "bilinear" | "nearest" | "bicubic";
  /** What stands outside: zeros (if not given), the nearest element of the edge, or the mirror image. */
  readonly paddingMode?: "zeros" | "border" | "reflection";
  /** Whether -1 and 1 are the centers of the first and last elements, instead of their outer edges. */
  readonly alignCorners?: boolean | null;
}

/** One dimension of the input that is sampled, and how. */
interface Axis {
  readonly size: number;
  readonly padding: "zeros" | "border" | "reflection";
  readonly alignCorners: boolean;
}

/** One neighbour of every place along an axis. */
interface Tap {
  /** i32, within the axis. */
  readonly index: Tensor;
  /** None: 1. */
  readonly weight: Tensor | null;
}

/** From -1 … 1 to element numbers. */
function unnormalized(x: Tensor, { size, alignCorners }: Axis): Tensor {
  return alignCorners ? mul(add(x, 1), (size - 1) / 2) : sub(mul(add(x, 1), size / 2), 0.5);
}

/** A place thrown back at the ends of the axis as often as needed. */
function reflected(x: Tensor, { size, alignCorners }: Axis): Tensor {
  const [low, span] = alignCorners ? [0, size - 1] : [-0.5, size];
  if (span === 0) return mul(x, 0);
  const distance = abs(sub(x, low));
  const rest = fmod(distance, span);
  const turns = floor(div(detach(distance), span));
  const even = eq(fmod(turns, 2), 0);
  return add(where(even, rest, sub(span, rest)), low);
}

/** A place brought onto the axis, unless zeros stand outside. No gradient flows where it was moved to an end. */
function padded(x: Tensor, axis: Axis): Tensor {
  if (axis.padding === "zeros") return x;
  return hardtanh(axis.padding === "reflection" ? reflected(x, axis) : x, 0, axis.size - 1);
}

/** A neighbour as a tap: it has no weight outside of the axis. */
function tapAt(place: Tensor, weight: Tensor | null, { size, padding }: Axis): Tap {
  const index = to(clamp(place, 0, size - 1), "i32");
  if (padding !== "zeros") return { index, weight };
  const inside = logicalAnd(ge(place, 0), le(place, size - 1));
  return { index, weight: weight === null ? to(inside, "f32") : where(inside, weight, 0) };
}

/** Weights of four neighbours, `t` past the second one, by cubic convolution with a = -3/4 (Keys 1981). */
function cubicWeights(t: Tensor): Tensor[] {
  const a = -0.75;
  const inner = (x: Tensor): Tensor => add(mul(mul(sub(mul(x, a + 2), a + 3), x), x), 1);
  const outer = (x: Tensor): Tensor => sub(mul(add(mul(sub(mul(x, a), 5 * a), x), 8 * a), x), 4 * a);
  const rest = sub(1, t);
  return [outer(add(t, 1)), inner(t), inner(rest), outer(add(rest, 1))];
}

function tapsOf(coordinate: Tensor, axis: Axis, mode: "bilinear" | "nearest" | "bicubic"): Tap[] {
  const x = unnormalized(coordinate, axis);
  if (mode === "bicubic") {
    const first = detach(floor(x));
    return cubicWeights(sub(x, first)).map((weight, k) => tapAt(padded(add(first, k - 1), axis), weight, axis));
  }
  const place = padded(x, axis);
  if (mode === "nearest") return [tapAt(round(detach(place)), null, axis)];
  const first = detach(floor(place));
  const share = sub(place, first);
  return [tapAt(first, sub(1, share), axis), tapAt(add(first, 1), share, axis)];
}

function checkGrid(input: Tensor, grid: Tensor, mode: string, padding: string): number {
  const rank = input.ndim - 2;
  const fits = (rank === 2 || rank === 3) && grid.ndim === input.ndim;
  if (!fits || grid.shape.at(-1) !== rank || grid.shape[0] !== input.shape[0]) {
    throw new ShapeError(
      `gridSample: input ${formatShape(input.shape)} must be [N, C, H, W] or [N, C, D, H, W], and grid ${formatShape(grid.shape)} [N, ..., 2] or [N, ..., 3]`,
    );
  }
  if (input.shape.slice(2).includes(0)) throw new ShapeError(`gridSample: input ${formatShape(input.shape)} is empty`);
  if (mode !== "bilinear" && mode !== "nearest" && !(mode === "bicubic" && rank === 2)) {
    throw new ArgumentError(`gridSample: mode must be bilinear, nearest or (in images) bicubic, not ${mode}`);
  }
  if (padding !== "zeros" && padding !== "border" && padding !== "reflection") {
    throw new ArgumentError(`gridSample: paddingMode must be zeros, border or reflection, not ${padding}`);
  }
  return rank;
}

/**
 * The input at the places of a grid.
 * @param input `[N, C, H, W]` or `[N, C, D, H, W]`
 * @param grid `[N, ..., 2]` or `[N, ..., 3]`: x, y (and z) from -1, the first column, to 1, the last
 * @returns `[N, C, ...]`
 */
export function gridSample(input: Tensor, grid: Tensor, options: GridSampleOptions = {}): Tensor {
  const { mode = "bilinear", paddingMode: padding = "zeros" } = options;
  const rank = checkGrid(input, grid, mode, padding);
  const alignCorners = options.alignCorners ?? false;
  const [batch, channels, ...sizes] = input.shape as [number, number, ...number[]];
  const strides = contiguousStrides(sizes);
  const places = grid.shape.slice(1, -1);
  const points = sizeOf(places);
  const table = reshape(input, [batch, channels, sizeOf(sizes)]);
  // Combinations of one tap of each axis; the grid's first number runs along the last dimension.
  let corners: Tap[] | null = null;
  for (let d = 0; d < rank; d++) {
    const axis: Axis = { size: sizes[d] as number, padding, alignCorners };
    const coordinate = reshape(select(grid, -1, rank - 1 - d), [batch, 1, points]);
    const taps = tapsOf(coordinate, axis, mode).map(({ index, weight }) => ({
      index: mul(index, strides[d] as number),
      weight,
    }));
    corners = corners === null ? taps : corners.flatMap((corner) => taps.map((tap) => combined(corner, tap)));
  }
  const terms = (corners as Tap[]).map(({ index, weight }) => {
    const picked = gather(table, 2, expand(index, [batch, channels, points]));
    return weight === null ? picked : mul(picked, weight);
  });
  return reshape(
    terms.reduce((a, b) => add(a, b)),
    [batch, channels, ...places],
  );
}

function combined(a: Tap, b: Tap): Tap {
  const weight = a.weight !== null && b.weight !== null ? mul(a.weight, b.weight) : (a.weight ?? b.weight);
  return { index: add(a.index, b.index), weight };
}

/** The operators of this file. */
export default {
  gridSample: {
    fn: gridSample,
    params: ["input", "grid"],
    options: ["mode", "paddingMode", "alignCorners"],
    samples: [
      "f32[2,3,4,5]; f32[2,2,3,2]in(-1.2,1.2)",
      'f32[1,2,4,5]; f32[1,3,2,2]in(-1.9,1.9); {"paddingMode":"reflection","alignCorners":true}',
      'f32[1,1,4,5]; f32[1,3,2,2]in(-1.2,1.2); {"mode":"bicubic","paddingMode":"border"}',
      'f32[1,2,3,4,2]; f32[1,2,1,2,3]in(-1.2,1.2); {"mode":"nearest"}',
      "f32[1,1,2,3,4]; f32[1,2,1,2,3]in(-1.2,1.2)",
    ],
  },
} satisfies OperatorTable;
