/** `lanegrad/nn`: layers, losses, initial values and the modules that models are made of. */
export * from "./activations.js";
export { BatchNorm1d, BatchNorm2d, BatchNorm3d, type BatchNormOptions } from "./batchnorm.js";
export * from "./convolution.js";
export * as init from "./init.js";
export {
  Dropout,
  Embedding,
  Flatten,
  GroupNorm,
  type Layer,
  LayerNorm,
  Linear,
  RMSNorm,
  Sequential,
} from "./layers.js";
export * from "./losses.js";
export { Buffer, Module, type Named, Parameter } from "./module.js";
export * as utils from "./utils.js";
