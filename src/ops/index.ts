/** All operators: the functions, and the table of their records. */
import { activationOperators } from "./activation.js";
import { arithmetic } from "./arithmetic.js";
import { arrangeOperators } from "./arrange.js";
import { assembleOperators } from "./assemble.js";
import { attentionOperators } from "./attention.js";
import { binaryOperators } from "./binary.js";
import { contractOperators } from "./contract.js";
import { conversionOperators } from "./conversion.js";
import { convolutionOperators } from "./convolution.js";
import { creationOperators } from "./creation.js";
import { cumulativeOperators } from "./cumulative.js";
import type { OperatorTable } from "./define.js";
import { diagonalOperators } from "./diagonal.js";
import { distanceOperators } from "./distance.js";
import { embeddingBagOperators } from "./embedding-bag.js";
import { gridSampleOperators } from "./grid-sample.js";
import { indexingOperators } from "./indexing.js";
import { interpolateOperators } from "./interpolate.js";
import { joinOperators } from "./join.js";
import { lossOperators } from "./loss.js";
import { marginLossOperators } from "./margin-loss.js";
import { matmulOperators } from "./matmul.js";
import { movementOperators } from "./movement.js";
import { normOperators } from "./norm.js";
import { paddingOperators } from "./padding.js";
import { poolingOperators } from "./pooling.js";
import { randomOperators } from "./random.js";
import { reductionOperators } from "./reduction.js";
import { scatterOperators } from "./scatter.js";
import { shuffleOperators } from "./shuffle.js";
import { softmaxOperators } from "./softmax.js";
import { sortOperators } from "./sort.js";
import { specialOperators } from "./special.js";
import { statisticsOperators } from "./statistics.js";
import { unaryOperators } from "./unary.js";

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

/** The record of every operator, by the name of its function. */
export const operators: OperatorTable = /* @__PURE__ */ Object.assign(
  {},
  conversionOperators,
  creationOperators,
  arithmetic,
  unaryOperators,
  binaryOperators,
  activationOperators,
  movementOperators,
  joinOperators,
  paddingOperators,
  arrangeOperators,
  assembleOperators,
  diagonalOperators,
  randomOperators,
  reductionOperators,
  statisticsOperators,
  specialOperators,
  sortOperators,
  softmaxOperators,
  shuffleOperators,
  attentionOperators,
  normOperators,
  cumulativeOperators,
  matmulOperators,
  contractOperators,
  convolutionOperators,
  poolingOperators,
  distanceOperators,
  indexingOperators,
  gridSampleOperators,
  interpolateOperators,
  embeddingBagOperators,
  scatterOperators,
  lossOperators,
  marginLossOperators,
);
