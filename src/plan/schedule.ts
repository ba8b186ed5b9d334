/**
 * Scheduling: an order of the units in which few values wait.
 *
 * The backward pass is walked update by update, the shallowest first: a weight's gradient is computed as soon as the
 * cotangent that it needs is there, the weight is updated in its place, and what only they read is free again.
 */
import type { Node } from "../graph/tensor.js";
import { isLeaf } from "../graph/walk.js";
import type { Unit } from "./fuse.js";
import { checks, type Targets } from "./lower.js";

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

/** Whether `unit` is computed from `source`; both are numbers in an order in which inputs come first. */
function isBehind(unit: number, source: number, inputs: readonly (readonly number[])[]): boolean {
  const seen = new Set<number>();
  const stack = [unit];
  for (let at = stack.pop(); at !== undefined; at = stack.pop()) {
    if (at === source) return true;
    for (const input of inputs[at] as readonly number[]) {
      if (input >= source && !seen.has(input)) {
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
  for (const { slot, node } of updates) {
    const writer = unitOf.get(node) as number;
    const leaf = leafOf.get(slot);
    const old = leaf === undefined ? [] : readersOf(leaf, readers, isView);
    for (const other of new Set([...old, ...fallible])) {
      if (other !== writer && !isBehind(other, writer, before)) (before[writer] as number[]).push(other);
    }
  }
  return walk(units, before, [
    ...results.map((node) => unitOf.get(node) as number),
    ...updates
      .map(({ node }) => unitOf.get(node) as number)
      .sort((a, b) => (depth[a] as number) - (depth[b] as number)),
  ]);
}

/** Visits `roots` in order, each after the units `before` it. */
function walk(units: readonly Unit[], before: readonly (readonly number[])[], roots: readonly number[]): Unit[] {
  const order: Unit[] = [];
  const seen = new Uint8Array(units.length);
  const next = new Int32Array(units.length);
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
      order.push(units[unit] as Unit);
    }
  }
  return order;
}
