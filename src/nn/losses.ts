/** Losses as modules: a loss function with its options. */
import type { Tensor } from "../graph/tensor.js";
import {
  binaryCrossEntropy,
  binaryCrossEntropyWithLogits,
  crossEntropy,
  huberLoss,
  klDiv,
  l1Loss,
  mseLoss,
  nllLoss,
  smoothL1Loss,
} from "../ops/loss.js";
import { Module } from "./module.js";

/** A function of an input and a target, with options. */
export type LossFunction<Options> = (input: Tensor, target: Tensor, options?: Options) => Tensor;

/** A loss function and its options as a module. */
export class Loss<Options> extends Module {
  /**
   * @param loss computes it
   * @param options what every call passes on
   */
  constructor(
    private readonly loss: LossFunction<Options>,
    readonly options?: Options,
  ) {
    super();
  }

  override forward(input: Tensor, target: Tensor): Tensor {
    return this.loss(input, target, this.options);
  }
}

/** The module class of a loss function. */
function lossModule<Options>(loss: LossFunction<Options>): new (options?: Options) => Loss<Options> {
  return class extends Loss<Options> {
    constructor(options?: Options) {
      super(loss, options);
    }
  };
}

/** See {@link crossEntropy}. */
export class CrossEntropyLoss extends lossModule(crossEntropy) {}
/** See {@link nllLoss}. */
export class NLLLoss extends lossModule(nllLoss) {}
/** See {@link binaryCrossEntropy}. */
export class BCELoss extends lossModule(binaryCrossEntropy) {}
/** See {@link binaryCrossEntropyWithLogits}. */
export class BCEWithLogitsLoss extends lossModule(binaryCrossEntropyWithLogits) {}
/** See {@link klDiv}. */
export class KLDivLoss extends lossModule(klDiv) {}
/** See {@link mseLoss}. */
export class MSELoss extends lossModule(mseLoss) {}
/** See {@link l1Loss}. */
export class L1Loss extends lossModule(l1Loss) {}
/** See {@link smoothL1Loss}. */
export class SmoothL1Loss extends lossModule(smoothL1Loss) {}
/** See {@link huberLoss}. */
export class HuberLoss extends lossModule(huberLoss) {}
