/** Adam (Kingma and Ba 2015) and AdamW (Loshchilov and Hutter 2019). */
import { ArgumentError } from "../graph/errors.js";
import type { Tensor } from "../graph/tensor.js";
import { wholePower } from "../numeric.js";
import { add, div, maximum, mul, sub } from "../ops/arithmetic.js";
import { sqrt, square } from "../ops/unary.js";
import {
  type CommonOptions,
  Optimizer,
  type ParamGroupInput,
  type ParamState,
  withWeightDecay,
  zeroState,
} from "./optimizer.js";

/** Options of {@link Adam} and {@link AdamW}. */
export interface AdamOptions extends CommonOptions {
  /** What the moving averages of the gradient and of its square keep of themselves in each step. */
  betas: readonly [number, number];
  /** Added to the denominator. */
  eps: number;
  /** Adam: factor of an L2 penalty. AdamW: parameters shrink by `lr · weightDecay` of themselves in each step. */
  weightDecay: number;
  /** Divide by the largest average so far (Reddi, Kale and Kumar 2018). */
  amsgrad: boolean;
}

const defaults: AdamOptions = {
  lr: 1e-3,
  betas: [0.9, 0.999],
  eps: 1e-8,
  weightDecay: 0,
  amsgrad: false,
  maximize: false,
};

/** What Adam and AdamW share: all but where weight decay acts. */
abstract class AdamFamily extends Optimizer<AdamOptions> {
  /** Whether weight decay shrinks the parameters instead of adding to the gradients. */
  protected abstract readonly decoupled: boolean;
  protected override readonly width = 3;

  protected override checkOptions({ betas, eps, weightDecay }: AdamOptions): void {
    betas.forEach((beta, i) => {
      this.check(`betas[${i}]`, beta, beta >= 0 && beta < 1, "at least 0 and below 1");
    });
    this.check("eps", eps, eps >= 0, "0 or more");
    this.check("weightDecay", weightDecay, weightDecay >= 0, "0 or more");
  }

  protected override stateOf(param: Tensor, { amsgrad }: AdamOptions): Record<string, Tensor> {
    const averages = { expAvg: zeroState(param), expAvgSq: zeroState(param) };
    return amsgrad ? { ...averages, maxExpAvgSq: zeroState(param) } : averages;
  }

  /** `-lr / (1 - β₁ᵗ)`, `1 / √(1 - β₂ᵗ)`, and what decoupled weight decay leaves of a parameter. */
  protected override numbers({ step }: ParamState, { lr, betas, weightDecay }: AdamOptions): readonly number[] {
    const correction1 = 1 - wholePower(betas[0], step);
    const correction2 = 1 - wholePower(betas[1], step);
    return [-lr / correction1, 1 / Math.sqrt(correction2), 1 - lr * weightDecay];
  }

  protected override update(
    { param, tensors }: ParamState,
    gradient: Tensor,
    [negativeStep, correction, kept]: readonly [Tensor, Tensor, Tensor],
    { betas: [beta1, beta2], eps, weightDecay, amsgrad }: AdamOptions,
  ): void {
    const { expAvg, expAvgSq, maxExpAvgSq } = tensors as { expAvg: Tensor; expAvgSq: Tensor; maxExpAvgSq?: Tensor };
    const g = this.decoupled ? gradient : withWeightDecay(gradient, param, weightDecay);
    const p = this.decoupled && weightDecay !== 0 ? mul(param, kept) : param;
    const m = add(expAvg, mul(sub(g, expAvg), 1 - beta1));
    const v = add(mul(expAvgSq, beta2), mul(square(g), 1 - beta2));
    let scale = v;
    if (amsgrad) {
      if (maxExpAvgSq === undefined)
        throw new ArgumentError("amsgrad was off when the optimizer was made, and it keeps no maxima");
      scale = maximum(maxExpAvgSq, v);
      this.set(maxExpAvgSq, scale);
    }
    this.set(expAvg, m);
    this.set(expAvgSq, v);
    this.set(param, add(mul(div(m, add(mul(sqrt(scale), correction), eps)), negativeStep), p));
  }
}

/**
 * Adam, as PyTorch's:
 *
 *     g ← gradient + weightDecay · p
 *     m ← m + (1 - β₁) · (g - m)
 *     v ← β₂ · v + (1 - β₂) · g²
 *     p ← p - lr / (1 - β₁ᵗ) · m / (√v / √(1 - β₂ᵗ) + eps)
 */
export class Adam extends AdamFamily {
  protected override readonly decoupled = false;

  constructor(params: Iterable<Tensor> | Iterable<ParamGroupInput<AdamOptions>>, options: Partial<AdamOptions> = {}) {
    super("Adam", params, options, defaults);
  }
}

/**
 * Adam with decoupled weight decay (0.01 if not given), as PyTorch's: {@link Adam} with `g ← gradient` and, before the
 * step, `p ← (1 - lr · weightDecay) · p`.
 */
export class AdamW extends AdamFamily {
  protected override readonly decoupled = true;

  constructor(params: Iterable<Tensor> | Iterable<ParamGroupInput<AdamOptions>>, options: Partial<AdamOptions> = {}) {
    super("AdamW", params, options, { ...defaults, weightDecay: 1e-2 });
  }
}
