/**
 * Other units for short memory: what fusion made one is taken apart where that lets less be in memory at once.
 *
 * A weight cannot be updated before all that reads it has run, the cotangent of the layer's input among that. Where the
 * gradient and the update are one unit, both come after that, and what the gradient is computed from has to wait beside
 * the new cotangent. Apart, the gradient waits instead, which mostly is smaller.
 *
 * A chain behind a product reads values while the product's inputs are there still: the mask of a ReLU beside both
 * cotangents. Apart, the inputs are gone by then, and what the chain reads may be computed again after the product.
 *
 * Either way the price is to write a product and to read it.
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

/**
 * Takes products and the chains behind them apart, except for a bias, which is where a product's sums begin.
 * @param units in an order in which inputs come before their users
 * @param bytes chains stay where they are if all that they read besides their product is smaller
 * @returns the units in such an order; null if nothing was taken apart
 */
export function splitEpilogues(units: readonly Unit[], bytes: number): Unit[] | null {
  const out = units.flatMap((unit) => withoutEpilogue(unit, bytes));
  return out.length === units.length ? null : out;
}

function withoutEpilogue(unit: Unit, bytes: number): readonly Unit[] {
  const { head, nodes, apart = new Set() } = unit;
  if (head === null) return [unit];
  const own = new Set(nodes);
  const bias = biasOf(unit, head);
  const product = bias === null ? [head] : [head, bias];
  const rest = nodes.filter((node) => !product.includes(node));
  const isView = (node: Node): boolean => node.primitive.lowering.kind === "view";
  const views = rest.filter(isView);
  const chain = rest.filter((node) => !isView(node));
  const reads = chain.flatMap(({ inputs }) => inputs).filter((x) => !own.has(x) && !isLeaf(x));
  const large = reads.some((x) => !head.inputs.includes(x) && 4 * sizeOf(x.shape) >= bytes);
  // Behind a view a bias is copied where its elements are not adjacent, and else it is not part of the product.
  const scattered = views.length > 0 && bias?.inputs.some((x) => x !== head && !isLeaf(x) && isView(x)) === true;
  if (!large || scattered) return [unit];
  return [
    { nodes: product, head: bias === null ? null : head, apart },
    ...views.map((view) => ({ nodes: [view], head: null })),
    { nodes: chain, head: null, apart },
  ];
}

/** What adds a bias to a product, as far as can be told without knowing how that lies in memory. */
function biasOf({ nodes }: Unit, head: Node): Node | null {
  const { lowering } = head.primitive;
  if (lowering.kind !== "kernel" || lowering.epilogue !== "bias and chain") return null;
  const [first, ...others] = nodes.filter(({ inputs }) => inputs.includes(head));
  if (first === undefined || others.length > 0 || first.primitive.name !== "add") return null;
  return first.inputs.some((x) => x !== head && nodes.includes(x)) ? null : first;
}
