/** Trees of tensors: a tensor, or arrays and plain objects of trees, as functions take and return them. */
import { describe } from "./describe.js";
import { ArgumentError } from "./errors.js";
import { Tensor } from "./tensor.js";

/** A tensor, or a nesting of arrays and plain objects with tensors at its leaves. */
export type Tree = Tensor | readonly Tree[] | { readonly [key: string]: Tree };

/** Calls `visit` with every tensor of a tree, in order of its elements and keys, and gives the tree of the results. */
export function mapTree<T extends Tree>(op: string, tree: T, visit: (leaf: Tensor) => Tensor): T {
  const walk = (node: Tree): Tree => {
    if (node instanceof Tensor) return visit(node);
    if (Array.isArray(node)) return node.map(walk);
    const plain = typeof node === "object" && node !== null && Object.getPrototypeOf(node) === Object.prototype;
    if (!plain) {
      throw new ArgumentError(`${op}: expected tensors, or arrays and plain objects of them, not ${describe(node)}`);
    }
    return Object.fromEntries(Object.entries(node).map(([key, value]) => [key, walk(value)]));
  };
  return walk(tree) as T;
}

/** The tensors of a tree, in the order that {@link mapTree} visits them. */
export function leavesOf(op: string, tree: Tree): Tensor[] {
  const leaves: Tensor[] = [];
  mapTree(op, tree, (leaf) => {
    leaves.push(leaf);
    return leaf;
  });
  return leaves;
}
