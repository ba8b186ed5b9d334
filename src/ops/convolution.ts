/** Convolutions and transposed convolutions over one, two and three dimensions. */
import { ArgumentError, DTypeError, ShapeError } from "../graph/errors.js";
import { formatShape, type Shape } from "../graph/shape.js";
import type { Tensor } from "../graph/tensor.js";
import { unfold } from "./arrange.js";
import { convolve, convolveTransposed } from "./convolution-primitives.js";
import type { OperatorTable } from "./define.js";
import { permute, reshape, slice } from "./movement.js";
import { pad } from "./padding.js";
import { batched, type PerDimension, perDimension } from "./spatial.js";

/** Options of convolutions. */
export interface ConvOptions {
  /** Steps between windows; 1 if not given. */
  readonly stride?: PerDimension;
  /**
   * Zeros on either side; 0 if not given. `"valid"` is 0, `"same"` as many as keep the size (of an odd number, the
   * smaller half in front), for stride 1.
   */
  readonly padding?: PerDimension | "same" | "valid";
  /** Steps between elements of a window; 1 if not given. */
  readonly dilation?: PerDimension;
  /** Channels are dealt to so many groups that see nothing of one another; 1 if not given. */
  readonly groups?: number;
}

/** Options of transposed convolutions. */
export interface ConvTransposeOptions {
  /** Steps between windows; 1 if not given. */
  readonly stride?: PerDimension;
  /** Elements that are left off the result on either side; 0 if not given. */
  readonly padding?: PerDimension;
  /** Elements that are added to the result's end, fewer than stride or dilation; 0 if not given. */
  readonly outputPadding?: PerDimension;
  /** Channels are dealt to so many groups that see nothing of one another; 1 if not given. */
  readonly groups?: number;
  /** Steps between elements of a window; 1 if not given. */
  readonly dilation?: PerDimension;
}

function expectFloats(op: string, tensors: Readonly<Record<string, Tensor | null | undefined>>): void {
  for (const [name, x] of Object.entries(tensors)) {
    if (x != null && x.dtype !== "f32") throw new DTypeError(`${op}: ${name} is ${x.dtype}, and must be f32`);
  }
}

/** Checks what does not depend on the direction, and returns the weight's kernel size. */
function kernelOf(op: string, weight: Tensor, groups: number, rank: number, layout: string): Shape {
  if (!Number.isInteger(groups) || groups < 1) {
    throw new ArgumentError(`${op}: groups must be a whole number from 1 up, not ${groups}`);
  }
  const { shape } = weight;
  if (shape.length !== rank + 2) {
    throw new ShapeError(`${op}: weight must be ${layout}, of ${rank + 2} dimensions, not ${formatShape(shape)}`);
  }
  if (shape.includes(0)) throw new ShapeError(`${op}: weight ${formatShape(shape)} is empty`);
  if ((shape[0] as number) % groups !== 0) {
    throw new ShapeError(
      `${op}: weight ${formatShape(shape)} has ${shape[0]} entries in dimension 0, which ${groups} groups do not divide`,
    );
  }
  return shape.slice(2);
}

function expectBias(op: string, bias: Tensor | null, channels: number): void {
  if (bias !== null && (bias.ndim !== 1 || bias.shape[0] !== channels)) {
    throw new ShapeError(
      `${op}: bias must be [${channels}], one for each output channel, not ${formatShape(bias.shape)}`,
    );
  }
}

function expectChannels(op: string, input: Tensor, channels: number, weight: Tensor, groups: number): void {
  const there = input.shape[1] as number;
  if (there !== channels) {
    const grouped = groups === 1 ? "" : ` in ${groups} groups`;
    throw new ShapeError(
      `${op}: input ${formatShape(input.shape)} has ${there} channels, and weight ${formatShape(weight.shape)}${grouped} takes ${channels}`,
    );
  }
}

