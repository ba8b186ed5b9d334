/** All operators: the functions that users call. */

export * from "./activation.js";
export * from "./arithmetic.js";
export * from "./arrange.js";
export * from "./assemble.js";
export * from "./attention.js";
export * from "./binary.js";
export * from "./contract.js";
export { to } from "./conversion.js";
export * from "./convolution.js";
export * from "./creation.js";
export * from "./cumulative.js";
export * from "./diagonal.js";
export * from "./distance.js";
export * from "./embedding-bag.js";
export * from "./grid-sample.js";
export * from "./indexing.js";
export * from "./interpolate.js";
export * from "./join.js";
export * from "./loss.js";
export * from "./margin-loss.js";
export * from "./matmul.js";
export {
  broadcastTensors,
  broadcastTo,
  expand,
  expandAs,
  flatten,
  flip,
  narrow,
  permute,
  reshape,
  select,
  slice,
  squeeze,
  t,
  transpose,
  unsqueeze,
  view,
} from "./movement.js";
export * from "./norm.js";
export * from "./padding.js";
export * from "./pooling.js";
export {
  defaultGenerator,
  dropout,
  Generator,
  manualSeed,
  type RandomOptions,
  rand,
  randint,
  randLike,
  randn,
  randnLike,
} from "./random.js";
export * from "./reduction.js";
export * from "./scatter.js";
export * from "./shuffle.js";
export * from "./softmax.js";
export * from "./sort.js";
export * from "./special.js";
export * from "./statistics.js";
export * from "./unary.js";
