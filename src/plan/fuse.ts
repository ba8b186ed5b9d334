/**
 * Fusion: which nodes run as one instruction.
 *
 * Elementwise nodes over one shape join into chains, whose intermediate values live in registers and never reach
 * memory. A chain that is alone in reading a matrix product or a convolution becomes its epilogue, also behind a reshape.
 */

import { sameShape, sizeOf } from "../graph/shape.js";
import type { Node } from "../graph/tensor.js";
import { expandView, isContiguous, wholeView } from "../graph/view.js";
import { isLeaf } from "../graph/walk.js";
import { Layout } from "../isa.js";

/** Nodes that run together. */
export interface Unit {
  /** Inputs before users. */
  readonly nodes: Node[];
  /**
   * The product (of matrices, or a convolution) whose epilogue the other nodes are: first comes the product, then, if the
   * chain is over another shape, the bias that is added to the product, if there is one, and a reshape.
   */
  readonly head: Node | null;
  /** Products of elements that are rounded before they are added to something, though nothing else may read them. */
  readonly apart?: ReadonlySet<Node>;
}

function isElementwise(node: Node): boolean {
  return !isLeaf(node) && node.primitive.lowering.kind === "elementwise";
}

/** Whether a chain can run on a node's values while they are still in the cache. */
function canHaveEpilogue(node: Node): boolean {
  const { lowering } = node.primitive;
  return !isLeaf(node) && lowering.kind === "kernel" && lowering.epilogue !== undefined;
}

/** Whether `node` sees its input's elements one after the other, as they lie in a row-major buffer. */
function isReshape(node: Node): boolean {
  const { lowering } = node.primitive;
  const [input] = node.inputs;
  if (isLeaf(node) || lowering.kind !== "view" || input === undefined) return false;
  const layout = lowering.view(wholeView(input.shape), node.shape, node.attrs);
  return layout !== null && isContiguous(layout) && sizeOf(node.shape) === sizeOf(input.shape);
}

/** Whether `node` adds one row to every row of `product`. */
function isBias(node: Node, product: Node): boolean {
  const [a, b] = node.inputs as readonly (Node | undefined)[];
  const other = a === product ? b : a;
  if (node.primitive.name !== "add" || node.dtype !== "f32" || other === undefined || other === product) return false;
  const { strides } = expandView(wholeView(other.shape), product.shape);
  const last = product.shape.length - 1;
  return strides.every((s, d) => product.shape[d] === 1 || s === (d === last ? 1 : 0));
}

/** Bounds on a chain, so that its registers and slots suffice whatever the order of its nodes. */
const MAX_OPERANDS = Layout.MaxRegisters;

/** A unit while units grow. */
interface Group {
  nodes: Node[];
  head: Node | null;
  /** Where it stands in an order of all groups in which each comes after those it reads. */
  position: number;
  /** The last search that came past it. */
  search: number;
}

/**
 * Edges that a search for a loop follows before it gives up and the nodes stay apart, so that fusing takes time in
 * proportion to the graph. Of the training graphs in `bench/` only unrolled LSTMs have 2 % more units than without a
 * limit, and less memory: chains of values far apart keep what they read for long.
 */
const MAX_SEARCHED = 256;

class Fusion {
  /** The group of each node, by `node.index`. */
  readonly groupOf: Group[] = [];
  readonly users: Node[][];
  private depths: Int32Array | null = null;
  private searches = 0;
  private edges = 0;

  constructor(
    readonly order: readonly Node[],
    readonly roots: ReadonlySet<Node>,
  ) {
    this.users = order.map(() => []);
    for (const node of order) {
      if (isLeaf(node)) continue;
      for (const input of new Set(node.inputs)) (this.users[input.index] as Node[]).push(node);
    }
  }

