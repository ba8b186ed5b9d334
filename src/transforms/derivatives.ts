/** Whole derivatives, put together from products: Jacobians, Hessians, and Hessian-vector products. */
import { ArgumentError } from "../graph/errors.js";
import { type Shape, sizeOf } from "../graph/shape.js";
import { constant } from "../graph/sources.js";
import { type Node, Tensor } from "../graph/tensor.js";
import type { Tree } from "../graph/tree.js";
import { eq } from "../ops/arithmetic.js";
import { to } from "../ops/conversion.js";
import { iota } from "../ops/creation.js";
import { permute, reshape } from "../ops/movement.js";
import { vmap } from "./batch.js";
import { pushForward, tangentsOf } from "./forward.js";
import { type Differentiable, ofArgument, type Recording, record, released } from "./record.js";
import { pullBack, valueAndGradients } from "./reverse.js";

/**
 * The product of the Hessian of `fn` with `vectors`, by forward mode over reverse mode: about the cost of two gradients,
 * whatever the size of the Hessian.
 * @param fn returns one number (a tensor with one element)
 * @param primals the arguments: tensors, or arrays and plain objects of tensors
 * @param vectors trees like the primals
 * @returns trees like the primals
 * @example hvp((x) => x.pow(3).sum(), [tensor([1, 2])], [tensor([1, 1])])[0];   // 6x = [6, 12]
 */
export function hvp<Args extends readonly Tree[] = Tensor[]>(
  fn: Differentiable<Args, Tensor>,
  primals: Args,
  vectors: Args,
): Args {
  const gradients = (...args: Args): Args => valueAndGradients("hvp", fn, args)[1];
  const tangents = tangentsOf("hvp", primals, vectors);
  const { outputs, variables } = record("hvp", gradients, primals);
  const products = pushForward(variables, tangents, outputs);
  return released("hvp", primals, products, variables);
}

/** A Jacobian: the output's tree, with a tree like the argument in place of each of its tensors. */
export type JacobianOf<Argument extends Tree, Out extends Tree> = Out extends Tensor
  ? Argument
  : { [Key in keyof Out]: Out[Key] extends Tree ? JacobianOf<Argument, Out[Key]> : never };

/** Options of {@link jacobian}. */
export interface JacobianOptions {
  /** `"reverse"` computes a row for each output, `"forward"` a column for each input. Whichever are fewer, if not given. */
  readonly mode?: "forward" | "reverse";
}

/** Every unit vector of tensors of `shape`: `[n, …shape]`, where n is the number of elements. */
function unitVectors(shape: Shape): Tensor {
  const n = sizeOf(shape);
  const places = iota(n);
  return reshape(to(eq(reshape(places, n, 1), places), "f32"), n, shape);
}

/** For each output, the derivatives with respect to each variable: `[…output, …variable]`. */
function byRows({ outputs, variables }: Recording<Tree>): Tensor[][] {
  return outputs.map((output) => {
    if (output.dtype !== "f32") return variables.map((v) => constant(0, [...output.shape, ...v.shape]));
    const rows = vmap((seed: Tensor): readonly Tensor[] => pullBack([output], [seed], variables));
    return rows(unitVectors(output.shape)).map((x, i) => reshape(x, output.shape, (variables[i] as Node).shape));
  });
}

function byColumns({ outputs, variables }: Recording<Tree>): Tensor[][] {
  const columns = variables.map((variable, i) => {
    if (variable.dtype !== "f32") return outputs.map(({ shape }) => constant(0, [...shape, ...variable.shape]));
    const push = (tangent: Tensor): readonly Tensor[] => {
      const tangents = variables.map((_, j) => (i === j ? tangent : null));
      return pushForward(variables, tangents, outputs);
    };
    return vmap(push)(unitVectors(variable.shape)).map((x) => {
      const dims = x.shape.map((_, d) => d);
      return reshape(permute(x, ...dims.slice(1), 0), x.shape.slice(1), variable.shape);
    });
  });
  return outputs.map((_, o) => columns.map((column) => column[o] as Tensor));
}

function elements(nodes: readonly { readonly shape: Shape }[]): number {
  return nodes.reduce((n, { shape }) => n + sizeOf(shape), 0);
}

/**
 * A function that computes the Jacobian of `fn` with respect to one argument: for an output `[…out]` and an argument
 * `[…in]` a tensor `[…out, …in]`. All rows, or all columns, are computed at once.
 * @param fn returns a tensor, or a tree of tensors
 * @param argument which argument, from 0
 * @example jacobian((x) => x.square())(tensor([1, 2])).toArray();   // [[2, 0], [0, 4]]
 */
export function jacobian<Args extends readonly Tree[] = Tensor[], Out extends Tree = Tensor>(
  fn: Differentiable<Args, Out>,
  argument = 0,
  options: JacobianOptions = {},
): (...args: Args) => JacobianOf<Args[number], Out> {
  const { mode } = options;
  if (mode !== undefined && mode !== "forward" && mode !== "reverse") {
    throw new ArgumentError(`jacobian: mode must be "forward" or "reverse", not ${JSON.stringify(mode)}`);
  }
  return (...args) => {
    const tree = args[argument] as Args[number];
    const recording = record("jacobian", ofArgument("jacobian", fn, args, argument), [tree]);
    const { out, outputs, variables } = recording;
    const forward = mode === undefined ? elements(variables) < elements(outputs) : mode === "forward";
    const blocks = forward ? byColumns(recording) : byRows(recording);
    const rows = blocks.map((row) => released("jacobian", tree, row, variables));
    return nest(out, rows) as JacobianOf<Args[number], Out>;
  };
}

/** `tree` with other trees in place of its tensors, in order. */
function nest(tree: Tree, trees: readonly Tree[]): Tree {
  const rest = [...trees];
  const walk = (node: Tree): Tree => {
    if (node instanceof Tensor) return rest.shift() as Tree;
    if (Array.isArray(node)) return node.map(walk);
    return Object.fromEntries(Object.entries(node).map(([key, value]) => [key, walk(value)]));
  };
  return walk(tree);
}

/**
 * A function that computes the Hessian of `fn` with respect to one argument: `[…in, …in]`, by forward mode over reverse
 * mode.
 * @param fn returns one number (a tensor with one element)
 * @param argument which argument, from 0
 * @example hessian((x) => x.pow(3).sum())(tensor([1, 2])).toArray();   // [[6, 0], [0, 12]]
 */
export function hessian<Args extends readonly Tree[] = Tensor[]>(
  fn: Differentiable<Args, Tensor>,
  argument = 0,
): (...args: Args) => JacobianOf<Args[number], Args[number]> {
  return (...args) => {
    const one = ofArgument("hessian", fn, args, argument);
    const gradient = (x: Args[number]): Args[number] => valueAndGradients("hessian", one, [x])[1][0];
    return jacobian(gradient, 0, { mode: "forward" })(args[argument] as Args[number]);
  };
}
