/** `lanegrad/data`: datasets to train on, and minibatches of them. Nothing here needs more than a browser has. */

export { shiftImages } from "./augment.js";
export { type Batch, type BatchOptions, batches } from "./batches.js";
export { type Column, type Dataset, exampleCount, type LabelledImages, splitDataset, takeRows } from "./dataset.js";
export { type DigitsOptions, digits } from "./digits.js";
export { decodeIdx, type IdxArray, type IdxData, readIdx } from "./idx.js";
export { mnist } from "./mnist.js";
export { Random } from "./random.js";
