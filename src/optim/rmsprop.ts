/** RMSprop. */
import { ArgumentError } from "../graph/errors.js";
import type { Tensor } from "../graph/tensor.js";
import { add, div, mul, sub } from "../ops/arithmetic.js";
import { sqrt, square } from "../ops/unary.js";
import {
  type CommonOptions,
  Optimizer,
  type ParamGroupInput,
  type ParamState,
  withWeightDecay,
  zeroState,
} from "./optimizer.js";

/** Options of {@link RMSprop}. */
export interface RMSpropOptions extends CommonOptions {
  /** Share of the old average of squares that stays; 0.99 if not given. */
  alpha: number;
  /** Added to the root. */
  eps: number;
  /** Factor of an L2 penalty. */
  weightDecay: number;
  /** Share of the last step's direction that goes into this one's. */
  momentum: number;
  /** Divide by the deviation from the average gradient instead of by its size. */
  centered: boolean;
}

const defaults: RMSpropOptions = {
  lr: 1e-2,
  alpha: 0.99,
  eps: 1e-8,
  weightDecay: 0,
  momentum: 0,
  centered: false,
  maximize: false,
};

/**
 * RMSprop (Hinton 2012), as PyTorch's:
 *
 *     g ← gradient + weightDecay · p
 *     v ← α · v + (1 - α) · g²
 *     a ← a + (1 - α) · (g - a)                       (if centered, else 0)
 *     b ← momentum · b + g / (√(v - a²) + eps)
 *     p ← p - lr · b
 */
export class RMSprop extends Optimizer<RMSpropOptions> {
  protected override readonly width = 1;

  constructor(
    params: Iterable<Tensor> | Iterable<ParamGroupInput<RMSpropOptions>>,
    options: Partial<RMSpropOptions> = {},
  ) {
    super("RMSprop", params, options, defaults);
  }

  protected override checkOptions({ alpha, eps, weightDecay, momentum }: RMSpropOptions): void {
    for (const [option, value] of Object.entries({ alpha, eps, weightDecay, momentum })) {
      this.check(option, value, value >= 0, "0 or more");
    }
  }

  protected override stateOf(param: Tensor, { momentum, centered }: RMSpropOptions): Record<string, Tensor> {
    return {
      squareAvg: zeroState(param),
      ...(momentum > 0 && { momentumBuffer: zeroState(param) }),
      ...(centered && { gradAvg: zeroState(param) }),
    };
  }

  /** `-lr`. */
  protected override numbers(_: ParamState, { lr }: RMSpropOptions): readonly number[] {
    return [-lr];
  }

  protected override update(
    { param, tensors }: ParamState,
    gradient: Tensor,
    [negativeLr]: readonly [Tensor],
    { alpha, eps, weightDecay, momentum, centered }: RMSpropOptions,
  ): void {
    const { squareAvg, momentumBuffer, gradAvg } = tensors as Record<string, Tensor> & { squareAvg: Tensor };
    if ((momentum > 0 && momentumBuffer === undefined) || (centered && gradAvg === undefined)) {
      throw new ArgumentError("RMSprop: momentum and centered cannot be turned on after the optimizer was made");
    }
    const g = withWeightDecay(gradient, param, weightDecay);
    const v = add(mul(squareAvg, alpha), mul(square(g), 1 - alpha));
    let variance = v;
    if (centered && gradAvg !== undefined) {
      const a = add(gradAvg, mul(sub(g, gradAvg), 1 - alpha));
      variance = sub(v, square(a));
      this.set(gradAvg, a);
    }
    let direction = div(g, add(sqrt(variance), eps));
    if (momentum > 0 && momentumBuffer !== undefined) {
      direction = add(mul(momentumBuffer, momentum), direction);
      this.set(momentumBuffer, direction);
    }
    this.set(squareAvg, v);
    this.set(param, add(param, mul(direction, negativeLr)));
  }
}
