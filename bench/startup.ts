/**
 * How long from the start of a process until its first gradient is printed, and until it has ended, beyond what a process
 * takes that prints a number and nothing else; on the compiled library, so run `npm run build` first.
 */
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { median } from "./measure.js";
import type { Report } from "./report.js";

const ROUNDS = 21;

const TRAINING = [fileURLToPath(new URL("train-mlp.js", import.meta.url))];
/** The last is for users who set NODE_COMPILE_CACHE, which Node heeds from version 22.1 on. */
const PROCESSES: Readonly<Record<string, { readonly args: readonly string[]; readonly cached?: boolean }>> = {
  "empty Node": { args: ["-e", "console.log(0)"] },
  "first gradient": { args: TRAINING },
  "the same, from Node's compile cache": { args: TRAINING, cached: true },
};

/** Milliseconds from the start of a process. */
interface Times {
  readonly printed: number;
  readonly ended: number;
}

function timesOf(args: readonly string[], env: NodeJS.ProcessEnv): Promise<Times> {
  return new Promise((resolve, reject) => {
    const start = performance.now();
    const child = spawn(process.execPath, args, { env, stdio: ["ignore", "pipe", "inherit"] });
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
  const cache = mkdtempSync(join(tmpdir(), "lanegrad-startup-"));
  const kinds = Object.entries(PROCESSES).map(([name, { args, cached }]) => {
    const env = { ...process.env, ...(cached && { NODE_COMPILE_CACHE: cache }) };
    return { name, args, env, times: [] as Times[] };
  });
  for (let round = 0; round < ROUNDS; round++) {
    for (const { args, env, times } of kinds) times.push(await timesOf(args, env));
  }
  rmSync(cache, { recursive: true });
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
