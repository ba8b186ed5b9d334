/** Walking graphs without recursion: a chain of ten thousand operators is an ordinary program. */
import { type Node, newWalk } from "./tensor.js";

/** Whether a walk ends here: the value is given and what computed it does not matter. */
export function isLeaf(node: Node): boolean {
  return node.inputs.length === 0 || node.value !== null || node.storage !== null;
}

/**
 * Every node that `roots` are computed from, inputs before their users; `node.index` is its place in the list. The
 * order depends only on the graph's structure, so equal graphs give lists that correspond.
 */
export function topological(roots: readonly Node[]): Node[] {
  const walk = newWalk();
  const order: Node[] = [];
  const stack: Node[] = [];
  // How many inputs of each stacked node were descended into.
  const next: number[] = [];
  for (const root of roots) {
    if (root.walk === walk) continue;
    root.walk = walk;
    stack.push(root);
    next.push(0);
    while (stack.length > 0) {
      const top = stack.length - 1;
      const node = stack[top] as Node;
      const i = next[top] as number;
      if (isLeaf(node) || i === node.inputs.length) {
        node.index = order.length;
        order.push(node);
        stack.pop();
        next.pop();
        continue;
      }
      next[top] = i + 1;
      const input = node.inputs[i] as Node;
      if (input.walk !== walk) {
        input.walk = walk;
        stack.push(input);
        next.push(0);
      }
    }
  }
  return order;
}

/** Attributes as text, equal for equal attributes. (JSON has no words for infinities and -0, and is slower.) */
export function attrsKey(attrs: unknown): string {
  if (attrs === null) return "";
  if (typeof attrs === "number") return Object.is(attrs, -0) ? "-0" : String(attrs);
  if (typeof attrs !== "object") return JSON.stringify(attrs);
  let key = "";
  if (Array.isArray(attrs)) for (const item of attrs) key += `${attrsKey(item)},`;
  else for (const name in attrs) key += `${name}:${attrsKey(attrs[name as keyof typeof attrs])};`;
  return `(${key})`;
}
