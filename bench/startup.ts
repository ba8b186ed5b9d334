/**
 * How long from the start of a process to the end of its first training step, beyond what an empty process takes; on
 * the compiled library, so run `npm run build` first.
 */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { median } from "./measure.js";
import type { Report } from "./report.js";

const ROUNDS = 21;

const PROCESSES = {
  "empty Node": ["-e", ""],
  "first gradient": [fileURLToPath(new URL("train-mlp.js", import.meta.url))],
};

function millisecondsOf(args: readonly string[]): number {
  const start = performance.now();
  const { status, stderr } = spawnSync(process.execPath, args, { encoding: "utf8" });
  const milliseconds = performance.now() - start;
  if (status !== 0) throw new Error(`startup: node ${args.join(" ")} failed:\n${stderr}`);
  return milliseconds;
}

/** Medians over processes that were started in turns. */
export function startup(): Report {
  const kinds = Object.entries(PROCESSES).map(([name, args]) => ({ name, args, times: [] as number[] }));
  for (let round = 0; round < ROUNDS; round++) {
    for (const { args, times } of kinds) times.push(millisecondsOf(args));
  }
  const [empty] = kinds;
  const rows = kinds.map(({ name, times }) => ({
    process: name,
    ms: median(times),
    fastest: Math.min(...times),
    "beyond empty": median(times.map((ms, round) => ms - (empty?.times[round] ?? 0))),
  }));
  return { title: `from the start of a process to its first training step, ${ROUNDS} of each`, rows };
}