  run(): Unit[] {
    for (const node of this.order) {
      this.groupOf.push({ nodes: [node], head: null, position: node.index, search: 0 });
      if (isElementwise(node)) this.joinInputs(node);
    }
    for (const group of new Set([...this.groupOf].reverse())) this.sink(group);
    // The last first: of two products that are added, it is the later one that need not wait for the other.
    for (const node of [...this.order].reverse()) this.attachEpilogue(node);
    return this.schedule();
  }

  private group(node: Node): Group {
    return this.groupOf[node.index] as Group;
  }

  private usersOf(node: Node): readonly Node[] {
    return this.users[node.index] as Node[];
  }

  /** Joins `node` to the chains that it reads, the latest first. */
  private joinInputs(node: Node): void {
    const candidates = node.inputs.filter((x) => isElementwise(x) && sameShape(x.shape, node.shape));
    if (candidates.length > 1) candidates.sort((a, b) => b.index - a.index);
    for (const input of candidates) {
      const a = this.group(input);
      const b = this.group(node);
      if (a === b || !this.fits(a.nodes, b.nodes) || (this.endsProduct(a) && this.endsProduct(b))) continue;
      if (this.bringTogether(a, b)) this.regroup(a, [...a.nodes, ...b.nodes]);
    }
  }

  /**
   * Whether a chain is alone in reading a product, whose epilogue it may become. Two such chains stay apart, so that
   * of a sum of many products (the gradient of a weight that is used again and again) only one is in memory at a time.
   */
  private endsProduct({ nodes }: Group): boolean {
    for (const { inputs, shape } of nodes) {
      for (const x of inputs) {
        if (!canHaveEpilogue(x) || this.roots.has(x) || !sameShape(x.shape, shape)) continue;
        if (this.usersOf(x).every((user) => nodes.includes(user))) return true;
      }
    }
    return false;
  }

  private fits(a: readonly Node[], b: readonly Node[]): boolean {
    let most = a.length + b.length;
    for (const { inputs } of a) most += inputs.length;
    for (const { inputs } of b) most += inputs.length;
    if (most <= MAX_OPERANDS) return true;
    const members = new Set([...a, ...b]);
    const outside = new Set<Node>();
    for (const member of members) {
      for (const input of member.inputs) if (!members.has(input) && sizeOf(input.shape) !== 1) outside.add(input);
    }
    return members.size + outside.size <= MAX_OPERANDS;
  }

  /** Gives the nodes to `group`. */
  private regroup(group: Group, nodes: readonly Node[]): void {
    group.nodes = [...nodes].sort((a, b) => a.index - b.index);
    for (const node of nodes) this.groupOf[node.index] = group;
  }

  // ── Order ─────────────────────────────────────────────────────────────────────────────────────────────────────────

  /**
   * Makes the positions of all groups such that `a` and `b` can be one, with the position of `a`. False where something
   * else would have to come after one of them and before the other, or the search for that takes too long.
   *
   * Only groups between them move, as in Pearce and Kelly, "A Dynamic Topological Sort Algorithm for Directed Acyclic
   * Graphs" (2006): those that the later one depends on come before both, those that depend on the earlier one after.
   */
  private bringTogether(a: Group, b: Group): boolean {
    const [early, late] = a.position < b.position ? [a, b] : [b, a];
    this.edges = 0;
    const before = this.between(late, early, (group) => this.read(group));
    if (before === null) return false;
    if (before.length === 0) {
      a.position = early.position;
      return true;
    }
    const after = this.between(early, late, (group) => this.readers(group));
    if (after === null) return false;
    const byPosition = (x: Group, y: Group): number => x.position - y.position;
    const positions = [early, late, ...before, ...after].map(({ position }) => position).sort((x, y) => x - y);
    for (const [i, group] of before.sort(byPosition).entries()) group.position = positions[i] as number;
    a.position = positions[before.length] as number;
    for (const [i, group] of after.sort(byPosition).entries()) {
      group.position = positions[before.length + 2 + i] as number;
    }
    return true;
  }

