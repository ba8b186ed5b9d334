/**
 * Vectorization: a function of one example made into one of many. The function runs once, on placeholders of one
 * example's shapes; then every operator that it applied is applied again, to all examples at once.
 */
import { ArgumentError, GradError, ShapeError, TraceError } from "../graph/errors.js";
import type { BatchContext } from "../graph/primitive.js";
import { formatShape, normalizeDim } from "../graph/shape.js";
import { type CellAttrs, cell, cellPrimitive, constant, constantPrimitive, inputPrimitive } from "../graph/sources.js";
import {
  type AnyPrimitive,
  apply,
  inRegion,
  keepFor,
  mode,
  Node,
  nodeOf,
  noGrad,
  type Scope,
  Tensor,
} from "../graph/tensor.js";
import { leavesOf, mapTree, type Tree } from "../graph/tree.js";
import { movedim } from "../ops/arrange.js";
import { stack } from "../ops/join.js";
import { expand, reshape, select } from "../ops/movement.js";
import { type Differentiable, treeOf, withGrad } from "./record.js";

/**
 * Which dimension counts the examples: a number for all tensors of a tree, null where they do not differ between
 * examples, or arrays and plain objects that say so for each part of the tree.
 */
export type ExampleDims = number | null | readonly ExampleDims[] | { readonly [key: string]: ExampleDims };

/** The function's run on one example: tensors made in it stand for one value an example. */
class ExampleScope implements Scope {
  constructor(private readonly outer: Scope | null) {}

  /** Runs `fn` in this scope. */
  run<T>(fn: () => T): T {
    return this.under(this, fn);
  }

  nodeOf(tensor: Tensor): Node {
    return tensor._node.scope === this ? tensor._node : this.under(this.outer, () => nodeOf(tensor));
  }

  bind(tensor: Tensor, node: Node): void {
    if (tensor._node.scope !== this) {
      throw new TraceError(
        `vmap: a ${tensor.dtype}${formatShape(tensor.shape)} tensor from outside was overwritten in place, and every example would write its own value; return the new value instead`,
      );
    }
    tensor._node = node;
  }

  gradOf(tensor: Tensor): Tensor | null {
    return tensor._node.scope === this ? tensor._grad : this.under(this.outer, () => tensor.grad);
  }

  setGrad(tensor: Tensor, grad: Tensor | null): void {
    if (tensor._node.scope !== this) {
      throw new GradError(
        `vmap: a ${tensor.dtype}${formatShape(tensor.shape)} tensor from outside would receive one .grad for every example; use grad(fn) inside, which returns gradients`,
      );
    }
    tensor._grad = grad;
  }

  /** Cells are read once for every example, when they are made for all: see `replay`. */
  addCell(): void {}

  addGuard(holds: () => boolean): void {
    this.outer?.addGuard(holds);
  }

  /** What is made for one example is made anew for all of them. */
  addDifferentiated(): void {}

  private under<T>(scope: Scope | null, fn: () => T): T {
    const before = mode.scope;
    mode.scope = scope;
    try {
      return fn();
    } finally {
      mode.scope = before;
    }
  }
}

/** A value for all examples. Where it is batched, they are the first dimension; otherwise it is the same for each. */
interface Batched {
  readonly tensor: Tensor;
  readonly batched: boolean;
}

/** The value with the examples as its first dimension. */
function spread({ tensor, batched }: Batched, size: number): Tensor {
  return batched ? tensor : expand(tensor, size, tensor.shape);
}

function contextOf(node: Node, values: readonly Batched[], size: number): BatchContext<Tensor, unknown> {
  const inputs = values.map(({ tensor }) => tensor);
  const rank = Math.max(...node.inputs.map(({ shape }) => shape.length));
  return {
    size,
    inputs,
    batched: values.map(({ batched }) => batched),
    attrs: node.attrs,
    spread: (i) => spread(values[i] as Batched, size),
    aligned: () =>
      values.map(({ tensor, batched }) => {
        if (!batched) return tensor;
        const [examples, ...shape] = tensor.shape as [number, ...number[]];
        return reshape(tensor, examples, new Array<number>(rank - shape.length).fill(1), shape);
      }),
  };
}

