/**
 * Evaluates a graph in float64 through the `reference` of every operator's record: the truth that kernels and
 * gradients are held against. Slow, and independent of the planner and of Wasm.
 */
import type { RefArray } from "./primitive.js";
import type { Node } from "./tensor.js";

/** Every node that `roots` are computed from, inputs before their users; not looking behind `known`. */
function ordered(roots: readonly Node[], known: ReadonlyMap<Node, ArrayLike<number>>): Node[] {
  const found = new Set<Node>();
  const stack = [...roots];
  for (let node = stack.pop(); node !== undefined; node = stack.pop()) {
    if (found.has(node)) continue;
    found.add(node);
    if (!known.has(node)) stack.push(...node.inputs);
  }
  // A node is made after its inputs, so rising ids are a topological order; no recursion, however long the chain.
  return [...found].sort((a, b) => a.id - b.id);
}

function compute(node: Node, inputs: readonly RefArray[]): Float64Array {
  const { primitive } = node;
  if (primitive.lowering.kind === "source") {
    const stored = node.value ?? node.storage?.read();
    if (stored !== undefined) return Float64Array.from(stored);
  }
  return primitive.reference(inputs, node, node.attrs);
}

/**
 * The values of `roots` in float64, row-major.
 * @param leaves values that stand in for those of some nodes: the points at which to evaluate
 * @throws Error where the graph has a placeholder that `leaves` does not bind
 */
export function evaluateReference(
  roots: readonly Node[],
  leaves: ReadonlyMap<Node, ArrayLike<number>> = new Map(),
): Float64Array[] {
  const values = new Map<Node, RefArray>();
  for (const node of ordered(roots, leaves)) {
    const given = leaves.get(node);
    const data =
      given !== undefined
        ? Float64Array.from(given)
        : compute(
            node,
            node.inputs.map((input) => values.get(input) as RefArray),
          );
    values.set(node, { data, shape: node.shape, dtype: node.dtype });
  }
  return roots.map((root) => (values.get(root) as RefArray).data);
}