  private *read(group: Group): Iterable<Group> {
    for (const node of group.nodes) if (!isLeaf(node)) for (const input of node.inputs) yield this.group(input);
  }

  /** The groups that read from `group`, of those that exist. */
  private *readers(group: Group): Iterable<Group> {
    for (const node of group.nodes) {
      for (const user of this.usersOf(node)) if (user.index < this.groupOf.length) yield this.group(user);
    }
  }

  /**
   * The groups on the ways from `start` that stand between it and `end`. Null where `end` is found behind one of them,
   * or the search takes too long.
   */
  private between(start: Group, end: Group, next: (group: Group) => Iterable<Group>): Group[] | null {
    const search = ++this.searches;
    const backwards = end.position < start.position;
    const found: Group[] = [];
    for (let group: Group | undefined = start, i = 0; group !== undefined; group = found[i++]) {
      for (const other of next(group)) {
        if (++this.edges > MAX_SEARCHED) return null;
        if (other === end && group !== start) return null;
        const within = backwards ? other.position > end.position : other.position < end.position;
        if (!within || other === end || other.search === search || other === start) continue;
        other.search = search;
        found.push(other);
      }
    }
    return found;
  }

  /**
   * Moves nodes out of the chain that holds their operands into the one chain that reads them, where that saves memory
   * traffic: what only the backward pass needs (the mask of a ReLU, the density in GELU's gradient) is computed there
   * from values that are stored anyway.
   */
  private sink(from: Group): void {
    if (from.nodes.length === 1 || !isElementwise(from.nodes[0] as Node)) return;
    const own = new Set(from.nodes);
    const readers = new Set(from.nodes.flatMap((node) => this.usersOf(node).map((user) => this.group(user))));
    for (const into of readers) {
      const host = into.nodes[0] as Node;
      if (into === from || !isElementwise(host) || !sameShape(host.shape, (from.nodes[0] as Node).shape)) continue;
      const moved = new Set<Node>();
      const wanted = (user: Node): boolean => moved.has(user) || this.group(user) === into;
      for (const node of [...from.nodes].reverse()) {
        if (!this.roots.has(node) && this.usersOf(node).length > 0 && this.usersOf(node).every(wanted)) moved.add(node);
      }
      if (moved.size === 0 || moved.size === from.nodes.length) continue;
      const sizable = (x: Node): boolean => sizeOf(x.shape) !== 1;
      const saved = [...moved].filter((node) => this.usersOf(node).some((user) => this.group(user) === into)).length;
      const operands = new Set([...moved].flatMap((node) => node.inputs).filter((x) => !moved.has(x) && sizable(x)));
      const alreadyRead = new Set(into.nodes.flatMap((node) => node.inputs));
      const newReads = [...operands].filter((x) => !alreadyRead.has(x)).length;
      const newStores = [...operands].filter(
        (x) => own.has(x) && !this.roots.has(x) && this.usersOf(x).every((user) => own.has(user)),
      ).length;
      // Each saved value was one store and one load.
      if (newReads + newStores > 2 * saved || newStores > saved || !this.fits([...moved], into.nodes)) continue;
      this.regroup(
        from,
        from.nodes.filter((node) => !moved.has(node)),
      );
      // No loop can arise: whatever made the operands was behind this reader before.
      this.regroup(into, [...into.nodes, ...moved]);
      return;
    }
  }

