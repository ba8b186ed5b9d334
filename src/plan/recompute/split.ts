/**
 * Another order for short memory: gradients of weights are computed as soon as they can be, apart from the updates that
 * they are for.
 *
 * A weight cannot be updated before all that reads it has run, the cotangent of the layer's input among that. Where the
 * gradient and the update are one unit, both come after that, and what the gradient is computed from has to wait beside
 * the new cotangent. Apart, the gradient waits instead, which mostly is smaller, at the price of writing and reading it.
 */
import { sizeOf } from "../../graph/shape.js";
import type { Node } from "../../graph/tensor.js";
import { isLeaf } from "../../graph/walk.js";
import type { Unit } from "../fuse.js";

/**
 * Takes gradients and updates apart.
 * @param units in an order in which inputs come before their users
 * @param updates the nodes that are new values of states
 * @param bytes gradients that are computed from fewer stay where they are
 * @returns the units in another such order; null if nothing was taken apart
 */
export function splitUpdates(units: readonly Unit[], updates: ReadonlySet<Node>, bytes: number): Unit[] | null {
  const place = new Map<Node, number>();
  for (const [i, { nodes }] of units.entries()) for (const node of nodes) place.set(node, i);
  /** The products that come right behind each unit. */
  const behind = new Map<number, Unit[]>();
  const out = units.map((unit, i): Unit => {
    const { head, nodes, apart } = unit;
    if (head === null || !nodes.some((node) => updates.has(node))) return unit;
    const last = Math.max(...head.inputs.map((x) => place.get(x) as number));
    const held = head.inputs.reduce((sum, x) => sum + (isLeaf(x) ? 0 : sizeOf(x.shape)), 0);
    if (last >= i - 1 || held <= sizeOf(head.shape) || 4 * held < bytes) return unit;
    behind.set(last, [...(behind.get(last) ?? []), { nodes: [head], head: null }]);
    return { nodes: nodes.filter((node) => node !== head), head: null, ...(apart && { apart }) };
  });
  if (behind.size === 0) return null;
  return out.flatMap((unit, i) => [unit, ...(behind.get(i) ?? [])]);
}
