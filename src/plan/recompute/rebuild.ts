/** From a route through a schedule to units: copies of what is computed again, where it is. */
import type { Node } from "../../graph/tensor.js";
import { isLeaf } from "../../graph/walk.js";
import { copyOf } from "../copy.js";
import type { Unit } from "../fuse.js";
import { inputsFirst, type UnitModel, type Value } from "./model.js";
import type { Route } from "./route.js";

/** A schedule in which some values are computed again, and what stands for a node of the old one at its end. */
export interface Rebuilt {
  readonly units: readonly Unit[];
  resolve(node: Node): Node;
  /** The original of each value that is computed again. */
  readonly originals: ReadonlyMap<Node, Node>;
  /** All nodes that are computed again. */
  readonly copies: ReadonlySet<Node>;
}

function isView(node: Node): boolean {
  return !isLeaf(node) && node.primitive.lowering.kind === "view";
}

/** The nodes of a unit that all it computes needs, except for some values. */
function without({ nodes, head }: Unit, outputs: readonly Node[], dropped: ReadonlySet<Node>): Node[] {
  const own = new Set(nodes);
  const wanted = new Set(outputs.filter((node) => !dropped.has(node)));
  for (const member of wanted) {
    for (const input of member.inputs) if (own.has(input)) wanted.add(input);
    // Whether a bias is the seed of a product depends on what else reads the product.
    if (member === head) for (const user of nodes) if (user.inputs.includes(member)) wanted.add(user);
  }
  return nodes.filter((node) => wanted.has(node));
}

/** Turns a route into units. Nodes that read a value computed again are made anew, on the copy. */
export function rebuild(model: UnitModel, { actions }: Route): Rebuilt {
  const { units, values } = model;
  const out: Unit[] = [];
  const current = new Map<Node, Node>();
  const computed = new Set<Node>();
  const originals = new Map<Node, Node>();
  const copies = new Set<Node>();
  const viewed = new Map<Node, Map<Node, Node>>();

  const resolve = (node: Node): Node => {
    const path: Node[] = [];
    let source = node;
    for (; isView(source); [source] = source.inputs as [Node]) path.push(source);
    let made = current.get(source) ?? source;
    for (const old of path.reverse()) {
      const views = viewed.get(old) ?? new Map<Node, Node>();
      viewed.set(old, views);
      let view = views.get(made);
      if (view === undefined) {
        view = made === old.inputs[0] ? old : copyOf(old, [made]);
        views.set(made, view);
        out.push({ nodes: [view], head: null });
      }
      made = view;
    }
    return made;
  };
  /** Emits nodes, inputs first: copies of those that were computed before or read what is not the original. */
  const emit = (nodes: readonly Node[], head: Node | null): Map<Node, Node> => {
    const made = new Map<Node, Node>();
    // What is read from memory may be a view, which has to stand before.
    const own = new Set(nodes);
    const sources = new Map<Node, Node>();
    for (const x of nodes.flatMap(({ inputs }) => inputs)) if (!own.has(x)) sources.set(x, resolve(x));
    for (const node of nodes) {
      const inputs = node.inputs.map((x) => made.get(x) ?? (sources.get(x) as Node));
      const again = computed.has(node);
      const same = !again && inputs.every((x, i) => x === node.inputs[i]);
      const copy = same ? node : copyOf(node, inputs);
      if (again) copies.add(copy);
      computed.add(node);
      made.set(node, copy);
    }
    const apart = new Set([...made].flatMap(([node, copy]) => (model.apart.has(node) ? [copy] : [])));
    out.push({ nodes: [...made.values()], head: head === null ? null : (made.get(head) ?? null), apart });
    return made;
  };
  /** Nodes, with the chains that are computed within them. */
  const withChains = (joined: readonly number[], nodes: readonly Node[], head: Node | null): Node[] => {
    const all = inputsFirst([...joined.flatMap((v) => (values[v] as Value).clone), ...nodes]);
    return head !== null && nodes.includes(head) ? [head, ...all.filter((node) => node !== head)] : all;
  };
  const note = (v: number, made: ReadonlyMap<Node, Node>): void => {
    const { node } = values[v] as Value;
    const copy = made.get(node) as Node;
    if (copies.has(copy)) originals.set(copy, node);
  };

  for (const unit of units) if (isLeaf(unit.nodes[0] as Node)) out.push(unit);
  for (const action of actions) {
    if ("again" in action) {
      const [first] = action.again as [number];
      const { node, unit } = values[first] as Value;
      if (isView(node)) {
        viewed.get(node)?.clear();
        continue;
      }
      const { head } = units[unit] as Unit;
      const own = action.again.flatMap((v) => (values[v] as Value).clone);
      const made = emit(withChains(action.joined, own, head), head);
      for (const v of action.again) current.set((values[v] as Value).node, made.get((values[v] as Value).node) as Node);
      for (const v of [...action.again, ...action.joined]) note(v, made);
      continue;
    }
    const unit = units[action.unit] as Unit;
    const [first] = unit.nodes as [Node];
    if (isLeaf(first) || isView(first)) continue;
    const dropped = new Set(action.deferred.map((v) => (values[v] as Value).node));
    const own = dropped.size === 0 ? unit.nodes : without(unit, model.stored[action.unit] as readonly Node[], dropped);
    const made = emit(withChains(action.joined, own, unit.head), unit.head);
    for (const node of own) if (!dropped.has(node)) current.set(node, made.get(node) as Node);
    for (const v of action.joined) note(v, made);
  }
  return { units: out, resolve, originals, copies };
}
