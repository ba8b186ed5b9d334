/**
 * Forward mode: from inputs on to outputs, applying each operator's JVP once. Tangents are ordinary graph, so they can
 * be differentiated again, in either mode.
 */
import { GradError } from "../graph/errors.js";
import type { JvpContext } from "../graph/primitive.js";
import { formatShape, sameShape } from "../graph/shape.js";
import { constant } from "../graph/sources.js";
import { type AnyPrimitive, apply, type Node, nodeOf, Tensor } from "../graph/tensor.js";
import { leavesOf, type Tree } from "../graph/tree.js";
import { add } from "../ops/arithmetic.js";
import { expand } from "../ops/movement.js";
import { sumToSize } from "../ops/reduction.js";
import { between, type Differentiable, record, released, withGrad } from "./record.js";
import { pullBack } from "./reverse.js";

function total(terms: readonly (Tensor | null)[]): Tensor | null {
  return terms.reduce((a, b) => (a === null ? b : b === null ? a : add(a, b)), null);
}

/** Each element depends on one element of every input: the Jacobian is diagonal, and its transpose the same. */
function elementwiseJvp({ vjp }: AnyPrimitive, { tangents, ...context }: JvpContext<Tensor, unknown>): Tensor | null {
  return total(tangents.map((g, i) => (g === null ? null : (vjp?.({ ...context, g }, i) ?? null))));
}

/**
 * The tangent of an operator that has only a VJP: what the VJP computes is linear in its cotangent, so the transpose of
 * that linear map, a second VJP, is the JVP (Townsend, "A new trick for calculating Jacobian vector products", 2017).
 */
export function transposedJvp(
  { vjp }: AnyPrimitive,
  { tangents, ...context }: JvpContext<Tensor, unknown>,
): Tensor | null {
  // The transpose of a linear map does not depend on where it is taken: the cotangent's value drops out.
  const g = constant(0, context.out.shape);
  const cotangent = nodeOf(g);
  cotangent.requiresGrad = true;
  const pullContext = { ...context, g };
  const outputs: Node[] = [];
  const seeds: Tensor[] = [];
  tangents.forEach((tangent, i) => {
    const contribution = tangent === null ? null : (vjp?.(pullContext, i) ?? null);
    if (tangent === null || contribution === null) return;
    outputs.push(nodeOf(sumToSize(contribution, tangent.shape)));
    seeds.push(tangent);
  });
  return outputs.length === 0 ? null : (pullBack(outputs, seeds, [cotangent])[0] as Tensor);
}

function tangentOf(node: Node, tangents: readonly (Tensor | null)[]): Tensor | null {
  const { primitive, attrs, shape } = node;
  if (primitive.vjp === null || tangents.every((x) => x === null)) return null;
  const context = { tangents, attrs, out: new Tensor(node), inputs: node.inputs.map((x) => new Tensor(x)) };
  const { kind } = primitive.lowering;
  let tangent: Tensor | null;
  if (primitive.jvp !== undefined) tangent = primitive.jvp(context);
  else if (kind === "view") tangent = apply(primitive, [tangents[0] as Tensor], attrs);
  else if (kind === "elementwise") tangent = elementwiseJvp(primitive, context);
  else tangent = transposedJvp(primitive, context);
  return tangent === null ? null : expand(tangent, shape);
}

/**
 * The tangents of `outputs`, zeros where nothing flows.
 * @param tangents of `variables`; null for those that do not vary
 */
export function pushForward(
  variables: readonly Node[],
  tangents: readonly (Tensor | null)[],
  outputs: readonly Node[],
): Tensor[] {
  return withGrad(() => {
    const found = new Map<Node, Tensor>();
    variables.forEach((node, i) => {
      const tangent = tangents[i];
      if (node.requiresGrad && tangent != null) found.set(node, tangent);
    });
    const own = new Set(variables);
    for (const node of between(outputs, own).reverse()) {
      if (own.has(node)) continue;
      const tangent = tangentOf(
        node,
        node.inputs.map((x) => found.get(x) ?? null),
      );
      if (tangent !== null) found.set(node, tangent);
    }
    return outputs.map((node) => found.get(node) ?? constant(0, node.shape));
  });
}

/** The tensors of `tangents`, in order; throws unless each is like that of `primals`. */
export function tangentsOf(op: string, primals: Tree, tangents: Tree): Tensor[] {
  const points = leavesOf(op, primals);
  const leaves = leavesOf(op, tangents);
  if (points.length !== leaves.length) {
    throw new GradError(`${op}: ${leaves.length} tangents were given for ${points.length} primal tensors`);
  }
  points.forEach(({ shape, dtype }, i) => {
    const tangent = leaves[i] as Tensor;
    if (!sameShape(tangent.shape, shape) || tangent.dtype !== dtype) {
      throw new GradError(
        `${op}: tangent ${i} is ${tangent.dtype}${formatShape(tangent.shape)}, and must be ${dtype}${formatShape(shape)} like its primal`,
      );
    }
  });
  return leaves;
}

/**
 * The value of `fn` and its Jacobian-vector product: how the output moves as the arguments move along `tangents`.
 * Costs about one more evaluation of `fn`, whatever the number of arguments and outputs.
 * @param primals the arguments: tensors, or arrays and plain objects of tensors
 * @param tangents trees like the primals; those of whole numbers and booleans count for nothing
 * @returns the output, and its tangent: a tree like it, of f32
 * @throws GradError where tangents do not have the shapes and dtypes of the primals
 * @example
 * const [y, dy] = jvp((x) => x.sin(), [tensor([0, 1])], [tensor([1, 1])]);   // dy = cos(x)
 */
export function jvp<Args extends readonly Tree[] = Tensor[], Out extends Tree = Tensor>(
  fn: Differentiable<Args, Out>,
  primals: Args,
  tangents: Args,
): [Out, Out] {
  const leaves = tangentsOf("jvp", primals, tangents);
  const { out, outputs, variables } = record("jvp", fn, primals);
  const moved = pushForward(variables, leaves, outputs);
  return [released("jvp", out, leavesOf("jvp", out), variables), released("jvp", out, moved, variables)];
}
