/**
 * What no plan of a step can do without: the least floating-point operations that must be computed again within so many
 * bytes, and the least bytes, whatever the order in which operators run and however they are fused.
 *
 * The argument holds for the moment before any operator that reads its inputs from memory runs for the first time. All
 * that it is computed from has been computed by then, and nothing that is computed from it. What the operators behind it
 * read must then be in memory, or be computed later: once more if it is of the former, and from what is in memory or is
 * computed later in its turn. What the best choice of what to keep costs is a bound (see {@link Choice}), and the worst
 * moment gives the best one.
 *
 * Left out, so the bound may be too small: that what is computed again has to find room at other moments too.
 */
import { sizeOf } from "../src/graph/shape.js";
import type { Node } from "../src/graph/tensor.js";
import { isLeaf, topological } from "../src/graph/walk.js";
import type { Plan } from "../src/plan/plan.js";
import { Choice, type Keepable } from "../src/plan/recompute/keep.js";
import { flopsOf } from "../src/plan/recompute/model.js";

/** What computes a value, or a value that is there from the start. */
export interface Operation {
  /** The numbers of those that it reads, all of them lower than its own. */
  readonly inputs: readonly number[];
  /** Bytes of its value in memory. */
  readonly bytes: number;
  /** What computing it again costs; infinite if nothing can. */
  readonly flops: number;
  /** Whether its value is, or may be, its input's memory seen otherwise. */
  readonly isView: boolean;
  /** Whether the value is to be there in the end. */
  readonly isResult: boolean;
  /**
   * Bytes that running it takes beside its inputs: its value and workspaces. Null if its inputs need not be in memory,
   * because it may run in one pass with what computes them.
   */
  readonly during: number | null;
}

/** The moment before an operation runs for the first time. */
interface Moment {
  /** What is there then. */
  readonly choice: Choice;
  /** Bytes that the operation takes to run, of which no choice is left. */
  readonly during: number;
}

function momentOf(operations: readonly Operation[], at: number): Moment {
  const operation = (v: number): Operation => operations[v] as Operation;
  const { inputs, during } = operation(at);
  const before = new Set(inputs);
  for (let v = at - 1; v >= 0; v--) if (before.has(v)) for (const x of operation(v).inputs) before.add(x);
  const behind = new Set([at]);
  const needed = new Set<number>();
  operations.forEach(({ inputs, isResult }, v) => {
    if (inputs.some((x) => behind.has(x))) behind.add(v);
    if (isResult) needed.add(v);
    if (behind.has(v)) for (const x of inputs) needed.add(x);
  });
  /** What a view shows; null if that may be gone when a copy of the view, which is smaller, is read instead. */
  const baseOf = (v: number): number | null => {
    const { isView, inputs, bytes } = operation(v);
    if (!isView) return v;
    const [input] = inputs as [number];
    return operation(input).bytes > bytes ? null : baseOf(input);
  };
  const held = new Set(inputs.map(baseOf));
  const values = operations.map(({ inputs, bytes, flops }, v): Keepable => {
    if (behind.has(v)) return { inputs: [], bytes: 0, cost: 0, needed: false };
    const computed = flops === Number.POSITIVE_INFINITY || before.has(v) ? flops : 0;
    // All that the operation itself reads has to be there.
    return held.has(v)
      ? { inputs: [], bytes, cost: Number.POSITIVE_INFINITY, needed: true }
      : { inputs, bytes, cost: computed, needed: needed.has(v) };
  });
  return { choice: new Choice(values), during: during as number };
}

/**
 * In steps of so few operations, where each value is a large share of a budget, the moments at which the best choice is
 * looked for, and how often a value is settled for that. More of either takes minutes and gained nothing in larger ones.
 */
const [SMALL, MAX_CHOICES, MAX_BRANCHES] = [1000, 3, 400];

/** The bounds of a step. */
export class Bound {
  private readonly moments: readonly Moment[];

  constructor(private readonly operations: readonly Operation[]) {
    this.moments = operations.flatMap(({ during }, at) => (during === null ? [] : [momentOf(operations, at)]));
  }

  /** Bytes of temporaries without which no plan gets by. */
  leastBytes(): number {
    return Math.max(0, ...this.moments.map(({ choice, during }) => during + choice.fewestBytes()));
  }

  /** Floating-point operations that every plan within a budget computes again; infinite where no plan keeps to it. */
  leastAgain(budget: number): number {
    const rough = this.moments.map(({ choice, during }) => {
      const room = budget - during;
      return { choice, room, bound: choice.within(room, 0).bound };
    });
    rough.sort((a, b) => b.bound - a.bound);
    let most = rough[0]?.bound ?? 0;
    if (most === Number.POSITIVE_INFINITY || this.operations.length > SMALL) return most;
    for (const { choice, room } of rough.slice(0, MAX_CHOICES)) {
      most = Math.max(most, choice.within(room, MAX_BRANCHES, most).bound);
    }
    return most;
  }
}

/**
 * A plan's graph, in which nothing is computed again. Only values of the arguments and temporaries take memory: a new
 * state is written over the old one.
 */
export function operationsOf({
  roots,
  updates,
  steps,
  temporaries,
}: Pick<Plan, "roots" | "updates" | "steps" | "temporaries">): Operation[] {
  const args = new Set(temporaries.flatMap(({ node, first }) => (node !== null && first < 0 ? [node] : [])));
  const states = new Set(updates.map(({ node }) => node));
  const results = new Set(roots);
  /** Of an operator's workspaces the largest: not all of them need be there at once. */
  const workspaces = new Map<Node, number>();
  for (const { node, first, bytes } of temporaries) {
    if (node !== null) continue;
    for (const user of steps[first]?.nodes ?? []) workspaces.set(user, Math.max(workspaces.get(user) ?? 0, bytes));
  }
  return [...topological(roots)].map((node): Operation => {
    const { kind } = node.primitive.lowering;
    const bytes = 4 * sizeOf(node.shape);
    const isResult = results.has(node);
    if (isLeaf(node)) {
      const own = args.has(node) ? bytes : 0;
      return { inputs: [], bytes: own, flops: Number.POSITIVE_INFINITY, isView: false, isResult, during: null };
    }
    const kept = states.has(node) ? 0 : bytes;
    return {
      inputs: [...new Set(node.inputs.map(({ index }) => index))],
      bytes: kept,
      flops: flopsOf([node]),
      isView: kind === "view",
      isResult,
      during: kind === "kernel" || kind === "reduce" ? kept + (workspaces.get(node) ?? 0) : null,
    };
  });
}
