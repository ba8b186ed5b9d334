/** Activation functions as layers. */

import { constant } from "../graph/sources.js";
import type { Tensor } from "../graph/tensor.js";
import {
  elu,
  gelu,
  hardsigmoid,
  hardswish,
  leakyRelu,
  logsigmoid,
  mish,
  prelu,
  relu,
  relu6,
  selu,
  silu,
  softplus,
} from "../ops/activation.js";
import { logSoftmax, softmax } from "../ops/softmax.js";
import { sigmoid, tanh } from "../ops/unary.js";
import { Module, Parameter } from "./module.js";

/** The input itself. */
export class Identity extends Module {
  override forward(input: Tensor): Tensor {
    return input;
  }
}

/** `max(x, 0)`. */
export class ReLU extends Module {
  override forward(input: Tensor): Tensor {
    return relu(input);
  }
}

/** `min(max(x, 0), 6)`. */
export class ReLU6 extends Module {
  override forward(input: Tensor): Tensor {
    return relu6(input);
  }
}

/** `x` where it is positive, else `negativeSlope · x`. */
export class LeakyReLU extends Module {
  /** @param negativeSlope the slope below 0 */
  constructor(readonly negativeSlope = 0.01) {
    super();
  }

  override forward(input: Tensor): Tensor {
    return leakyRelu(input, this.negativeSlope);
  }
}

/** A {@link LeakyReLU} that learns its slope: one for all, or one for each channel (dimension 1). */
export class PReLU extends Module {
  /** `[numParameters]`: the slopes below 0. */
  readonly weight: Parameter;

  /**
   * @param numParameters 1, or the number of channels
   * @param init the slope to start from
   */
  constructor(numParameters = 1, init = 0.25) {
    super();
    this.weight = new Parameter(constant(init, [numParameters]));
  }

  override forward(input: Tensor): Tensor {
    return prelu(input, this.weight);
  }
}

/** `x` where it is positive, else `alpha · (eˣ - 1)`. */
export class ELU extends Module {
  /** @param alpha what it falls to below 0, negated */
  constructor(readonly alpha = 1) {
    super();
  }

  override forward(input: Tensor): Tensor {
    return elu(input, this.alpha);
  }
}

/** The self-normalizing exponential unit. */
export class SELU extends Module {
  override forward(input: Tensor): Tensor {
    return selu(input);
  }
}

/** `x · Φ(x)`; `{ approximate: "tanh" }` computes Φ by the formula with the hyperbolic tangent. */
export class GELU extends Module {
  /** How Φ is computed. */
  readonly approximate: "none" | "tanh";

  constructor({ approximate = "none" }: { approximate?: "none" | "tanh" } = {}) {
    super();
    this.approximate = approximate;
  }

  override forward(input: Tensor): Tensor {
    return gelu(input, { approximate: this.approximate });
  }
}

/** `x · sigmoid(x)`, also called swish. */
export class SiLU extends Module {
  override forward(input: Tensor): Tensor {
    return silu(input);
  }
}

/** `x · tanh(softplus(x))`. */
export class Mish extends Module {
  override forward(input: Tensor): Tensor {
    return mish(input);
  }
}

/** A piecewise linear approximation of {@link SiLU}. */
export class Hardswish extends Module {
  override forward(input: Tensor): Tensor {
    return hardswish(input);
  }
}

/** A piecewise linear approximation of {@link Sigmoid}. */
export class Hardsigmoid extends Module {
  override forward(input: Tensor): Tensor {
    return hardsigmoid(input);
  }
}

/** The hyperbolic tangent. */
export class Tanh extends Module {
  override forward(input: Tensor): Tensor {
    return tanh(input);
  }
}

/** `1 / (1 + e⁻ˣ)`. */
export class Sigmoid extends Module {
  override forward(input: Tensor): Tensor {
    return sigmoid(input);
  }
}

/** `log(sigmoid(x))`. */
export class LogSigmoid extends Module {
  override forward(input: Tensor): Tensor {
    return logsigmoid(input);
  }
}

/** `log(1 + e^(beta · x)) / beta`, and `x` itself where `beta · x` is above `threshold`. */
export class Softplus extends Module {
  /**
   * @param beta how sharp the bend at 0 is
   * @param threshold from where on it is the identity
   */
  constructor(
    readonly beta = 1,
    readonly threshold = 20,
  ) {
    super();
  }

  override forward(input: Tensor): Tensor {
    return softplus(input, this.beta, this.threshold);
  }
}

/** Exponentials that sum to 1 along `dim`. */
export class Softmax extends Module {
  /** @param dim the dimension that the exponentials sum to 1 along; negative ones count from the end */
  constructor(readonly dim: number) {
    super();
  }

  override forward(input: Tensor): Tensor {
    return softmax(input, this.dim);
  }
}

/** The logarithm of {@link Softmax}. */
export class LogSoftmax extends Module {
  /** @param dim the dimension that the exponentials sum to 1 along; negative ones count from the end */
  constructor(readonly dim: number) {
    super();
  }

  override forward(input: Tensor): Tensor {
    return logSoftmax(input, this.dim);
  }
}
