/** The digit classifier of the command line: a multilayer perceptron, how it scores, and its weights file. */

import { writeFile } from "node:fs/promises";
import { batches, type LabelledImages } from "../data/index.js";
import { type Compiled, compile, FormatError, type Tensor } from "../index.js";
import { decodeSafetensors, encodeSafetensors } from "../io/index.js";
import { Linear, ReLU, Sequential } from "../nn/index.js";
import { readBytes } from "./files.js";
import { type Score, scoreLogits } from "./score.js";

/** The sizes of a classifier. */
export interface Architecture {
  /** Height and width of the images it reads, in pixels. */
  readonly image: readonly [number, number];
  /** Features of each hidden layer, from the first on. */
  readonly hidden: readonly number[];
}

/** The digits. */
const classes = 10;
/** Images whose outputs are computed at once. */
const scoringBatch = 500;
/** The key of the metadata that holds the architecture as JSON. */
const metadataKey = "lanegrad.digits";

/** Features at each stage, from the pixels to the classes. */
function widths({ image, hidden }: Architecture): number[] {
  return [image[0] * image[1], ...hidden, classes];
}

/** A multilayer perceptron from images `[n, rows, columns]` to logits `[n, 10]`. */
export class Classifier {
  readonly network: Sequential;
  private readonly infer: Compiled<[Tensor], Tensor>;

  constructor(readonly architecture: Architecture) {
    const sizes = widths(architecture);
    const layers = sizes.slice(1).flatMap((size, i) => {
      const linear = new Linear(sizes[i] as number, size);
      return i < architecture.hidden.length ? [linear, new ReLU()] : [linear];
    });
    this.network = new Sequential(...layers);
    this.infer = compile((images) => this.logits(images).detach());
  }

  /** Logits `[n, 10]` of images `[n, rows, columns]`. */
  logits(images: Tensor): Tensor {
    return this.network.forward(images.flatten(1));
  }

  /** The network in short, such as `784-256-10`. */
  get summary(): string {
    return widths(this.architecture).join("-");
  }

  /**
   * Floating-point operations of the matrix products of one training step: each layer forward and for its weights'
   * gradient, and all but the first for their inputs' gradient too.
   */
  stepFlops(batch: number): number {
    const sizes = widths(this.architecture);
    return sizes
      .slice(1)
      .reduce((sum, size, i) => sum + (i === 0 ? 2 : 3) * 2 * batch * size * (sizes[i] as number), 0);
  }

  /** Scores the classifier on a dataset. */
  score(dataset: LabelledImages): Score {
    const logits = new Float32Array(dataset.labels.data.length * classes);
    let offset = 0;
    for (const { images } of batches(dataset, { batch: scoringBatch, shuffle: false })) {
      const part = this.infer(images).data();
      logits.set(part, offset);
      offset += part.length;
    }
    return scoreLogits(logits, dataset.labels.data, classes);
  }

  /** Writes the weights, with the architecture and other texts in the metadata. */
  async save(path: string, metadata: Readonly<Record<string, string>>): Promise<void> {
    const texts = { ...metadata, [metadataKey]: JSON.stringify(this.architecture) };
    await writeFile(path, encodeSafetensors(this.network.stateDict(), texts));
  }
}

/**
 * Reads a classifier that `Classifier.save` wrote, and the texts saved with it.
 * @throws FormatError when the file is no safetensors file, was not written by `save`, or its weights do not fit.
 */
export async function loadClassifier(
  path: string,
): Promise<{ classifier: Classifier; metadata: Readonly<Record<string, string>> }> {
  const { tensors, metadata } = decodeSafetensors(await readBytes(path), path);
  const architecture = readArchitecture(metadata[metadataKey], path);
  // Checked before the network is made: numbers in a damaged description could ask for any amount of memory.
  const sizes = widths(architecture);
  const needed = sizes.slice(1).reduce((sum, size, i) => sum + (1 + (sizes[i] as number)) * size, 0);
  const present = Object.values(tensors).reduce((sum, { numel }) => sum + numel, 0);
  if (needed !== present) {
    throw new FormatError(`${path}: a network ${sizes.join("-")} has ${needed} weights, and the file has ${present}`);
  }
  const classifier = new Classifier(architecture);
  try {
    classifier.network.loadStateDict(tensors);
  } catch (error) {
    throw new FormatError(`${path}: ${(error as Error).message}`, { cause: error });
  }
  return { classifier, metadata };
}

function readArchitecture(text: string | undefined, path: string): Architecture {
  if (text === undefined) {
    throw new FormatError(
      `${path}: these weights are not from "lanegrad train digits": metadata ${metadataKey} is missing`,
    );
  }
  const positive = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) > 0;
  let described: Partial<Architecture> | null = null;
  try {
    described = JSON.parse(text);
  } catch {
    // No JSON, so no description: reported below.
  }
  const { image, hidden } = described ?? {};
  if (
    !Array.isArray(image) ||
    image.length !== 2 ||
    !image.every(positive) ||
    !Array.isArray(hidden) ||
    !hidden.every(positive)
  ) {
    throw new FormatError(`${path}: metadata ${metadataKey} does not describe a network: ${text}`);
  }
  return { image: [image[0], image[1]], hidden };
}