/** One example after another, for operators that know no better. */
function unrolled({ primitive, attrs }: Node, values: readonly Batched[], size: number): Tensor {
  const outputs = Array.from({ length: size }, (_, example) =>
    apply(
      primitive,
      values.map(({ tensor, batched }) => (batched ? select(tensor, 0, example) : tensor)),
      attrs,
    ),
  );
  return stack(outputs);
}

/** The operator of `node` applied to all examples. */
function applied(node: Node, values: readonly Batched[], size: number): Tensor {
  const { primitive, attrs } = node;
  if (size === 0) return constant(0, [0, ...node.shape], node.dtype);
  const context = contextOf(node, values, size);
  if (primitive.batch !== undefined) return primitive.batch(context) ?? unrolled(node, values, size);
  const { kind } = primitive.lowering;
  if (kind === "elementwise") return apply(primitive, context.aligned(), attrs);
  if (kind === "reduce") {
    const { dims } = attrs as { dims: readonly number[] };
    return apply(primitive, context.inputs, { ...(attrs as object), dims: dims.map((d) => d + 1) });
  }
  return unrolled(node, values, size);
}

/** A cell of the function for all examples: its numbers are read as often as a loop over the examples would. */
function cellOfExamples({ attrs, shape, dtype }: Node, size: number): Tensor {
  const { read, undo } = attrs as CellAttrs;
  const every = Array.from({ length: size });
  return cell(
    () => every.flatMap(() => read()),
    [size, ...shape],
    dtype as "f32" | "i32",
    undo && (() => every.forEach(undo)),
  );
}

function replay(node: Node, values: readonly Batched[], size: number): Batched {
  if (node.primitive === (cellPrimitive as AnyPrimitive)) return { tensor: cellOfExamples(node, size), batched: true };
  if (node.primitive === (constantPrimitive as AnyPrimitive)) {
    const { value } = node.attrs as { value: number };
    return { tensor: constant(value, node.shape, node.dtype), batched: false };
  }
  if (!values.some(({ batched }) => batched)) {
    const inputs = values.map(({ tensor }) => tensor);
    return { tensor: apply(node.primitive, inputs, node.attrs), batched: false };
  }
  return { tensor: applied(node, values, size), batched: true };
}

/** Replays what `outputs` were computed by, from the values of the placeholders in `known`. */
function replayAll(outputs: readonly Node[], scope: Scope, known: Map<Node, Batched>, size: number): Batched[] {
  const made: Node[] = [];
  const seen = new Set(known.keys());
  const stacked = [...outputs];
  for (let node = stacked.pop(); node !== undefined; node = stacked.pop()) {
    if (seen.has(node)) continue;
    seen.add(node);
    if (node.scope !== scope) known.set(node, { tensor: new Tensor(node), batched: false });
    else {
      made.push(node);
      stacked.push(...node.inputs);
    }
  }
  // A node is made after its inputs, so rising ids are a topological order.
  made.sort((a, b) => a.id - b.id);
  for (const node of made) {
    const values = node.inputs.map((x) => known.get(x) as Batched);
    // What the function cut off from gradients stays so.
    const run = node.requiresGrad ? withGrad : noGrad;
    const all = inRegion(node.region, () => run(() => replay(node, values, size)));
    if (node.region !== null) keepFor(nodeOf(all.tensor), node.region, node.holder);
    known.set(node, all);
  }
  return outputs.map((node) => known.get(node) as Batched);
}

/** What `dims` says of each tensor of `tree`, in order. */
function dimsOf(what: string, tree: Tree, dims: ExampleDims): (number | null)[] {
  if (dims === null || typeof dims === "number") return leavesOf("vmap", tree).map(() => dims);
  const keys = tree instanceof Tensor ? [] : Object.keys(tree);
  if (keys.length !== Object.keys(dims).length || keys.some((key) => !(key in dims))) {
    throw new ArgumentError(
      `vmap: ${what} ${JSON.stringify(dims)} does not match ${tree instanceof Tensor ? "a tensor" : `a tree with ${keys.length} parts (${keys.join(", ")})`}`,
    );
  }
  return keys.flatMap((key) =>
    dimsOf(what, (tree as Record<string, Tree>)[key] as Tree, (dims as Record<string, ExampleDims>)[key] ?? null),
  );
}

