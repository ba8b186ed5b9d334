/** Running totals along a dimension, and what is built of them: differences and areas under curves. */
import { type DType, expectDType } from "../graph/dtype.js";
import { ArgumentError, ShapeError } from "../graph/errors.js";
import { formatShape, normalizeDim } from "../graph/shape.js";
import type { Tensor } from "../graph/tensor.js";
import { add, mul, sub } from "./arithmetic.js";
import { logaddexp } from "./binary.js";
import { to } from "./conversion.js";
import type { OperatorTable } from "./define.js";
import { cat, narrow, reshape } from "./movement.js";
import { sum } from "./reduction.js";

/** Options of running totals. */
export interface CumulativeOptions {
  /** Convert the input to this dtype first. */
  readonly dtype?: DType | null;
}

function converted(input: Tensor, { dtype }: CumulativeOptions): Tensor {
  return to(input, dtype ?? (input.dtype === "bool" ? "i32" : input.dtype));
}

/**
 * All prefixes of a dimension combined by an associative operation, in log₂(n) passes over the whole tensor (Hillis &
 * Steele 1986): after the pass with distance 2ᵏ every element combines the 2ᵏ⁺¹ elements that end in it.
 */
function scan(op: string, input: Tensor, dim: number, combine: (earlier: Tensor, later: Tensor) => Tensor): Tensor {
  const d = normalizeDim(op, dim, input.ndim);
  const size = input.shape[d] ?? 1;
  let out = input;
  for (let distance = 1; distance < size; distance *= 2) {
    const combined = combine(narrow(out, d, 0, size - distance), narrow(out, d, distance, size - distance));
    out = cat([narrow(out, d, 0, distance), combined], d);
  }
  return out;
}

/** The sum of the elements up to each one along `dim`. */
export function cumsum(input: Tensor, dim: number, options: CumulativeOptions = {}): Tensor {
  return scan("cumsum", converted(input, options), dim, (a, b) => add(a, b));
}

/** The product of the elements up to each one along `dim`. */
export function cumprod(input: Tensor, dim: number, options: CumulativeOptions = {}): Tensor {
  return scan("cumprod", converted(input, options), dim, mul);
}

/** The logarithm of the sum of the exponentials of the elements up to each one along `dim`, without overflow. */
export function logcumsumexp(input: Tensor, dim: number): Tensor {
  expectDType("logcumsumexp", "input", input.dtype, "f32");
  return scan("logcumsumexp", input, dim, logaddexp);
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
export const cumulativeOperators: OperatorTable = {
  cumsum: {
    fn: cumsum,
    params: ["input", "dim"],
    options: ["dtype"],
    samples: ["f32[3,5]; 1", "f32[7,2]; 0", "f32[]; 0", "i32[4]<5; 0"],
  },
  cumprod: { fn: cumprod, params: ["input", "dim"], options: ["dtype"], samples: ["f32[3,5]; 1", "f32[7,2]; 0"] },
  logcumsumexp: { fn: logcumsumexp, params: ["input", "dim"], samples: ["f32[3,5]; 1", "f32[7,2]; 0"] },
  diff: {
    fn: diff,
    params: ["input", "n", "dim", "prepend", "append"],
    samples: ["f32[3,5]", "f32[5,2]; 2; 0", "f32[3,2]; 1; 0; f32[1,2]; f32[2,2]"],
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
};
