/** Recomputation as a pass over a schedule: what checkpoints, a policy and a budget ask for, together. */
import { ArenaError } from "../../graph/errors.js";
import { namesOf } from "../../graph/names.js";
import type { RecomputePolicy } from "../../graph/policy.js";
import type { Origin } from "../../graph/sites.js";
import { isWithin, type Node } from "../../graph/tensor.js";
import { isLeaf, topological } from "../../graph/walk.js";
import { aligned, type Buffer, paddedBytes } from "../buffer.js";
import type { Unit } from "../fuse.js";
import { liveBytes, place } from "../place.js";
import type { LowerAll, Program, Scheduled } from "../plan.js";
import type { Targets } from "../updates.js";
import { type Fitted, fitBudget, type Least, leastOf, type Placed, placeLeast } from "./budget.js";
import { Effort } from "./effort.js";
import { modelOf, type UnitModel, type Value } from "./model.js";
import { sumEarly } from "./order.js";
import { rebuild } from "./rebuild.js";
import { isRoute, type Route, SCORES, type Score } from "./route.js";
import { splitEpilogues, splitUpdates } from "./split.js";
import { Templates } from "./templates.js";
import { route } from "./walk.js";

/** What a program may compute again. */
export interface Wanted {
  readonly policy?: RecomputePolicy;
  /** What the forward pass ends in. */
  readonly forward?: readonly Node[];
  /** What made a node, for errors. */
  readonly originOf?: (node: Node) => Origin;
  /** Bytes that the whole arena may take. */
  readonly budget?: number;
  /** Of the arena, what is not this program's: states and shared memory. */
  readonly otherBytes?: number;
}

/** Where in the user's code and model a step comes from, as far as that is known. */
function placeOf(step: readonly Node[], { originOf }: Wanted): string {
  const origins = originOf === undefined ? [] : step.map(originOf);
  const { source, module } = origins.find((origin) => origin.source !== null) ?? { source: null, module: null };
  return `${module ? `, in ${module}` : ""}${source === null ? "" : `, at ${source}`}`;
}

/** The bytes that a program takes in the arena, all told, if its temporaries take so many. */
function arenaOf({ programBytes }: Program, temporaryBytes: number, { otherBytes = 0 }: Wanted): number {
  return aligned(temporaryBytes) + programBytes + otherBytes;
}

/** As {@link arenaOf}, with as few bytes of temporaries as are found to be enough. */
function fewestOf(program: Program, wanted: Wanted): number {
  return arenaOf(program, place(program.temporaries), wanted);
}

/** The names of values that are in memory. That of a view which moves nothing is a name of what it shows. */
function namesIn({ units, values }: UnitModel): ReadonlyMap<Node, ReadonlySet<string>> {
  const inMemory = new Set(values.map(({ node }) => node));
  const found = new Map<Node, Set<string>>();
  for (const named of units.flatMap(({ nodes }) => nodes)) {
    const names = namesOf(named);
    if (names.size === 0) continue;
    let node = named;
    while (!inMemory.has(node) && !isLeaf(node) && node.primitive.lowering.kind === "view")
      [node] = node.inputs as [Node];
    found.set(node, new Set([...(found.get(node) ?? []), ...names]));
  }
  return found;
}

/** Whether a policy keeps a value. It is judged by what computing it again from memory takes. */
function keeps(
  policy: RecomputePolicy | undefined,
  { clone }: Value,
  names: ReadonlyMap<Node, ReadonlySet<string>>,
): boolean {
  if (policy === undefined) return false;
  if (policy === "nothing") return true;
  return clone.some((node) => {
    const { name, lowering } = node.primitive;
    if (policy === "cheap") return lowering.kind === "kernel";
    if (policy === "all but products") return lowering.kind === "kernel" && lowering.epilogue !== undefined;
    return policy.saveOnly.includes(name) || policy.saveOnly.some((wanted) => names.get(node)?.has(wanted));
  });
}

