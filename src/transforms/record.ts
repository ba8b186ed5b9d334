/** Running a function on variables, and letting go of what it recorded: the start and the end of every transform. */
import { ArgumentError } from "../graph/errors.js";
import { hasHistory, mode, type Node, newWalk, nodeOf, noGrad, type Tensor } from "../graph/tensor.js";
import { leavesOf, mapTree, type Tree } from "../graph/tree.js";
import { clone } from "../ops/arithmetic.js";

/** A function from trees of tensors to one. */
export type Differentiable<Args extends readonly Tree[], Out extends Tree> = (...args: Args) => Out;

/** What a function computed from variables in place of its arguments. */
export interface Recording<Out extends Tree> {
  readonly out: Out;
  /** The tensors of `out`, in order. */
  readonly outputs: readonly Node[];
  /** One node for each tensor of the arguments, in order. Those of dtype f32 require gradients; others are given as they are. */
  readonly variables: readonly Node[];
}

/** Runs `fn` with gradients recorded, even under `noGrad`. */
export function withGrad<T>(fn: () => T): T {
  const before = mode.gradEnabled;
  mode.gradEnabled = true;
  try {
    return fn();
  } finally {
    mode.gradEnabled = before;
  }
}

/** The same value, as a node that requires gradients whether or not its origin does. */
function variable(x: Tensor): Tensor {
  if (x.dtype !== "f32") return x;
  const out = clone(x);
  nodeOf(out).requiresGrad = true;
  return out;
}

/**
 * Runs `fn` on variables in place of its arguments.
 * @throws ArgumentError naming `op` where an argument or the result is no tree of tensors
 */
export function record<Args extends readonly Tree[], Out extends Tree>(
  op: string,
  fn: Differentiable<Args, Out>,
  args: Args,
): Recording<Out> {
  return withGrad(() => {
    // The function may overwrite its arguments in place, so their nodes are noted before it runs.
    const variables: Node[] = [];
    const given = args.map((arg) =>
      mapTree(op, arg, (x) => {
        const v = variable(x);
        variables.push(nodeOf(v));
        return v;
      }),
    );
    const out = fn(...(given as readonly Tree[] as Args));
    return { out, outputs: leavesOf(`${op} (the function's result)`, out).map(nodeOf), variables };
  });
}

/** A function of one argument of `fn`, the others as given. */
export function ofArgument<Args extends readonly Tree[], Out extends Tree>(
  op: string,
  fn: Differentiable<Args, Out>,
  args: Args,
  argument: number,
): Differentiable<[Args[number]], Out> {
  if (!(argument in args))
    throw new ArgumentError(`${op}: argument ${argument} of a call with ${args.length} arguments`);
  return (x) => fn(...(args.map((arg, i) => (i === argument ? x : arg)) as readonly Tree[] as Args));
}

/** The tree of the shape of `tree` that has these tensors, in order. */
export function treeOf<T extends Tree>(op: string, tree: T, leaves: readonly Tensor[]): T {
  let next = 0;
  return mapTree(op, tree, () => leaves[next++] as Tensor);
}

/** Nodes that require gradients from which `roots` were computed, latest first; not looking behind `boundary`. */
export function differentiable(roots: readonly Node[], boundary: ReadonlySet<Node>): Node[] {
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

/** Those of them that depend on `variables`, which are among them where a root does; latest first. */
export function between(roots: readonly Node[], variables: ReadonlySet<Node>): Node[] {
  const dependent = new Set<Node>();
  const found = differentiable(roots, variables);
  for (const node of found.toReversed()) {
    if (variables.has(node) || (hasHistory(node) && node.inputs.some((x) => dependent.has(x)))) dependent.add(node);
  }
  return found.filter((node) => dependent.has(node));
}

/**
 * The tree of the shape of `tree` that has these results, in order. A result keeps its history only where gradients are
 * recorded around the call, and where it leads further than the variables of the call: to those of an enclosing
 * transform, or to a leaf that requires gradients.
 */
export function released<T extends Tree>(
  op: string,
  tree: T,
  results: readonly Tensor[],
  variables: readonly Node[],
): T {
  const own = new Set(variables);
  const leading = new Set<Node>();
  for (const node of differentiable(results.map(nodeOf), own).reverse()) {
    const origins = hasHistory(node) ? node.inputs.filter((x) => x.requiresGrad) : [];
    const leadsOn = own.has(node) ? origins.length > 0 : origins.length === 0 || origins.some((x) => leading.has(x));
    if (leadsOn) leading.add(node);
  }
  const kept = (x: Tensor): boolean => !nodeOf(x).requiresGrad || (mode.gradEnabled && leading.has(nodeOf(x)));
  let next = 0;
  return mapTree(op, tree, () => {
    const result = results[next++] as Tensor;
    return kept(result) ? result : noGrad(() => clone(result));
  });
}
