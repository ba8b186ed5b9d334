/**
 * Reverse mode: from outputs back to inputs, applying each operator's VJP once and summing where paths meet.
 *
 * The cotangents are ordinary graph, so they can be differentiated again, fused, planned and recomputed like any
 * other values.
 */
import { ArgumentError, GradError } from "../graph/errors.js";
import { formatShape, type Shape, sameShape } from "../graph/shape.js";
import { constant } from "../graph/sources.js";
import { bind, eager, hasHistory, mode, type Node, newWalk, nodeOf, noGrad, Tensor } from "../graph/tensor.js";
import { leavesOf, mapTree, type Tree } from "../graph/tree.js";
import { add, clone } from "../ops/arithmetic.js";
import { sumToSize } from "../ops/reduction.js";

/** Nodes that require gradients from which `roots` were computed, latest first; not looking behind `boundary`. */
function differentiable(roots: readonly Node[], boundary: ReadonlySet<Node>): Node[] {
  const walk = newWalk();
  const found: Node[] = [];
  const stack = [...roots];
  for (let node = stack.pop(); node !== undefined; node = stack.pop()) {
    if (node.walk === walk || !node.requiresGrad) continue;
    node.walk = walk;
    found.push(node);
    if (!boundary.has(node) && hasHistory(node)) stack.push(...node.inputs);
  }
  // A node is made after its inputs, so falling ids are a reverse topological order.
  return found.sort((a, b) => b.id - a.id);
}

/**
 * The cotangents of every node that requires gradients and that `outputs` were computed from.
 * @param boundary nodes to stop at
 */
function cotangents(
  outputs: readonly Node[],
  seeds: readonly Tensor[],
  boundary: ReadonlySet<Node>,
): Map<Node, Tensor> {
  const found = new Map<Node, Tensor>();
  const accumulate = (node: Node, g: Tensor): void => {
    const before = found.get(node);
    found.set(node, before === undefined ? g : add(before, g));
  };
  outputs.forEach((node, i) => {
    if (node.requiresGrad) accumulate(node, seeds[i] as Tensor);
  });
  for (const node of differentiable(outputs, boundary)) {
    const g = found.get(node);
    const { vjp } = node.primitive;
    if (g === undefined || vjp === null || boundary.has(node)) continue;
    const context = { g, out: new Tensor(node), inputs: node.inputs.map((x) => new Tensor(x)), attrs: node.attrs };
    node.inputs.forEach((input, i) => {
      if (!input.requiresGrad) return;
      const contribution = vjp(context, i);
      if (contribution !== null) accumulate(input, unbroadcast(contribution, input.shape));
    });
  }
  return found;
}

/** Undoes broadcasting: a cotangent summed back to the shape that the input had. */
function unbroadcast(g: Tensor, shape: Shape): Tensor {
  return sameShape(g.shape, shape) ? g : sumToSize(g, shape);
}

/** The upstream gradient of an output: the one given, or 1 for a single number. */
function seedOf(op: string, output: Tensor, gradient: Tensor | undefined): Tensor {
  if (gradient === undefined) {
    if (output.numel !== 1) {
      throw new GradError(
        `${op}: the output has shape ${formatShape(output.shape)}; give an upstream gradient of that shape, or reduce it to one number first`,
      );
    }
    return constant(1, output.shape);
  }
  if (!sameShape(gradient.shape, output.shape) || gradient.dtype !== "f32") {
    throw new GradError(
      `${op}: the upstream gradient is ${gradient.dtype}${formatShape(gradient.shape)}, and must be f32${formatShape(output.shape)} like the output`,
    );
  }
  return gradient;
}

function withGrad<T>(fn: () => T): T {
  const before = mode.gradEnabled;
  mode.gradEnabled = true;
  try {
    return fn();
  } finally {
    mode.gradEnabled = before;
  }
}

/**
 * Computes the gradient of `output` with respect to every leaf that requires one and adds it to the leaf's `.grad`.
 * @param gradient the upstream gradient, of the output's shape; may be left out for a single number
 * @param options.createGraph record the gradients too, so that they can be differentiated again
 * @throws GradError where the output does not require gradients, or an upstream gradient is missing or misshapen
 */
export function backward(output: Tensor, gradient?: Tensor, options: { createGraph?: boolean } = {}): void {
  const root = nodeOf(output);
  if (!root.requiresGrad) {
    throw new GradError(
      `backward: this ${root.dtype}${formatShape(root.shape)} (${root.primitive.name}) does not require gradients: none of the tensors it was computed from has requiresGrad, or it was computed under noGrad or detached`,
    );
  }
  const seed = seedOf("backward", output, gradient);
  const run = options.createGraph ? withGrad : noGrad;
  run(() => {
    for (const [node, g] of cotangents([root], [seed], new Set())) {
      if (node.sink !== null) receive(node.sink, g);
    }
  });
  if (mode.scope === null) eager.roots.add(root);
}

