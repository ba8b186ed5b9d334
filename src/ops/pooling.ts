/** Pooling over one, two and three dimensions: the largest element or the average of windows, fixed or adaptive. */
import { ArgumentError, ShapeError } from "../graph/errors.js";
import { formatShape, type Shape } from "../graph/shape.js";
import type { Tensor } from "../graph/tensor.js";
import type { OperatorTable } from "./define.js";
import type { ValuesAndIndices } from "./indexing.js";
import { averagePool, maxPool, maxPoolIndex, type PoolAttrs } from "./pooling-primitives.js";
import { batched, type PerDimension, perDimension } from "./spatial.js";

/** Options of pooling by the largest element. */
export interface MaxPoolOptions {
  /** Steps between windows; the kernel size if not given. */
  readonly stride?: PerDimension | null;
  /** Elements on either side that are below all numbers, at most half a window; 0 if not given. */
  readonly padding?: PerDimension;
  /** Steps between elements of a window; 1 if not given. */
  readonly dilation?: PerDimension;
  /** Whether a last window may reach over the end. */
  readonly ceilMode?: boolean;
  /** Whether to return `{ values, indices }`, indices counting the elements of a plane row-major, as i32. */
  readonly returnIndices?: boolean;
}

/** Options of pooling by the average. */
export interface AvgPoolOptions {
  /** Steps between windows; the kernel size if not given. */
  readonly stride?: PerDimension | null;
  /** Zeros on either side, at most half a window; 0 if not given. */
  readonly padding?: PerDimension;
  /** Whether a last window may reach over the end. */
  readonly ceilMode?: boolean;
  /** Whether those zeros count as elements; true if not given. */
  readonly countIncludePad?: boolean;
}

/** Options of pooling by the average over two and three dimensions. */
export interface AvgPoolNdOptions extends AvgPoolOptions {
  /** What sums are divided by, instead of the number of elements. */
  readonly divisorOverride?: number | null;
}

/** Sizes of the result, one a dimension, null for the input's own; or one for all. */
export type OutputSize = number | null | readonly (number | null)[];

/** Options of adaptive pooling by the largest element. */
export interface AdaptiveMaxPoolOptions {
  /** Whether to return `{ values, indices }`, indices counting the elements of a plane row-major, as i32. */
  readonly returnIndices?: boolean;
}

/** The result of a max-pool whose options are `O`. */
type Pooled<O> = O extends { readonly returnIndices: true }
  ? ValuesAndIndices
  : O extends { readonly returnIndices: false }
    ? Tensor
    : O extends { readonly returnIndices: boolean }
      ? Tensor | ValuesAndIndices
      : Tensor;

function expectElements(op: string, input: Tensor, batch: Tensor): void {
  if (batch.shape.slice(1).includes(0)) {
    throw new ShapeError(`${op}: input ${formatShape(input.shape)} is empty; only the batch may have size 0`);
  }
}

interface WindowOptions extends MaxPoolOptions, AvgPoolNdOptions {}

