/** Training steps planned within memory budgets: what each computes again to fit, and how long planning takes. Nothing runs. */
import type { MemoryReport } from "../src/plan/memory.js";
import { init } from "../src/tensor/session.js";
import { availableBuilds } from "./kernels.js";
import { median } from "./measure.js";
import type { Report, Row } from "./report.js";
import { TRAINING_GRAPHS, type TrainingGraph } from "./training-graphs.js";

/** Budgets: shares of the temporaries that the step takes without one. */
const SHARES = [0.7, 0.5, 0.35, 0.25];
/** A choice of every family; the largest graphs would take minutes in all. */
const NAMES = /^(mlp 4|mlp 16|vgg 3|resnet-(8|20)|u-net|densenet [23]×[46]|lstm 1×16|gpt (2|4×128×64|6×128))/;

function row(graph: TrainingGraph, share: number, whole: MemoryReport): Row {
  const memoryBudget = Math.floor(whole.arenaBytes - (1 - share) * whole.temporaryBytes);
  const started = performance.now();
  try {
    const report = graph.step({ memoryBudget }).memory(...graph.args);
    return {
      graph: graph.name,
      budget: `${100 * share} %`,
      "arena / budget": (report.arenaBytes / memoryBudget).toFixed(4),
      "placed / bound": (report.temporaryBytes / report.liveBytes).toFixed(4),
      "flops again": `${((100 * report.recomputedFlops) / (report.flops - report.recomputedFlops)).toFixed(1)} %`,
      "plan, ms": performance.now() - started,
    };
  } catch (error) {
    const [, least] = /least found for this function is (\d+)/.exec((error as Error).message) ?? [];
    if (least === undefined) throw error;
    const part = (Number(least) - whole.arenaBytes + whole.temporaryBytes) / whole.temporaryBytes;
    return {
      graph: graph.name,
      budget: `${100 * share} %`,
      "arena / budget": `least ${(100 * part).toFixed(0)} %`,
      "placed / bound": "",
      "flops again": "",
      "plan, ms": performance.now() - started,
    };
  }
}

/** Plans a choice of the training steps within every budget. */
export async function recompute(): Promise<Report> {
  await init({ build: availableBuilds()[0] as "strict", wasm: new URL("../build/wasm/", import.meta.url) });
  const rows = TRAINING_GRAPHS.map((make) => make())
    .filter(({ name }) => NAMES.test(name))
    .flatMap((graph) => {
      const whole = graph.step().memory(...graph.args);
      return SHARES.map((share) => row(graph, share, whole));
    });
  const ratios = rows.map((each) => Number(each["placed / bound"])).filter((ratio) => ratio > 0);
  return {
    title: `training steps within budgets: placed in ${median(ratios).toFixed(4)} of the bound in the median, ${Math.max(...ratios).toFixed(4)} at most`,
    rows,
  };
}