function receive(sink: Tensor, g: Tensor): void {
  const before = sink.grad;
  if (before === null) {
    // A tensor of its own: the sink's gradient may later be overwritten in place.
    sink.grad = new Tensor(nodeOf(g));
    if (mode.scope === null) eager.pending.add(sink.grad);
  } else {
    bind(before, nodeOf(add(before, g)));
  }
}

/** A function from trees of tensors. */
type Differentiable<Args extends readonly Tree[], Out extends Tree> = (...args: Args) => Out;

/** The same value, as a node that requires gradients whether or not its origin does. */
function variable(x: Tensor): Tensor {
  if (x.dtype !== "f32") return x;
  const out = clone(x);
  nodeOf(out).requiresGrad = true;
  return out;
}

/** Runs `fn` on variables in place of its arguments. */
function linearize<Args extends readonly Tree[], Out extends Tree>(
  op: string,
  fn: Differentiable<Args, Out>,
  args: Args,
): { out: Out; outputs: Node[]; variables: Args } {
  return withGrad(() => {
    const variables = args.map((arg) => mapTree(op, arg, variable)) as readonly Tree[] as Args;
    const out = fn(...variables);
    return { out, outputs: leavesOf(op, out).map(nodeOf), variables };
  });
}

/** Cotangents of the variables, zeros where nothing flows, as the trees that the variables are. */
function pullBack<T extends Tree>(op: string, outputs: readonly Node[], seeds: readonly Tensor[], variables: T): T {
  const boundary = new Set(leavesOf(op, variables).map(nodeOf));
  const found = withGrad(() => cotangents(outputs, seeds, boundary));
  return mapTree(op, variables, (v) => release(found.get(nodeOf(v)) ?? constant(0, v.shape), boundary));
}

/**
 * A result keeps its history only where that leads further than the variables of this call: to an enclosing `grad`,
 * or to a leaf that requires gradients.
 */
function release(result: Tensor, variables: ReadonlySet<Node>): Tensor {
  const root = nodeOf(result);
  const leadsOn = differentiable([root], variables).some((node) =>
    variables.has(node) ? node.inputs.some((x) => x.requiresGrad) : node.sink !== null,
  );
  if (leadsOn || !root.requiresGrad) return result;
  return noGrad(() => clone(result));
}

/**
 * The value of `fn` and the vector-Jacobian product at it.
 * @param primals the arguments: tensors, or arrays and plain objects of tensors
 * @returns the output, and a function from the output's cotangent (a tree like it) to those of the arguments
 * @example
 * const [y, pull] = vjp((x) => x.square(), tensor([1, 2, 3]));
 * pull(tensor([1, 1, 1]))[0];   // [2, 4, 6]
 */
export function vjp<Args extends readonly Tree[], Out extends Tree>(
  fn: Differentiable<Args, Out>,
  ...primals: Args
): [Out, (cotangent: Out) => Args] {
  const { out, outputs, variables } = linearize("vjp", fn, primals);
  const boundary = new Set(leavesOf("vjp", variables).map(nodeOf));
  const pull = (cotangent: Out): Args => {
    const seeds = leavesOf("vjp", cotangent);
    if (seeds.length !== outputs.length) {
      throw new GradError(
        `vjp: the function returned ${outputs.length} tensors and ${seeds.length} cotangents were given`,
      );
    }
    seeds.forEach((seed, i) => {
      seedOf("vjp", new Tensor(outputs[i] as Node), seed);
    });
    return pullBack("vjp", outputs, seeds, variables);
  };
  return [mapTree("vjp", out, (x) => release(x, boundary)), pull];
}

/**
 * A function that computes `fn` and its gradient with respect to one argument.
 * @param fn returns one number (a tensor with one element)
 * @param argument which argument, from 0
 */
export function valueAndGrad<Args extends readonly Tree[]>(
  fn: Differentiable<Args, Tensor>,
  argument = 0,
): (...args: Args) => [Tensor, Args[number]] {
  return (...args) => {
    if (argument < 0 || argument >= args.length) {
      throw new ArgumentError(`valueAndGrad: argument ${argument} of a call with ${args.length} arguments`);
    }
    const one = (x: Args[number]): Tensor =>
      fn(...(args.map((arg, i) => (i === argument ? x : arg)) as readonly Tree[] as Args));
    const { out, outputs, variables } = linearize("valueAndGrad", one, [args[argument] as Args[number]]);
    const seed = seedOf("valueAndGrad", out, undefined);
    const [gradient] = pullBack("valueAndGrad", outputs, [seed], variables);
    const boundary = new Set(leavesOf("valueAndGrad", variables).map(nodeOf));
    return [release(out, boundary), gradient as Args[number]];
  };
}

/**
 * A function that computes the gradient of `fn` with respect to one argument. Nest it for higher derivatives.
 * @param fn returns one number (a tensor with one element)
 * @param argument which argument, from 0
 * @example
 * const f = (x) => x.pow(3);
 * grad(grad(f))(tensor(2)).item();   // 12
 */
export function grad<Args extends readonly Tree[]>(
  fn: Differentiable<Args, Tensor>,
  argument = 0,
): (...args: Args) => Args[number] {
  const both = valueAndGrad(fn, argument);
  return (...args) => both(...args)[1];
}
