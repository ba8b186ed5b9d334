/** `lanegrad predict`: scores saved weights on held-out images. */

import pc from "picocolors";
import { type Build, FormatError, init } from "../index.js";
import { loadClassifier } from "./classifier.js";
import { openImages } from "./datasets.js";
import { confusionTable, percent, type Score } from "./score.js";

/** What the command line says about prediction. */
export interface PredictCommandOptions {
  /** A directory with MNIST's files; without it digits are drawn. */
  readonly data?: string;
  /** How many digits to draw. */
  readonly heldOut: number;
  /** The seed to draw them with; by default the one after that of the training. */
  readonly seed?: number;
  readonly build: Build | "auto";
  /** Whether standard output gets one line of JSON, and everything else goes to standard error. */
  readonly json?: boolean;
}

/** Predictions that are shown one by one. */
const shown = 8;

/** Scores the weights in a file on images that they were not trained on. */
export async function predict(path: string, options: PredictCommandOptions): Promise<void> {
  const stream = options.json ? process.stderr : process.stdout;
  const say = (line: string): void => void stream.write(`${line}\n`);
  await init({ build: options.build });
  const { classifier, metadata } = await loadClassifier(path);
  const seed = options.seed ?? Number(metadata.seed ?? 0) + 1;
  const { test, source } = await openImages(options.data, { count: 0, heldOut: options.heldOut, seed });
  const { images, labels } = test;
  const size = images.shape.slice(1).join(" × ");
  const wanted = classifier.architecture.image.join(" × ");
  if (size !== wanted)
    throw new FormatError(`the images are ${size} pixels, but the weights in ${path} read ${wanted}`);

  const score = classifier.score(test);
  say(pc.dim(`network ${classifier.summary} from ${path}`));
  say(pc.dim(`${score.count} held-out images: ${source}`));
  say("");
  say(confusionTable(score));
  say("");
  say(`first images  ${examples(score, labels.data)}`);
  say(
    `held out      ${pc.bold(percent(score.correct, score.count))} right (${score.correct} of ${score.count}), loss ${score.loss.toFixed(4)}`,
  );
  if (options.json) {
    const report = {
      testAccuracy: score.correct / score.count,
      testLoss: score.loss,
      images: score.count,
      weights: path,
    };
    process.stdout.write(`${JSON.stringify(report)}\n`);
  }
}

/** The first predictions, each with its probability, and the truth where it is another. */
function examples({ guesses }: Score, labels: Int32Array): string {
  return guesses
    .slice(0, shown)
    .map(({ label, probability }, i) => {
      const text = `${label} (${Math.round(100 * probability)} %)`;
      return label === labels[i] ? text : pc.red(`${text}, not ${labels[i]}`);
    })
    .join("  ");
}