/** The values that are given up in any case, and the last unit before that. */
function dropsOf(model: UnitModel, { policy, forward }: Wanted): Map<number, number> {
  const drops = new Map<number, number>();
  if (policy === "nothing") return drops;
  const names = namesIn(model);
  let again = false;
  const within = new Set(policy === undefined ? [] : topological(forward ?? []));
  model.values.forEach((value, v) => {
    const { node, unit, uses, kept } = value;
    if (kept) return;
    let { holder } = node;
    while (holder !== null && keeps(holder.policy, value, names)) holder = holder.parent;
    if (holder === null && (policy === undefined || !within.has(node) || keeps(policy, value, names))) return;
    const isInside = (reader: Node): boolean =>
      holder === null ? within.has(reader) : isWithin(reader.region, holder);
    const inside = uses.filter((use) => (model.units[use] as Unit).nodes.some(isInside));
    const last = inside.at(-1) ?? unit;
    drops.set(v, last);
    again ||= uses.some((use) => use > last);
  });
  return again ? drops : new Map();
}

/** A schedule as recomputation sees it. */
interface Candidate {
  readonly model: UnitModel;
  readonly targets: Targets;
  /** Values that are given up in any case. */
  readonly drops: ReadonlyMap<number, number>;
  readonly program: Program;
}

function candidateOf(units: readonly Unit[], targets: Targets, wanted: Wanted, lowerAll: LowerAll): Candidate {
  const program = lowerAll(units, targets);
  const { lowered, temporaries } = program;
  const model = modelOf(units, lowered, temporaries.slice(0, temporaries.length - lowered.temporaries.length));
  return { model, targets, drops: dropsOf(model, wanted), program };
}

/** The program of a route. */
function along({ model, targets }: Candidate, chosen: Route): Scheduled {
  const { units, resolve, originals, copies } = rebuild(model, chosen);
  const updates = targets.updates.map(({ slot, node }) => ({ slot, node: resolve(node) }));
  return { units, targets: { results: targets.results.map(resolve), updates }, originals, copies };
}

/** A program and what it computes again. */
interface Fit {
  readonly scheduled: Scheduled;
  readonly cost: number;
}

/** What is known where no program was found that fits a budget. */
interface Misfit {
  readonly scheduled: null;
  /** Finds what needs least: the most bytes that are alive at once in it, and the unit at which they are. */
  least(): { readonly peakBytes: number; readonly unit: readonly Node[] };
  /** Places that; null if there is nothing. */
  placed(): (Fit & { readonly bytes: number }) | null;
  /** The bytes that the program takes as it is, if it may be so. */
  whole(): number;
}

/** What was placed before stays if it takes no more than this share of the bytes that are alive at once. */
const NEAR = 1.06;

/**
 * Places buffers at the offsets that were found for them before, or so that they take less if those are far from the
 * least that can be.
 */
function placing(offsets: Float64Array): typeof place {
  return (buffers) => {
    const total = buffers.reduce((end, buffer, i) => Math.max(end, (offsets[i] as number) + paddedBytes(buffer)), 0);
    if (total > NEAR * liveBytes(buffers)) {
      const fewest = place(buffers);
      if (fewest <= total) return fewest;
    }
    buffers.forEach((buffer, i) => {
      buffer.offset = offsets[i] as number;
    });
    return total;
  };
}

function offsetsOf(temporaries: readonly Buffer[]): Float64Array {
  return Float64Array.from(temporaries, ({ offset }) => offset);
}

/** Where the temporaries of a route's program were placed in the fewest bytes. */
interface Layout {
  readonly bytes: number;
  readonly offsets: Float64Array;
}

