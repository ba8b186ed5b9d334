/** Batch normalization as layers. */
import { ShapeError } from "../graph/errors.js";
import { formatShape } from "../graph/shape.js";
import { constant } from "../graph/sources.js";
import { assign, noGrad, type Tensor } from "../graph/tensor.js";
import { add } from "../ops/arithmetic.js";
import { batchNorm } from "../ops/norm.js";
import { expectSizes } from "./layers.js";
import { Buffer, Module, type Named, Parameter } from "./module.js";

/** Options of the batch normalization layers. */
export interface BatchNormOptions {
  /** Added to the variance; 1e-5 if not given. */
  readonly eps?: number;
  /** How far the running statistics move towards a batch's; 0.1 if not given. */
  readonly momentum?: number;
  /** False: no weight and no bias. */
  readonly affine?: boolean;
  /** False: no running statistics; `eval()` then normalizes with the batch's own. */
  readonly trackRunningStats?: boolean;
}

/** What the layers share. They differ in the dimensions that they take. */
abstract class BatchNorm extends Module {
  /** Added to the variance. */
  readonly eps: number;
  /** How far the running statistics move towards a batch's. */
  readonly momentum: number;
  /** `[numFeatures]` */
  readonly weight: Parameter | null;
  /** `[numFeatures]` */
  readonly bias: Parameter | null;
  /** `[numFeatures]`, `running_mean` in a state dict, as in PyTorch's. */
  readonly runningMean: Buffer | null;
  /** `[numFeatures]`, `running_var` in a state dict. Unbiased. */
  readonly runningVar: Buffer | null;
  /** How many batches the running statistics have seen, `num_batches_tracked` in a state dict. */
  readonly numBatchesTracked: Buffer | null;

  /** @param takes how an input's shape reads, by the number of its dimensions */
  constructor(
    private readonly name: string,
    private readonly takes: Readonly<Record<number, string>>,
    readonly numFeatures: number,
    { eps = 1e-5, momentum = 0.1, affine = true, trackRunningStats = true }: BatchNormOptions = {},
  ) {
    super();
    expectSizes(name, { numFeatures });
    const shape = [numFeatures];
    this.eps = eps;
    this.momentum = momentum;
    this.weight = affine ? new Parameter(constant(1, shape)) : null;
    this.bias = affine ? new Parameter(constant(0, shape)) : null;
    this.runningMean = trackRunningStats ? new Buffer(constant(0, shape)) : null;
    this.runningVar = trackRunningStats ? new Buffer(constant(1, shape)) : null;
    this.numBatchesTracked = trackRunningStats ? new Buffer(constant(0, [], "i32")) : null;
  }

  protected override fields(): Iterable<Named<unknown>> {
    return [
      ["weight", this.weight],
      ["bias", this.bias],
      ["running_mean", this.runningMean],
      ["running_var", this.runningVar],
      ["num_batches_tracked", this.numBatchesTracked],
    ];
  }

  override forward(input: Tensor): Tensor {
    const { name, takes, numFeatures } = this;
    if (takes[input.ndim] === undefined || input.shape[1] !== numFeatures) {
      const shapes = Object.values(takes).join(" or ");
      throw new ShapeError(`${name}: input must be ${shapes} with C = ${numFeatures}, not ${formatShape(input.shape)}`);
    }
    const { training, numBatchesTracked: count, runningMean, runningVar } = this;
    if (training && count !== null) noGrad(() => assign(name, count, add(count, 1)));
    const own = training || runningMean === null;
    return batchNorm(input, runningMean, runningVar, this.weight, this.bias, own, this.momentum, this.eps);
  }
}

/**
 * Batch normalization over `[N, C]` or `[N, C, L]`: each channel moved to mean 0 and variance 1, then `· weight + bias`.
 * In training by the batch's statistics, which the running ones follow; after `eval()` by the running ones.
 */
export class BatchNorm1d extends BatchNorm {
  constructor(numFeatures: number, options: BatchNormOptions = {}) {
    super("BatchNorm1d", { 2: "[N, C]", 3: "[N, C, L]" }, numFeatures, options);
  }
}

/** {@link BatchNorm1d} over `[N, C, H, W]`. */
export class BatchNorm2d extends BatchNorm {
  constructor(numFeatures: number, options: BatchNormOptions = {}) {
    super("BatchNorm2d", { 4: "[N, C, H, W]" }, numFeatures, options);
  }
}

/** {@link BatchNorm1d} over `[N, C, D, H, W]`. */
export class BatchNorm3d extends BatchNorm {
  constructor(numFeatures: number, options: BatchNormOptions = {}) {
    super("BatchNorm3d", { 5: "[N, C, D, H, W]" }, numFeatures, options);
  }
}
