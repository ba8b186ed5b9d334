/** Sorting, and what stands where in sorted order: the largest, the median, quantiles. NaN counts as the largest. */
import { expectDType } from "../graph/dtype.js";
import { ArgumentError, ShapeError } from "../graph/errors.js";
import { normalizeDim, type Shape, sizeOf } from "../graph/shape.js";
import { constant } from "../graph/sources.js";
import { detach, Tensor } from "../graph/tensor.js";
import { add, ceil, eq, floor, lt, maximum, mul, ne, round, sub, where } from "./arithmetic.js";
import { movedim } from "./arrange.js";
import { lerp } from "./binary.js";
import { to } from "./conversion.js";
import { iota } from "./creation.js";
import { cummax } from "./cumulative.js";
import type { OperatorTable } from "./define.js";
import { gather, type ValuesAndIndices } from "./indexing.js";
import { cat } from "./join.js";
import { expand, narrow, reshape, squeeze } from "./movement.js";
import { argmax, sum } from "./reduction.js";
import { sortedPlaces } from "./sort-primitive.js";

/** The input with dimension `dim` last; a scalar is a vector. */
function asRows(op: string, input: Tensor, dim: number): Tensor {
  const d = normalizeDim(op, dim, input.ndim);
  return input.ndim === 0 ? reshape(input, [1]) : movedim(input, d, -1);
}

/** Where the elements of rows were that stand in places `first` to `first + count - 1` in sorted order. */
function places(rows: Tensor, descending: boolean, first = 0, count = rows.shape.at(-1) as number): Tensor {
  const shape = [...rows.shape.slice(0, -1), count];
  return sizeOf(shape) === 0 ? constant(0, shape, "i32") : sortedPlaces(rows, descending, first, count);
}

/** Moves the last dimension of what was picked from rows back to `dim` of a tensor of `rank` dimensions. */
function movedBack(x: Tensor, dim: number, rank: number): Tensor {
  return rank === 0 ? reshape(x, []) : movedim(x, -1, normalizeDim("sort", dim, rank));
}

/** The elements of rows that an index names, and the index, with the last dimension moved back. */
function picked(rows: Tensor, index: Tensor, dim: number, rank: number): ValuesAndIndices {
  return { values: movedBack(gather(rows, -1, index), dim, rank), indices: movedBack(index, dim, rank) };
}

/**
 * The elements along `dim` in order, and where each was. Equal elements keep their order.
 * @param options.stable taken as in PyTorch; sorting is always stable
 */
export function sort(
  input: Tensor,
  dim = -1,
  descending = false,
  _options: { stable?: boolean | null } = {},
): ValuesAndIndices {
  const rows = asRows("sort", input, dim);
  return picked(rows, places(rows, descending), dim, input.ndim);
}

/** The places that the elements along `dim` have in sorted order: `sort(...).indices`. */
export function argsort(
  input: Tensor,
  dim = -1,
  descending = false,
  options: { stable?: boolean | null } = {},
): Tensor {
  return sort(input, dim, descending, options).indices;
}

/** The rows' elements in order along dimension 0: `sort(input, 0).values`. */
export function msort(input: Tensor): Tensor {
  return sort(input, 0).values;
}

// ── Places in sorted order ──────────────────────────────────────────────────────────────────────────────────────────

/** The `k` largest elements along `dim`, or smallest, in order; and where each was. */
export function topk(input: Tensor, k: number, dim = -1, largest = true, _sorted = true): ValuesAndIndices {
  const rows = asRows("topk", input, dim);
  const length = rows.shape.at(-1) as number;
  if (!Number.isInteger(k) || k < 0 || k > length) {
    throw new ArgumentError(`topk: k is ${k}, and must be from 0 to ${length}, the size of dimension ${dim}`);
  }
  return picked(rows, places(rows, largest, 0, k), dim, input.ndim);
}

/** The element of each row that an index of one names, and the index. */
function pickedOne(rows: Tensor, index: Tensor, dim: number, rank: number, keepdim: boolean): ValuesAndIndices {
  if (keepdim || rank === 0) return picked(rows, index, dim, rank);
  const shape = index.shape.slice(0, -1);
  return { values: reshape(gather(rows, -1, index), shape), indices: reshape(index, shape) };
}

/** The `k`-th smallest element along `dim`, from 1 on, and where it was. */
export function kthvalue(input: Tensor, k: number, dim = -1, keepdim = false): ValuesAndIndices {
  const rows = asRows("kthvalue", input, dim);
  const length = rows.shape.at(-1) as number;
  if (!Number.isInteger(k) || k < 1 || k > length) {
    throw new ArgumentError(`kthvalue: k is ${k}, and must be from 1 to ${length}, the size of dimension ${dim}`);
  }
  return pickedOne(rows, places(rows, false, k - 1, 1), dim, input.ndim, keepdim);
}

/** The length of rows, which must have elements. */
function lengthOf(op: string, rows: Tensor): number {
  const length = rows.shape.at(-1) as number;
  if (length === 0) throw new ShapeError(`${op}: the dimension is empty`);
  return length;
}

