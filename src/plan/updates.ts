/** Updates of states: what a program must compute, and which new values it may write over the old ones at once. */
import { sameShape } from "../graph/shape.js";
import type { Node } from "../graph/tensor.js";
import { isLeaf } from "../graph/walk.js";
import type { PlanOperand } from "./buffer.js";
import { type Operation, operationsOf } from "./chain.js";
import { originalOf } from "./copy.js";
import type { Unit } from "./fuse.js";

/** What a program must do with the values that it computes. */
export interface Targets {
  /** Values that the host reads after the run. */
  readonly results: readonly Node[];
  /** New values of states: they are in place when the run ends. */
  readonly updates: readonly { readonly slot: number; readonly node: Node }[];
}

/** The units whose data can stop the program: indices that no earlier unit has found to be in range. */
export function checks(units: readonly Unit[]): number[] {
  const checked = new Set<string>();
  return units.flatMap(({ nodes: [node] }, i) => {
    if (node === undefined || isLeaf(node)) return [];
    const { lowering } = node.primitive;
    if (lowering.kind !== "kernel" || lowering.checks === undefined) return [];
    const key = `${originalOf(node.inputs[lowering.checks.input] as Node).id}<${lowering.checks.size(node.inputs, node.attrs)}`;
    if (checked.has(key)) return [];
    checked.add(key);
    return [i];
  });
}

/** Where the leaves' values are. */
export type LeafOperand = (node: Node) => PlanOperand;

/** Knows which states can be written in place. */
export interface InPlace {
  /**
   * Whether `unit` may write `node` over state `slot`, which it reads.
   * @param outside nodes whose values must reach memory
   * @param find finds that out
   */
  isInPlace(unit: Unit, node: Node, slot: number, outside: ReadonlySet<Node>, find: () => boolean): boolean;
}

/**
 * The states that values may be written to directly, by node.
 *
 * A new state may be written over the old one where nothing reads the old one afterwards, and nothing can stop the
 * program any more: a run that fails leaves every state as it was. The unit that writes it may itself read it, if it
 * is a chain that reads each element before it writes it.
 * @param unitOf the number of each node's unit
 * @param outside nodes whose values must reach memory
 */
export function writtenDirectly(
  units: readonly Unit[],
  unitOf: ReadonlyMap<Node, number>,
  { results, updates }: Targets,
  outside: ReadonlySet<Node>,
  leafOperand: LeafOperand,
  known: InPlace | undefined,
): Map<Node, number> {
  const direct = new Map<Node, number>();
  if (updates.length === 0) return direct;
  const lastReader = new Map<number, number>();
  const slotOf = new Map<Node, number>();
  for (const [node, unit] of unitOf) {
    if (isLeaf(node)) {
      const { region } = leafOperand(node).buffer;
      if (region.kind === "state") slotOf.set(node, region.slot);
      continue;
    }
    for (const input of node.inputs) {
      const slot = slotOf.get(input);
      if (slot === undefined) continue;
      lastReader.set(slot, unit);
      if (node.primitive.lowering.kind === "view") slotOf.set(node, slot);
    }
  }
  // Results, and states that become the new value of others, are read when all units have run.
  for (const node of [...results, ...updates.map((update) => update.node)]) {
    const slot = slotOf.get(node);
    if (slot !== undefined) lastReader.set(slot, Number.POSITIVE_INFINITY);
  }
  const chains = new Map<Unit, Operation[]>();
  /** Whether `unit` is a chain that reads state `slot` only element by element, and never after writing `node`. */
  const readsInPlace = (unit: Unit, node: Node, slot: number): boolean => {
    if (node.primitive.lowering.kind !== "elementwise") return false;
    // A product reads its operands again and again while the chain behind it writes.
    if (unit.head?.inputs.some((x) => slotOf.get(x) === slot)) return false;
    const chain = unit.nodes.filter((member) => member.primitive.lowering.kind === "elementwise");
    const operations = chains.get(unit) ?? operationsOf(chain, outside, unit.apart);
    chains.set(unit, operations);
    const written = operations.findIndex((operation) => operation.node === node);
    return operations.every(({ operands }, i) =>
      operands.every((x) => slotOf.get(x) !== slot || (isLeaf(x) && i <= written && sameShape(x.shape, node.shape))),
    );
  };
  const lastFallible = checks(units).at(-1) ?? -1;
  for (const { slot, node } of updates) {
    const place = unitOf.get(node);
    if (place === undefined || isLeaf(node) || node.primitive.lowering.kind === "view") continue;
    if (direct.has(node) || slotOf.has(node)) continue;
    if (place <= lastFallible) continue;
    const last = lastReader.get(slot) ?? -1;
    const unit = units[place] as Unit;
    const find = (): boolean => readsInPlace(unit, node, slot);
    const safe = last < place || (last === place && (known?.isInPlace(unit, node, slot, outside, find) ?? find()));
    if (safe) direct.set(node, slot);
  }
  return direct;
}
