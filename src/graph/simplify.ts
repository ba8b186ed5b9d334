/** Simplification: a graph to an equal, smaller graph that gives the same bits. */
import { noteName } from "./names.js";
import type { Primitive, RefArray } from "./primitive.js";
import { sameShape } from "./shape.js";
import { constantPrimitive } from "./sources.js";
import { type AnyPrimitive, isWithin, mode, Node, type Region, type Tensor } from "./tensor.js";
import { isContiguous, type Layout, readView, wholeView } from "./view.js";
import { attrsKey, isLeaf, topological } from "./walk.js";

/** The number that a constant holds in every element, or undefined for other nodes. */
export function constantValue(node: Node): number | undefined {
  return node.primitive === (constantPrimitive as AnyPrimitive) ? (node.attrs as { value: number }).value : undefined;
}

/** A layout within a row-major value. It stands for views that no movement operator makes, and is not differentiated. */
const stridedPrimitive: Primitive<Tensor, Layout> = {
  name: "strided",
  infer: ([x], { shape }) => ({ shape, dtype: (x as Tensor).dtype }),
  reference: ([x], _, layout) => readView((x as RefArray).data, layout),
  vjp: null,
  lowering: {
    kind: "view",
    view: (input, _, layout) => (isContiguous(input) ? { ...layout, offset: input.offset + layout.offset } : null),
  },
  flops: () => 0,
};

/** A value in memory, and how a node's elements lie in it. */
interface Seen {
  readonly base: Node;
  readonly layout: Layout;
}

/** What nodes are views of. */
class Views {
  private readonly seen = new Map<Node, Seen>();

  /** A node that is no view of another is all of its own value. */
  of(node: Node): Seen {
    return this.seen.get(node) ?? { base: node, layout: wholeView(node.shape) };
  }

  /** Notes what `node` is a view of, if it is one. */
  note(node: Node): void {
    const { lowering } = node.primitive;
    const [input] = node.inputs;
    if (lowering.kind !== "view" || input === undefined || isLeaf(node)) return;
    const { base, layout } = this.of(input);
    const view = lowering.view(layout, node.shape, node.attrs);
    if (view !== null) this.seen.set(node, { base, layout: view });
  }
}

/**
 * Rewrites the graph of `roots`: equal nodes become one, operators that hand an input through disappear, views that turn
 * back into what they are views of do too, parts that are put together as they lie become a view, arithmetic on
 * constants is done, and what no root needs is left out. Leaves stay the nodes that they are.
 * @returns the roots' replacements, in order
 */
export function simplify(roots: readonly Node[]): Node[] {
  const order = topological(roots);
  const replacement = new Array<Node>(order.length);
  const known = new Map<string, Node>();
  const views = new Views();
  for (const [i, node] of order.entries()) {
    const inputs = isLeaf(node) ? [] : node.inputs.map((x) => replacement[x.index] as Node);
    const candidate = isLeaf(node)
      ? node
      : (handedThrough(node, inputs) ??
        turnedBack(node, inputs, views) ??
        joined(node, inputs, views) ??
        folded(node, inputs) ??
        rebuilt(node, inputs));
    const key = keyOf(candidate);
    const equal = key === null ? undefined : known.get(key);
    if (candidate !== node && candidate !== equal && !isLeaf(candidate)) inherit(candidate, node);
    // A value that a checkpoint returns is kept, also where an equal one was made within.
    if (equal !== undefined && node.region !== node.holder) equal.holder = node.holder;
    if (equal !== undefined && node.region !== null) equal.holder = around(equal.holder, node.region);
    replacement[i] = equal ?? candidate;
    noteName(node, equal ?? candidate);
    if (equal !== undefined) continue;
    if (key !== null) known.set(key, candidate);
    views.note(candidate);
  }
  return roots.map((root) => replacement[root.index] as Node);
}

/** The innermost region that is `a` or around it, and `b` or around it: two checkpoints that make equal values share them. */
function around(a: Region | null, b: Region): Region | null {
  for (let outer = a; outer !== null; outer = outer.parent) if (isWithin(b, outer)) return outer;
  return null;
}

/** Gives what stands for a node the node's place: in the order of tracing, in checkpoints, and in the user's code. */
function inherit(copy: Node, node: Node): void {
  copy.id = node.id;
  copy.region = node.region;
  copy.holder = node.holder;
  mode.sites?.inherit(copy, node);
}

/** The input that `node` equals, if it is known to equal one. */
function handedThrough(node: Node, inputs: readonly Node[]): Node | null {
  const i = node.primitive.forwards?.(inputs.map(constantValue)) ?? null;
  if (i === null) return null;
  const input = inputs[i] as Node;
  return sameShape(input.shape, node.shape) && input.dtype === node.dtype ? input : null;
}

/** The value that `node` sees all of, in its own order, through its input, a view: back and forth between shapes. */
function turnedBack(node: Node, inputs: readonly Node[], views: Views): Node | null {
  const { lowering } = node.primitive;
  if (lowering.kind !== "view") return null;
  const { base, layout } = views.of(inputs[0] as Node);
  if (!sameShape(base.shape, node.shape)) return null;
  const view = lowering.view(layout, node.shape, node.attrs);
  return view !== null && view.offset === 0 && isContiguous(view) ? base : null;
}

/** A view, where `node` puts together parts of a value that lie in it as they would in the result. */
function joined(node: Node, inputs: readonly Node[], views: Views): Node | null {
  const { primitive, shape, attrs, dtype } = node;
  if (primitive.joined === undefined) return null;
  const seen = inputs.map((x) => views.of(x));
  const { base } = seen[0] as Seen;
  if (constantValue(base) !== undefined || seen.some((x) => x.base !== base)) return null;
  const layout = primitive.joined(
    seen.map((x) => x.layout),
    shape,
    attrs,
  );
  if (layout === null) return null;
  if (sameShape(base.shape, shape) && layout.offset === 0 && isContiguous(layout)) return base;
  return new Node(stridedPrimitive as AnyPrimitive, [base], layout, shape, dtype, null);
}

/** A constant, where all inputs are and the operator's float64 result rounds to what its kernel gives. */
function folded(node: Node, inputs: readonly Node[]): Node | null {
  if (inputs.length === 0 || inputs.some((x) => constantValue(x) === undefined)) return null;
  const constants = inputs.map(constantValue);
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
