/**
 * Reverse mode: from outputs back to inputs, applying each operator's VJP once and summing where paths meet.
 *
 * The cotangents are ordinary graph, so they can be differentiated again, fused, planned and recomputed like any
 * other values.
 */
import { describe } from "../graph/describe.js";
import { ArgumentError, GradError } from "../graph/errors.js";
import { formatShape, type Shape, sameShape } from "../graph/shape.js";
import { constant } from "../graph/sources.js";
import { bind, eager, mode, type Node, nodeOf, noGrad, Tensor } from "../graph/tensor.js";
import { leavesOf, type Tree } from "../graph/tree.js";
import { add } from "../ops/arithmetic.js";
import { mergePlaced } from "../ops/movement.js";
import { sumToSize } from "../ops/reduction.js";
import { between, type Differentiable, differentiable, ofArgument, record, released, withGrad } from "./record.js";

/**
 * The cotangents of the nodes that `outputs` were computed from, as far as they lead to `variables`; of every node that
 * requires gradients where none are given.
 */
function cotangents(
  outputs: readonly Node[],
  seeds: readonly Tensor[],
  variables: ReadonlySet<Node> = new Set(),
): Map<Node, Tensor> {
  mode.scope?.addDifferentiated(outputs);
  const order = variables.size > 0 ? between(outputs, variables) : differentiable(outputs, variables);
  const terms = new Map<Node, Tensor[]>(order.map((node) => [node, []]));
  outputs.forEach((node, i) => {
    terms.get(node)?.push(seeds[i] as Tensor);
  });
  const found = new Map<Node, Tensor>();
  for (const node of order) {
    const own = terms.get(node) as Tensor[];
    if (own.length === 0) continue;
    const g = mergePlaced(own).reduce((a, b) => add(a, b));
    found.set(node, g);
    const { vjp } = node.primitive;
    if (vjp === null || variables.has(node)) continue;
    if (mode.sites !== null) mode.sites.origin = node;
    const context = { g, out: new Tensor(node), inputs: node.inputs.map((x) => new Tensor(x)), attrs: node.attrs };
    node.inputs.forEach((input, i) => {
      const term = terms.has(input) ? vjp(context, i) : null;
      if (term !== null) terms.get(input)?.push(unbroadcast(term, input.shape));
    });
  }
  if (mode.sites !== null) mode.sites.origin = null;
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
    for (const [node, g] of cotangents([root], [seed])) {
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
    if (mode.scope === null) eager.pending.set(sink.grad, null);
  } else {
    bind(before, nodeOf(add(before, g)));
  }
}

/**
 * The cotangents of `variables`, zeros where nothing flows. They keep the history that leads to the variables.
 * @param seeds the cotangents of `outputs`
 */
export function pullBack(outputs: readonly Node[], seeds: readonly Tensor[], variables: readonly Node[]): Tensor[] {
  const found = withGrad(() => cotangents(outputs, seeds, new Set(variables)));
  return variables.map((node) => found.get(node) ?? constant(0, node.shape));
}

/**
 * The value of `fn` and the vector-Jacobian product at it.
 * @param primals the arguments: tensors, or arrays and plain objects of tensors
 * @returns the output, and a function from the output's cotangent (a tree like it) to those of the arguments
 * @example
 * const [y, pull] = vjp((x) => x.square(), tensor([1, 2, 3]));
 * pull(tensor([1, 1, 1]))[0];   // [2, 4, 6]
 */
export function vjp<Args extends readonly Tree[] = Tensor[], Out extends Tree = Tensor>(
  fn: Differentiable<Args, Out>,
  ...primals: Args
): [Out, (cotangent: Out) => Args] {
  const { out, outputs, variables } = record("vjp", fn, primals);
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
    const found = pullBack(outputs, seeds, variables);
    return released("vjp", primals, found, variables);
  };
  return [released("vjp", out, leavesOf("vjp", out), variables), pull];
}

/**
 * The value of `fn` and its gradients with respect to all arguments, as trees like them.
 * @throws GradError naming `op` where `fn` does not return one number
 */
export function valueAndGradients<Args extends readonly Tree[] = Tensor[]>(
  op: string,
  fn: Differentiable<Args, Tensor>,
  args: Args,
): [Tensor, Args] {
  const { out, outputs, variables } = record(op, fn, args);
  if (!(out instanceof Tensor)) {
    throw new GradError(`${op}: the function must return one tensor, and returned a tree of ${outputs.length}`);
  }
  const gradients = pullBack(outputs, [seedOf(op, out, undefined)], variables);
  return [released(op, out, [out], variables), released(op, args, gradients, variables)];
}

/** {@link valueAndGrad}, for errors in the name of `op`. */
function differentiated<Args extends readonly Tree[]>(
  op: string,
  fn: Differentiable<Args, Tensor>,
  argument: number,
): (...args: Args) => [Tensor, Args[number]] {
  if (typeof fn !== "function") throw new ArgumentError(`${op}: expected a function, not ${describe(fn)}`);
  return (...args) => {
    const one = ofArgument(op, fn, args, argument);
    const [out, [gradient]] = valueAndGradients(op, one, [args[argument] as Args[number]]);
    return [out, gradient];
  };
}

/**
 * A function that computes `fn` and its gradient with respect to one argument.
 * @param fn returns one number (a tensor with one element)
 * @param argument which argument, from 0
 */
export function valueAndGrad<Args extends readonly Tree[] = Tensor[]>(
  fn: Differentiable<Args, Tensor>,
  argument = 0,
): (...args: Args) => [Tensor, Args[number]] {
  return differentiated("valueAndGrad", fn, argument);
}

/**
 * A function that computes the gradient of `fn` with respect to one argument. Nest it for higher derivatives.
 * @param fn returns one number (a tensor with one element)
 * @param argument which argument, from 0
 * @example
 * const f = (x) => x.pow(3);
 * grad(grad(f))(tensor(2)).item();   // 12
 */
export function grad<Args extends readonly Tree[] = Tensor[]>(
  fn: Differentiable<Args, Tensor>,
  argument = 0,
): (...args: Args) => Args[number] {
  const both = differentiated("grad", fn, argument);
  return (...args) => both(...args)[1];
}
