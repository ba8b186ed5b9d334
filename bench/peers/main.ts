/** Compares lanegrad with its peers: the same work from the same numbers, in turns, one thread each. `--help` says how. */
import { writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { parseArgs } from "node:util";
import { availableBuilds } from "../kernels.js";
import { type Comparison, compare, markdown, summary } from "./compare.js";
import { install, startSystems } from "./system.js";
import { WORKLOADS } from "./workloads.js";

const HELP = `Usage: npm run bench:peers -- [options]

Runs the same work from the same numbers on lanegrad, TensorFlow.js, jax-js and PyTorch, in turns, one thread each, and
prints medians, half the interquartile range, the fastest round, and how many times as long as lanegrad each takes. The
first losses, or elements of results, must agree to 1e-4: otherwise it ends with status 1. The JavaScript peers are
installed under bench/peers by npm; PyTorch takes part where python3 finds it.

  --only NAME     a workload; may be repeated: ${Object.keys(WORKLOADS).join(", ")}
  --rounds N      rounds (9)
  --build BUILD   lanegrad's build, strict or relaxed (strict)
  --json FILE     writes all numbers to a file
  --help          prints this
`;

const { values: options } = parseArgs({
  options: {
    only: { type: "string", multiple: true },
    rounds: { type: "string", default: "9" },
    build: { type: "string", default: "strict" },
    json: { type: "string" },
    help: { type: "boolean" },
  },
});
if (options.help) {
  console.log(HELP);
  process.exit(0);
}
const names = options.only ?? Object.keys(WORKLOADS);
const unknown = names.filter((name) => !(name in WORKLOADS));
const rounds = Number(options.rounds);
const builds: readonly string[] = availableBuilds();
if (unknown.length > 0 || !Number.isInteger(rounds) || rounds < 1 || !builds.includes(options.build)) {
  console.error(
    `bench:peers: --only takes ${Object.keys(WORKLOADS).join(", ")}; --rounds takes a whole number from 1 up; --build takes ${builds.join(" or ")} on this engine`,
  );
  process.exit(2);
}

install();
const systems = startSystems(options.build);
const machine = { node: process.version, cpu: cpus()[0]?.model ?? "unknown", build: options.build };
console.log(`Node ${machine.node}, ${machine.cpu}, lanegrad's ${machine.build} build, one thread each\n`);
const comparisons: Comparison[] = [];
let disagreements = 0;
for (const name of names) {
  const comparison = await compare(name, systems, rounds);
  comparisons.push(comparison);
  disagreements += comparison.disagreements.length;
  console.log(summary(comparison));
}
for (const system of systems) system.stop();
console.log(`\n${markdown(comparisons)}`);
if (options.json !== undefined) writeFileSync(options.json, `${JSON.stringify({ machine, comparisons }, null, 2)}\n`);
process.exit(disagreements > 0 ? 1 : 0);
