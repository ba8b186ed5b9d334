/** Layers. */
import { ArgumentError } from "../graph/errors.js";
import type { Shape } from "../graph/shape.js";
import { constant } from "../graph/sources.js";
import type { Tensor } from "../graph/tensor.js";
import { add, mul } from "../ops/arithmetic.js";
import { embedding } from "../ops/indexing.js";
import { linear } from "../ops/matmul.js";
import { flatten } from "../ops/movement.js";
import { groupNorm, layerNorm, rmsNorm } from "../ops/norm.js";
import { dropout, rand, randn } from "../ops/random.js";
import { Module, type Named, Parameter } from "./module.js";

/** A module from one tensor to another: what {@link Sequential} chains. */
export interface Layer extends Module {
  forward(input: Tensor): Tensor;
}

/** Throws unless every size is a whole number from 1 up. */
export function expectSizes(name: string, sizes: Readonly<Record<string, number>>): void {
  for (const [argument, size] of Object.entries(sizes)) {
    if (!Number.isInteger(size) || size < 1)
      throw new ArgumentError(`${name}: ${argument} must be a whole number from 1 up, not ${size}`);
  }
}

/** Uniform numbers in [-bound, bound). */
function symmetric(shape: Shape, bound: number): Tensor {
  return add(mul(rand(shape), 2 * bound), -bound);
}

/**
 * `x · weightᵀ + bias`. Weight and bias start uniform within ±1/√inFeatures, as PyTorch's (Kaiming's uniform
 * initialization with a = √5).
 */
export class Linear extends Module {
  /** `[outFeatures, inFeatures]` */
  readonly weight: Parameter;
  /** `[outFeatures]` */
  readonly bias: Parameter | null;

  /** @param options.bias false for none */
  constructor(
    readonly inFeatures: number,
    readonly outFeatures: number,
    { bias = true }: { bias?: boolean } = {},
  ) {
    super();
    expectSizes("Linear", { inFeatures, outFeatures });
    const bound = 1 / Math.sqrt(inFeatures);
    this.weight = new Parameter(symmetric([outFeatures, inFeatures], bound));
    this.bias = bias ? new Parameter(symmetric([outFeatures], bound)) : null;
  }

  /** @param input `[..., inFeatures]` */
  override forward(input: Tensor): Tensor {
    return linear(input, this.weight, this.bias);
  }
}

/** A table of vectors, looked up by number. The vectors start normally distributed. */
export class Embedding extends Module {
  /** `[numEmbeddings, embeddingDim]` */
  readonly weight: Parameter;

  /**
   * @param numEmbeddings how many vectors there are
   * @param embeddingDim the elements of each
   */
  constructor(
    readonly numEmbeddings: number,
    readonly embeddingDim: number,
  ) {
    super();
    expectSizes("Embedding", { numEmbeddings, embeddingDim });
    this.weight = new Parameter(randn([numEmbeddings, embeddingDim]));
  }

  /** @param input i32 numbers of any shape; the result has one more dimension */
  override forward(input: Tensor): Tensor {
    return embedding(input, this.weight);
  }
}

/** Layer normalization over the trailing dimensions `normalizedShape`, then `· weight + bias`. */
export class LayerNorm extends Module {
  /** The sizes of the dimensions that are normalized together: the last ones. */
  readonly normalizedShape: Shape;
  /** Added to the variance. */
  readonly eps: number;
  /** `normalizedShape` */
  readonly weight: Parameter | null;
  /** `normalizedShape` */
  readonly bias: Parameter | null;

  /**
   * @param options.eps added to the variance; 1e-5 if not given
   * @param options.elementwiseAffine false: no weight and no bias
   * @param options.bias false: no bias
   */
  constructor(
    normalizedShape: number | Shape,
    {
      eps = 1e-5,
      elementwiseAffine = true,
      bias = true,
    }: { eps?: number; elementwiseAffine?: boolean; bias?: boolean } = {},
  ) {
    super();
    this.normalizedShape = typeof normalizedShape === "number" ? [normalizedShape] : [...normalizedShape];
    this.eps = eps;
    this.weight = elementwiseAffine ? new Parameter(constant(1, this.normalizedShape)) : null;
    this.bias = elementwiseAffine && bias ? new Parameter(constant(0, this.normalizedShape)) : null;
  }