function conv(
  op: string,
  rank: number,
  input: Tensor,
  weight: Tensor,
  bias: Tensor | null,
  options: ConvOptions,
): Tensor {
  const { groups = 1 } = options;
  expectFloats(op, { input, weight, bias });
  const kernel = kernelOf(op, weight, groups, rank, "[out channels, in channels / groups, ...kernel size]");
  const { batch, restore } = batched(op, input, rank);
  const stride = perDimension(op, "stride", options.stride ?? 1, rank, 1);
  const dilation = perDimension(op, "dilation", options.dilation ?? 1, rank, 1);
  expectChannels(op, batch, (weight.shape[1] as number) * groups, weight, groups);
  expectBias(op, bias, weight.shape[0] as number);
  const reach = kernel.map((k, d) => (dilation[d] as number) * (k - 1) + 1);
  const { before, total } = paddingOf(op, options.padding ?? 0, reach, stride);
  const size = batch.shape.slice(2).map((n, d) => {
    const room = n + (total[d] as number) - (reach[d] as number);
    if (room < 0) {
      throw new ShapeError(
        `${op}: the kernel ${formatShape(kernel)} reaches over ${formatShape(reach)}, more than input ${formatShape(input.shape)} has with its padding (${n + (total[d] as number)} in dimension ${d - rank})`,
      );
    }
    return Math.floor(room / (stride[d] as number)) + 1;
  });
  return restore(convolve(batch, weight, bias, { stride, padding: before, dilation, groups, size }));
}

/** Zeros in front, and in front and behind together. */
function paddingOf(
  op: string,
  padding: PerDimension | "same" | "valid",
  reach: Shape,
  stride: Shape,
): { before: Shape; total: Shape } {
  if (padding === "same") {
    if (stride.some((s) => s !== 1)) {
      throw new ArgumentError(`${op}: padding "same" needs stride 1, not ${formatShape(stride)}`);
    }
    return { before: reach.map((r) => Math.floor((r - 1) / 2)), total: reach.map((r) => r - 1) };
  }
  if (typeof padding === "string" && padding !== "valid") {
    throw new ArgumentError(`${op}: padding must be numbers, "same" or "valid", not ${JSON.stringify(padding)}`);
  }
  const before = perDimension(op, "padding", padding === "valid" ? 0 : padding, reach.length, 0);
  return { before, total: before.map((p) => 2 * p) };
}

function convTranspose(
  op: string,
  rank: number,
  input: Tensor,
  weight: Tensor,
  bias: Tensor | null,
  options: ConvTransposeOptions,
): Tensor {
  const { groups = 1 } = options;
  expectFloats(op, { input, weight, bias });
  const kernel = kernelOf(op, weight, groups, rank, "[in channels, out channels / groups, ...kernel size]");
  const { batch, restore } = batched(op, input, rank);
  const stride = perDimension(op, "stride", options.stride ?? 1, rank, 1);
  const padding = perDimension(op, "padding", options.padding ?? 0, rank, 0);
  const dilation = perDimension(op, "dilation", options.dilation ?? 1, rank, 1);
  const outputPadding = perDimension(op, "outputPadding", options.outputPadding ?? 0, rank, 0);
  expectChannels(op, batch, weight.shape[0] as number, weight, groups);
  expectBias(op, bias, (weight.shape[1] as number) * groups);
  const size = batch.shape.slice(2).map((n, d) => {
    const [s, p, e] = [stride, padding, dilation].map((list) => list[d] as number) as [number, number, number];
    const extra = outputPadding[d] as number;
    if (extra >= Math.max(s, e)) {
      throw new ArgumentError(`${op}: outputPadding ${extra} must be less than stride ${s} or dilation ${e}`);
    }
    const wanted = (n - 1) * s - 2 * p + e * ((kernel[d] as number) - 1) + extra + 1;
    if (n === 0 || wanted < 1) {
      throw new ShapeError(
        `${op}: of input ${formatShape(input.shape)} and kernel ${formatShape(kernel)}, padding ${formatShape(padding)} leaves size ${wanted} in dimension ${d - rank}`,
      );
    }
    return wanted;
  });
  return restore(convolveTransposed(batch, weight, bias, { stride, padding, dilation, groups, size }));
}

