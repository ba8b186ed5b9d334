/** The training loop: images in, a trained classifier out, with progress and an early stop. */

import { setImmediate } from "node:timers/promises";
import { type Batch, batches, type LabelledImages, Random, shiftImages } from "../data/index.js";
import { ArgumentError, compile, crossEntropy, type MemoryReport, type Tensor } from "../index.js";
import { AdamW, WarmupCosineLR } from "../optim/index.js";
import type { Classifier } from "./classifier.js";
import type { Progress, Status } from "./progress.js";
import type { Score } from "./score.js";

/** How to train. */
export interface TrainingOptions {
  readonly epochs: number;
  readonly batch: number;
  readonly seed: number;
  /** The highest learning rate, reached after a twentieth of the steps and lowered along a cosine from there. */
  readonly lr: number;
  /** How far images are shifted at random in every epoch, in pixels. */
  readonly shift: number;
}

/** How training went. */
export interface TrainingResult {
  /** Of the held-out images, with the weights as they are now. */
  readonly score: Score;
  readonly steps: number;
  /** Spent on training, making the batches included, scoring excluded. */
  readonly seconds: number;
  readonly stepsPerSecond: number;
  /** 10⁹ floating-point operations of the matrix products alone, for each of `seconds`. */
  readonly gflops: number;
  /** Of one step, planned before the first. */
  readonly memory: MemoryReport;
}

const weightDecay = 0.01;
const warmupShare = 0.05;
/** For how many milliseconds steps may run before signals and the progress bar get their turn. */
const turn = 50;

/**
 * How many steps there are in all epochs. Batches are always full: what is left of an epoch's examples waits for the
 * order of another.
 * @throws ArgumentError when a batch is more than all the images.
 */
export function totalSteps(train: LabelledImages, { epochs, batch }: TrainingOptions): number {
  const count = train.labels.data.length;
  if (batch > count) throw new ArgumentError(`a batch of ${batch} is more than the ${count} images to train on`);
  return epochs * Math.floor(count / batch);
}

/** Trains `classifier` to the last epoch, or to the step after which `signal` is found aborted. */
export async function trainClassifier(
  classifier: Classifier,
  train: LabelledImages,
  test: LabelledImages,
  options: TrainingOptions,
  progress: Progress,
  signal: AbortSignal,
): Promise<TrainingResult> {
  const { epochs, batch, seed, lr, shift } = options;
  const total = totalSteps(train, options);
  const optimizer = new AdamW(classifier.network.parameters(), { lr, weightDecay });
  const schedule = new WarmupCosineLR(optimizer, Math.max(1, Math.floor(warmupShare * total)), total + 1);
  const step = compile((images: Tensor, labels: Tensor) => {
    const loss = crossEntropy(classifier.logits(images), labels);
    loss.backward();
    optimizer.step();
    optimizer.zeroGrad();
    return loss;
  });
  const [sample] = batches(train, { batch, shuffle: false });
  const { images, labels } = sample as Batch<LabelledImages>;
  const memory = step.memory(images, labels);

  const random = new Random(seed, epochs); // The streams below are those of the epochs' orders.
  const shiftRows = (rows: LabelledImages) => ({ ...rows, images: shiftImages(rows.images, shift, random) });

  let score: Score | null = null;
  let steps = 0;
  let started = performance.now();
  let turned = started;
  const speed = () => {
    const seconds = (performance.now() - started) / 1000;
    const stepsPerSecond = steps / seconds;
    return { seconds, stepsPerSecond, gflops: (stepsPerSecond * classifier.stepFlops(batch)) / 1e9 };
  };
  for (let epoch = 0; epoch < epochs && !signal.aborted; epoch++) {
    let lossSum = 0;
    let epochSteps = 0;
    const status = (): Status => ({ step: steps, epoch: epoch + 1, loss: lossSum / epochSteps, score, ...speed() });
    for (const minibatch of batches(train, { batch, seed, epoch, dropLast: true, transform: shiftRows })) {
      lossSum += step(minibatch.images, minibatch.labels).item();
      schedule.step();
      steps++;
      epochSteps++;
      if (performance.now() - turned < turn) continue;
      progress.update(status());
      await setImmediate();
      turned = performance.now();
      if (signal.aborted) break;
    }
    if (signal.aborted) {
      score = null;
      break;
    }
    const scoring = performance.now();
    score = classifier.score(test);
    started += performance.now() - scoring;
    progress.finishEpoch(status());
  }
  return { steps, ...speed(), score: score ?? classifier.score(test), memory };
}
