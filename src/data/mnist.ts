/** Makes a dataset of a pair of MNIST's files: images and their labels. */

import { FormatError } from "../graph/errors.js";
import { formatShape } from "../graph/shape.js";
import type { LabelledImages } from "./dataset.js";
import type { IdxArray } from "./idx.js";

/**
 * Joins the images and the labels of MNIST, or of a dataset in its format, scaling grey values from 0…255 to 0…1.
 *
 * @param images bytes `[count, rows, columns]`, from `readIdx`
 * @param labels bytes `[count]`, each from 0 to 9
 * @param names what errors call the two
 * @throws FormatError when either has another shape or element type, when the counts differ, or for a label above 9.
 */
export function mnist(
  images: IdxArray,
  labels: IdxArray,
  names = { images: "images", labels: "labels" },
): LabelledImages {
  if (images.shape.length !== 3 || !(images.data instanceof Uint8Array)) {
    throw new FormatError(
      `${names.images}: MNIST images are bytes of shape [count,rows,columns], and these are ${describe(images)}`,
    );
  }
  if (labels.shape.length !== 1 || !(labels.data instanceof Uint8Array)) {
    throw new FormatError(
      `${names.labels}: MNIST labels are bytes of shape [count], and these are ${describe(labels)}`,
    );
  }
  const count = images.shape[0] as number;
  if (labels.shape[0] !== count) {
    throw new FormatError(`${names.images} has ${count} images, but ${names.labels} has ${labels.shape[0]} labels`);
  }
  const wrong = labels.data.findIndex((label) => label > 9);
  if (wrong !== -1) {
    throw new FormatError(`${names.labels}: label ${wrong} is ${labels.data[wrong]}, and digits go from 0 to 9`);
  }
  return {
    images: { shape: images.shape, data: Float32Array.from(images.data, (grey) => grey / 255) },
    labels: { shape: [count], data: Int32Array.from(labels.data) },
  };
}

function describe({ shape, data }: IdxArray): string {
  return `${data.constructor.name.replace("Array", "")} of shape ${formatShape(shape)}`;
}
