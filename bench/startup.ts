/**
 * How long from the start of a process until its first gradient is printed, and until it has ended, beyond what a process
 * takes that prints a number and nothing else; on the compiled library, so run `npm run build` first. The peers do the same
 * where they are installed (`npm ci --prefix bench/peers`).
 */
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { median } from "./measure.js";
import type { Report } from "./report.js";

const ROUNDS = 21;

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

const TRAINING = [here("train-mlp.js")];
const TENSORFLOW = here("peers/node_modules/@tensorflow/tfjs-backend-wasm/dist/");
const JAX = here("peers/node_modules/@jax-js/jax");

interface Process {
  readonly args: readonly string[];
  readonly cached?: boolean;
}

/** What to start, by name; `empty Node` first. What has to be made for it goes into `folder`. */
async function processes(folder: string): Promise<Readonly<Record<string, Process>>> {
  const own = {
    "empty Node": { args: ["-e", "console.log(0)"] },
    "first gradient": { args: TRAINING },
    // For users who set NODE_COMPILE_CACHE, which Node heeds from version 22.1 on.
    "the same, from Node's compile cache": { args: TRAINING, cached: true },
  };
  if (!existsSync(TENSORFLOW) || !existsSync(JAX)) return own;
  const bundle = join(folder, "tfjs.cjs");
  await build({
    entryPoints: [here("peers/start-tfjs.js")],
    bundle: true,
    minify: true,
    platform: "node",
    mainFields: ["module", "main"],
    outfile: bundle,
  });
  return {
    ...own,
    "TensorFlow.js, bundled": { args: [bundle, TENSORFLOW] },
    "jax-js": { args: [here("peers/start-jax.js")] },
  };
}

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
  const folder = mkdtempSync(join(tmpdir(), "lanegrad-startup-"));
  const kinds = Object.entries(await processes(folder)).map(([name, { args, cached }]) => {
    const env = { ...process.env, ...(cached && { NODE_COMPILE_CACHE: join(folder, "cache") }) };
    return { name, args, env, times: [] as Times[] };
  });
  for (let round = 0; round < ROUNDS; round++) {
    for (const { args, env, times } of kinds) times.push(await timesOf(args, env));
  }
  rmSync(folder, { recursive: true });
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
