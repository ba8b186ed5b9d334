/**
 * What no plan of a step can do without: the least floating-point operations that must be computed again within so many
 * bytes, and the least bytes, whatever the order in which operators run and however they are fused.
 *
 * The argument holds for the moment before any operator that reads its inputs from memory runs for the first time. All
 * that it is computed from has been computed by then, and nothing that is computed from it. What the operators behind it
 * read must then be in memory, or be computed later: once more if it is of the former, and from what is in memory or is
 * computed later in its turn. Which values to keep is a choice, and the best one is a minimum cut once bytes have a
 * price in operations (as in Jain et al., "Checkmate", MLSys 2020, the minimum-cut partitioner of PyTorch's AOTAutograd
 * keeps values so). At any price, that cut less the price of the budget is no more than what must be computed again
 * (Lagrangian duality); the best price and the worst moment give the bound.
 *
 * Left out, so the bound may be too small: that values come whole, and that what is computed again has to find room at
 * other moments too.
 */
import { sizeOf } from "../src/graph/shape.js";
import type { Node } from "../src/graph/tensor.js";
import { isLeaf, topological } from "../src/graph/walk.js";
import type { Plan } from "../src/plan/plan.js";
import { flopsOf } from "../src/plan/recompute/model.js";
import { Network } from "./min-cut.js";

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

/** More than anything costs. */
const NEVER = 2 ** 50;
/** Prices that are tried at one moment: each halves what is left to gain, or nearly. */
const MAX_PRICES = 20;

/** Values to keep at a moment: their bytes, and what is computed again for want of others. */
interface Cut {
  readonly bytes: number;
  readonly flops: number;
  /** What the network gives: flops and priced bytes, rounded down. */
  readonly least: number;
}

/** The moment before operation `at` runs for the first time. */
class Moment {
  private readonly before: Uint8Array;
  private readonly behind: Uint8Array;
  private readonly needed: Uint8Array;
  /** What the operation itself reads. */
  private readonly held: Uint8Array;
  /** Bytes that it takes to run, of which no choice is left. */
  readonly during: number;

  constructor(
    private readonly operations: readonly Operation[],
    at: number,
  ) {
    const count = operations.length;
    this.before = new Uint8Array(count);
    this.behind = new Uint8Array(count);
    this.needed = new Uint8Array(count);
    this.held = new Uint8Array(count);
    const { inputs, during } = this.operation(at);
    this.during = during as number;
    for (const x of inputs) this.before[x] = 1;
    for (let v = at - 1; v >= 0; v--)
      if (this.before[v] === 1) for (const x of this.operation(v).inputs) this.before[x] = 1;
    this.behind[at] = 1;
    operations.forEach(({ inputs, isResult }, v) => {
      if (inputs.some((x) => this.behind[x] === 1)) this.behind[v] = 1;
      if (isResult) this.needed[v] = 1;
      if (this.behind[v] === 1) for (const x of inputs) this.needed[x] = 1;
    });
    for (const x of inputs) {
      const base = this.baseOf(x);
      if (base !== null) this.held[base] = 1;
    }
  }

  private operation(v: number): Operation {
    return this.operations[v] as Operation;
  }

  /** What a view shows; null if that may be gone when a copy of the view, which is smaller, is read instead. */
  private baseOf(v: number): number | null {
    const { isView, inputs, bytes } = this.operation(v);
    if (!isView) return v;
    const [input] = inputs as [number];
    return this.operation(input).bytes > bytes ? null : this.baseOf(input);
  }

  /**
   * The cheapest choice. For every value the network has one node for its being needed and one for its being computed
   * later; being needed and not computed costs its bytes, being computed costs its flops and makes its inputs needed.
   */
  cut(priceOf: (flops: number) => number, bytePrice: number): Cut {
    const { operations } = this;
    const count = operations.length;
    const [source, sink] = [2 * count, 2 * count + 1];
    const network = new Network(2 * count + 2);
    const stays = ({ flops }: Operation, v: number): boolean =>
      this.held[v] === 1 || flops === Number.POSITIVE_INFINITY;
    const again = ({ flops }: Operation, v: number): number => (this.before[v] === 1 ? flops : 0);
    operations.forEach((operation, v) => {
      if (this.behind[v] === 1) return;
      if (this.needed[v] === 1) network.add(source, v, NEVER);
      const price = Math.floor(bytePrice * operation.bytes);
      if (stays(operation, v)) network.add(v, sink, price);
      else {
        network.add(v, count + v, price);
        network.add(count + v, sink, priceOf(again(operation, v)));
        for (const x of operation.inputs) network.add(count + v, x, NEVER);
      }
    });
    const least = network.flow(source, sink);
    let [bytes, flops] = [0, 0];
    operations.forEach((operation, v) => {
      if (this.behind[v] === 1 || !network.isReached(v)) return;
      if (stays(operation, v) || !network.isReached(count + v)) bytes += operation.bytes;
      else flops += again(operation, v);
    });
    return { bytes, flops, least };
  }

  /** The least bytes with which the operation can run. */
  leastBytes(): number {
    return this.during + this.cut(() => 0, 1).bytes;
  }

  /** What must be computed again after this moment, at least. */
  leastAgain(budget: number): number {
    const room = budget - this.during;
    let most = this.cut((flops) => (flops > 0 ? NEVER : 0), 1);
    if (most.bytes <= room) return 0;
    let fewest = this.cut(() => 0, 1);
    if (fewest.bytes > room) return Number.POSITIVE_INFINITY;
    let bound = 0;
    for (let i = 0; i < MAX_PRICES; i++) {
      const price = (fewest.flops - most.flops) / (most.bytes - fewest.bytes);
      const next = this.cut((flops) => flops, price);
      bound = Math.max(bound, next.least - price * room);
      if (next.flops + price * next.bytes >= (1 - 1e-9) * (most.flops + price * most.bytes)) break;
      if (next.bytes > room) most = next;
      else fewest = next;
    }
    return bound;
  }
}

/** The bounds of a step. */
export class Bound {
  private readonly moments: readonly Moment[];

  constructor(operations: readonly Operation[]) {
    this.moments = operations.flatMap(({ during }, at) => (during === null ? [] : [new Moment(operations, at)]));
  }

  /** Bytes of temporaries without which no plan gets by. */
  leastBytes(): number {
    return Math.max(0, ...this.moments.map((moment) => moment.leastBytes()));
  }

  /** Floating-point operations that every plan within a budget computes again; infinite where no plan keeps to it. */
  leastAgain(budget: number): number {
    return Math.max(0, ...this.moments.map((moment) => moment.leastAgain(budget)));
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
