/** The memory report of a plan. */
import { namesOf } from "../graph/names.js";
import { sizeOf } from "../graph/shape.js";
import type { Origin } from "../graph/sites.js";
import type { Node } from "../graph/tensor.js";
import { isLeaf, topological } from "../graph/walk.js";
import { aligned, type Buffer, paddedBytes, programBytes } from "./buffer.js";
import { originalOf } from "./copy.js";
import { peakOf } from "./place.js";
import { forwardOf, type Plan, type State, stateBytes } from "./plan.js";
import { flopsOf } from "./recompute/model.js";

/** What a compiled step needs, in bytes, known before anything runs. */
export interface MemoryReport {
  /** Everything below except the bound: what the arena holds while the step runs. */
  readonly arenaBytes: number;
  /** State that outlives the step: parameters, optimizer state, gradients. */
  readonly stateBytes: number;
  /** Of that, what requires gradients: the parameters. */
  readonly parameterBytes: number;
  /** Of that, the gradients that the step leaves. */
  readonly gradientBytes: number;
  /** Arguments, activations, workspaces and results, placed so that dead ones are reused. */
  readonly temporaryBytes: number;
  /** The most bytes of temporaries alive at once: no placement can need less. */
  readonly liveBytes: number;
  /** The program itself and its constants. */
  readonly programBytes: number;
  /** What every program shares: scratch memory. */
  readonly sharedBytes: number;
  /** The step of the program at which most bytes are alive, and what it computes; -1 before the first. */
  readonly peak: { readonly step: number; readonly operators: readonly string[] };
  /** What is alive there: values by operator, and workspaces. */
  readonly alive: readonly PlannedValue[];
  /** What of the forward pass is kept for the backward pass. */
  readonly saved: readonly PlannedValue[];
  /** Values that are computed again instead of being kept. */
  readonly recomputed: readonly PlannedValue[];
  /** Each state, in the order in which the function met them. */
  readonly states: readonly PlannedState[];
  /** Floating-point operations of the program, and of these how many compute something again. */
  readonly flops: number;
  readonly recomputedFlops: number;
}

/** What a value in a program's memory is for. */
export type ValueRole =
  | "argument"
  /** Of the forward pass, and kept for the backward pass. */
  | "saved"
  /** Computed again for the backward pass. */
  | "again"
  /** What a kernel uses while it runs. */
  | "workspace"
  /** Gradients of values, and what the pass that made it has done with. */
  | "other";

/** A value in a program's memory, and what made it. */
export interface PlannedValue extends Origin {
  readonly role: ValueRole;
  readonly operator: string;
  /** The names that `checkpointName` gave to it, or to what the same instruction computes it from. */
  readonly names: readonly string[];
  readonly shape: readonly number[];
  readonly bytes: number;
}

/** A tensor that outlives the step. */
export interface PlannedState {
  /** A parameter requires gradients; a gradient is one that the step leaves; the rest is an optimizer's and buffers. */
  readonly kind: "parameter" | "gradient" | "other";
  /** As `stateDict` of the largest model that holds it names it; null for a tensor that belongs to no module. */
  readonly name: string | null;
  readonly shape: readonly number[];
  readonly bytes: number;
}

/** Bytes that states take in the arena. */
export function statesBytes(states: readonly State[]): number {
  return states.reduce((total, state) => total + aligned(stateBytes(state)), 0);
}

/** Names of values in memory: their own, those of views of them, and those within the instructions that compute them. */
function namesIn({ roots, steps }: Plan): (node: Node) => readonly string[] {
  const found = new Map<Node, Set<string>>();
  const give = (to: Node, from: Node): void => {
    const names = namesOf(originalOf(from));
    if (names.size > 0) found.set(to, new Set([...(found.get(to) ?? []), ...names]));
  };
  for (const node of topological(roots)) {
    if (namesOf(originalOf(node)).size === 0) continue;
    let shown = node;
    while (!isLeaf(shown) && shown.primitive.lowering.kind === "view") [shown] = shown.inputs as [Node];
    give(shown, node);
  }
  for (const { nodes } of steps) {
    const named = nodes.filter((node) => namesOf(originalOf(node)).size > 0);
    for (const from of named) for (const node of nodes.slice(nodes.indexOf(from))) give(node, from);
  }
  return (node) => [...(found.get(node) ?? [])].sort();
}

