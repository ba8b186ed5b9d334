/**
 * How long from the start of a process until its first gradient is printed, and until it has ended, beyond what a process
 * takes that prints a number and nothing else; on the compiled library, so run `npm run build` first.
 */
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { median } from "./measure.js";
import type { Report } from "./report.js";

const ROUNDS = 21;

const PROCESSES = {
  "empty Node": ["-e", "console.log(0)"],
  "first gradient": [fileURLToPath(new URL("train-mlp.js", import.meta.url))],
};

/** Milliseconds from the start of a process. */
interface Times {
  readonly printed: number;
  readonly ended: number;
}

function timesOf(args: readonly string[]): Promise<Times> {
  return new Promise((resolve, reject) => {
    const start = performance.now();
    const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
    let printed = Number.NaN;
    child.stdout.once("data", () => {
      printed = performance.now() - start;
    });
    child.once("error", reject);
    child.once("close", (status) => {
      if (status === 0) resolve({ printed, ended: performance.now() - start });
      else reject(new Error(`startup: node ${args.join(" ")} ended with status ${status}`));
    });
  });
}

/** Medians over processes that were started in turns. */
export async function startup(): Promise<Report> {
  const kinds = Object.entries(PROCESSES).map(([name, args]) => ({ name, args, times: [] as Times[] }));
  for (let round = 0; round < ROUNDS; round++) {
    for (const { args, times } of kinds) times.push(await timesOf(args));
  }
  const [empty] = kinds as [(typeof kinds)[0]];
  const rows = kinds.map(({ name, times }) => {
    const beyond = (of: keyof Times): number =>
      median(times.map((time, round) => time[of] - (empty.times[round] as Times)[of]));
    return {
      process: name,
      "printed after, ms": median(times.map(({ printed }) => printed)),
      "beyond empty": beyond("printed"),
      "ended after, ms": median(times.map(({ ended }) => ended)),
      "beyond empty Node": beyond("ended"),
    };
  });
  return { title: `from the start of a process to its first gradient, ${ROUNDS} of each`, rows };
}
