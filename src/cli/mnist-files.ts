/** Finds MNIST's files in a directory, and makes of them images to train on and images held out. */

import { join } from "node:path";
import { type LabelledImages, mnist, readIdx, splitDataset } from "../data/index.js";
import { FormatError } from "../index.js";
import { listDirectory, readBytes } from "./files.js";

/** Images to train on, and images held out. */
export interface MnistFiles {
  readonly train: LabelledImages;
  readonly test: LabelledImages;
  /** Where the images came from, in a sentence for people. */
  readonly source: string;
}

/** The share of the images that trains when there is no pair of test files. */
const trainingShare = 0.8;

/**
 * Reads MNIST, or a dataset in its format, from a directory with the files `train-images-idx3-ubyte` and
 * `train-labels-idx1-ubyte`, and `t10k-…` for the test (`.idx3-ubyte` and a last `.gz` are fine). When only one pair
 * is there, a shuffle that is always the same splits it: 80 % to train, 20 % held out.
 *
 * @throws FormatError when files are missing or not what their format says.
 */
export async function loadMnist(directory: string): Promise<MnistFiles> {
  const files = await listDirectory(directory);
  const train = await loadPair(directory, files, "train");
  const test = await loadPair(directory, files, "t10k");
  if (train !== null && test !== null) {
    const [trainSize, testSize] = [train, test].map(({ images }) => images.shape.slice(1).join(" × "));
    if (trainSize !== testSize) {
      throw new FormatError(
        `${directory}: the training images are ${trainSize} pixels, but the test images ${testSize}`,
      );
    }
    return { train, test, source: `${directory}: the training files, and the t10k files held out` };
  }
  const only = train ?? test;
  if (only === null) {
    throw new FormatError(
      `${directory} has none of MNIST's files: train-images-idx3-ubyte and train-labels-idx1-ubyte, or t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte, each plain or with .gz`,
    );
  }
  const count = only.labels.data.length;
  const [larger, rest] = splitDataset(only, Math.floor(count * trainingShare));
  const part = train === null ? "t10k" : "train";
  return {
    train: larger,
    test: rest,
    source: `${directory}: the ${count} images of the ${part} files, shuffled; a fifth is held out`,
  };
}

/** Reads the images and labels of one part, or gives null when neither file is there. */
async function loadPair(directory: string, files: readonly string[], part: string): Promise<LabelledImages | null> {
  const [images, labels] = ["images-idx3", "labels-idx1"].map((kind) => {
    const plain = `${part}-${kind}-ubyte`;
    const dotted = plain.replace("-idx", ".idx");
    return [plain, `${plain}.gz`, dotted, `${dotted}.gz`].find((name) => files.includes(name));
  });
  if (images === undefined && labels === undefined) return null;
  if (images === undefined)
    throw new FormatError(`${directory} has ${labels}, but no ${part}-images-idx3-ubyte or .gz`);
  if (labels === undefined)
    throw new FormatError(`${directory} has ${images}, but no ${part}-labels-idx1-ubyte or .gz`);
  const names = { images: join(directory, images), labels: join(directory, labels) };
  return mnist(
    await readIdx(await readBytes(names.images), names.images),
    await readIdx(await readBytes(names.labels), names.labels),
    names,
  );
}