/**
 * Convolution over one dimension.
 * @param input `[N, C, L]`, or `[C, L]` without a batch
 * @param weight `[M, C / groups, K]`
 * @param bias `[M]`, or none
 * @returns `[N, M, (L + 2·padding − dilation·(K − 1) − 1) / stride + 1]`, rounded down
 * @throws ShapeError, ArgumentError, DTypeError where these do not fit
 */
export function conv1d(input: Tensor, weight: Tensor, bias: Tensor | null = null, options: ConvOptions = {}): Tensor {
  return conv("conv1d", 1, input, weight, bias, options);
}

/**
 * As {@link conv1d}, over two dimensions: input `[N, C, H, W]` or `[C, H, W]`, weight `[M, C / groups, KH, KW]`.
 *
 * Kernels of 3×3 with stride 1 and three or more channels go by Winograd's algorithm. In lines of 13 elements or more, the
 * rounding error of random numbers is up to three times that of a sum in order, and what is not finite may spread over up to
 * four elements in each direction instead of one.
 */
export function conv2d(input: Tensor, weight: Tensor, bias: Tensor | null = null, options: ConvOptions = {}): Tensor {
  return conv("conv2d", 2, input, weight, bias, options);
}

/** As {@link conv1d}, over three: input `[N, C, D, H, W]` or `[C, D, H, W]`, weight `[M, C / groups, KD, KH, KW]`. */
export function conv3d(input: Tensor, weight: Tensor, bias: Tensor | null = null, options: ConvOptions = {}): Tensor {
  return conv("conv3d", 3, input, weight, bias, options);
}

/**
 * Transposed convolution over one dimension: the linear map whose matrix is the transpose of that of {@link conv1d} with
 * the same weight, which it takes from the output's shape to the input's.
 * @param input `[N, M, L]`, or `[M, L]` without a batch
 * @param weight `[M, C / groups, K]`
 * @param bias `[C]`, or none
 * @returns `[N, C, (L − 1)·stride − 2·padding + dilation·(K − 1) + outputPadding + 1]`
 * @throws ShapeError, ArgumentError, DTypeError where these do not fit
 */
export function convTranspose1d(
  input: Tensor,
  weight: Tensor,
  bias: Tensor | null = null,
  options: ConvTransposeOptions = {},
): Tensor {
  return convTranspose("convTranspose1d", 1, input, weight, bias, options);
}

/** As {@link convTranspose1d}, over two dimensions. */
export function convTranspose2d(
  input: Tensor,
  weight: Tensor,
  bias: Tensor | null = null,
  options: ConvTransposeOptions = {},
): Tensor {
  return convTranspose("convTranspose2d", 2, input, weight, bias, options);
}

/** As {@link convTranspose1d}, over three dimensions. */
export function convTranspose3d(
  input: Tensor,
  weight: Tensor,
  bias: Tensor | null = null,
  options: ConvTransposeOptions = {},
): Tensor {
  return convTranspose("convTranspose3d", 3, input, weight, bias, options);
}

/** Options of {@link im2col}. */
export interface WindowOptions {
  /** Steps between elements of a window; 1 if not given. */
  readonly dilation?: PerDimension;
  /** Zeros on either side; 0 if not given. */
  readonly padding?: PerDimension;
  /** Steps between windows; 1 if not given. */
  readonly stride?: PerDimension;
}

/**
 * The windows of an image as columns of a matrix (`torch.nn.functional.unfold`).
 * @param input `[N, C, H, W]`, or `[C, H, W]` without a batch
 * @returns `[N, C · KH · KW, windows]`
 * @throws ShapeError, ArgumentError where these do not fit
 */
