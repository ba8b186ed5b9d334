/** Graphs as text: one line a node, for reading, snapshots and diffs. */
import { formatShape } from "./shape.js";
import type { Node } from "./tensor.js";
import { isLeaf, topological } from "./walk.js";

/**
 * The graph that `roots` are computed from. Numbers are given in printing order, so equal graphs print equally.
 *
 *     %0 = input f32[16,10]
 *     %1 = input f32[32,10]
 *     %2 = permute f32[10,32] %1 order=[1,0]
 *     %3 = matmul f32[16,32] %0 %2
 *     return %3
 */
export function printGraph(roots: readonly Node[]): string {
  const order = topological(roots);
  const name = (node: Node): string => `%${node.index}`;
  const lines = order.map((node) => {
    const inputs = isLeaf(node) ? [] : node.inputs.map(name);
    const attrs = Object.entries(node.attrs ?? {}).map(([key, value]) => `${key}=${printValue(value)}`);
    const kind = `${node.dtype}${formatShape(node.shape)}`;
    return `${name(node)} = ${[node.primitive.name, kind, ...inputs, ...attrs].join(" ")}`;
  });
  return [...lines, `return ${roots.map(name).join(" ")}`].join("\n");
}

function printValue(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(printValue)}]`;
  if (typeof value === "function") return "…";
  return typeof value === "string" ? JSON.stringify(value) : String(value);
}
