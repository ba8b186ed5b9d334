/** `lanegrad/nn`: layers, losses, initial values and the modules that models are made of. */
export * from "./activations.js";
export * from "./convolution.js";
export * as init from "./init.js";
export * from "./layers.js";
export * from "./losses.js";
export { Buffer, Module, type Named, Parameter } from "./module.js";
export * as utils from "./utils.js";
