/** Copies of nodes: the same operator once more, so that a program computes a value again. */
import { Node } from "../graph/tensor.js";

class Copy extends Node {
  constructor(
    readonly original: Node,
    inputs: readonly Node[],
  ) {
    super(original.primitive, inputs, original.attrs, original.shape, original.dtype, null);
  }
}

/** A node that computes what `node` does, from `inputs`. */
export function copyOf(node: Node, inputs: readonly Node[]): Node {
  return new Copy(originalOf(node), inputs);
}

/** The node whose value a copy has; a node that is no copy is its own. */
export function originalOf(node: Node & Partial<Pick<Copy, "original">>): Node {
  return node.original ?? node;
}
