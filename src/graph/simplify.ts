/** Simplification: a graph to an equal, smaller graph that gives the same bits. */
import type { RefArray } from "./primitive.js";
import { sameShape } from "./shape.js";
import { constantPrimitive } from "./sources.js";
import { type AnyPrimitive, Node } from "./tensor.js";
import { attrsKey, isLeaf, topological } from "./walk.js";

/** The number that a constant holds in every element, or undefined for other nodes. */
export function constantValue(node: Node): number | undefined {
  return node.primitive === (constantPrimitive as AnyPrimitive) ? (node.attrs as { value: number }).value : undefined;
}

/**
 * Rewrites the graph of `roots`: equal nodes become one, operators that hand an input through disappear, arithmetic on
 * constants is done, and what no root needs is left out. Leaves stay the nodes that they are.
 * @returns the roots' replacements, in order
 */
export function simplify(roots: readonly Node[]): Node[] {
  const order = topological(roots);
  const replacement = new Array<Node>(order.length);
  const known = new Map<string, Node>();
  for (const [i, node] of order.entries()) {
    const inputs = isLeaf(node) ? [] : node.inputs.map((x) => replacement[x.index] as Node);
    const candidate = isLeaf(node)
      ? node
      : (handedThrough(node, inputs) ?? folded(node, inputs) ?? rebuilt(node, inputs));
    const key = keyOf(candidate);
    const equal = key === null ? undefined : known.get(key);
    if (candidate !== node && candidate.inputs.length > 0 && !inputs.includes(candidate))
      inheritRegion(candidate, node);
    // A value that a checkpoint returns is kept, also where an equal one was made within.
    if (equal !== undefined && node.region !== node.holder) equal.holder = node.holder;
    replacement[i] = equal ?? candidate;
    if (key !== null && equal === undefined) known.set(key, candidate);
  }
  return roots.map((root) => replacement[root.index] as Node);
}

function inheritRegion(copy: Node, node: Node): void {
  copy.region = node.region;
  copy.holder = node.holder;
}

/** The input that `node` equals, if it is known to equal one. */
function handedThrough(node: Node, inputs: readonly Node[]): Node | null {
  const i = node.primitive.forwards?.(inputs.map(constantValue)) ?? null;
  if (i === null) return null;
  const input = inputs[i] as Node;
  return sameShape(input.shape, node.shape) && input.dtype === node.dtype ? input : null;
}

/** A constant, where all inputs are and the operator's float64 result rounds to what its kernel gives. */
function folded(node: Node, inputs: readonly Node[]): Node | null {
  const constants = inputs.map(constantValue);
  if (constants.length === 0 || constants.includes(undefined)) return null;
  const { kind } = node.primitive.lowering;
  if (kind === "view") return constantNode(constants[0] as number, node);
  if (kind !== "elementwise" || node.primitive.exact !== true) return null;
  const scalars = inputs.map((x, k): RefArray => ({ ...scalar(x), data: Float64Array.of(constants[k] as number) }));
  const [value] = node.primitive.reference(scalars, scalar(node), node.attrs);
  return constantNode(node.dtype === "f32" ? Math.fround(value as number) : (value as number), node);
}

function scalar(node: Node): { shape: readonly number[]; dtype: Node["dtype"] } {
  return { shape: [], dtype: node.dtype };
}

function constantNode(value: number, like: Node): Node {
  return new Node(constantPrimitive as AnyPrimitive, [], { value }, like.shape, like.dtype, null);
}

function rebuilt(node: Node, inputs: readonly Node[]): Node {
  if (inputs.every((x, i) => x === node.inputs[i])) return node;
  return new Node(node.primitive, inputs, node.attrs, node.shape, node.dtype, null);
}

/** Equal for nodes that hold equal values; null for leaves, each of which is its own value. */
function keyOf(node: Node): string | null {
  const value = constantValue(node);
  if (value !== undefined) return `${Object.is(value, -0) ? "-0" : value}:${node.dtype}[${node.shape}]`;
  if (isLeaf(node)) return null;
  return `${node.primitive.name}:${node.dtype}(${node.inputs.map((x) => x.id)})${attrsKey(node.attrs)}`;
}