/** Checks the options of fixed windows over `batch`. */
function windowsFor(op: string, batch: Tensor, kernelSize: PerDimension, options: WindowOptions): PoolAttrs {
  const image = batch.shape.slice(2);
  const rank = image.length;
  const kernel = perDimension(op, "kernelSize", kernelSize, rank, 1);
  // PyTorch's pooling functions take an empty list as no stride, too.
  const given = Array.isArray(options.stride) && options.stride.length === 0 ? null : options.stride;
  const stride = perDimension(op, "stride", given ?? kernel, rank, 1);
  const padding = perDimension(op, "padding", options.padding ?? 0, rank, 0);
  const dilation = perDimension(op, "dilation", options.dilation ?? 1, rank, 1);
  const divisor = options.divisorOverride ?? null;
  if (divisor !== null && (!Number.isInteger(divisor) || divisor === 0)) {
    throw new ArgumentError(`${op}: divisorOverride must be a whole number other than 0, not ${divisor}`);
  }
  const size = image.map((n, d) => {
    const [k, s, p, e] = [kernel, stride, padding, dilation].map((list) => list[d] as number) as [
      number,
      number,
      number,
      number,
    ];
    const reach = (k - 1) * e + 1;
    if (2 * p > reach) {
      throw new ArgumentError(
        `${op}: padding ${p} must be at most half of what the kernel reaches over, which is ${reach} in dimension ${d - rank}`,
      );
    }
    const room = n + 2 * p - reach;
    let count = (options.ceilMode ? Math.ceil(room / s) : Math.floor(room / s)) + 1;
    // A window that would start in the padding behind the image is left out.
    if (options.ceilMode && (count - 1) * s >= n + p) count--;
    if (count < 1) {
      throw new ShapeError(
        `${op}: the kernel ${formatShape(kernel)} reaches over ${reach} elements in dimension ${d - rank}, where input ${formatShape(batch.shape)} has ${n} and ${2 * p} of padding`,
      );
    }
    for (let start = -p; start < 0; start += s) {
      const first = start + Math.ceil(-start / e) * e;
      if (first >= n) {
        throw new ShapeError(
          `${op}: with dilation ${e} and padding ${p}, a window over dimension ${d - rank} of input ${formatShape(batch.shape)} holds nothing but padding`,
        );
      }
    }
    return count;
  });
  return {
    kernel,
    stride,
    padding,
    dilation,
    divisor: divisor ?? 0,
    countsPadding: options.countIncludePad ?? true,
    size,
  };
}

/** Windows that adapt to an output of `outputSize`. */
function adaptiveFor(op: string, batch: Tensor, outputSize: OutputSize): PoolAttrs {
  const image = batch.shape.slice(2);
  const list = Array.isArray(outputSize) ? outputSize : [outputSize];
  if (list.length !== 1 && list.length !== image.length) {
    throw new ArgumentError(
      `${op}: outputSize must be a number or a list of ${image.length}, not ${JSON.stringify(outputSize)}`,
    );
  }
  const size = image.map((n, d) => (list.length === 1 ? list[0] : list[d]) ?? n);
  for (const n of size) {
    if (!Number.isInteger(n) || n < 0) {
      throw new ArgumentError(`${op}: outputSize must be whole numbers from 0 up, not ${JSON.stringify(outputSize)}`);
    }
  }
  const all = (value: number): Shape => image.map(() => value);
  return {
    kernel: null,
    stride: all(1),
    padding: all(0),
    dilation: all(1),
    divisor: 0,
    countsPadding: false,
    size,
  };
}

function maxOver<O extends { readonly returnIndices?: boolean }>(
  op: string,
  input: Tensor,
  rank: number,
  options: O,
  attrsFor: (batch: Tensor) => PoolAttrs,
): Pooled<O> {
  const { batch, restore } = batched(op, input, rank);
  expectElements(op, input, batch);
  const attrs = attrsFor(batch);
  const values = restore(maxPool(batch, attrs));
  if (options.returnIndices !== true) return values as Pooled<O>;
  return { values, indices: restore(maxPoolIndex(batch, attrs)) } as Pooled<O>;
}

function averageOver(op: string, input: Tensor, rank: number, attrsFor: (batch: Tensor) => PoolAttrs): Tensor {
  const { batch, restore } = batched(op, input, rank);
  expectElements(op, input, batch);
  return restore(averagePool(batch, attrsFor(batch)));
}

/**
 * The largest element of every window over one dimension, NaN if one is; its gradient goes to the first of equals.
 * @param input `[N, C, L]`, or `[C, L]` without a batch
 * @returns `[N, C, (L + 2·padding − dilation·(kernelSize − 1) − 1) / stride + 1]`, rounded down or with `ceilMode` up;
 * `{ values, indices }` with `returnIndices`
 * @throws ShapeError, ArgumentError where these do not fit
 */
export function maxPool1d<O extends MaxPoolOptions>(
  input: Tensor,
  kernelSize: PerDimension,
  options: O = {} as O,
): Pooled<O> {
  return maxOver("maxPool1d", input, 1, options, (batch) => windowsFor("maxPool1d", batch, kernelSize, options));
}

