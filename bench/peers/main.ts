/**
 * Compares lanegrad with its peers: the same work from the same numbers, in turns, one thread each.
 *
 *   npm run bench:peers
 *   npm run bench:peers -- --only GPT --only exp   some workloads
 *   npm run bench:peers -- --rounds 15             more rounds than 9
 *   npm run bench:peers -- --build relaxed         another build than the strict one
 *   npm run bench:peers -- --json FILE             and writes the numbers to a file
 */
import { writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { parseArgs } from "node:util";
import { type Comparison, compare, markdown, summary } from "./compare.js";
import { install, startSystems } from "./system.js";
import { WORKLOADS } from "./workloads.js";

const { values: options } = parseArgs({
  options: {
    only: { type: "string", multiple: true },
    rounds: { type: "string", default: "9" },
    build: { type: "string", default: "strict" },
    json: { type: "string" },
  },
});
const names = options.only ?? Object.keys(WORKLOADS);
const unknown = names.filter((name) => !(name in WORKLOADS));
const rounds = Number(options.rounds);
if (unknown.length > 0 || !Number.isInteger(rounds) || rounds < 1) {
  console.error(
    `bench:peers: --only takes ${Object.keys(WORKLOADS).join(", ")}; --rounds takes a whole number from 1 up`,
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
