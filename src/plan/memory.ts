/** The memory report of a plan. */
import { Layout } from "../isa.js";
import { liveBytes } from "./place.js";
import { type Plan, stateBytes } from "./plan.js";

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
}

function aligned(bytes: number): number {
  return Math.max(Layout.Alignment, Math.ceil(bytes / Layout.Alignment) * Layout.Alignment);
}

/**
 * @param parameters which states are parameters
 * @param gradients which states are gradients
 */
export function memoryReport(
  plan: Plan,
  sharedBytes: number,
  parameters: ReadonlySet<number>,
  gradients: ReadonlySet<number>,
): MemoryReport {
  const sum = (slots: ReadonlySet<number> | null): number =>
    plan.states.reduce(
      (total, state, slot) => (slots === null || slots.has(slot) ? total + aligned(stateBytes(state)) : total),
      0,
    );
  const programBytes = aligned(aligned(4 * plan.code.words.length) + 4 * plan.pool.length);
  const temporaryBytes = aligned(plan.temporaryBytes);
  const states = sum(null);
  return {
    arenaBytes: states + temporaryBytes + programBytes + sharedBytes,
    stateBytes: states,
    parameterBytes: sum(parameters),
    gradientBytes: sum(gradients),
    temporaryBytes,
    liveBytes: liveBytes(plan.temporaries),
    programBytes,
    sharedBytes,
  };
}
