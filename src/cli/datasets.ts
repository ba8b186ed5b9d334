/** The images that the command line trains on and scores. */

import { digits, type LabelledImages, takeRows } from "../data/index.js";
import { loadMnist, type MnistFiles } from "./mnist-files.js";

/** MNIST's files in a directory, or, without one, digits drawn here: `count` to train on and `heldOut` more. */
export async function openImages(
  directory: string | undefined,
  drawn: { readonly count: number; readonly heldOut: number; readonly seed: number },
): Promise<MnistFiles> {
  if (directory !== undefined) return loadMnist(directory);
  const { count, heldOut, seed } = drawn;
  const all = digits({ count: count + heldOut, seed });
  const rows = (from: number, length: number): LabelledImages =>
    takeRows(
      all,
      Array.from({ length }, (_, i) => from + i),
    );
  return { train: rows(0, count), test: rows(count, heldOut), source: `digits drawn here, with seed ${seed}` };
}
