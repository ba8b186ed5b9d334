/** `lanegrad train digits`: trains a classifier, shows how it goes, and saves the weights. */

import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import pc from "picocolors";
import { type Build, backendInfo, init, type MemoryReport, manualSeed } from "../index.js";
import { Classifier } from "./classifier.js";
import { openImages } from "./datasets.js";
import { createProgress } from "./progress.js";
import { confusionTable, percent } from "./score.js";
import { type TrainingOptions, totalSteps, trainClassifier } from "./training.js";

/** What the command line says about training. */
export interface TrainCommandOptions extends TrainingOptions {
  /** A directory with MNIST's files; without it digits are drawn. */
  readonly data?: string;
  /** How many digits to draw for training. */
  readonly count: number;
  /** How many digits to draw and hold out. */
  readonly heldOut: number;
  readonly hidden: readonly number[];
  /** The directory for the weights. */
  readonly out: string;
  readonly build: Build | "auto";
  /** Whether standard output gets one line of JSON, and everything else goes to standard error. */
  readonly json?: boolean;
}

/** The exit status of a program that Ctrl-C ended: 128 + 2, SIGINT. */
const interruptedStatus = 130;

/** Trains a classifier and saves it. Ctrl-C ends training after the current step; the weights are saved then too. */
export async function train(options: TrainCommandOptions): Promise<void> {
  const interruption = new AbortController();
  // Once: the second Ctrl-C ends the program at once, as it would without this.
  process.once("SIGINT", () => interruption.abort());
  const stream = options.json ? process.stderr : process.stdout;
  const say = (line: string): void => void stream.write(`${line}\n`);

  // First what can fail, so that it does not fail after the training.
  await mkdir(options.out, { recursive: true });
  const weights = join(options.out, "weights.safetensors");
  await init({ build: options.build });
  const { train: trained, test: heldOut, source } = await openImages(options.data, options);

  manualSeed(options.seed);
  const [, rows, columns] = trained.images.shape as [number, number, number];
  const classifier = new Classifier({ image: [rows, columns], hidden: options.hidden });
  const { build, threads } = backendInfo();
  const [trainedCount, heldOutCount] = [trained, heldOut].map(({ labels }) => labels.data.length) as [number, number];
  say(pc.dim(`${trainedCount} images to train on, ${heldOutCount} held out: ${source}`));
  say(pc.dim(`network ${classifier.summary}, ${build} build, ${threads} thread${threads === 1 ? "" : "s"}`));

  const total = totalSteps(trained, options);
  const progress = createProgress(stream, options.epochs, total);
  const result = await trainClassifier(classifier, trained, heldOut, options, progress, interruption.signal).finally(
    () => progress.stop(),
  );
  await classifier.save(weights, { seed: String(options.seed) });

  const { score, steps, seconds, stepsPerSecond, gflops, memory } = result;
  const interrupted = steps < total;
  say("");
  if (interrupted) say(pc.yellow(`stopped after step ${steps} of ${total}; the weights so far are in ${weights}`));
  say(confusionTable(score));
  say("");
  say(
    `held out  ${pc.bold(percent(score.correct, score.count))} right (${score.correct} of ${score.count}), loss ${score.loss.toFixed(4)}`,
  );
  say(
    `time      ${seconds.toFixed(1)} s for ${steps} steps: ${stepsPerSecond.toFixed(0)} steps/s, ${gflops.toFixed(1)} GFLOP/s in matrix products`,
  );
  say(`memory    ${memoryLine(memory)}`);
  say(`weights   ${weights}`);
  if (options.json) {
    const report = {
      testAccuracy: score.correct / score.count,
      testLoss: score.loss,
      steps,
      seconds,
      stepsPerSecond,
      gflops,
      arenaBytes: memory.arenaBytes,
      build,
      threads,
      weights,
      interrupted,
    };
    process.stdout.write(`${JSON.stringify(report)}\n`);
  }
  if (interrupted) process.exitCode = interruptedStatus;
}

/** The memory plan of a step in a line. */
function memoryLine(memory: MemoryReport): string {
  const size = (bytes: number): string =>
    bytes < 1e6 ? `${(bytes / 1e3).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(2)} MB`;
  const { arenaBytes, parameterBytes, stateBytes, temporaryBytes, programBytes, sharedBytes } = memory;
  const parts = [
    `parameters ${size(parameterBytes)}`,
    `optimizer state ${size(stateBytes - parameterBytes)}`,
    `temporaries ${size(temporaryBytes)}`,
    `program and scratch ${size(programBytes + sharedBytes)}`,
  ];
  return `${size(arenaBytes)} planned for a step: ${parts.join(", ")}`;
}
