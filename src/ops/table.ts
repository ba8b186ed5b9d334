/**
 * The records of all operators: what tests, benchmarks and the docs read. They stand at the end of each family's file,
 * as its default export, and no program of a user's loads them.
 */
import activation from "./activation.js";
import arithmetic from "./arithmetic.js";
import arrange from "./arrange.js";
import assemble from "./assemble.js";
import attention from "./attention.js";
import binary from "./binary.js";
import contract from "./contract.js";
import conversion from "./conversion.js";
import convolution from "./convolution.js";
import creation from "./creation.js";
import cumulative from "./cumulative.js";
import type { OperatorTable } from "./define.js";
import diagonal from "./diagonal.js";
import distance from "./distance.js";
import embeddingBag from "./embedding-bag.js";
import gridSample from "./grid-sample.js";
import indexing from "./indexing.js";
import interpolate from "./interpolate.js";
import join from "./join.js";
import loss from "./loss.js";
import marginLoss from "./margin-loss.js";
import matmul from "./matmul.js";
import movement from "./movement.js";
import norm from "./norm.js";
import padding from "./padding.js";
import pooling from "./pooling.js";
import random from "./random.js";
import reduction from "./reduction.js";
import scatter from "./scatter.js";
import shuffle from "./shuffle.js";
import softmax from "./softmax.js";
import sort from "./sort.js";
import special from "./special.js";
import statistics from "./statistics.js";
import unary from "./unary.js";

/** The record of every operator, by the name of its function. */
export const operators: OperatorTable = {
  ...conversion,
  ...creation,
  ...arithmetic,
  ...unary,
  ...binary,
  ...activation,
  ...movement,
  ...join,
  ...padding,
  ...arrange,
  ...assemble,
  ...diagonal,
  ...random,
  ...reduction,
  ...statistics,
  ...special,
  ...sort,
  ...softmax,
  ...shuffle,
  ...attention,
  ...norm,
  ...cumulative,
  ...matmul,
  ...contract,
  ...convolution,
  ...pooling,
  ...distance,
  ...indexing,
  ...gridSample,
  ...interpolate,
  ...embeddingBag,
  ...scatter,
  ...loss,
  ...marginLoss,
};
