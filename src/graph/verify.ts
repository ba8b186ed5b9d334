/** The checker that runs between passes: a graph that a pass has broken is found there and not in the results. */
import { formatShape, sameShape } from "./shape.js";
import type { Node } from "./tensor.js";
import { isLeaf, topological } from "./walk.js";

/**
 * Verifies that every node is what its operator makes of its inputs, and that the roots still have their kinds.
 * @param pass names the pass that made the graph
 * @throws Error naming the first node that is wrong
 */
export function verifyGraph(pass: string, roots: readonly Node[], expected: readonly Node[]): void {
  const fail = (node: Node, why: string): never => {
    throw new Error(`after ${pass}: ${node.primitive.name} ${node.dtype}${formatShape(node.shape)} ${why}`);
  };
  for (const node of topological(roots)) {
    if (isLeaf(node)) continue;
    const { shape, dtype } = node.primitive.infer(node.inputs, node.attrs);
    if (!sameShape(shape, node.shape) || dtype !== node.dtype) fail(node, `should be ${dtype}${formatShape(shape)}`);
  }
  roots.forEach((root, i) => {
    const { shape, dtype } = expected[i] as Node;
    if (!sameShape(root.shape, shape) || root.dtype !== dtype) fail(root, `stands for ${dtype}${formatShape(shape)}`);
  });
}
