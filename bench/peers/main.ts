/** Compares lanegrad with its peers: the same work from the same numbers, in turns, one thread each. `--help` says how. */
import { writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { Command, Option } from "commander";
import { wholeNumber } from "../../src/cli/arguments.js";
import { availableBuilds } from "../kernels.js";
import { type Comparison, compare, markdown, summary } from "./compare.js";
import { install, startSystems } from "./system.js";
import { WORKLOADS } from "./workloads.js";

interface Options {
  readonly only?: readonly string[];
  readonly rounds: number;
  readonly build: string;
  readonly json?: string;
}

const builds = availableBuilds();
const options = new Command("npm run bench:peers --")
  .addOption(new Option("--only <names...>", "workloads").choices(Object.keys(WORKLOADS)))
  .option("--rounds <number>", "rounds", wholeNumber(1), 9)
  .addOption(new Option("--build <build>", "lanegrad's").choices(builds).default(builds.at(-1), "the fastest here"))
  .option("--json <file>", "writes all numbers to a file")
  .showHelpAfterError("(add --help for the options)")
  .addHelpText(
    "after",
    `
Runs the same work from the same numbers on lanegrad, TensorFlow.js, jax-js and PyTorch, in turns, one thread each, and
prints medians, half the interquartile range, the fastest round, and how many times as long as lanegrad each takes. The
first losses, or elements of results, must agree to 1e-4: otherwise it ends with status 1. The JavaScript peers are
installed under bench/peers by npm; PyTorch takes part where python3 finds it.`,
  )
  .parse()
  .opts<Options>();
const names = options.only ?? Object.keys(WORKLOADS);

install();
const systems = startSystems(options.build);
const machine = { node: process.version, cpu: cpus()[0]?.model ?? "unknown", build: options.build };
console.log(`Node ${machine.node}, ${machine.cpu}, lanegrad's ${machine.build} build, one thread each\n`);
const comparisons: Comparison[] = [];
let disagreements = 0;
for (const name of names) {
  const comparison = await compare(name, systems, options.rounds);
  comparisons.push(comparison);
  disagreements += comparison.disagreements.length;
  console.log(summary(comparison));
}
for (const system of systems) system.stop();
console.log(`\n${markdown(comparisons)}`);
if (options.json !== undefined) writeFileSync(options.json, `${JSON.stringify({ machine, comparisons }, null, 2)}\n`);
process.exit(disagreements > 0 ? 1 : 0);
