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
export { RMSprop, type RMSpropOptions } from "./rmsprop.js";
export {
  CosineAnnealingLR,
  ExponentialLR,
  LambdaLR,
  LRScheduler,
  MultiStepLR,
  type Schedulable,
  StepLR,
  WarmupCosineLR,
} from "./schedules.js";
export { SGD, type SGDOptions } from "./sgd.js";
