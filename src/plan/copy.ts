/** Copies of nodes: the same operator once more, so that a program computes a value again. */
import { Node } from "../graph/tensor.js";

const originals = new WeakMap<Node, Node>();

/** A node that computes what `node` does, from `inputs`. */
export function copyOf(node: Node, inputs: readonly Node[]): Node {
  const copy = new Node(node.primitive, inputs, node.attrs, node.shape, node.dtype, null);
  originals.set(copy, originalOf(node));
  return copy;
}

/** The node whose value a copy has; a node that is no copy is its own. */
export function originalOf(node: Node): Node {
  return originals.get(node) ?? node;
}
