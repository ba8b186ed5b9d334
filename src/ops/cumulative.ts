/** Running totals along a dimension, and what is built of them: differences and areas under curves. */
import { type DType, expectDType } from "../graph/dtype.js";
import { ArgumentError, ShapeError } from "../graph/errors.js";
import { formatShape, normalizeDim, normalizeDims, type Shape, sameShape } from "../graph/shape.js";
import { constant } from "../graph/sources.js";
import type { Tensor } from "../graph/tensor.js";
import { add, div, mul, neg, sub } from "./arithmetic.js";
import { logaddexp } from "./binary.js";
import { to } from "./conversion.js";
import type { OperatorTable } from "./define.js";
import { gather } from "./indexing.js";
import { cat } from "./join.js";
import { narrow, reshape } from "./movement.js";
import { sum } from "./reduction.js";
import { runningMaximum, runningMinimum, runningProduct, runningSum } from "./scan-primitives.js";

/** Options of running totals. */
export interface CumulativeOptions {
  /** Convert the input to this dtype first. */
  readonly dtype?: DType | null;
}

function converted(input: Tensor, { dtype }: CumulativeOptions): Tensor {
  return to(input, dtype ?? (input.dtype === "bool" ? "i32" : input.dtype));
}

/** A scan along `dim`; a scalar is a vector. */
function along(op: string, input: Tensor, dim: number, scan: (x: Tensor, dim: number) => Tensor): Tensor {
  const d = normalizeDim(op, dim, input.ndim);
  if (input.numel === 0) return input;
  return input.ndim === 0 ? reshape(scan(reshape(input, [1]), 0), []) : scan(input, d);
}

/** The sum of the elements up to each one along `dim`. */
export function cumsum(input: Tensor, dim: number, options: CumulativeOptions = {}): Tensor {
  return along("cumsum", converted(input, options), dim, runningSum);
}

/** The product of the elements up to each one along `dim`. */
export function cumprod(input: Tensor, dim: number, options: CumulativeOptions = {}): Tensor {
  return along("cumprod", converted(input, options), dim, runningProduct);
}

/**
 * The logarithm of the sum of the exponentials of the elements up to each one along `dim`, without overflow: log₂(n)
 * passes over the whole tensor (Hillis & Steele 1986), after the k-th of which every element stands for the 2ᵏ elements
 * that end in it.
 */
export function logcumsumexp(input: Tensor, dim: number): Tensor {
  expectDType("logcumsumexp", "input", input.dtype, "f32");
  const d = normalizeDim("logcumsumexp", dim, input.ndim);
  const size = input.shape[d] ?? 1;
  let out = input;
  for (let distance = 1; distance < size; distance *= 2) {
    const [earlier, later] = [narrow(out, d, 0, size - distance), narrow(out, d, distance, size - distance)];
    out = cat([narrow(out, d, 0, distance), logaddexp(earlier, later)], d);
  }
  return out;
}

/** The extreme of the elements up to each one, and where it stands. */
export interface RunningExtreme {
  readonly values: Tensor;
  /** i32; of equal elements the last one's. */
  readonly indices: Tensor;
}

function runningExtreme(
  op: string,
  input: Tensor,
  dim: number,
  places: (x: Tensor, dim: number) => Tensor,
): RunningExtreme {
  const indices = input.numel === 0 ? constant(0, input.shape, "i32") : along(op, input, dim, places);
  return { values: gather(input, dim, indices), indices };
}

/** The largest of the elements up to each one along `dim` (NaN if there is one), and where it stands. */
export function cummax(input: Tensor, dim: number): RunningExtreme {
  return runningExtreme("cummax", input, dim, runningMaximum);
}

/** The smallest of the elements up to each one along `dim` (NaN if there is one), and where it stands. */
export function cummin(input: Tensor, dim: number): RunningExtreme {
  return runningExtreme("cummin", input, dim, runningMinimum);
}

/** The dimension's elements without the first, and without the last. */
function neighbours(x: Tensor, d: number): { later: Tensor; earlier: Tensor } {
  const count = Math.max(0, (x.shape[d] as number) - 1);
  return { later: narrow(x, d, Math.min(1, x.shape[d] as number), count), earlier: narrow(x, d, 0, count) };
}

/**
 * Differences of neighbours along `dim`, taken `n` times.
 * @param prepend put before the input along `dim` first
 * @param append put after it
 */
