/**
 * Another order for short memory: gradients that are sums are summed as soon as their terms can be computed.
 *
 * A weight that is read more than once, as at every step of an unrolled recurrent network, has a gradient that is a sum.
 * Computed when the weight is updated, it keeps waiting what its terms are computed from: the cotangents of all steps.
 * Term by term, only the sum so far waits. That may be more, where cotangents are smaller than the weight and few: so this
 * is tried where memory is short.
 */
import { sizeOf } from "../../graph/shape.js";
import type { Node } from "../../graph/tensor.js";
import { isLeaf } from "../../graph/walk.js";
import type { Unit } from "../fuse.js";
import { dependencies } from "../schedule.js";

/**
 * Moves forward, to where it can run first, what only one unit waits for, and only another for that, up to a target.
 * @param units in an order in which inputs come before their users
 * @param targets the nodes that are results or new values of states
 * @param bytes moving units that read fewer is not worth it by itself
 * @returns the units in another such order; null if none that reads as much moves
 */
export function sumEarly(units: readonly Unit[], targets: ReadonlySet<Node>, bytes: number): Unit[] | null {
  const { inputs } = dependencies(units);
  const kinds = units.map(({ nodes: [first] }) =>
    first === undefined || isLeaf(first) ? "leaf" : first.primitive.lowering.kind,
  );
  const readers = units.map((): number[] => []);
  const isComputed: boolean[] = [];
  for (const [unit, from] of inputs.entries()) {
    for (const input of from) (readers[input] as number[]).push(unit);
    isComputed.push(kinds[unit] === "view" ? from.some((input) => isComputed[input]) : kinds[unit] !== "leaf");
  }
  const isTarget = units.map(({ nodes }) => nodes.some((node) => targets.has(node)));
  const hurries: boolean[] = units.map(() => false);
  for (let unit = units.length - 1; unit >= 0; unit--) {
    const [reader, ...others] = readers[unit] as readonly number[];
    if (reader === undefined || others.length > 0 || kinds[unit] === "leaf" || isTarget[unit]) continue;
    const hasInput = kinds[unit] === "view" || inputs[unit]?.some((input) => isComputed[input]) === true;
    hurries[unit] = hasInput && (hurries[reader] === true || isTarget[reader] === true);
  }

  // How many units that stay come before each.
  const before: number[] = [];
  let staying = 0;
  for (const unit of units.keys()) {
    before.push(staying);
    if (!hurries[unit] && kinds[unit] !== "leaf") staying++;
  }
  const waitsFor = Int32Array.from(inputs, ({ length }) => length);
  const order: Unit[] = [];
  let placed = 0;
  let pays = false;
  const place = (first: number): void => {
    const stack = [first];
    for (let unit = stack.pop(); unit !== undefined; unit = stack.pop()) {
      order.push(units[unit] as Unit);
      // What is next to a target already is no term of a sum.
      const isTerm = hurries[unit] && hurries[readers[unit]?.[0] as number];
      pays ||= isTerm === true && placed < (before[unit] as number) && readBytes(units[unit] as Unit) >= bytes;
      for (const reader of readers[unit] as number[]) {
        (waitsFor[reader] as number)--;
        if (waitsFor[reader] === 0 && hurries[reader]) stack.push(reader);
      }
    }
  };
  for (const [unit, kind] of kinds.entries()) if (kind === "leaf") place(unit);
  for (const [unit, kind] of kinds.entries()) {
    if (kind === "leaf" || hurries[unit]) continue;
    placed++;
    place(unit);
  }
  return pays ? order : null;
}

/** Bytes of the values that a unit reads; a view's, none. */
function readBytes({ nodes }: Unit): number {
  if (nodes[0]?.primitive.lowering.kind === "view") return 0;
  const own = new Set(nodes);
  const read = new Set(nodes.flatMap(({ inputs }) => inputs).filter((x) => !own.has(x) && !isLeaf(x)));
  return [...read].reduce((sum, x) => sum + 4 * sizeOf(x.shape), 0);
}
