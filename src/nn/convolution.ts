/** Convolution and pooling layers. */
import { ArgumentError } from "../graph/errors.js";
import { sizeOf } from "../graph/shape.js";
import { constant } from "../graph/sources.js";
import type { Tensor } from "../graph/tensor.js";
import {
  type ConvOptions,
  type ConvTransposeOptions,
  conv1d,
  conv2d,
  conv3d,
  convTranspose2d,
} from "../ops/convolution.js";
import {
  type AvgPoolNdOptions,
  adaptiveAvgPool2d,
  avgPool2d,
  type MaxPoolOptions,
  maxPool2d,
  type OutputSize,
} from "../ops/pooling.js";
import { type PerDimension, perDimension } from "../ops/spatial.js";
import { uniform_ } from "./init.js";
import { expectSizes } from "./layers.js";
import { Module, Parameter } from "./module.js";

interface Biased {
  /** False for no bias. */
  readonly bias?: boolean;
}

/** Weight, bias and options of a convolution, whichever way it runs. */
abstract class Convolution<Options extends { readonly groups?: number }> extends Module {
  /** `[outChannels, inChannels / groups, ...kernelSize]`; transposed `[inChannels, outChannels / groups, ...]` */
  readonly weight: Parameter;
  /** `[outChannels]` */
  readonly bias: Parameter | null;
  protected readonly options: Options;

  /** @param transposed whether the weight counts input channels first */
  constructor(
    name: string,
    rank: number,
    readonly inChannels: number,
    readonly outChannels: number,
    kernelSize: PerDimension,
    options: Options & Biased,
    transposed: boolean,
  ) {
    super();
    const { bias = true, groups = 1 } = options;
    expectSizes(name, { inChannels, outChannels, groups });
    if (inChannels % groups !== 0 || outChannels % groups !== 0) {
      throw new ArgumentError(`${name}: ${groups} groups do not divide ${inChannels} and ${outChannels} channels`);
    }
    this.options = options;
    const kernel = perDimension(name, "kernelSize", kernelSize, rank, 1);
    const [first, second] = transposed ? [inChannels, outChannels] : [outChannels, inChannels];
    const shape = [first, second / groups, ...kernel];
    const bound = 1 / Math.sqrt(sizeOf(shape.slice(1)));
    this.weight = uniform_(new Parameter(constant(0, shape)), -bound, bound);
    this.bias = bias ? uniform_(new Parameter(constant(0, [outChannels])), -bound, bound) : null;
  }
}

/**
 * Convolution over `[N, C, L]`. Weight `[outChannels, inChannels / groups, K]` and bias start uniform within ±1/√(fan
 * in), as PyTorch's (Kaiming's uniform initialization with a = √5).
 */
export class Conv1d extends Convolution<ConvOptions> {
  constructor(inChannels: number, outChannels: number, kernelSize: PerDimension, options: ConvOptions & Biased = {}) {
    super("Conv1d", 1, inChannels, outChannels, kernelSize, options, false);
  }

  override forward(input: Tensor): Tensor {
    return conv1d(input, this.weight, this.bias, this.options);
  }
}

/** Convolution over `[N, C, H, W]`; see {@link Conv1d}. */
export class Conv2d extends Convolution<ConvOptions> {
  constructor(inChannels: number, outChannels: number, kernelSize: PerDimension, options: ConvOptions & Biased = {}) {
    super("Conv2d", 2, inChannels, outChannels, kernelSize, options, false);
  }

  override forward(input: Tensor): Tensor {
    return conv2d(input, this.weight, this.bias, this.options);
  }
}

/** Convolution over `[N, C, D, H, W]`; see {@link Conv1d}. */
export class Conv3d extends Convolution<ConvOptions> {
  constructor(inChannels: number, outChannels: number, kernelSize: PerDimension, options: ConvOptions & Biased = {}) {
    super("Conv3d", 3, inChannels, outChannels, kernelSize, options, false);
  }

  override forward(input: Tensor): Tensor {
    return conv3d(input, this.weight, this.bias, this.options);
  }
}

/**
 * Transposed convolution over `[N, C, H, W]`. Weight `[inChannels, outChannels / groups, KH, KW]` and bias start uniform
 * within ±1/√(outChannels / groups · KH · KW), as PyTorch's.
 */
export class ConvTranspose2d extends Convolution<ConvTransposeOptions> {
  constructor(
    inChannels: number,
    outChannels: number,
    kernelSize: PerDimension,
    options: ConvTransposeOptions & Biased = {},
  ) {
    super("ConvTranspose2d", 2, inChannels, outChannels, kernelSize, options, true);
  }

  override forward(input: Tensor): Tensor {
    return convTranspose2d(input, this.weight, this.bias, this.options);
  }
}

/** The largest element of every window over `[N, C, H, W]`. */
export class MaxPool2d extends Module {
  /**
   * @param kernelSize the window's height and width, or one number for both
   * @param options stride (the kernel's size if not given), padding and more, as of the function
   */
  constructor(
    readonly kernelSize: PerDimension,
    readonly options: Omit<MaxPoolOptions, "returnIndices"> = {},
  ) {
    super();
    perDimension("MaxPool2d", "kernelSize", kernelSize, 2, 1);
  }

  override forward(input: Tensor): Tensor {
    return maxPool2d(input, this.kernelSize, this.options);
  }
}

/** The average of every window over `[N, C, H, W]`. */
export class AvgPool2d extends Module {
  /**
   * @param kernelSize the window's height and width, or one number for both
   * @param options stride (the kernel's size if not given), padding and more, as of the function
   */
  constructor(
    readonly kernelSize: PerDimension,
    readonly options: AvgPoolNdOptions = {},
  ) {
    super();
    perDimension("AvgPool2d", "kernelSize", kernelSize, 2, 1);
  }

  override forward(input: Tensor): Tensor {
    return avgPool2d(input, this.kernelSize, this.options);
  }
}

/** The averages of as many windows as `outputSize` asks for, which cover `[N, C, H, W]` evenly. */
export class AdaptiveAvgPool2d extends Module {
  /** @param outputSize `[height, width]`, null for the input's own; or one for both */
  constructor(readonly outputSize: OutputSize) {
    super();
  }

  override forward(input: Tensor): Tensor {
    return adaptiveAvgPool2d(input, this.outputSize);
  }
}
