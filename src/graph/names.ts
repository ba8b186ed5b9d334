/** Names that users give to values, for policies and reports to refer to. */
import { ArgumentError } from "./errors.js";
import type { RecomputePolicy } from "./policy.js";
import type { Aval, Primitive, RefArray } from "./primitive.js";
import { type AnyPrimitive, apply, type Node, type Tensor } from "./tensor.js";
import { isLeaf } from "./walk.js";

/** The same value under a name. Simplification takes it out of the graph and notes the name at what it stood for. */
export const namedPrimitive: Primitive<Tensor, { readonly name: string }> = {
  name: "named",
  infer: ([x]) => x as Aval,
  reference: ([x]) => (x as RefArray).data,
  vjp: ({ g }) => g,
  batch: ({ inputs: [x], attrs }) => apply(namedPrimitive, [x as Tensor], attrs),
  lowering: { kind: "view", view: (input) => input },
  forwards: () => 0,
  flops: () => 0,
};

const names = new WeakMap<Node, Set<string>>();
const NONE: ReadonlySet<string> = new Set();

/** Notes the name of `node`, if it is a named value, at `stand`, which takes its place. */
export function noteName(node: Node, stand: Node): void {
  if (node.primitive !== (namedPrimitive as AnyPrimitive)) return;
  const { name } = node.attrs as { readonly name: string };
  names.set(stand, (names.get(stand) ?? new Set()).add(name));
}

/** The names that users gave to the value of a node of a simplified graph. */
export function namesOf(node: Node): ReadonlySet<string> {
  return names.get(node) ?? NONE;
}

/**
 * @param nodes all that the policy applies to, as they were traced
 * @throws ArgumentError where a policy is to save what none of them is, listing what there is
 */
export function expectNames(op: string, policy: RecomputePolicy | undefined, nodes: readonly Node[]): void {
  if (typeof policy !== "object") return;
  const given = new Set<string>();
  const operators = new Set<string>();
  for (const { primitive, attrs } of nodes.filter((node) => !isLeaf(node))) {
    if (primitive === (namedPrimitive as AnyPrimitive)) given.add((attrs as { readonly name: string }).name);
    else operators.add(primitive.name);
  }
  const unknown = policy.saveOnly.filter((name) => !given.has(name) && !operators.has(name));
  if (unknown.length === 0) return;
  const list = (items: Iterable<string>): string => [...items].sort().join(", ") || "none";
  throw new ArgumentError(
    `${op}: saveOnly lists ${unknown.map((name) => JSON.stringify(name)).join(", ")}, and there is neither an operator nor a value of that name; names given by checkpointName: ${list(given)}; operators: ${list(operators)}`,
  );
}