function keepTo(
  candidate: Candidate,
  wanted: Wanted,
  budget: number,
  lowerAll: LowerAll,
  effort: Effort,
): Fit | Misfit {
  const { model, targets, drops, program } = candidate;
  // What is not a temporary of this program is not the search's to decide.
  const fixed = arenaOf(program, 0, wanted);
  const layouts = new Map<Route, Layout>();
  const placeAlong = (chosen: Route, enough: number, isHard = false): Placed => {
    const scheduled = along(candidate, chosen);
    const other = lowerAll(scheduled.units, scheduled.targets);
    const { temporaries } = other;
    const besides = arenaOf(other, 0, wanted) - fixed - aligned(0);
    const bytes = aligned(place(temporaries, enough - besides, isHard)) + besides;
    if (bytes < (layouts.get(chosen)?.bytes ?? Number.POSITIVE_INFINITY)) {
      layouts.set(chosen, { bytes, offsets: offsetsOf(temporaries) });
    }
    return { bytes, bound: aligned(liveBytes(temporaries)) + besides, work: workOf(other) };
  };
  const fitOf = ({ route, enough, isHard }: Fitted): Fit => {
    // It may be another one's that does the same, which was placed for both.
    if (!layouts.has(route)) placeAlong(route, enough, isHard);
    const { offsets } = layouts.get(route) as Layout;
    return { scheduled: { ...along(candidate, route), place: placing(offsets) }, cost: route.cost / model.cost };
  };
  let known: Least | null = null;
  const leastRoutes = (): Least => {
    known ??= leastOf(model, drops, effort.share(LEAST));
    return known;
  };
  const least = (): number => leastRoutes().peakBytes;
  const fitted = fitBudget(model, budget - fixed, drops, placeAlong, effort.share(FITTING), least);
  if (fitted !== null) return fitOf(fitted);
  return {
    scheduled: null,
    least: () => {
      const { peakBytes, unit } = leastRoutes();
      return { peakBytes: peakBytes + fixed, unit: (model.units[unit] as Unit).nodes };
    },
    placed: () => {
      const least = placeLeast(leastRoutes(), placeAlong, effort.share(PLACING_LEAST));
      return least && { ...fitOf(least), bytes: least.bytes + fixed };
    },
    whole: () => (drops.size === 0 ? fewestOf(lowerAll(model.units, targets), wanted) : Number.POSITIVE_INFINITY),
  };
}

/** What may be spent on a search: some tenths of a second, and about a second more for every 3,000 nodes. */
const [LEAST_EFFORT, EFFORT_A_NODE] = [2e7, 3e4];
/** Of what may be spent on an order, the shares for finding what fits, and for finding and for placing what needs least. */
const [FITTING, LEAST, PLACING_LEAST] = [0.5, 0.25, 0.5];
/** The share of each other order, once the first one has been searched. */
const OTHER = 0.5;
/** What lowering and placing take, by step and by temporary. */
const [WORK_A_STEP, WORK_A_TEMPORARY] = [1000, 1000];

/** The work of making a program of a route, as {@link Effort} counts it. */
function workOf({ lowered, temporaries }: Program): number {
  return WORK_A_STEP * lowered.steps.length + WORK_A_TEMPORARY * temporaries.length;
}

/** Where so large a share of a program is computed again, other units are tried. */
const MUCH = 0.1;

/**
 * Rewrites a schedule so that it keeps to what is asked for. Without a checkpoint, a policy or a budget that it does
 * not fit, it stays as it is.
 * @param lowerAll lowers a schedule
 * @throws ArenaError where the budget is below the least that was found to be possible
 */
export function recompute(units: readonly Unit[], targets: Targets, wanted: Wanted, lowerAll: LowerAll): Scheduled {
  const asTheyAre = { units, targets, originals: new Map(), copies: new Set<Node>() };
  const marked = units.some(({ nodes }) => nodes.some(({ holder }) => holder !== null));
  if (!marked && wanted.policy === undefined && wanted.budget === undefined) return asTheyAre;
  const memo = new Templates();
  return { ...keptTo(asTheyAre, wanted, (units, targets) => lowerAll(units, targets, memo)), memo };
}

