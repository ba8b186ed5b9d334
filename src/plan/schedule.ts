/**
 * Scheduling: an order of the units in which few values wait.
 *
 * Two orders are tried, and the one with the lower peak is taken. In one, the backward pass is walked update by update,
 * the shallowest first: a weight's gradient is computed as soon as the cotangent that it needs is there, the weight is
 * updated in its place, and what only they read is free again. The other is the order in which the function was traced:
 * where gradients of several passes add up, each pass ends before the next begins. In both, every unit that frees more
 * than it leaves moves forward to where it can run.
 */
import { sizeOf } from "../graph/shape.js";
import type { Node } from "../graph/tensor.js";
import { isLeaf } from "../graph/walk.js";
import type { Unit } from "./fuse.js";
import { checks, type Targets } from "./updates.js";

/** Which units read what which others compute, by number. */
export interface Dependencies {
  /** The units whose values each unit reads. */
  readonly inputs: readonly (readonly number[])[];
  /** The unit of each node. */
  readonly unitOf: ReadonlyMap<Node, number>;
}

/** Works out what reads what. */
export function dependencies(units: readonly Unit[]): Dependencies {
  const unitOf = new Map(units.flatMap((unit, i) => unit.nodes.map((node) => [node, i] as const)));
  const inputs = units.map((unit, i) => {
    const found = new Set<number>();
    for (const node of unit.nodes) {
      if (isLeaf(node)) continue;
      for (const input of node.inputs) {
        const from = unitOf.get(input) as number;
        if (from !== i) found.add(from);
      }
    }
    return [...found];
  });
  return { inputs, unitOf };
}

/** For each unit, the units that read the value of a leaf in it, through views too. */
function readersOf(leaf: number, readers: readonly (readonly number[])[], isView: (unit: number) => boolean): number[] {
  const found: number[] = [];
  const stack = [leaf];
  for (let unit = stack.pop(); unit !== undefined; unit = stack.pop()) {
    for (const reader of readers[unit] as readonly number[]) (isView(reader) ? stack : found).push(reader);
  }
  return found;
}

/** Whether `unit` comes after `source`; both numbers, as are those that come before each. Looks at none below `least`. */
function isBehind(unit: number, source: number, before: readonly (readonly number[])[], least: number): boolean {
  const seen = new Set<number>();
  const stack = [unit];
  for (let at = stack.pop(); at !== undefined; at = stack.pop()) {
    if (at === source) return true;
    for (const input of before[at] as readonly number[]) {
      if (input >= least && !seen.has(input)) {
        seen.add(input);
        stack.push(input);
      }
    }
  }
  return false;
}

/**
 * Orders units for a low peak of memory.
 * @param units in any order in which inputs come before their users
 * @param stateLeaves leaves that stand for a state's value, by slot
 */
export function schedule(
  units: readonly Unit[],
  { results, updates }: Targets,
  stateLeaves: ReadonlyMap<Node, number>,
): Unit[] {
  const { inputs, unitOf } = dependencies(units);
  const readers: number[][] = units.map(() => []);
  const depth = new Int32Array(units.length);
  for (const [i, from] of inputs.entries()) {
    for (const input of from) {
      (readers[input] as number[]).push(i);
      depth[i] = Math.max(depth[i] as number, (depth[input] as number) + 1);
    }
  }
  const isView = (i: number): boolean => (units[i] as Unit).nodes[0]?.primitive.lowering.kind === "view";
  const leafOf = new Map([...stateLeaves].map(([node, slot]) => [slot, unitOf.get(node)]));
  const fallible = checks(units);

  // A state can be overwritten in place once all that reads it has run, and nothing can stop the program any more.
  const before = inputs.map((from) => [...from]);
  // Numbers rise from inputs to users. Below a unit's number nothing leads to it but by way of the units that a wait for
  // a higher number was added to, of which this is the first.
  let firstWaiting = units.length;
  for (const { slot, node } of updates) {
    if (isLeaf(node)) continue; // copied at the end
    const writer = unitOf.get(node) as number;
    const leaf = leafOf.get(slot);
    const old = leaf === undefined ? [] : readersOf(leaf, readers, isView);
    for (const other of new Set([...old, ...fallible])) {
      if (other === writer || isBehind(other, writer, before, Math.min(writer, firstWaiting))) continue;
      (before[writer] as number[]).push(other);
      if (other > writer) firstWaiting = Math.min(firstWaiting, writer);
    }
  }
  const shallowFirst = (a: number, b: number): number => (depth[a] as number) - (depth[b] as number);
  const traced = units.map(({ nodes }) => Math.max(...nodes.map(({ id }) => id)));
  const roots = [
    [
      ...results.map((node) => unitOf.get(node) as number),
      ...updates.map(({ node }) => unitOf.get(node) as number).sort(shallowFirst),
    ],
    [...units.keys()].sort((a, b) => (traced[a] as number) - (traced[b] as number)),
  ];
  const inPlace = new Set(updates.map(({ node }) => node));
  const hoist = new Hoist(units, before, inPlace);
  const [walked, asTraced] = roots.map((from) => hoist.run(walk(before, from))) as [Run, Run];
  return (walked.peak <= asTraced.peak ? walked : asTraced).order.map((unit) => units[unit] as Unit);
}

