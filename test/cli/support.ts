/** Running the built `lanegrad` command, and files for it to read. */

import { type ChildProcess, spawn } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { digits } from "../../src/data/index.js";

const cli = fileURLToPath(new URL("../../build/node/cli/main.js", import.meta.url));

/** How a run of the command ended. */
export interface Run {
  status: number | null;
  stdout: string;
  stderr: string;
}

/** Runs `lanegrad` with arguments in a directory. `onOutput` sees the process and all output so far, at every piece. */
export function lanegrad(
  directory: string,
  args: readonly string[],
  onOutput: (child: ChildProcess, output: string) => void = () => {},
): Promise<Run> {
  return new Promise((resolve, reject) => {
    // NO_COLOR: some CI systems ask for colours even where there is no terminal.
    const child = spawn(process.execPath, [cli, ...args], { cwd: directory, env: { ...process.env, NO_COLOR: "1" } });
    const run = { stdout: "", stderr: "" };
    for (const stream of ["stdout", "stderr"] as const) {
      child[stream].setEncoding("utf8").on("data", (text: string) => {
        run[stream] += text;
        onOutput(child, run.stdout + run.stderr);
      });
    }
    child.on("error", reject);
    child.on("close", (status) => resolve({ status, ...run }));
  });
}

/** An IDX file of bytes. */
export function idx(shape: readonly number[], data: ArrayLike<number>): Uint8Array {
  const file = new Uint8Array(4 + 4 * shape.length + data.length);
  file.set([0, 0, 8, shape.length]);
  const view = new DataView(file.buffer);
  for (const [i, size] of shape.entries()) view.setUint32(4 + 4 * i, size);
  file.set(Uint8Array.from(data), 4 + 4 * shape.length);
  return file;
}

/** Writes drawn digits as MNIST's t10k files. */
export async function writeDigits(directory: string, count: number): Promise<void> {
  const { images, labels } = digits({ count, seed: 5 });
  const greys = images.data.map((grey) => Math.round(255 * grey));
  await writeFile(join(directory, "t10k-images-idx3-ubyte"), idx(images.shape, greys));
  await writeFile(join(directory, "t10k-labels-idx1-ubyte"), idx(labels.shape, labels.data));
}
