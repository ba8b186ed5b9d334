/** Cuts a dataset into minibatches, in an order that depends on the seed and the epoch alone. */

import { dtypeOf } from "../graph/dtype.js";
import { ArgumentError } from "../graph/errors.js";
import { dataNode } from "../graph/sources.js";
import { Tensor } from "../graph/tensor.js";
import { type Column, type Dataset, exampleCount, shuffledRows, takeRows } from "./dataset.js";
import { Random } from "./random.js";

/** How `batches` cuts. */
export interface BatchOptions<D extends Dataset> {
  /** Examples in each batch. */
  batch: number;
  /** Whether to put the examples in a random order, a new one each epoch. Default true. */
  shuffle?: boolean;
  /** Seed of the shuffle, an integer from 0 up. Default 0. */
  seed?: number;
  /** Which pass over the data this is, an integer from 0 up: each epoch has an order of its own. Default 0. */
  epoch?: number;
  /** Whether to leave out a last batch that would be smaller than the others. Default false. */
  dropLast?: boolean;
  /** Changes the rows of each batch before they become tensors: augmentation. They are copies, for it to keep. */
  transform?: (rows: D) => D;
}

/** A minibatch: for each column of the dataset a tensor of the same name, with a row for each example. */
export type Batch<D extends Dataset> = { readonly [Name in keyof D]: Tensor };

/**
 * One epoch of minibatches of a dataset, as tensors.
 *
 * @example
 * for (let epoch = 0; epoch < 10; epoch++) {
 *   for (const { images, labels } of batches(train, { batch: 64, epoch })) step(images, labels);
 * }
 * @throws ShapeError when the columns, those of a transform too, do not fill their shapes or differ in length.
 * @throws ArgumentError when `batch` is not an integer from 1 up, or seed or epoch not one from 0 up.
 */
export function batches<D extends Dataset>(dataset: D, options: BatchOptions<D>): Generator<Batch<D>, void, undefined> {
  const { batch, shuffle = true, seed = 0, epoch = 0 } = options;
  const count = exampleCount(dataset);
  if (!Number.isInteger(batch) || batch < 1) {
    throw new ArgumentError(`batches: batch must be an integer from 1 up, not ${batch}`);
  }
  if (!Number.isInteger(epoch) || epoch < 0) {
    throw new ArgumentError(`batches: epoch must be an integer from 0 up, not ${epoch}`);
  }
  const order = shuffle
    ? shuffledRows(count, new Random(seed, epoch))
    : Uint32Array.from({ length: count }, (_, i) => i);
  return cut(dataset, order, options);
}

/** Apart from `batches`, because the body of a generator, with its checks, would first run when its result is asked for. */
function* cut<D extends Dataset>(
  dataset: D,
  order: Uint32Array,
  { batch, dropLast = false, transform = (rows) => rows }: BatchOptions<D>,
): Generator<Batch<D>, void, undefined> {
  const end = dropLast ? order.length - (order.length % batch) : order.length;
  for (let start = 0; start < end; start += batch) {
    const rows = transform(takeRows(dataset, order.subarray(start, start + batch)));
    // For its checks: what a transform returns has not been looked at.
    exampleCount(rows);
    const tensors = Object.entries(rows).map(([name, { shape, data }]: [string, Column]) => [
      name,
      new Tensor(dataNode(data, shape, dtypeOf(data))),
    ]);
    yield Object.fromEntries(tensors) as Batch<D>;
  }
}