/** As {@link maxPool1d}, over two dimensions: input `[N, C, H, W]` or `[C, H, W]`. */
export function maxPool2d<O extends MaxPoolOptions>(
  input: Tensor,
  kernelSize: PerDimension,
  options: O = {} as O,
): Pooled<O> {
  return maxOver("maxPool2d", input, 2, options, (batch) => windowsFor("maxPool2d", batch, kernelSize, options));
}

/** As {@link maxPool1d}, over three dimensions: input `[N, C, D, H, W]` or `[C, D, H, W]`. */
export function maxPool3d<O extends MaxPoolOptions>(
  input: Tensor,
  kernelSize: PerDimension,
  options: O = {} as O,
): Pooled<O> {
  return maxOver("maxPool3d", input, 3, options, (batch) => windowsFor("maxPool3d", batch, kernelSize, options));
}

/**
 * The average of every window over one dimension.
 * @param input `[N, C, L]`, or `[C, L]` without a batch
 * @returns `[N, C, (L + 2·padding − kernelSize) / stride + 1]`, rounded down or with `ceilMode` up
 * @throws ShapeError, ArgumentError where these do not fit
 */
export function avgPool1d(input: Tensor, kernelSize: PerDimension, options: AvgPoolOptions = {}): Tensor {
  return averageOver("avgPool1d", input, 1, (batch) => windowsFor("avgPool1d", batch, kernelSize, options));
}

/** As {@link avgPool1d}, over two dimensions: input `[N, C, H, W]` or `[C, H, W]`. */
export function avgPool2d(input: Tensor, kernelSize: PerDimension, options: AvgPoolNdOptions = {}): Tensor {
  return averageOver("avgPool2d", input, 2, (batch) => windowsFor("avgPool2d", batch, kernelSize, options));
}

/** As {@link avgPool1d}, over three dimensions: input `[N, C, D, H, W]` or `[C, D, H, W]`. */
export function avgPool3d(input: Tensor, kernelSize: PerDimension, options: AvgPoolNdOptions = {}): Tensor {
  return averageOver("avgPool3d", input, 3, (batch) => windowsFor("avgPool3d", batch, kernelSize, options));
}

/**
 * The largest elements of as many windows as `outputSize` asks for, which cover one dimension evenly.
 * @param input `[N, C, L]`, or `[C, L]` without a batch
 * @returns `[N, C, outputSize]`; `{ values, indices }` with `returnIndices`
 * @throws ShapeError, ArgumentError where these do not fit
 */
export function adaptiveMaxPool1d<O extends AdaptiveMaxPoolOptions>(
  input: Tensor,
  outputSize: OutputSize,
  options: O = {} as O,
): Pooled<O> {
  const op = "adaptiveMaxPool1d";
  return maxOver(op, input, 1, options, (batch) => adaptiveFor(op, batch, outputSize));
}

/** As {@link adaptiveMaxPool1d}, over two dimensions. */
export function adaptiveMaxPool2d<O extends AdaptiveMaxPoolOptions>(
  input: Tensor,
  outputSize: OutputSize,
  options: O = {} as O,
): Pooled<O> {
  const op = "adaptiveMaxPool2d";
  return maxOver(op, input, 2, options, (batch) => adaptiveFor(op, batch, outputSize));
}

/** As {@link adaptiveMaxPool1d}, over three dimensions. */
export function adaptiveMaxPool3d<O extends AdaptiveMaxPoolOptions>(
  input: Tensor,
  outputSize: OutputSize,
  options: O = {} as O,
): Pooled<O> {
  const op = "adaptiveMaxPool3d";
  return maxOver(op, input, 3, options, (batch) => adaptiveFor(op, batch, outputSize));
}

/**
 * The averages of as many windows as `outputSize` asks for, which cover one dimension evenly.
 * @param input `[N, C, L]`, or `[C, L]` without a batch
 * @returns `[N, C, outputSize]`
 * @throws ShapeError, ArgumentError where these do not fit
 */
export function adaptiveAvgPool1d(input: Tensor, outputSize: OutputSize): Tensor {
  return averageOver("adaptiveAvgPool1d", input, 1, (batch) => adaptiveFor("adaptiveAvgPool1d", batch, outputSize));
}