  /** Makes the chain that alone reads a product its epilogue, if it is over the product's elements in their order. */
  private attachEpilogue(node: Node): void {
    const { lowering } = node.primitive;
    if (isLeaf(node) || lowering.kind !== "kernel" || lowering.epilogue === undefined) return;
    const chain = this.chainBehind(node, node);
    const first = chain?.nodes[0];
    if (chain !== null) this.giveHead(chain, [node]);
    // A bias moves into a matrix product, and a reshape moves nothing: what follows them may be the epilogue too.
    const bias = lowering.epilogue === "bias and chain" && chain?.nodes.length === 2 && isBias(first as Node, node);
    if (chain !== null && !bias) return;
    const source = chain === null ? node : (first as Node);
    const [view, ...others] = this.usersOf(source);
    if (view === undefined || others.length > 0 || this.roots.has(source) || !isReshape(view)) return;
    const next = this.chainBehind(view, node);
    if (next !== null) this.giveHead(next, chain === null ? [node, view] : [node, source, view]);
  }

  /** The chain over the elements of `node` that alone reads them, if `product` need not wait for it. */
  private chainBehind(node: Node, product: Node): Group | null {
    const [chain, ...others] = new Set(this.usersOf(node).map((user) => this.group(user)));
    if (chain === undefined || others.length > 0 || chain.head !== null || this.roots.has(node)) return null;
    const member = chain.nodes[0] as Node;
    if (!isElementwise(member) || !sameShape(member.shape, node.shape)) return null;
    return this.waits(product, node, chain.nodes) ? null : chain;
  }

  /** Puts a product, and what comes between it and a chain, before the chain. */
  private giveHead(chain: Group, nodes: readonly [Node, ...Node[]]): void {
    chain.nodes = [...nodes, ...chain.nodes];
    chain.head = nodes[0];
    for (const node of nodes) this.groupOf[node.index] = chain;
  }

  /**
   * Whether a product would have to wait for what its chain reads besides, and hold inputs meanwhile that take more
   * memory than itself: the gradient of a tied embedding waits for all of the backward pass. `value` is the product as the
   * chain reads it.
   */
  private waits(product: Node, value: Node, chain: readonly Node[]): boolean {
    const size = product.inputs.reduce((sum, x) => sum + (isLeaf(x) ? 0 : sizeOf(x.shape)), 0);
    if (size <= sizeOf(product.shape)) return false;
    const own = new Set(chain);
    const others = new Set(chain.flatMap(({ inputs }) => inputs).filter((x) => !own.has(x) && x !== value));
    return [...others].some((x) => this.depthOf(x) > this.depthOf(value));
  }

  /** The length of the longest way to a node from the leaves. */
  private depthOf(node: Node): number {
    if (this.depths === null) {
      this.depths = new Int32Array(this.order.length);
      for (const node of this.order) {
        const behind = isLeaf(node) ? [] : node.inputs.map((x) => (this.depths as Int32Array)[x.index] as number);
        this.depths[node.index] = 1 + Math.max(0, ...behind);
      }
    }
    return this.depths[node.index] as number;
  }

  /** Units in an order in which each comes after those it reads, otherwise as their last nodes were made. */
  private schedule(): Unit[] {
    const units: Unit[] = [];
    const state = new Map<Group, number>();
    for (const node of this.order) {
      const stack = [this.group(node)];
      if (node !== stack[0]?.nodes.at(-1) || state.has(this.group(node))) continue;
      for (let unit = stack.at(-1); unit !== undefined; unit = stack.at(-1)) {
        if (state.get(unit) === 1) {
          state.set(unit, 2);
          units.push(unit);
          stack.pop();
          continue;
        }
        if (state.get(unit) === 2) {
          stack.pop();
          continue;
        }
        state.set(unit, 1);
        const own = new Set(unit.nodes);
        for (const member of unit.nodes) {
          if (isLeaf(member)) continue;
          for (const input of member.inputs) {
            if (!own.has(input) && !state.has(this.group(input))) stack.push(this.group(input));
          }
        }
      }
    }
    return units;
  }
}

/**
 * Partitions a graph into units and orders them.
 * @param order the graph's nodes, inputs before users, numbered by `index`
 * @param roots nodes whose values the program must deliver
 */
export function fuse(order: readonly Node[], roots: ReadonlySet<Node>): Unit[] {
  return new Fusion(order, roots).run();
}