/** How many elements of rows are numbers, as size-1 dimensions. */
function numbersIn(rows: Tensor): Tensor {
  return sum(to(eq(rows, rows), "i32"), -1, true);
}

/** Where the lower median of each row was; where there is a NaN, the first one. */
function medianPlace(rows: Tensor): Tensor {
  const length = lengthOf("median", rows);
  const middle = places(rows, false, Math.floor((length - 1) / 2), 1);
  if (rows.dtype !== "f32" || rows.numel === 0) return middle;
  const largest = argmax(detach(rows), -1, true);
  const top = gather(detach(rows), -1, largest);
  return where(ne(top, top), largest, middle);
}

/** Where the lower median of each row's numbers was; where there are none, the first NaN. */
function nanmedianPlace(rows: Tensor): Tensor {
  lengthOf("nanmedian", rows);
  const middle = mul(to(maximum(sub(numbersIn(rows), 1), constant(0, [], "i32")), "f32"), 0.5);
  return gather(places(rows, false), -1, to(floor(middle), "i32"));
}

function medianAlong(
  op: string,
  input: Tensor,
  dim: number | undefined,
  keepdim: boolean,
  place: (rows: Tensor) => Tensor,
): Tensor | ValuesAndIndices {
  const x = dim === undefined ? reshape(input, [-1]) : input;
  const rows = asRows(op, x, dim ?? 0);
  const median = pickedOne(rows, place(rows), dim ?? 0, x.ndim, keepdim);
  return dim === undefined ? median.values : median;
}

/**
 * The median of everything; or with a `dim` the median along it and where it was. Of an even number of elements the
 * lower of the two in the middle; NaN if there is one.
 */
export function median(input: Tensor): Tensor;
export function median(input: Tensor, dim: number, keepdim?: boolean): ValuesAndIndices;
export function median(input: Tensor, dim?: number, keepdim = false): Tensor | ValuesAndIndices {
  return medianAlong("median", input, dim, keepdim, medianPlace);
}

/** {@link median} of the elements that are not NaN. */
export function nanmedian(input: Tensor): Tensor;
export function nanmedian(input: Tensor, dim: number, keepdim?: boolean): ValuesAndIndices;
export function nanmedian(input: Tensor, dim?: number, keepdim = false): Tensor | ValuesAndIndices {
  return medianAlong("nanmedian", input, dim, keepdim, nanmedianPlace);
}

/** The element that appears most often along `dim`, the smallest of several; and where the last of its kind is. */
export function mode(input: Tensor, dim = -1, keepdim = false): ValuesAndIndices {
  const rows = asRows("mode", input, dim);
  const length = lengthOf("mode", rows);
  const order = places(rows, false);
  const values = gather(rows, -1, order);
  const fresh = ne(narrow(values, -1, 1, length - 1), narrow(values, -1, 0, length - 1));
  const starts = cat([constant(1, [...values.shape.slice(0, -1), 1], "bool"), fresh], -1);
  // How far each element is behind the first of its kind.
  const positions = expand(iota(length), values.shape);
  const behind = sub(positions, cummax(where(starts, positions, 0), -1).values);
  return pickedOne(rows, gather(order, -1, argmax(behind, -1, true)), dim, input.ndim, keepdim);
}

// ── Quantiles ───────────────────────────────────────────────────────────────────────────────────────────────────────

/** What a quantile between two elements is. */
export type QuantileInterpolation = "linear" | "lower" | "higher" | "midpoint" | "nearest";

/** Options of the quantiles. */
export interface QuantileOptions {
  /** `"linear"` if not given. */
  readonly interpolation?: QuantileInterpolation;
}

const INTERPOLATIONS: Readonly<Record<QuantileInterpolation, (rank: Tensor) => Tensor>> = {
  linear: (rank) => rank,
  lower: floor,
  higher: ceil,
  midpoint: (rank) => mul(add(floor(rank), ceil(rank)), 0.5),
  nearest: (rank) => round(rank),
};

