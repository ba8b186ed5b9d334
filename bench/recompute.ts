/**
 * Training steps planned within memory budgets: what each computes again to fit, and how long planning takes. Nothing runs.
 *
 * Budgets are shares of the temporaries of the same step without a budget. That these are no more than what reverse mode
 * keeps anyway shows in the column beside: the bytes alive if every value that the backward pass reads is kept and none
 * is computed twice, operator by operator as PyTorch saves for its backward pass. It is counted so that it is rather too
 * small: see {@link allKept}.
 *
 * How little can be computed again follows from what a GPT's layer keeps: 17 times tokens × width floats, of which norms
 * and GELU, 6 of them, are computed again for next to nothing. The rest are outputs of products over the width, each of
 * which costs a thirty-sixth of the layer's products: half of the bytes cost 7 %, and three quarters 19 %, were there
 * nothing else in memory. Where weights of attention are kept too, as in recorded traces, they are what goes first.
 */
import { ArenaError } from "../src/graph/errors.js";
import { sizeOf } from "../src/graph/shape.js";
import type { Node } from "../src/graph/tensor.js";
import { isLeaf, topological } from "../src/graph/walk.js";
import type { MemoryReport } from "../src/plan/memory.js";
import { type Plan, verifyPlans } from "../src/plan/plan.js";
import { schedule } from "../src/plan/schedule.js";
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

/**
 * The most bytes alive in a step if every operator runs once and by itself, in the order in which the planner would have
 * them. What is one operator in PyTorch is one here: softmax, norms, GELU, attention and cross entropy keep nothing of
 * what they compute inside. A bool takes one byte, an elementwise operator writes over what dies at it, new states are in
 * place, and workspaces are not counted.
 */
function allKept({ roots, updates, inputs }: Plan): number {
  const units = topological(roots).map((node) => ({ nodes: [node], head: null }));
  const results = roots.slice(0, roots.length - updates.length);
  const isView = (node: Node): boolean => node.primitive.lowering.kind === "view";
  const order = schedule(units, { results, updates }, new Map()).flatMap(({ nodes }) =>
    nodes.filter((x) => !isLeaf(x)),
  );
  const shown = new Map<Node, Node>();
  const source = (node: Node): Node => shown.get(node) ?? node;
  const last = new Map<Node, number>();
  order.forEach((node, at) => {
    if (isView(node)) shown.set(node, source(node.inputs[0] as Node));
    else for (const input of node.inputs) last.set(source(input), at);
  });
  const inPlace = new Set(updates.map(({ node }) => node));
  const bytesOf = (node: Node): number =>
    isLeaf(node) || inPlace.has(node) ? 0 : (node.dtype === "bool" ? 1 : 4) * sizeOf(node.shape);
  let live = inputs.reduce((sum, { length }) => sum + 4 * length, 0);
  let most = live;
  order.forEach((node, at) => {
    if (isView(node)) return;
    const dead = [...new Set(node.inputs.map(source))].filter((x) => last.get(x) === at);
    const freed = dead.reduce((sum, x) => sum + bytesOf(x), 0);
    live += bytesOf(node);
    most = Math.max(most, node.primitive.lowering.kind === "elementwise" ? live - freed : live);
    live -= freed;
  });
  return most;
}

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

function row(graph: TrainingGraph, share: number, least: number, whole: MemoryReport, kept: number): Row {
  const memoryBudget = Math.floor(whole.arenaBytes - (1 - share) * whole.temporaryBytes);
  const limit = MOST_AGAIN.find((each) => each.graphs.test(graph.name) && each.share === share);
  const common = {
    graph: graph.name,
    "whole, KiB": whole.temporaryBytes / 1024,
    "all kept, KiB": kept / 1024,
    budget: `${100 * share} %`,
    least: `${(100 * least).toFixed(0)} %`,
  };
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
  let kept = 0;
  const rows = TRAINING_GRAPHS.map((make) => make())
    .filter(({ name }) => NAMES.test(name))
    .flatMap((graph) => {
      verifyPlans((plan) => {
        kept = allKept(plan);
      });
      const whole = graph.step().memory(...graph.args);
      verifyPlans(() => {});
      const least = leastShare(graph, whole);
      return SHARES.map((share) => row(graph, share, least, whole, kept));
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