  override forward(input: Tensor): Tensor {
    return layerNorm(input, this.normalizedShape, this.weight, this.bias, this.eps);
  }
}

/** Root mean square normalization over the trailing dimensions `normalizedShape`, then `· weight`. */
export class RMSNorm extends Module {
  /** The sizes of the dimensions that are normalized together: the last ones. */
  readonly normalizedShape: Shape;
  /** Added to the mean square; null for 2⁻²³. */
  readonly eps: number | null;
  /** `normalizedShape` */
  readonly weight: Parameter | null;

  /**
   * @param options.eps added to the mean square; 2⁻²³ if not given
   * @param options.elementwiseAffine false: no weight
   */
  constructor(
    normalizedShape: number | Shape,
    { eps = null, elementwiseAffine = true }: { eps?: number | null; elementwiseAffine?: boolean } = {},
  ) {
    super();
    this.normalizedShape = typeof normalizedShape === "number" ? [normalizedShape] : [...normalizedShape];
    this.eps = eps;
    this.weight = elementwiseAffine ? new Parameter(constant(1, this.normalizedShape)) : null;
  }

  override forward(input: Tensor): Tensor {
    return rmsNorm(input, this.normalizedShape, this.weight, this.eps);
  }
}

/** Normalization of each group of channels of `[N, C, ...]`, then `· weight + bias` a channel. */
export class GroupNorm extends Module {
  /** Added to the variance. */
  readonly eps: number;
  /** `[numChannels]` */
  readonly weight: Parameter | null;
  /** `[numChannels]` */
  readonly bias: Parameter | null;

  /**
   * @param options.eps added to the variance; 1e-5 if not given
   * @param options.affine false: no weight and no bias
   */
  constructor(
    readonly numGroups: number,
    readonly numChannels: number,
    { eps = 1e-5, affine = true }: { eps?: number; affine?: boolean } = {},
  ) {
    super();
    expectSizes("GroupNorm", { numGroups, numChannels });
    this.eps = eps;
    this.weight = affine ? new Parameter(constant(1, [numChannels])) : null;
    this.bias = affine ? new Parameter(constant(0, [numChannels])) : null;
  }

  override forward(input: Tensor): Tensor {
    return groupNorm(input, this.numGroups, this.weight, this.bias, this.eps);
  }
}

/** In training, zeroes each element with probability `p` and scales the others by 1 / (1 - p); else the identity. */
export class Dropout extends Module {
  /** @param p the probability, from 0 to 1 */
  constructor(readonly p = 0.5) {
    super();
    if (!(p >= 0 && p <= 1)) throw new ArgumentError(`Dropout: p must be between 0 and 1, not ${p}`);
  }

  override forward(input: Tensor): Tensor {
    return dropout(input, this.p, this.training);
  }
}

/** Joins the dimensions from `startDim` to `endDim` into one; by default all but the first. */
export class Flatten extends Module {
  /**
   * @param startDim the first dimension to join
   * @param endDim the last one; negative ones count from the end
   */
  constructor(
    readonly startDim = 1,
    readonly endDim = -1,
  ) {
    super();
  }

  override forward(input: Tensor): Tensor {
    return flatten(input, this.startDim, this.endDim);
  }
}

/** Layers one after the other; their names are their numbers. */
export class Sequential extends Module {
  /** The layers, first to last. */
  readonly layers: readonly Layer[];

  constructor(...layers: readonly Layer[]) {
    super();
    layers.forEach((layer, i) => {
      if (!(layer instanceof Module))
        throw new ArgumentError(`Sequential: argument ${i} must be a module, not ${String(layer)}`);
    });
    this.layers = layers;
  }

  protected override fields(): Iterable<Named<unknown>> {
    return this.layers.map((layer, i) => [String(i), layer]);
  }

  override forward(input: Tensor): Tensor {
    return this.layers.reduce((x, layer) => layer.forward(x), input);
  }
}
