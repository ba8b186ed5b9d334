#!/usr/bin/env node
/** The `lanegrad` command: its arguments, and how it reports what went wrong. */

import { readFileSync } from "node:fs";
import { Argument, Command, Option } from "commander";
import pc from "picocolors";
import { ArenaError, ArgumentError, FormatError, ShapeError } from "../index.js";
import { MODELS } from "../profile/models.js";
import { layerSizes, positiveNumber, wholeNumber } from "./arguments.js";
import { plan } from "./plan.js";
import { predict } from "./predict.js";
import { profile } from "./profile.js";
import { train } from "./train.js";

const { version } = JSON.parse(readFileSync(new URL("../../../package.json", import.meta.url), "utf8"));

const build = () =>
  new Option("--build <build>", "kernels: strict gives the same bits everywhere, relaxed fuses multiply-add")
    .choices(["auto", "strict", "relaxed"])
    .default("strict");
const heldOut = () =>
  new Option("--held-out <number>", "how many drawn digits to hold out").argParser(wholeNumber(1)).default(2000);
const data = (what: string) => new Option("--data <directory>", `${what} MNIST's IDX files there, plain or gzipped`);
const json = (fields: string) =>
  new Option("--json", `end standard output with one line of JSON (${fields}); all else goes to standard error`);

const program = new Command("lanegrad")
  .description("Trains neural networks on the CPU, on WebAssembly SIMD kernels.")
  .version(version)
  .showHelpAfterError("(add --help for the options)");

program
  .command("train")
  .description("train a network and save its weights")
  .addArgument(new Argument("<task>", "what to learn: to read handwritten digits").choices(["digits"]))
  .addOption(data("train on"))
  .option("--count <number>", "how many digits to draw for training, without --data", wholeNumber(1), 10_000)
  .addOption(heldOut())
  .option("--epochs <number>", "passes over the training images", wholeNumber(1), 20)
  .option("--batch <number>", "images in a step", wholeNumber(1), 64)
  .option("--lr <rate>", "the highest learning rate of AdamW, on a cosine schedule", positiveNumber, 0.002)
  .option("--hidden <sizes>", "features of each hidden layer", layerSizes, [256, 128])
  .option("--shift <pixels>", "shift images at random by up to so much in each epoch", wholeNumber(0), 2)
  .option("--seed <number>", "decides digits, first weights and order", wholeNumber(0), 0)
  .option("--out <directory>", "where to write weights.safetensors", "runs/digits")
  .addOption(build())
  .addOption(json("testAccuracy, testLoss, steps, seconds, stepsPerSecond, gflops, arenaBytes, …"))
  .addHelpText("after", "\nCtrl-C ends training after the current step, saves the weights and exits with 130.")
  .action((_task, options) => train(options));

program
  .command("predict")
  .description("score saved weights on images they have not seen")
  .argument("<weights>", "a file that `lanegrad train` wrote")
  .addOption(data("score the held-out part of"))
  .addOption(heldOut())
  .option("--seed <number>", "draws the digits, without --data (default: the training's seed + 1)", wholeNumber(0))
  .addOption(build())
  .addOption(json("testAccuracy, testLoss, images, weights"))
  .action(predict);

program
  .command("profile")
  .description("measure where the time of a training step goes, instruction by instruction")
  .argument("<model>", `${Object.keys(MODELS).join(", ")}, or a module that exports step: a function that trains once`)
  .option("--seconds <number>", "how long to measure", positiveNumber, 5)
  .option("--rows <number>", "rows of each table", wholeNumber(1), 20)
  .addOption(build())
  .addOption(json("milliseconds, ceilings, phases, operators, instructions, …"))
  .action(profile);

program
  .command("plan")
  .description("show what memory a training step takes, and what it computes again to fit a budget")
  .option(
    "--model <model>",
    `${Object.keys(MODELS).join(", ")}, or a module that exports step: a function that trains once`,
    "gpt",
  )
  .option("--budget <size>", "what the arena may take, such as 64MB or 48MiB")
  .option("--measure", "run the step too: its peak and its time, beside those of a step without a budget")
  .option("--svg <file>", "write the map of the temporaries, steps × addresses, there")
  .option("--html <file>", "write report and map there as a page without scripts")
  .option("--json", "print the report as one line of JSON instead")
  .action(plan);

/** Errors about what the user gave rather than a fault of the program: their messages say all there is to say. */
const expected = [FormatError, ArgumentError, ShapeError, ArenaError];

function isExpected(error: unknown): error is Error {
  return expected.some((kind) => error instanceof kind) || (error instanceof Error && "syscall" in error);
}

// A reader that has seen enough, as in `lanegrad … | head`, is no failure.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code !== "EPIPE") throw error;
  process.exit();
});

try {
  await program.parseAsync();
} catch (error) {
  if (!isExpected(error)) throw error;
  process.stderr.write(`${pc.red("error:")} ${error.message}\n`);
  process.exitCode = 1;
}
