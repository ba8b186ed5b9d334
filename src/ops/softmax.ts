/** Softmax and its kin: exponentials of a dimension against their sum, without overflow. */
import type { DType } from "../graph/dtype.js";
import { expectDType } from "../graph/dtype.js";
import { normalizeDim, normalizeDims, type Shape } from "../graph/shape.js";
import { detach, type Tensor } from "../graph/tensor.js";
import { abs, add, clone, div, eq, neg, sub, where } from "./arithmetic.js";
import { to } from "./conversion.js";
import type { OperatorTable } from "./define.js";
import { reshape } from "./movement.js";
import { amax, sum } from "./reduction.js";
import { rowLogSoftmax, rowSoftmax } from "./softmax-rows.js";
import { exp, log } from "./unary.js";

/** The input in the dtype asked for, which must be a floating one in the end. */
function floating(op: string, input: Tensor, dtype: DType | null | undefined): Tensor {
  const x = dtype == null ? input : to(input, dtype);
  expectDType(op, "input", x.dtype, "f32");
  return x;
}

/**
 * The input with its largest element along `dim` moved to 0. The shift cancels out of what it is used in, so it is
 * not differentiated.
 */
function shifted(input: Tensor, dim: number): Tensor {
  return sub(input, detach(amax(input, dim, true)));
}

/** Exponentials of the elements along `dim`, divided by their sum. Where all are -∞ the result is NaN. */
export function softmax(input: Tensor, dim: number, options: { dtype?: DType | null } = {}): Tensor {
  const x = floating("softmax", input, options.dtype);
  const d = normalizeDim("softmax", dim, x.ndim);
  if (x.numel === 0) return clone(x);
  if (d === x.ndim - 1) return rowSoftmax(x);
  const powers = exp(shifted(x, d));
  return div(powers, sum(powers, d, true));
}

/** `softmax(-input, dim)`. */
export function softmin(input: Tensor, dim: number, options: { dtype?: DType | null } = {}): Tensor {
  return softmax(neg(floating("softmin", input, options.dtype)), dim);
}

/** The logarithm of the softmax, accurate where the softmax underflows. */
export function logSoftmax(input: Tensor, dim: number, options: { dtype?: DType | null } = {}): Tensor {
  const x = floating("logSoftmax", input, options.dtype);
  const d = normalizeDim("logSoftmax", dim, x.ndim);
  if (x.numel === 0) return clone(x);
  if (d === x.ndim - 1) return rowLogSoftmax(x);
  const low = shifted(x, d);
  return sub(low, log(sum(exp(low), d, true)));
}

/** `log(Σ eˣ)` over one or several dimensions. Where all elements are -∞, or there are none, it is -∞. */
export function logsumexp(input: Tensor, dim: number | Shape, keepdim = false): Tensor {
  expectDType("logsumexp", "input", input.dtype, "f32");
  const dims = normalizeDims("logsumexp", dim, input.ndim);
  if (input.numel === 0) return log(sum(exp(input), dim, keepdim));
  const largest = detach(amax(input, dim, true));
  // Shifting by an infinity would make ∞ - ∞.
  const shift = where(eq(abs(largest), Number.POSITIVE_INFINITY), 0, largest);
  const out = add(log(sum(exp(sub(input, shift)), dim, true)), shift);
  return keepdim
    ? out
    : reshape(
        out,
        input.shape.filter((_, i) => !dims.includes(i)),
      );
}

/** The operators of this file. */
export default {
  softmax: {
    fn: softmax,
    params: ["input", "dim"],
    options: ["dtype"],
    samples: ["f32[3,4]; 1", "f32[2,3,4]; 1", "f32[3,4]; 0", "f32[]; 0", "f32[2,0]; 1", 'i32[3]<4; 0; {"dtype":"f32"}'],
  },
  softmin: { fn: softmin, params: ["input", "dim"], options: ["dtype"], samples: ["f32[3,4]; -1"] },
  logSoftmax: {
    fn: logSoftmax,
    params: ["input", "dim"],
    options: ["dtype"],
    samples: ["f32[3,4]; 1", "f32[2,3,4]; 1", "f32[3,4]; 0"],
  },
  logsumexp: {
    fn: logsumexp,
    params: ["input", "dim", "keepdim"],
    samples: ["f32[3,4]; 1", "f32[2,3,4]; [0,2]; true", "f32[]; 0"],
  },
} satisfies OperatorTable;