export function diff(input: Tensor, n = 1, dim = -1, prepend?: Tensor | null, append?: Tensor | null): Tensor {
  if (!Number.isInteger(n) || n < 0) throw new ArgumentError(`diff: n must be a whole number from 0 up, not ${n}`);
  if (input.ndim === 0) throw new ShapeError("diff: a scalar has no neighbours");
  const d = normalizeDim("diff", dim, input.ndim);
  if (n === 0) return input;
  let out = cat(
    [prepend, input, append].filter((x) => x != null),
    d,
  );
  for (let i = 0; i < n; i++) {
    const { later, earlier } = neighbours(out, d);
    out = sub(later, earlier);
  }
  return out;
}

/** Options of {@link gradient}. */
export interface GradientOptions {
  /** Between samples: one distance, or for each dimension a distance or a vector of places. 1 if not given. */
  readonly spacing?: number | readonly (number | Tensor)[] | null;
  /** Which dimensions; all if not given. */
  readonly dim?: number | Shape | null;
  /** Order of the estimate at the ends: 1 (if not given) or 2. */
  readonly edgeOrder?: 1 | 2;
}

/** Distances of neighbours along dimension `d`, shaped to meet the input. */
function stepsOf(input: Tensor, d: number, spacing: number | Tensor): Tensor {
  const size = input.shape[d] as number;
  const along = [size - 1, ...input.shape.slice(d + 1).map(() => 1)];
  if (typeof spacing === "number") return constant(spacing, along);
  if (!sameShape(spacing.shape, [size])) {
    throw new ShapeError(`gradient: spacing ${formatShape(spacing.shape)} must give ${size} places for dimension ${d}`);
  }
  const { later, earlier } = neighbours(spacing, 0);
  return reshape(sub(later, earlier), along);
}

/** Weights of three neighbouring samples, a distance `h` and then `k` apart, for the slope at the first of them. */
function firstOfThree(h: Tensor, k: Tensor): [Tensor, Tensor, Tensor] {
  const both = add(h, k);
  return [div(neg(add(both, h)), mul(h, both)), div(both, mul(h, k)), div(neg(h), mul(k, both))];
}

/** The slope along one dimension: of the parabola through three neighbours, or at the ends of the line through two. */
function slope(input: Tensor, d: number, spacing: number | Tensor, edgeOrder: 1 | 2): Tensor {
  const size = input.shape[d] as number;
  const steps = stepsOf(input, d, spacing);
  const at = (i: number, count = 1): Tensor => narrow(input, d, i, count);
  const step = (i: number, count = 1): Tensor => narrow(steps, 0, i, count);
  const end = (places: readonly number[], h: Tensor, k: Tensor, sign: 1 | -1): Tensor => {
    const terms = firstOfThree(h, k).map((weight, i) => mul(at(places[i] as number), mul(weight, sign)));
    return terms.reduce((a, b) => add(a, b));
  };
  const line = (i: number): Tensor => div(sub(at(i + 1), at(i)), step(i));
  const [first, last] =
    edgeOrder === 1
      ? [line(0), line(size - 2)]
      : [end([0, 1, 2], step(0), step(1), 1), end([size - 1, size - 2, size - 3], step(size - 2), step(size - 3), -1)];
  if (size === 2) return cat([first, last], d);
  const [h, k] = [step(0, size - 2), step(1, size - 2)];
  const [rise, fall] = [sub(at(2, size - 2), at(1, size - 2)), sub(at(1, size - 2), at(0, size - 2))];
  const inside = div(add(mul(div(rise, k), h), mul(div(fall, h), k)), add(h, k));
  return cat([first, inside, last], d);
}

/** The slopes of a sampled function along each of its dimensions, by differences that are exact for parabolas. */
export function gradient(input: Tensor, options: GradientOptions = {}): Tensor[] {
  const { spacing, dim, edgeOrder = 1 } = options;
  if (edgeOrder !== 1 && edgeOrder !== 2)
    throw new ArgumentError(`gradient: edgeOrder must be 1 or 2, not ${edgeOrder}`);
  normalizeDims("gradient", dim, input.ndim);
  const dims =
    dim == null ? input.shape.map((_, i) => i) : [dim].flat().map((d) => normalizeDim("gradient", d, input.ndim));
  const given = Array.isArray(spacing) ? (spacing as readonly (number | Tensor)[]) : null;
  if (given !== null && given.length !== dims.length) {
    throw new ArgumentError(`gradient: ${given.length} spacings for ${dims.length} dimensions`);
  }
  return dims.map((d, i) => {
    if (((input.shape[d] as number | undefined) ?? 1) <= edgeOrder) {
      throw new ShapeError(
        `gradient: dimension ${d} of ${formatShape(input.shape)} needs ${edgeOrder + 1} samples or more for edgeOrder ${edgeOrder}`,
      );
    }
    const step = given === null ? ((spacing as number | null | undefined) ?? 1) : (given[i] as number | Tensor);
    return slope(input, d, step, edgeOrder);
  });
}