export function im2col(input: Tensor, kernelSize: PerDimension, options: WindowOptions = {}): Tensor {
  const kernel = perDimension("im2col", "kernelSize", kernelSize, 2, 1);
  const dilation = perDimension("im2col", "dilation", options.dilation ?? 1, 2, 1);
  const stride = perDimension("im2col", "stride", options.stride ?? 1, 2, 1);
  const [top, left] = perDimension("im2col", "padding", options.padding ?? 0, 2, 0) as [number, number];
  const { batch, restore } = batched("im2col", input, 2);
  const reach = kernel.map((k, d) => (k - 1) * (dilation[d] as number) + 1);
  const windows = reach.reduce(
    (x, r, d) => {
      if (r > (x.shape[2 + d] as number)) {
        throw new ShapeError(
          `im2col: the kernel ${formatShape(kernel)} reaches over ${r} elements in dimension ${d - 2}, and input ${formatShape(input.shape)} has ${x.shape[2 + d]} with its padding`,
        );
      }
      return slice(unfold(x, 2 + d, r, stride[d] as number), -1, 0, r, dilation[d]);
    },
    pad(batch, [left, left, top, top]),
  );
  const [n, c, height, width] = windows.shape as [number, number, number, number];
  const taps = permute(windows, [0, 1, 4, 5, 2, 3]);
  return restore(reshape(taps, [n, c * (kernel[0] as number) * (kernel[1] as number), height * width]));
}

const CONV = { params: ["input", "weight", "bias"], options: ["stride", "padding", "dilation", "groups"] };
const CONV_TRANSPOSE = {
  params: CONV.params,
  options: ["stride", "padding", "outputPadding", "groups", "dilation"],
};

/** The operators of this file. */
export default {
  conv1d: {
    fn: conv1d,
    ...CONV,
    samples: [
      "f32[2,3,7]; f32[4,3,3]; f32[4]",
      'f32[2,2,8]; f32[2,2,4]; null; {"padding":"same"}',
      'f32[4,9]; f32[2,2,3]; f32[2]; {"stride":2,"padding":1,"dilation":2,"groups":2}',
    ],
  },
  conv2d: {
    fn: conv2d,
    ...CONV,
    samples: [
      'f32[2,2,5,4]; f32[3,2,3,3]; f32[3]; {"padding":1}',
      'f32[1,2,6,5]; f32[2,2,3,2]; null; {"stride":[2,1],"padding":[1,0],"dilation":[1,2]}',
      'f32[1,3,4,5]; f32[3,1,3,3]; f32[3]; {"padding":"same","groups":3}',
      'f32[1,4,3,7]; f32[4,4,3,3]; f32[4]; {"padding":1}',
    ],
  },
  conv3d: {
    fn: conv3d,
    ...CONV,
    samples: ['f32[1,2,3,3,4]; f32[2,2,2,1,3]; f32[2]; {"padding":[1,0,1],"stride":[1,2,1]}'],
  },
  convTranspose1d: {
    fn: convTranspose1d,
    ...CONV_TRANSPOSE,
    samples: [
      "f32[2,3,4]; f32[3,2,3]; f32[2]",
      'f32[4,3]; f32[4,1,3]; f32[2]; {"stride":3,"padding":1,"outputPadding":2,"groups":2,"dilation":2}',
    ],
  },
  convTranspose2d: {
    fn: convTranspose2d,
    ...CONV_TRANSPOSE,
    samples: [
      'f32[1,2,3,4]; f32[2,3,3,2]; f32[3]; {"stride":2,"padding":1,"outputPadding":[1,0]}',
      'f32[1,2,3,3]; f32[2,1,2,2]; null; {"stride":[3,1],"groups":2}',
    ],
  },
  convTranspose3d: {
    fn: convTranspose3d,
    ...CONV_TRANSPOSE,
    samples: ['f32[1,2,2,3,2]; f32[2,1,2,2,3]; f32[1]; {"stride":[2,1,2],"padding":[0,1,1]}'],
  },
  im2col: {
    fn: im2col,
    params: ["input", "kernelSize"],
    options: ["dilation", "padding", "stride"],
    samples: ["f32[2,2,4,5]; 2", 'f32[2,5,6]; [2,3]; {"dilation":[2,1],"padding":[0,1],"stride":[1,2]}'],
  },
} satisfies OperatorTable;
