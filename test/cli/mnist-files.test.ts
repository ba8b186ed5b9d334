import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { loadMnist } from "../../src/cli/mnist-files.js";
import { idx } from "./support.js";

/** Files of `count` images of 1 × 2 pixels: image i is [i, 255], its label i mod 10. */
const imagesFile = (count: number) => idx([count, 1, 2], Array.from({ length: count }, (_, i) => [i, 255]).flat());
const labelsFile = (count: number) =>
  idx(
    [count],
    Array.from({ length: count }, (_, i) => i % 10),
  );

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "lanegrad-mnist-"));
});
afterEach(() => rm(directory, { recursive: true }));

const put = (name: string, bytes: Uint8Array) => writeFile(join(directory, name), bytes);

describe("a directory of MNIST's files", () => {
  it("gives the training files to train and the t10k files as held out, plain or gzipped, dotted or dashed", async () => {
    await put("train-images-idx3-ubyte", imagesFile(6));
    await put("train-labels.idx1-ubyte.gz", gzipSync(labelsFile(6)));
    await put("t10k-images-idx3-ubyte.gz", gzipSync(imagesFile(3)));
    await put("t10k-labels.idx1-ubyte", labelsFile(3));
    const { train, test } = await loadMnist(directory);
    expect(train.images.shape).toEqual([6, 1, 2]);
    expect([...train.images.data.slice(2, 6)]).toEqual([1 / 255, 1, 2 / 255, 1].map(Math.fround));
    expect([...test.labels.data]).toEqual([0, 1, 2]);
  });

  it("with a single pair is split in the same way every time, four fifths to one", async () => {
    await put("t10k-images-idx3-ubyte", imagesFile(20));
    await put("t10k-labels-idx1-ubyte", labelsFile(20));
    const { train, test, source } = await loadMnist(directory);
    expect([train.images.shape, test.images.shape]).toEqual([
      [16, 1, 2],
      [4, 1, 2],
    ]);
    const greys = [...train.images.data, ...test.images.data]
      .map((grey) => Math.round(grey * 255))
      .filter((_, i) => i % 2 === 0);
    expect(greys.sort((a, b) => a - b)).toEqual(Array.from({ length: 20 }, (_, i) => i));
    expect((await loadMnist(directory)).test).toEqual(test);
    expect(source).toContain("the 20 images of the t10k files, shuffled; a fifth is held out");
  });

  it("is refused by name when something is missing", async () => {
    await expect(loadMnist(join(directory, "nowhere"))).rejects.toThrow("nowhere: no such file or directory");
    await expect(loadMnist(directory)).rejects.toThrow(
      "has none of MNIST's files: train-images-idx3-ubyte and train-labels-idx1-ubyte, or t10k-images-idx3-ubyte",
    );
    await put("train-images-idx3-ubyte.gz", gzipSync(imagesFile(2)));
    await expect(loadMnist(directory)).rejects.toThrow(
      "has train-images-idx3-ubyte.gz, but no train-labels-idx1-ubyte or .gz",
    );
    await expect(loadMnist(join(directory, "train-images-idx3-ubyte.gz"))).rejects.toThrow("not a directory");
  });

  it("is refused when its files do not belong together", async () => {
    await put("train-images-idx3-ubyte", imagesFile(3));
    await put("train-labels-idx1-ubyte", labelsFile(4));
    await expect(loadMnist(directory)).rejects.toThrow(
      /ubyte has 3 images, but .*train-labels-idx1-ubyte has 4 labels/,
    );
    await put("train-labels-idx1-ubyte", labelsFile(3));
    await put("t10k-images-idx3-ubyte", idx([1, 2, 2], [1, 2, 3, 4]));
    await put("t10k-labels-idx1-ubyte", labelsFile(1));
    await expect(loadMnist(directory)).rejects.toThrow(
      "the training images are 1 × 2 pixels, but the test images 2 × 2",
    );
  });
});
