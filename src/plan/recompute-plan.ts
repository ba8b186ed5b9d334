/** Recomputation as a pass over a schedule: what checkpoints, a policy and a budget ask for, together. */
import { ArenaError } from "../graph/errors.js";
import type { Node, Region } from "../graph/tensor.js";
import { topological } from "../graph/walk.js";
import { aligned } from "./buffer.js";
import type { Unit } from "./fuse.js";
import type { Targets } from "./lower.js";
import type { LaidOut, LayOut, Scheduled } from "./plan.js";
import { isRoute, type Route, route, SCORES, type Score } from "./recompute.js";
import { fitBudget } from "./recompute-budget.js";
import { modelOf, type UnitModel } from "./recompute-model.js";
import { rebuild } from "./recompute-rebuild.js";

/**
 * Which values of the forward pass (what the results are computed from) the backward pass computes again whatever the
 * budget: `cheap`, those of elementwise operators, reductions and copies; `all but products`, and all others that do
 * not come from a matrix product or a convolution.
 */
export type RecomputePolicy = "cheap" | "all but products";

/** What a program may compute again. */
export interface Wanted {
  readonly policy?: RecomputePolicy;
  /** Bytes that the whole arena may take. */
  readonly budget?: number;
  /** Of the arena, what is not this program's: states and shared memory. */
  readonly otherBytes?: number;
}

/** The bytes that a schedule takes in the arena, all told. */
function arenaOf({ temporaryBytes, programBytes }: LaidOut, { otherBytes = 0 }: Wanted): number {
  return aligned(temporaryBytes) + programBytes + otherBytes;
}

/** Whether `region` is `outer` or within it. */
function isWithin(region: Region | null, outer: Region): boolean {
  for (let at = region; at !== null; at = at.parent) if (at === outer) return true;
  return false;
}

/** The values that are given up in any case, and the last unit before that. */
function dropsOf(model: UnitModel, { results }: Targets, policy: RecomputePolicy | undefined): Map<number, number> {
  const forward = policy === undefined ? new Set<Node>() : new Set(topological(results));
  const drops = new Map<number, number>();
  model.values.forEach(({ node, unit, uses, kept }, v) => {
    if (kept) return;
    const { kind } = node.primitive.lowering;
    const product = kind === "kernel" && node.primitive.lowering.epilogue !== undefined;
    const byPolicy = forward.has(node) && (policy === "cheap" ? kind !== "kernel" : !product);
    const { holder } = node;
    if (holder === null && !byPolicy) return;
    const isInside = (reader: Node): boolean =>
      byPolicy ? forward.has(reader) : holder !== null && isWithin(reader.region, holder);
    const inside = uses.filter((use) => (model.units[use] as Unit).nodes.some(isInside));
    const last = inside.at(-1) ?? unit;
    if (uses.some((use) => use > last)) drops.set(v, last);
  });
  return drops;
}

/**
 * Rewrites a schedule so that it keeps to what is asked for. Without a checkpoint, a policy or a budget that it does
 * not fit, it stays as it is.
 * @param layOut lowers and places a schedule
 * @throws ArenaError where the budget is below the least that was found to be possible
 */
export function recompute(units: readonly Unit[], targets: Targets, wanted: Wanted, layOut: LayOut): Scheduled {
  const asTheyAre = { units, targets, originals: new Map(), copies: new Set<Node>() };
  const { policy, budget } = wanted;
  const marked = units.some(({ nodes }) => nodes.some(({ holder }) => holder !== null));
  if (!marked && policy === undefined && budget === undefined) return asTheyAre;
  const laidOut = layOut(units, targets);
  const own = new Set(laidOut.lowered.temporaries);
  const argumentBytes = laidOut.temporaries.reduce((sum, buffer) => (own.has(buffer) ? sum : sum + buffer.bytes), 0);
  const model = modelOf(units, laidOut.lowered, argumentBytes);
  const drops = dropsOf(model, targets, policy);
  if (drops.size === 0 && (budget === undefined || arenaOf(laidOut, wanted) <= budget)) return asTheyAre;

  const along = (chosen: Route): Scheduled => {
    const { units, resolve, originals, copies } = rebuild(model, chosen);
    const results = targets.results.map(resolve);
    const updates = targets.updates.map(({ slot, node }) => ({ slot, node: resolve(node) }));
    return { units, targets: { results, updates }, originals, copies };
  };
  if (budget === undefined) {
    const free = route(model, Number.POSITIVE_INFINITY, { score: SCORES[0] as Score, dropAfter: drops });
    if (!isRoute(free)) throw new Error("checkpoints compute values again more often than a plan can hold");
    return along(free);
  }
  // What is not a temporary of this program is not the search's to decide.
  const fixed = arenaOf({ ...laidOut, temporaryBytes: 0 }, wanted);
  const place = (chosen: Route): { bytes: number } => {
    const scheduled = along(chosen);
    const quick = layOut(scheduled.units, scheduled.targets, budget - (wanted.otherBytes ?? 0));
    return { bytes: arenaOf(quick, wanted) - fixed };
  };
  const fitted = fitBudget(model, budget - fixed, drops, place);
  if ("route" in fitted) return along(fitted.route);
  // Where the peak is in the updates, computing again may only make it worse.
  const least = Math.min(fitted.bytes + fixed, drops.size === 0 ? arenaOf(laidOut, wanted) : Number.POSITIVE_INFINITY);
  const step = (units[fitted.unit] as Unit).nodes;
  throw new ArenaError(
    `compile: a memory budget of ${budget} bytes is too small: the least found for this function is ${least}, of which ${wanted.otherBytes ?? 0} are its states and shared memory; the step that needs most computes ${step.map(({ primitive }) => primitive.name).join("+")} [${step.at(-1)?.shape}]`,
  );
}
