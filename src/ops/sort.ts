/** Sorting, and what stands where in sorted order: the largest, the median, quantiles. NaN counts as the largest. */
import { expectDType } from "../graph/dtype.js";
import { ArgumentError, ShapeError } from "../graph/errors.js";
import { normalizeDim, type Shape } from "../graph/shape.js";
import { constant } from "../graph/sources.js";
import { detach, Tensor } from "../graph/tensor.js";
import { add, ceil, eq, floor, logicalAnd, logicalOr, lt, maximum, mul, ne, round, sub, where } from "./arithmetic.js";
import { movedim } from "./arrange.js";
import { lerp } from "./binary.js";
import { to } from "./conversion.js";
import { iota } from "./creation.js";
import { cummax } from "./cumulative.js";
import type { OperatorTable } from "./define.js";
import { gather, takeAlongDim, type ValuesAndIndices } from "./indexing.js";
import { cat, stack } from "./join.js";
import { expand, flip, narrow, reshape, select } from "./movement.js";
import { pad } from "./padding.js";
import { argmax, sum } from "./reduction.js";

// ── The sorting network ─────────────────────────────────────────────────────────────────────────────────────────────

/** Rows of keys, and where in the row each was: the second key, so that no two are equal. */
interface Keyed {
  readonly keys: Tensor;
  readonly places: Tensor;
}

/** Puts the halves of every block of `2 · half` elements in order, element by element; the second one mirrored or not. */
function exchange({ keys, places }: Keyed, half: number, mirrored: boolean): Keyed {
  const [rows, length] = keys.shape as [number, number];
  const blocks = [rows, length / (2 * half), 2, half];
  const halves = (x: Tensor): [Tensor, Tensor] => {
    const split = reshape(x, blocks);
    const second = select(split, 2, 1);
    return [select(split, 2, 0), mirrored ? flip(second, 2) : second];
  };
  const [a, b] = halves(keys);
  const [i, j] = halves(places);
  const wrong = logicalOr(lt(b, a), logicalAnd(eq(a, b), lt(j, i)));
  const joined = (x: Tensor, y: Tensor): Tensor =>
    reshape(stack([where(wrong, y, x), where(wrong, x, y)], 2), [rows, length]);
  return { keys: joined(a, b), places: joined(i, j) };
}

/**
 * A bitonic sorting network (Batcher 1968), in the form in which every comparison puts the smaller element first:
 * log₂(n) · (log₂(n) + 1) / 2 passes over all rows at once. The length is a power of 2.
 */
function network(input: Keyed): Keyed {
  const length = input.keys.shape[1] as number;
  let out = input;
  for (let block = 2; block <= length; block *= 2) {
    out = exchange(out, block / 2, true);
    for (let half = block / 4; half >= 1; half /= 2) out = exchange(out, half, false);
  }
  return out;
}

/** The places of the elements along the last of two dimensions, in sorted order; equal ones keep theirs. */
function sortedPlaces(rows: Tensor, descending: boolean): Tensor {
  const [count, length] = rows.shape as [number, number];
  const x = detach(rows.dtype === "bool" ? to(rows, "i32") : rows);
  const places = expand(iota(length), [count, length]);
  const padding = 2 ** Math.ceil(Math.log2(Math.max(length, 1))) - length;
  const widen = (keys: Tensor, order: Tensor, last: number): Tensor => {
    const whole = {
      keys: pad(keys, [0, padding], { value: last }),
      places: pad(order, [0, padding], { value: 2 * length }),
    };
    return narrow(network(whole).places, 1, 0, length);
  };
  // -1 - x, unlike -x, reverses the order of all of i32.
  if (x.dtype === "i32") return widen(descending ? sub(-1, x) : x, places, 2 ** 31 - 1);
  // A NaN is put past its like by its place: after +∞, and in descending order before it.
  const nan = ne(x, x);
  const infinity = Number.POSITIVE_INFINITY;
  const keys = where(nan, descending ? -infinity : infinity, descending ? sub(0, x) : x);
  const shift = descending ? -length : length;
  const sorted = widen(keys, where(nan, add(places, shift), places), infinity);
  const shifted = descending ? lt(sorted, 0) : lt(length - 1, sorted);
  return where(shifted, sub(sorted, shift), sorted);
}

/** Everything along `dim` in sorted order, with that dimension last; a scalar is a vector. */
function sortedLast(op: string, input: Tensor, dim: number, descending: boolean): ValuesAndIndices {
  const d = normalizeDim(op, dim, input.ndim);
  const last = input.ndim === 0 ? reshape(input, [1]) : movedim(input, d, -1);
  const length = last.shape.at(-1) as number;
  const rows = reshape(last, [length === 0 ? 0 : last.numel / length, length]);
  const indices = reshape(sortedPlaces(rows, descending), last.shape);
  return { values: gather(last, -1, indices), indices };
}

/** Moves the last dimension back to `dim` of a tensor of `rank` dimensions. */
function movedBack(x: Tensor, dim: number, rank: number): Tensor {
  return rank === 0 ? reshape(x, []) : movedim(x, -1, normalizeDim("sort", dim, rank));
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
  const { values, indices } = sortedLast("sort", input, dim, descending);
  return { values: movedBack(values, dim, input.ndim), indices: movedBack(indices, dim, input.ndim) };
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
  const { values, indices } = sortedLast("topk", input, dim, largest);
  const length = values.shape.at(-1) as number;
  if (!Number.isInteger(k) || k < 0 || k > length) {
    throw new ArgumentError(`topk: k is ${k}, and must be from 0 to ${length}, the size of dimension ${dim}`);
  }
  const first = (x: Tensor): Tensor => movedBack(narrow(x, -1, 0, k), dim, input.ndim);
  return { values: first(values), indices: first(indices) };
}

