/**
 * Training steps planned within memory budgets: what each computes again to fit, and how long planning takes. Nothing runs.
 *
 * Budgets are shares of the temporaries of the same step without a budget. That these are no more than what reverse mode
 * keeps anyway shows in the column beside: the bytes alive if every value that the backward pass reads is kept and none
 * is computed twice, operator by operator as PyTorch saves for its backward pass. It is counted so that it is rather too
 * small: see {@link allKept}.
 *
 * How little can be computed again shows in the column "at least": no plan of the graph computes less again within that
 * budget, nor needs fewer bytes than the column "least" says in brackets: see {@link Bound}. Where a figure asked for is
 * below that, no planner can reach it.
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
import { Bound, operationsOf } from "./recompute-bound.js";
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

/** A step without a budget. */
interface Whole {
  readonly report: MemoryReport;
  /** Bytes alive if every value that the backward pass reads is kept: see {@link allKept}. */
  readonly kept: number;
  /** The share of its temporaries that it needs, as far as the planner knows. */
  readonly least: number;
  readonly bound: Bound;
}

function wholeOf(graph: TrainingGraph): Whole {
  let [kept, bound] = [0, new Bound([])];
  verifyPlans((plan) => {
    kept = allKept(plan);
    bound = new Bound(operationsOf(plan));
  });
  const report = graph.step().memory(...graph.args);
  verifyPlans(() => {});
  return { report, kept, least: leastShare(graph, report), bound };
}

function percent(share: number, digits: number): string {
  return share === Number.POSITIVE_INFINITY ? "none fits" : `${(100 * share).toFixed(digits)} %`;
}

/** What is wrong with a row: nothing where no plan reaches what is asked for. */
function verdict(again: number, atLeast: number, most: number, ratio: number): string {
  if (ratio > MOST_RATIO) return `MISSED: placed / bound at most ${MOST_RATIO}`;
  if (again <= most) return "";
  if (atLeast > most) return `no plan reaches ${percent(most, 0)}`;
  return `MISSED: at most ${percent(most, 0)}`;
}

function row(graph: TrainingGraph, share: number, { report: whole, kept, least, bound }: Whole): Row {
  const memoryBudget = Math.floor(whole.arenaBytes - (1 - share) * whole.temporaryBytes);
  const limit = MOST_AGAIN.find((each) => each.graphs.test(graph.name) && each.share === share);
  const most = limit?.most ?? Number.POSITIVE_INFINITY;
  const atLeast = bound.leastAgain(share * whole.temporaryBytes) / whole.flops;
  const common = {
    graph: graph.name,
    "whole, KiB": whole.temporaryBytes / 1024,
    "all kept, KiB": kept / 1024,
    budget: percent(share, 0),
    least: `${percent(least, 0)} (${percent(bound.leastBytes() / whole.temporaryBytes, 0)})`,
  };
  const started = performance.now();
  let report: MemoryReport;
  try {
    report = graph.step({ memoryBudget }).memory(...graph.args);
  } catch (error) {
    if (!(error instanceof ArenaError)) throw error;
    const ms = performance.now() - started;
    const none = { "arena / budget": "", "placed / bound": "", "flops again": "does not fit" };
    const note = limit === undefined ? "" : verdict(Number.POSITIVE_INFINITY, atLeast, most, 1);
    return { ...common, ...none, "at least": percent(atLeast, 1), "plan, ms": ms, "": note };
  }
  const ms = performance.now() - started;
  const ratio = report.temporaryBytes / report.liveBytes;
  const again = report.recomputedFlops / whole.flops;
  if (report.recomputedFlops < bound.leastAgain(report.temporaryBytes)) {
    throw new Error(`${graph.name} within ${memoryBudget} bytes computes less again than the bound says it must`);
  }
  return {
    ...common,
    "arena / budget": (report.arenaBytes / memoryBudget).toFixed(4),
    "placed / bound": ratio.toFixed(4),
    "flops again": percent(again, 1),
    "at least": percent(atLeast, 1),
    "plan, ms": ms,
    "": verdict(again, atLeast, most, ratio),
  };
}

/** Plans a choice of the training steps within every budget. */
export async function recompute(): Promise<Report> {
  await init({ build: availableBuilds()[0] as "strict", wasm: new URL("../build/wasm/", import.meta.url) });
  const rows = TRAINING_GRAPHS.map((make) => make())
    .filter(({ name }) => NAMES.test(name))
    .flatMap((graph) => {
      const whole = wholeOf(graph);
      return SHARES.map((share) => row(graph, share, whole));
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