function quantiles(
  op: string,
  input: Tensor,
  q: number | Tensor,
  dim: number | null | undefined,
  keepdim: boolean,
  interpolation: QuantileInterpolation,
  skipNaN: boolean,
): Tensor {
  expectDType(op, "input", input.dtype, "f32");
  if (!(interpolation in INTERPOLATIONS)) {
    throw new ArgumentError(
      `${op}: interpolation must be one of ${Object.keys(INTERPOLATIONS).join(", ")}, not ${JSON.stringify(interpolation)}`,
    );
  }
  if (typeof q === "number" && !(q >= 0 && q <= 1)) throw new ArgumentError(`${op}: q must be from 0 to 1, not ${q}`);
  if (q instanceof Tensor && q.ndim > 1) throw new ShapeError(`${op}: q must be a number, a scalar or a vector`);
  const x = dim == null ? reshape(input, [-1]) : input;
  const d = dim ?? 0;
  const rows = asRows(op, x, d);
  const length = lengthOf(op, rows);
  const values = gather(rows, -1, places(rows, false));
  const level = q instanceof Tensor ? q : constant(q);
  // [quantiles, rows...]: ranks from 0 to the number of elements that count, less 1.
  const count = squeeze(numbersIn(values), -1);
  const most = skipNaN ? maximum(sub(count, 1), constant(0, [], "i32")) : constant(length - 1, count.shape, "i32");
  const spread = reshape(level, [level.numel, ...count.shape.map(() => 1)]);
  const exact = mul(spread, to(most, "f32"));
  // Where there is a NaN the quantile is one: the last element.
  const rank = skipNaN ? exact : where(lt(count, length), length - 1, exact);
  const wanted = INTERPOLATIONS[interpolation](rank);
  const below = floor(wanted);
  const pick = (place: Tensor): Tensor => takeLast(values, to(place, "i32"));
  const [low, high] = [pick(detach(below)), pick(detach(ceil(wanted)))];
  const out = interpolation === "linear" || interpolation === "midpoint" ? lerp(low, high, sub(wanted, below)) : low;
  return arranged(out, level, input, dim ?? null, keepdim);
}

/** Of rows `[rows..., n]`, the elements in the places `[k, rows...]`. */
function takeLast(values: Tensor, places: Tensor): Tensor {
  const lead = (places.shape[0] as number) > 0 ? places.shape : [0, ...places.shape.slice(1)];
  const table = expand(reshape(values, [1, ...values.shape]), [lead[0] as number, ...values.shape]);
  return reshape(gather(table, table.ndim - 1, reshape(places, [...lead, 1])), lead);
}

/** Quantiles `[k, rows...]` in the shape that PyTorch gives them. */
function arranged(out: Tensor, level: Tensor, input: Tensor, dim: number | null, keepdim: boolean): Tensor {
  const front: Shape = level.ndim === 0 ? [] : [level.numel];
  const d = dim === null ? null : normalizeDim("quantile", dim, input.ndim);
  const kept = input.shape.map((n, i) => (d === null || i === d ? 1 : n));
  const rest = keepdim ? kept : d === null ? [] : input.shape.filter((_, i) => i !== d);
  return reshape(out, [...front, ...rest]);
}

/**
 * Quantiles along `dim`, or of everything.
 * @param q from 0 to 1: a number, or a tensor of several, which come first in the result
 */
export function quantile(
  input: Tensor,
  q: number | Tensor,
  dim?: number | null,
  keepdim = false,
  options: QuantileOptions = {},
): Tensor {
  return quantiles("quantile", input, q, dim, keepdim, options.interpolation ?? "linear", false);
}

/** {@link quantile} of the elements that are not NaN. */
export function nanquantile(
  input: Tensor,
  q: number | Tensor,
  dim?: number | null,
  keepdim = false,
  options: QuantileOptions = {},
): Tensor {
  return quantiles("nanquantile", input, q, dim, keepdim, options.interpolation ?? "linear", true);
}

/** The operators of this file. */
export default {
  sort: {
    fn: sort,
    params: ["input", "dim", "descending"],
    options: ["stable"],
    samples: ["f32[3,5]", "f32[6,2]; 0; true", "i32[9]<4", "f32[]", "bool[4]; 0; true"],
  },
  argsort: {
    fn: argsort,
    params: ["input", "dim", "descending"],
    options: ["stable"],
    samples: ["f32[3,5]"],
    discrete: true,
  },
  msort: { fn: msort, params: ["input"], samples: ["f32[5,2]"] },
  topk: {
    fn: topk,
    params: ["input", "k", "dim", "largest", "sorted"],
    samples: ["f32[3,5]; 2", "f32[7,2]; 3; 0; false"],
  },
  kthvalue: {
    fn: kthvalue,
    params: ["input", "k", "dim", "keepdim"],
    samples: ["f32[3,5]; 2", "f32[7,2]; 3; 0; true"],
  },
  median: { fn: median, params: ["input", "dim", "keepdim"], samples: ["f32[3,5]", "f32[3,4]; 1; true"] },
  nanmedian: { fn: nanmedian, params: ["input", "dim", "keepdim"], samples: ["f32[3,5]", "f32[3,4]; 0"] },
  mode: { fn: mode, params: ["input", "dim", "keepdim"], samples: ["f32[3,5]", "i32[2,9]<3; 1; true"] },
  quantile: {
    fn: quantile,
    params: ["input", "q", "dim", "keepdim"],
    options: ["interpolation"],
    samples: [
      "f32[3,5]; 0.3",
      "f32[3,5]; f32[2]in(0.1,0.9); 1; true",
      'f32[3,5]; 0.3; 0; false; {"interpolation":"higher"}',
    ],
  },
  nanquantile: {
    fn: nanquantile,
    params: ["input", "q", "dim", "keepdim"],
    options: ["interpolation"],
    samples: ["f32[3,5]; 0.3; 1", 'f32[3,5]; 0.7; null; true; {"interpolation":"midpoint"}'],
  },
} satisfies OperatorTable;