/** The elements in one place, which a tensor without the last dimension gives, of sorted rows. */
function atPlace(
  { values, indices }: ValuesAndIndices,
  place: Tensor,
  dim: number,
  rank: number,
  keepdim: boolean,
): ValuesAndIndices {
  const index = reshape(expand(place, values.shape.slice(0, -1)), [...values.shape.slice(0, -1), 1]);
  const pick = (x: Tensor): Tensor => {
    const picked = gather(x, -1, index);
    if (rank === 0) return reshape(picked, []);
    return keepdim ? movedBack(picked, dim, rank) : reshape(picked, picked.shape.slice(0, -1));
  };
  return { values: pick(values), indices: pick(indices) };
}

/** The `k`-th smallest element along `dim`, from 1 on, and where it was. */
export function kthvalue(input: Tensor, k: number, dim = -1, keepdim = false): ValuesAndIndices {
  const sorted = sortedLast("kthvalue", input, dim, false);
  const length = sorted.values.shape.at(-1) as number;
  if (!Number.isInteger(k) || k < 1 || k > length) {
    throw new ArgumentError(`kthvalue: k is ${k}, and must be from 1 to ${length}, the size of dimension ${dim}`);
  }
  return atPlace(sorted, constant(k - 1, [], "i32"), dim, input.ndim, keepdim);
}

function expectNotEmpty(op: string, sorted: ValuesAndIndices): number {
  const length = sorted.values.shape.at(-1) as number;
  if (length === 0) throw new ShapeError(`${op}: the dimension is empty`);
  return length;
}

/** How many elements of sorted rows are numbers. */
function numbersIn(values: Tensor): Tensor {
  return sum(to(eq(values, values), "i32"), -1);
}

/** The place of the lower median of `count` elements. */
function middle(count: Tensor): Tensor {
  return to(floor(mul(to(maximum(sub(count, 1), constant(0, [], "i32")), "f32"), 0.5)), "i32");
}

function medianAlong(op: string, input: Tensor, dim: number, keepdim: boolean, skipNaN: boolean): ValuesAndIndices {
  const sorted = sortedLast(op, input, dim, false);
  const length = expectNotEmpty(op, sorted);
  const count = numbersIn(sorted.values);
  const whole = constant(Math.floor((length - 1) / 2), [], "i32");
  // The first NaN stands behind all numbers.
  const place = skipNaN ? middle(count) : where(lt(count, length), count, whole);
  return atPlace(sorted, place, dim, input.ndim, keepdim);
}

/**
 * The median of everything; or with a `dim` the median along it and where it was. Of an even number of elements the
 * lower of the two in the middle; NaN if there is one.
 */
export function median(input: Tensor): Tensor;
export function median(input: Tensor, dim: number, keepdim?: boolean): ValuesAndIndices;
export function median(input: Tensor, dim?: number, keepdim = false): Tensor | ValuesAndIndices {
  if (dim === undefined) return medianAlong("median", reshape(input, [-1]), 0, false, false).values;
  return medianAlong("median", input, dim, keepdim, false);
}

/** {@link median} of the elements that are not NaN. */
export function nanmedian(input: Tensor): Tensor;
export function nanmedian(input: Tensor, dim: number, keepdim?: boolean): ValuesAndIndices;
export function nanmedian(input: Tensor, dim?: number, keepdim = false): Tensor | ValuesAndIndices {
  if (dim === undefined) return medianAlong("nanmedian", reshape(input, [-1]), 0, false, true).values;
  return medianAlong("nanmedian", input, dim, keepdim, true);
}

/** The element that appears most often along `dim`, the smallest of several; and where the last of its kind is. */
export function mode(input: Tensor, dim = -1, keepdim = false): ValuesAndIndices {
  const sorted = sortedLast("mode", input, dim, false);
  const length = expectNotEmpty("mode", sorted);
  const { values } = sorted;
  const places = expand(iota(length), values.shape);
  const fresh = ne(narrow(values, -1, 1, length - 1), narrow(values, -1, 0, length - 1));
  const starts = cat([constant(1, [...values.shape.slice(0, -1), 1], "bool"), fresh], -1);
  // How far each element is behind the first of its kind.
  const behind = sub(places, cummax(where(starts, places, 0), -1).values);
  const longest = argmax(behind, -1);
  return atPlace(sorted, longest, dim, input.ndim, keepdim);
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
  const { values } = sortedLast(op, x, d, false);
  const length = values.shape.at(-1) as number;
  if (length === 0) throw new ShapeError(`${op}: input must not be empty`);
  const level = q instanceof Tensor ? q : constant(q);
  // [quantiles, rows...]: ranks from 0 to the number of elements that count, less 1.
  const count = numbersIn(values);
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
  return reshape(takeAlongDim(table, reshape(places, [...lead, 1]), -1), lead);
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
export const sortOperators: OperatorTable = {
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
};
