/**
 * Plans of training steps: how long planning takes, and the placement of the temporaries beside the bound that no
 * placement can go below. Nothing runs.
 */
import { init } from "../src/tensor/session.js";
import { availableBuilds } from "./kernels.js";
import { median } from "./measure.js";
import type { Report, Row } from "./report.js";
import { TRAINING_GRAPHS } from "./training-graphs.js";

/** Placed bytes over the bound may not be above this on any graph. */
const MOST = 1.005;

/** Plans every graph and compares the memory that it takes with the most bytes that are alive at once. */
export async function placement(): Promise<Report> {
  await init({ build: availableBuilds()[0] as "strict", wasm: new URL("../build/wasm/", import.meta.url) });
  const rows: Row[] = TRAINING_GRAPHS.map((make) => {
    const { name, step, args } = make();
    const started = performance.now();
    const compiled = step();
    const { temporaryBytes, liveBytes } = compiled.memory(...args);
    const ms = performance.now() - started;
    return {
      graph: name,
      // A line for each, and one for what the graph returns.
      nodes: String(compiled.graph(...args).split("\n").length - 1),
      "placed, KiB": temporaryBytes / 1024,
      "bound, KiB": liveBytes / 1024,
      ratio: (temporaryBytes / liveBytes).toFixed(4),
      "trace and plan, ms": ms,
    };
  });
  const above = rows.filter(({ ratio }) => Number(ratio) > MOST);
  const middle = median(rows.map(({ ratio }) => Number(ratio)));
  return {
    title: `placement of ${rows.length} training steps: median ${middle.toFixed(4)} of the bound`,
    rows,
    failures: above.map(({ graph, ratio }) => `${graph}: placed in ${ratio} of the bound, more than ${MOST}`),
  };
}
