/** Stochastic gradient descent. */
import { ArgumentError } from "../graph/errors.js";
import type { Tensor } from "../graph/tensor.js";
import { add, mul } from "../ops/arithmetic.js";
import {
  type CommonOptions,
  Optimizer,
  type ParamGroupInput,
  type ParamState,
  withWeightDecay,
  zeroState,
} from "./optimizer.js";

/** Options of {@link SGD}. */
export interface SGDOptions extends CommonOptions {
  /** Share of the last step's direction that goes into this one's. */
  momentum: number;
  /** How much less of the gradient goes into the direction when there is momentum. */
  dampening: number;
  /** Look ahead along the direction (Nesterov). */
  nesterov: boolean;
  /** Factor of an L2 penalty. */
  weightDecay: number;
}

const defaults: SGDOptions = { lr: 1e-3, momentum: 0, dampening: 0, nesterov: false, weightDecay: 0, maximize: false };

/**
 * Stochastic gradient descent, as PyTorch's:
 *
 *     g ← gradient + weightDecay · p
 *     b ← momentum · b + (1 - dampening) · g          (g in the first step)
 *     p ← p - lr · (g + momentum · b if nesterov, else b)
 */
export class SGD extends Optimizer<SGDOptions> {
  protected override readonly width = 2;

  constructor(params: Iterable<Tensor> | Iterable<ParamGroupInput<SGDOptions>>, options: Partial<SGDOptions> = {}) {
    super("SGD", params, options, defaults);
  }

  protected override checkOptions({ momentum, dampening, nesterov, weightDecay }: SGDOptions): void {
    this.check("momentum", momentum, momentum >= 0, "0 or more");
    this.check("weightDecay", weightDecay, weightDecay >= 0, "0 or more");
    if (nesterov) {
      this.check("momentum", momentum, momentum > 0, "above 0 with nesterov");
      this.check("dampening", dampening, dampening === 0, "0 with nesterov");
    }
  }

  protected override stateOf(param: Tensor, { momentum }: SGDOptions): Record<string, Tensor> {
    return momentum === 0 ? {} : { momentumBuffer: zeroState(param) };
  }

  /** `-lr`, and the share of the gradient that goes into the direction. */
  protected override numbers({ step }: ParamState, { lr, dampening }: SGDOptions): readonly number[] {
    return [-lr, step === 1 ? 1 : 1 - dampening];
  }

  protected override update(
    { param, tensors: { momentumBuffer } }: ParamState,
    gradient: Tensor,
    [negativeLr, fresh]: readonly [Tensor, Tensor],
    { momentum, dampening, nesterov, weightDecay }: SGDOptions,
  ): void {
    let direction = withWeightDecay(gradient, param, weightDecay);
    if (momentum !== 0) {
      if (momentumBuffer === undefined)
        throw new ArgumentError("SGD: momentum was 0 when the optimizer was made, and it keeps no direction");
      const added = dampening === 0 ? direction : mul(direction, fresh);
      const buffer = add(mul(momentumBuffer, momentum), added);
      this.set(momentumBuffer, buffer);
      direction = nesterov ? add(direction, mul(buffer, momentum)) : buffer;
    }
    this.set(param, add(param, mul(direction, negativeLr)));
  }
}