/** The values of the forward pass whose last reader is not of it: the backward pass, or what computes them again for it. */
export function savedOf(plan: MappedPlan): readonly Buffer[] {
  const isForward = forwardOf(plan);
  return plan.temporaries.filter(({ node, first, last }) => {
    const reader = plan.steps[last];
    return node !== null && first >= 0 && reader !== undefined && isForward(node) && !reader.nodes.some(isForward);
  });
}

/** What of a plan is told of its temporaries. */
export type MappedPlan = Pick<Plan, "temporaries" | "temporaryBytes" | "steps" | "copies" | "forward">;

/** Tells what each temporary is for. */
export function rolesOf(plan: MappedPlan): (buffer: Buffer) => ValueRole {
  const saved = new Set(savedOf(plan));
  return (buffer) => {
    if (buffer.node === null) return "workspace";
    if (buffer.first < 0) return "argument";
    if (plan.copies.has(buffer.node)) return "again";
    return saved.has(buffer) ? "saved" : "other";
  };
}

/** The temporaries alive at a step, each piece of memory once: where a result is written over an operand, the result. */
function aliveAt({ temporaries }: MappedPlan, step: number): readonly Buffer[] {
  const alive = temporaries.filter(({ first, last, bytes }) => first <= step && last >= step && bytes > 0);
  // Alive at once, only what takes over from another can be where that is.
  return [...new Map(alive.sort((a, b) => a.first - b.first).map((buffer) => [buffer.offset, buffer])).values()];
}

/**
 * @param named of each state what it is, and its name
 * @param originOf what made a node
 */
export function memoryReport(
  plan: Plan,
  sharedBytes: number,
  named: readonly Pick<PlannedState, "kind" | "name">[],
  originOf: (node: Node) => Origin,
): MemoryReport {
  const namesFor = namesIn(plan);
  const planned = (node: Node | null, bytes: number, role: ValueRole): PlannedValue => ({
    role,
    operator: node?.primitive.name ?? "workspace",
    names: node === null ? [] : namesFor(node),
    shape: node?.shape ?? [bytes / 4],
    bytes,
    ...(node === null ? { source: null, module: null } : originOf(node)),
  });
  const sum = (wanted: PlannedState["kind"]): number =>
    statesBytes(plan.states.filter((_, slot) => named[slot]?.kind === wanted));
  const program = programBytes(plan.code.words.length, 4 * plan.pool.length);
  const temporaryBytes = aligned(plan.temporaryBytes);
  const states = statesBytes(plan.states);
  const peak = peakOf(plan.temporaries);
  const roleOf = rolesOf(plan);
  const nodes = [...new Set(plan.steps.flatMap((step) => step.nodes))];
  return {
    arenaBytes: states + temporaryBytes + program + sharedBytes,
    stateBytes: states,
    parameterBytes: sum("parameter"),
    gradientBytes: sum("gradient"),
    temporaryBytes,
    liveBytes: peak.bytes,
    programBytes: program,
    sharedBytes,
    peak: {
      step: peak.step,
      operators: (plan.steps[peak.step]?.nodes ?? []).map(({ primitive }) => primitive.name),
    },
    alive: aliveAt(plan, peak.step).map((buffer) => planned(buffer.node, paddedBytes(buffer), roleOf(buffer))),
    saved: savedOf(plan).map(({ node, bytes }) => planned(node, bytes, "saved")),
    recomputed: [...plan.originals.keys()].map((node) => planned(node, 4 * sizeOf(node.shape), "again")),
    states: plan.states.map((state, slot) => ({
      ...(named[slot] as Pick<PlannedState, "kind" | "name">),
      shape: state.shape,
      bytes: stateBytes(state),
    })),
    flops: flopsOf(nodes),
    recomputedFlops: flopsOf(nodes.filter((node) => plan.copies.has(node))),
  };
}
