/** Training steps planned within memory budgets: what each computes again to fit, and how long planning takes. Nothing runs. */
import { ArenaError } from "../src/graph/errors.js";
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

/** The most floating-point operations that may be computed again, as a share of the program's, by graph and budget. */
const MOST_AGAIN: readonly { readonly graphs: RegExp; readonly share: number; readonly most: number }[] = [
  { graphs: /^gpt/, share: 0.5, most: 0.06 },
  { graphs: /^gpt/, share: 0.25, most: 0.14 },
  { graphs: /^resnet/, share: 0.5, most: 0.12 },
  { graphs: /^densenet/, share: 0.5, most: 0.25 },
];
/** Placed bytes over the most alive at once: in the median, and on any graph. */
const [MEDIAN_RATIO, MOST_RATIO] = [1.03, 1.08];

/** The share of its temporaries that a step needs at least, as the error of a budget too small says. */
function leastShare(graph: TrainingGraph, whole: MemoryReport): number {
  const fixed = whole.arenaBytes - whole.temporaryBytes;
  try {
    graph.step({ memoryBudget: fixed + 1 }).memory(...graph.args);
  } catch (error) {
    const [, least] = /least found for this function is (\d+)/.exec((error as Error).message) ?? [];
    if (least === undefined) throw error;
    return (Number(least) - fixed) / whole.temporaryBytes;
  }
  return 0;
}

function row(graph: TrainingGraph, share: number, least: number, whole: MemoryReport): Row {
  const memoryBudget = Math.floor(whole.arenaBytes - (1 - share) * whole.temporaryBytes);
  const limit = MOST_AGAIN.find((each) => each.graphs.test(graph.name) && each.share === share);
  const common = { graph: graph.name, budget: `${100 * share} %`, least: `${(100 * least).toFixed(0)} %` };
  const started = performance.now();
  let report: MemoryReport;
  try {
    report = graph.step({ memoryBudget }).memory(...graph.args);
  } catch (error) {
    if (!(error instanceof ArenaError)) throw error;
    const ms = performance.now() - started;
    const none = { "arena / budget": "", "placed / bound": "", "flops again": "" };
    return { ...common, ...none, "plan, ms": ms, "": limit === undefined ? "does not fit" : "MISSED: does not fit" };
  }
  const ratio = report.temporaryBytes / report.liveBytes;
  const again = report.recomputedFlops / (report.flops - report.recomputedFlops);
  const missed = ratio > MOST_RATIO || (limit !== undefined && again > limit.most);
  return {
    ...common,
    "arena / budget": (report.arenaBytes / memoryBudget).toFixed(4),
    "placed / bound": ratio.toFixed(4),
    "flops again": `${(100 * again).toFixed(1)} %`,
    "plan, ms": performance.now() - started,
    "": missed ? `MISSED: at most ${Math.round(100 * (limit?.most ?? 1))} %, ${MOST_RATIO}` : "",
  };
}

/** Plans a choice of the training steps within every budget. */
export async function recompute(): Promise<Report> {
  await init({ build: availableBuilds()[0] as "strict", wasm: new URL("../build/wasm/", import.meta.url) });
  const rows = TRAINING_GRAPHS.map((make) => make())
    .filter(({ name }) => NAMES.test(name))
    .flatMap((graph) => {
      const whole = graph.step().memory(...graph.args);
      const least = leastShare(graph, whole);
      return SHARES.map((share) => row(graph, share, least, whole));
    });
  const ratios = rows.map((each) => Number(each["placed / bound"])).filter((ratio) => ratio > 0);
  const missed = rows.filter((each) => String(each[""]).startsWith("MISSED"));
  const failures = missed.map((each) => `${each.graph} at ${each.budget}: ${each[""]}, ${each["flops again"]} again`);
  if (median(ratios) > MEDIAN_RATIO) failures.push(`placed / bound is above ${MEDIAN_RATIO} in the median`);
  return {
    title: `training steps within budgets: placed in ${median(ratios).toFixed(4)} of the bound in the median, ${Math.max(...ratios).toFixed(4)} at most`,
    rows,
    failures,
  };
}