/** The arguments with the examples as their first dimension, and how many there are. */
function examplesIn(args: readonly Tree[], inDims: ExampleDims): { values: Batched[]; size: number } {
  const dims = dimsOf("inDims", args, inDims);
  let size: number | undefined;
  const values = leavesOf("vmap", args).map((tensor, i): Batched => {
    const dim = dims[i] as number | null;
    if (dim === null) return { tensor, batched: false };
    if (tensor.ndim === 0) {
      throw new ShapeError(`vmap: tensor ${i} of the arguments is a scalar, which has no dimension of examples`);
    }
    const first = movedim(tensor, normalizeDim("vmap (inDims)", dim, tensor.ndim), 0);
    const count = first.shape[0] as number;
    size ??= count;
    if (count !== size) {
      throw new ShapeError(
        `vmap: tensor ${i} of the arguments, ${formatShape(tensor.shape)}, has ${count} examples in dimension ${dim}, and those before it have ${size}`,
      );
    }
    return { tensor: first, batched: true };
  });
  if (size === undefined) throw new ArgumentError("vmap: inDims must name a dimension of at least one argument");
  return { values, size };
}

/**
 * Makes a function of one example into a function of many: `fn` is written for tensors without a dimension of examples,
 * and the result takes and returns tensors with one, and computes all examples at once. Nests with itself and with
 * `grad`, `vjp`, `jvp` and `compile` in any order. Random numbers are drawn for every example.
 *
 * `fn` runs once, on tensors that have no values: they cannot be read in it, and tensors from outside cannot be
 * overwritten.
 *
 * @param inDims which dimension of the arguments counts the examples: for all of them, or an array with one entry for
 * each; null for what all examples share
 * @param outDims where the examples come in the results; null for a result that does not differ between them
 * @throws ShapeError where the arguments have different numbers of examples
 * @example
 * const perExample = vmap(grad(loss), [null, 0, 0]);   // gradients of one model, one for each x and y
 */
export function vmap<Args extends readonly Tree[] = Tensor[], Out extends Tree = Tensor>(
  fn: Differentiable<Args, Out>,
  inDims: ExampleDims = 0,
  outDims: ExampleDims = 0,
): (...args: Args) => Out {
  return (...args) => {
    const { values, size } = examplesIn(args, inDims);
    const scope = new ExampleScope(mode.scope);
    const known = new Map<Node, Batched>();
    const placeholders = values.map(({ tensor, batched }) => {
      if (!batched) return tensor;
      const { shape, dtype, requiresGrad } = nodeOf(tensor);
      const placeholder = new Node(inputPrimitive as AnyPrimitive, [], null, shape.slice(1), dtype, scope);
      placeholder.requiresGrad = requiresGrad;
      known.set(placeholder, { tensor, batched });
      return new Tensor(placeholder);
    });
    const [out, outputs] = scope.run(() => {
      const result = fn(...(treeOf("vmap", args as readonly Tree[], placeholders) as Args));
      return [result, leavesOf("vmap (the function's result)", result).map(nodeOf)];
    });
    const dims = dimsOf("outDims", out, outDims);
    const results = replayAll(outputs, scope, known, size);
    let next = 0;
    return mapTree("vmap", out, () => {
      const result = results[next] as Batched;
      const dim = dims[next++] as number | null;
      if (dim !== null) {
        const all = spread(result, size);
        return movedim(all, 0, normalizeDim("vmap (outDims)", dim, all.ndim));
      }
      if (!result.batched) return result.tensor;
      throw new ArgumentError(`vmap: result ${next - 1} differs between examples, so outDims cannot be null for it`);
    });
  };
}
