/** `lanegrad/optim`: optimizers and learning rate schedules. */
export { Adam, type AdamOptions, AdamW } from "./adam.js";
export {
  type CommonOptions,
  Optimizer,
  type OptimizerState,
  type ParamGroup,
  type ParamGroupInput,
  type ParamState,
} from "./optimizer.js";
export { CosineAnnealingLR, LambdaLR, LRScheduler, type Schedulable, StepLR, WarmupCosineLR } from "./schedules.js";
export { SGD, type SGDOptions } from "./sgd.js";