/** Where a curve is sampled. */
export interface TrapezoidOptions {
  /** The distance between samples, where `x` does not give it. */
  readonly dx?: number;
  /** The dimension along which the samples follow one another. */
  readonly dim?: number;
}

/** The areas under the straight lines between neighbouring samples. */
function trapezoids(
  op: string,
  y: Tensor,
  x: Tensor | null | undefined,
  { dx = 1, dim = -1 }: TrapezoidOptions,
): Tensor {
  const d = normalizeDim(op, dim, y.ndim);
  if (y.ndim === 0) throw new ShapeError(`${op}: y must have a dimension to integrate over`);
  const { later, earlier } = neighbours(y, d);
  const heights = mul(add(later, earlier), 0.5);
  if (x == null) return dx === 1 ? heights : mul(heights, dx);
  // A vector of places lies along `dim`; anything else broadcasts.
  const places = x.ndim === 1 ? reshape(x, [-1, ...y.shape.slice(d + 1).map(() => 1)]) : x;
  const along = places.ndim - (y.ndim - d);
  if (along < 0 || places.shape[along] !== y.shape[d]) {
    throw new ShapeError(`${op}: x ${formatShape(x.shape)} does not give the places of y ${formatShape(y.shape)}`);
  }
  const steps = neighbours(places, along);
  return mul(heights, sub(steps.later, steps.earlier));
}

/** The area under a sampled curve by the trapezoidal rule. */
export function trapezoid(y: Tensor, x?: Tensor | null, options: TrapezoidOptions = {}): Tensor {
  return sum(trapezoids("trapezoid", y, x, options), options.dim ?? -1);
}

/** The areas under a sampled curve from its start to each sample but the first, by the trapezoidal rule. */
export function cumulativeTrapezoid(y: Tensor, x?: Tensor | null, options: TrapezoidOptions = {}): Tensor {
  return cumsum(trapezoids("cumulativeTrapezoid", y, x, options), options.dim ?? -1);
}

/** The operators of this file. */
export default {
  cumsum: {
    fn: cumsum,
    params: ["input", "dim"],
    options: ["dtype"],
    samples: ["f32[3,5]; 1", "f32[7,2]; 0", "f32[]; 0", "i32[4]<5; 0"],
  },
  cumprod: { fn: cumprod, params: ["input", "dim"], options: ["dtype"], samples: ["f32[3,5]; 1", "f32[7,2]; 0"] },
  logcumsumexp: { fn: logcumsumexp, params: ["input", "dim"], samples: ["f32[3,5]; 1", "f32[7,2]; 0"] },
  cummax: { fn: cummax, params: ["input", "dim"], samples: ["f32[3,5]; 1", "f32[7,2]; 0", "f32[]; 0"] },
  cummin: { fn: cummin, params: ["input", "dim"], samples: ["f32[3,5]; 1", "f32[7,2]; 0"] },
  diff: {
    fn: diff,
    params: ["input", "n", "dim", "prepend", "append"],
    samples: ["f32[3,5]", "f32[5,2]; 2; 0", "f32[3,2]; 1; 0; f32[1,2]; f32[2,2]"],
  },
  gradient: {
    fn: gradient,
    params: ["input"],
    options: ["spacing", "dim", "edgeOrder"],
    samples: [
      "f32[5]",
      'f32[4,3]; {"spacing":[2,0.5],"edgeOrder":2}',
      'f32[4,3]; {"spacing":["f32[4]"],"dim":0,"edgeOrder":2}',
      'f32[2,3]; {"spacing":0.5}',
    ],
  },
  trapezoid: {
    fn: trapezoid,
    params: ["y", "x"],
    options: ["dx", "dim"],
    samples: ["f32[3,5]; f32[5]", 'f32[3,5]; null; {"dx":2,"dim":0}'],
  },
  cumulativeTrapezoid: {
    fn: cumulativeTrapezoid,
    params: ["y", "x"],
    options: ["dx", "dim"],
    samples: ["f32[3,5]; f32[3,5]", 'f32[3,5]; null; {"dx":2}'],
  },
} satisfies OperatorTable;