/** What {@link recompute} makes of a schedule of which something is asked. */
function keptTo(asTheyAre: Scheduled, wanted: Wanted, lowerAll: LowerAll): Scheduled {
  const { units, targets } = asTheyAre;
  const { policy, budget } = wanted;
  const plain = candidateOf(units, targets, wanted, lowerAll);
  const { model, drops, program } = plain;
  if (drops.size === 0) {
    if (budget === undefined) return asTheyAre;
    const { temporaries } = program;
    const bound = arenaOf(program, liveBytes(temporaries), wanted);
    if (bound <= budget && fewestOf(program, wanted) <= budget)
      return { ...asTheyAre, place: placing(offsetsOf(temporaries)) };
  }
  if (policy === "nothing") {
    throw new ArenaError(
      `compile: without computing anything again this function takes ${fewestOf(program, wanted)} bytes, and the memory budget is ${budget}; leave out recompute: "nothing" to have values computed again`,
    );
  }
  if (budget === undefined) {
    const free = route(model, Number.POSITIVE_INFINITY, { score: SCORES[0] as Score, dropAfter: drops });
    if (!isRoute(free)) throw new Error("checkpoints compute values again more often than a plan can hold");
    return along(plain, free);
  }
  const most = Math.max(0, ...model.values.map(({ bytes }) => bytes)) / 2;
  const states = new Set(targets.updates.map(({ node }) => node));
  // Where it is another order, the plain one mostly needs far more.
  const early = sumEarly(units, new Set([...targets.results, ...states]), most);
  let order = early ?? units;
  const first = early === null ? plain : candidateOf(early, targets, wanted, lowerAll);
  const nodes = units.reduce((sum, unit) => sum + unit.nodes.length, 0);
  const effort = new Effort(LEAST_EFFORT + EFFORT_A_NODE * nodes);
  let best = keepTo(first, wanted, budget, lowerAll, effort);
  const tried = [best];
  if (best.scheduled === null || best.cost > MUCH) {
    const splits = [
      ...(early === null || best.scheduled !== null ? [] : [() => units]),
      (from: readonly Unit[]) => splitUpdates(from, states, most),
      (from: readonly Unit[]) => splitEpilogues(from, most),
    ];
    for (const split of splits) {
      const other = split(order);
      if (other === null) continue;
      const candidate = candidateOf(other, targets, wanted, lowerAll);
      const fit = keepTo(candidate, wanted, budget, lowerAll, effort.share(OTHER));
      tried.push(fit);
      if (!isBetter(fit, best)) continue;
      best = fit;
      order = other;
    }
  }
  if (best.scheduled !== null) return best.scheduled;
  // Where the peak is in the updates, computing again may only make it worse.
  let least = best.whole();
  const misfits = tried.filter((fit) => fit.scheduled === null);
  for (const misfit of misfits.sort((a, b) => a.least().peakBytes - b.least().peakBytes)) {
    if (misfit.least().peakBytes >= least) break;
    const placed = misfit.placed();
    if (placed !== null && placed.bytes <= budget) return placed.scheduled;
    least = Math.min(least, placed?.bytes ?? least);
  }
  const { unit } = best.least();
  throw new ArenaError(
    `compile: a memory budget of ${budget} bytes is too small: the least found for this function is ${least} (by a search, which does not prove that no plan takes less), of which ${wanted.otherBytes ?? 0} are its states and shared memory; the step that needs most computes ${unit.map(({ primitive }) => primitive.name).join("+")} [${unit.at(-1)?.shape}]${placeOf(unit, wanted)}`,
  );
}

/** Whether one program computes less again than another, or comes nearer to a budget that neither keeps to. */
function isBetter(a: Fit | Misfit, b: Fit | Misfit): boolean {
  if (a.scheduled === null) return b.scheduled === null && a.least().peakBytes < b.least().peakBytes;
  return b.scheduled === null || a.cost < b.cost;
}
