/** The memory report of a plan. */
import { sizeOf } from "../graph/shape.js";
import type { Node } from "../graph/tensor.js";
import { aligned, type Buffer, programBytes } from "./buffer.js";
import { peakOf } from "./place.js";
import { forwardOf, type Plan, type State, stateBytes } from "./plan.js";
import { flopsOf } from "./recompute-model.js";

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
  /** Floating-point operations of the program, and of these how many compute something again. */
  readonly flops: number;
  readonly recomputedFlops: number;
}

/** A value in a program's memory. */
export interface PlannedValue {
  readonly operator: string;
  readonly shape: readonly number[];
  readonly bytes: number;
  /** The user's line that made it, as `file:line`; null where none is known. */
  readonly source: string | null;
}

/** Bytes that states take in the arena. */
export function statesBytes(states: readonly State[]): number {
  return states.reduce((total, state) => total + aligned(stateBytes(state)), 0);
}

/** The values of the forward pass whose last reader is not of it: the backward pass, or what computes them again for it. */
function savedOf(plan: Plan): readonly Buffer[] {
  const isForward = forwardOf(plan);
  return plan.temporaries.filter(({ node, first, last }) => {
    const reader = plan.steps[last];
    return node !== null && first >= 0 && reader !== undefined && isForward(node) && !reader.nodes.some(isForward);
  });
}

/**
 * @param lineOf the user's line that made a node
 * @param parameters which states are parameters
 * @param gradients which states are gradients
 */
export function memoryReport(
  plan: Plan,
  sharedBytes: number,
  parameters: ReadonlySet<number>,
  gradients: ReadonlySet<number>,
  lineOf: (node: Node) => string | null = () => null,
): MemoryReport {
  const planned = (node: Node | null, bytes: number): PlannedValue => ({
    operator: node?.primitive.name ?? "workspace",
    shape: node?.shape ?? [bytes / 4],
    bytes,
    source: node === null ? null : lineOf(node),
  });
  const sum = (slots: ReadonlySet<number>): number => statesBytes(plan.states.filter((_, slot) => slots.has(slot)));
  const program = programBytes(plan.code.words.length, 4 * plan.pool.length);
  const temporaryBytes = aligned(plan.temporaryBytes);
  const states = statesBytes(plan.states);
  const peak = peakOf(plan.temporaries);
  const nodes = [...new Set(plan.steps.flatMap((step) => step.nodes))];
  return {
    arenaBytes: states + temporaryBytes + program + sharedBytes,
    stateBytes: states,
    parameterBytes: sum(parameters),
    gradientBytes: sum(gradients),
    temporaryBytes,
    liveBytes: peak.bytes,
    programBytes: program,
    sharedBytes,
    peak: {
      step: peak.step,
      operators: (plan.steps[peak.step]?.nodes ?? []).map(({ primitive }) => primitive.name),
    },
    alive: plan.temporaries
      .filter(({ first, last, bytes }) => first <= peak.step && last >= peak.step && bytes > 0)
      .map(({ node, bytes }) => planned(node, bytes)),
    saved: savedOf(plan).map(({ node, bytes }) => planned(node, bytes)),
    recomputed: [...plan.originals.keys()].map((node) => planned(node, 4 * sizeOf(node.shape))),
    flops: flopsOf(nodes),
    recomputedFlops: flopsOf(nodes.filter((node) => plan.copies.has(node))),
  };
}