/** An order of units, and the most elements alive in it. */
interface Run {
  readonly order: readonly number[];
  readonly peak: number;
}

/** Moves units that free more than they leave to the first place where they can run. */
class Hoist {
  /** For each unit, the values that it reads; what a view hands on counts as read by the view's readers. */
  private readonly reads: Node[][];
  private readonly readers = new Map<Node, number[]>();
  private readonly users: number[][];
  // Of the run at hand:
  private readonly unread = new Map<Node, number>();
  private readonly waitsFor: Int32Array;
  private readonly done: Uint8Array;
  private order: number[] = [];
  private live = 0;
  private peak = 0;

  constructor(
    private readonly units: readonly Unit[],
    private readonly before: readonly (readonly number[])[],
    private readonly inPlace: ReadonlySet<Node>,
  ) {
    this.users = units.map(() => []);
    this.done = new Uint8Array(units.length);
    for (const [i, from] of before.entries()) for (const unit of from) (this.users[unit] as number[]).push(i);
    this.waitsFor = new Int32Array(units.length);
    const sourceOf = new Map<Node, Node>();
    this.reads = units.map(({ nodes }, i) => {
      const own = new Set(nodes);
      const [first] = nodes as [Node];
      if (isLeaf(first)) return [];
      const outer = new Set(nodes.flatMap((node) => node.inputs).filter((x) => !own.has(x)));
      const values = [...new Set([...outer].map((x) => sourceOf.get(x) ?? x))];
      if (first.primitive.lowering.kind === "view") {
        sourceOf.set(first, values[0] as Node);
        return [];
      }
      for (const value of values) {
        const readers = this.readers.get(value) ?? [];
        readers.push(i);
        this.readers.set(value, readers);
      }
      return values;
    });
  }

  run(order: readonly number[]): Run {
    for (const [value, { length }] of this.readers) this.unread.set(value, length);
    for (const [i, { length }] of this.before.entries()) this.waitsFor[i] = length;
    this.done.fill(0);
    this.order = [];
    this.live = 0;
    this.peak = 0;
    for (const unit of order) if (this.done[unit] === 0) this.emit(unit);
    return { order: this.order, peak: this.peak };
  }

  /** Emits a unit, and what it enables that leaves less than it frees. */
  private emit(unit: number): void {
    const stack = [unit];
    for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
      if (this.done[next] === 1) continue;
      this.done[next] = 1;
      this.order.push(next);
      for (const user of this.users[next] as number[]) (this.waitsFor[user] as number)--;
      const values = this.reads[next] as Node[];
      this.live += this.leaves(next);
      this.peak = Math.max(this.peak, this.live);
      this.live -= this.frees(next);
      for (const value of values) this.unread.set(value, (this.unread.get(value) as number) - 1);
      // What pays now and did not before can run only now, or is the last to read something.
      const enabled = (this.users[next] as number[]).filter((user) => this.waitsFor[user] === 0);
      for (const value of [...values, ...(this.units[next] as Unit).nodes]) {
        const isLast = this.unread.get(value) === 1;
        for (const other of isLast ? (this.readers.get(value) as number[]) : enabled) {
          if ((isLast || (this.reads[other] as Node[]).includes(value)) && this.pays(other)) stack.push(other);
        }
      }
    }
  }

  /** Whether a unit can run, and frees more than it leaves. */
  private pays(unit: number): boolean {
    return this.done[unit] === 0 && this.waitsFor[unit] === 0 && this.frees(unit) > this.leaves(unit);
  }

  /** Elements of the values that only `unit` has yet to read. */
  private frees(unit: number): number {
    let sum = 0;
    for (const value of this.reads[unit] as Node[]) {
      if (this.unread.get(value) === 1 && !isLeaf(value)) sum += sizeOf(value.shape);
    }
    return sum;
  }

  /** Elements of the values that `unit` computes for others to read, other than new states. */
  private leaves(unit: number): number {
    let sum = 0;
    for (const node of (this.units[unit] as Unit).nodes) {
      if (this.unread.has(node) && !isLeaf(node) && !this.inPlace.has(node)) sum += sizeOf(node.shape);
    }
    return sum;
  }
}

/** Visits `roots` in order, each after the units `before` it. */
function walk(before: readonly (readonly number[])[], roots: readonly number[]): number[] {
  const order: number[] = [];
  const seen = new Uint8Array(before.length);
  const next = new Int32Array(before.length);
  for (const root of roots) {
    if (seen[root] === 1) continue;
    const stack = [root];
    for (let unit = stack.at(-1); unit !== undefined; unit = stack.at(-1)) {
      seen[unit] = 1;
      const list = before[unit] as readonly number[];
      const input = list[next[unit] as number];
      if (input !== undefined) {
        next[unit] = (next[unit] as number) + 1;
        if (seen[input] === 0) stack.push(input);
        continue;
      }
      stack.pop();
      order.push(unit);
    }
  }
  return order;
}