/** As {@link adaptiveAvgPool1d}, over two dimensions. */
export function adaptiveAvgPool2d(input: Tensor, outputSize: OutputSize): Tensor {
  return averageOver("adaptiveAvgPool2d", input, 2, (batch) => adaptiveFor("adaptiveAvgPool2d", batch, outputSize));
}

/** As {@link adaptiveAvgPool1d}, over three dimensions. */
export function adaptiveAvgPool3d(input: Tensor, outputSize: OutputSize): Tensor {
  return averageOver("adaptiveAvgPool3d", input, 3, (batch) => adaptiveFor("adaptiveAvgPool3d", batch, outputSize));
}

const MAX = {
  params: ["input", "kernelSize"],
  options: ["stride", "padding", "dilation", "ceilMode", "returnIndices"],
};
const AVERAGE = { params: MAX.params, options: ["stride", "padding", "ceilMode", "countIncludePad"] };
const AVERAGE_ND = { params: MAX.params, options: [...AVERAGE.options, "divisorOverride"] };
const ADAPTIVE = { params: ["input", "outputSize"] };
const ADAPTIVE_MAX = { params: ADAPTIVE.params, options: ["returnIndices"] };

/** The operators of this file. */
export default {
  maxPool1d: {
    fn: maxPool1d,
    ...MAX,
    samples: ["f32[2,3,9]; 2", 'f32[3,7]; 3; {"stride":2,"padding":1,"ceilMode":true,"returnIndices":true}'],
  },
  maxPool2d: {
    fn: maxPool2d,
    ...MAX,
    samples: [
      "f32[2,2,6,18]; 2",
      'f32[2,6,7]; [2,3]; {"stride":1,"padding":[0,1],"dilation":[2,1],"returnIndices":true}',
      'f32[1,2,5,11]; 3; {"stride":2,"padding":1,"ceilMode":true}',
    ],
  },
  maxPool3d: {
    fn: maxPool3d,
    ...MAX,
    samples: ['f32[1,2,4,3,6]; 2; {"stride":[2,1,1]}', 'f32[1,3,4,5]; [1,2,3]; {"padding":[0,1,1],"ceilMode":true}'],
  },
  avgPool1d: {
    fn: avgPool1d,
    ...AVERAGE,
    samples: ["f32[2,3,10]; 2", 'f32[3,7]; 3; {"stride":2,"padding":1,"ceilMode":true,"countIncludePad":false}'],
  },
  avgPool2d: {
    fn: avgPool2d,
    ...AVERAGE_ND,
    samples: [
      'f32[1,2,6,9]; [2,3]; {"stride":1,"padding":1}',
      'f32[2,5,6]; 3; {"stride":2,"ceilMode":true,"divisorOverride":4}',
    ],
  },
  avgPool3d: { fn: avgPool3d, ...AVERAGE_ND, samples: ['f32[1,2,4,3,5]; 2; {"padding":1,"countIncludePad":false}'] },
  adaptiveMaxPool1d: { fn: adaptiveMaxPool1d, ...ADAPTIVE_MAX, samples: ['f32[2,3,7]; 3; {"returnIndices":true}'] },
  adaptiveMaxPool2d: { fn: adaptiveMaxPool2d, ...ADAPTIVE_MAX, samples: ["f32[2,5,7]; [2,null]", "f32[1,2,3,4]; 5"] },
  adaptiveMaxPool3d: { fn: adaptiveMaxPool3d, ...ADAPTIVE_MAX, samples: ["f32[1,2,3,4,5]; [1,2,3]"] },
  adaptiveAvgPool1d: { fn: adaptiveAvgPool1d, ...ADAPTIVE, samples: ["f32[2,3,7]; 3"] },
  adaptiveAvgPool2d: { fn: adaptiveAvgPool2d, ...ADAPTIVE, samples: ["f32[2,5,7]; [2,null]", "f32[1,2,3,4]; 5"] },
  adaptiveAvgPool3d: { fn: adaptiveAvgPool3d, ...ADAPTIVE, samples: ["f32[1,2,3,4,5]; [1,2,3]"] },
} satisfies OperatorTable;
