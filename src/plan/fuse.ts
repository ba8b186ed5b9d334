/**
 * Fusion: which nodes run as one instruction.
 *
 * Elementwise nodes over one shape join into chains, whose intermediate values live in registers and never reach
 * memory. A chain that is alone in reading a matrix product or a convolution becomes its epilogue.
 */

import { sameShape, sizeOf } from "../graph/shape.js";
import type { Node } from "../graph/tensor.js";
import { isLeaf } from "../graph/walk.js";
import { Layout } from "../isa.js";

/** Nodes that run together. */
export interface Unit {
  /** Inputs before users. */
  readonly nodes: Node[];
  /** The product (of matrices, or a convolution) whose epilogue the other nodes are. */
  readonly head: Node | null;
}

function isElementwise(node: Node): boolean {
  return !isLeaf(node) && node.primitive.lowering.kind === "elementwise";
}

/** Bounds on a chain, so that its registers and slots suffice whatever the order of its nodes. */
const MAX_OPERANDS = Layout.MaxRegisters;

class Fusion {
  /** The unit of each node, by `node.index`. */
  readonly unitOf: Unit[] = [];
  readonly users: Node[][];
  /** The highest index within a unit and all that it depends on: nothing behind it reads a later node. */
  private readonly reach = new Map<Unit, number>();

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
      this.regroup([node]);
      if (isElementwise(node)) this.joinInputs(node);
    }
    for (const unit of new Set(this.order.map((node) => this.unit(node)).reverse())) this.sink(unit);
    for (const node of this.order) this.attachEpilogue(node);
    return this.schedule();
  }

  /** Joins `node` to the chains that it reads, the latest first. */
  private joinInputs(node: Node): void {
    const candidates = [...new Set(node.inputs.filter((x) => isElementwise(x) && sameShape(x.shape, node.shape)))];
    for (const input of candidates.sort((a, b) => b.index - a.index)) {
      const chain = this.unit(input);
      const own = this.unit(node);
      if (chain === own || !this.fits(chain, own) || this.wouldLoop(chain, own)) continue;
      this.regroup([...chain.nodes, ...own.nodes]);
    }
  }

  private unit(node: Node): Unit {
    return this.unitOf[node.index] as Unit;
  }

  private fits(a: Unit, b: Unit): boolean {
    const members = new Set([...a.nodes, ...b.nodes]);
    const outside = new Set<Node>();
    for (const member of members) {
      for (const input of member.inputs) if (!members.has(input) && sizeOf(input.shape) !== 1) outside.add(input);
    }
    return members.size + outside.size <= MAX_OPERANDS;
  }

  /** Whether something outside of both units would have to run after one of their nodes and before another. */
  private wouldLoop(a: Unit, b: Unit): boolean {
    const first = Math.min((a.nodes[0] as Node).index, (b.nodes[0] as Node).index);
    const seen = new Set<Unit>([a, b]);
    const stack: Unit[] = [];
    const push = (unit: Unit): void => {
      // What reaches no node after the first member cannot depend on a member.
      if (!seen.has(unit) && (this.reach.get(unit) as number) > first) {
        seen.add(unit);
        stack.push(unit);
      }
    };
    const inputsOf = (unit: Unit): Unit[] =>
      unit.nodes.filter((n) => !isLeaf(n)).flatMap((n) => n.inputs.map((x) => this.unit(x)));
    for (const unit of [...inputsOf(a), ...inputsOf(b)]) push(unit);
    for (let unit = stack.pop(); unit !== undefined; unit = stack.pop()) {
      for (const input of inputsOf(unit)) {
        if (input === a || input === b) return true;
        push(input);
      }
    }
    return false;
  }

  /**
   * Moves nodes out of the chain that holds their operands into the one chain that reads them, where that saves memory
   * traffic: what only the backward pass needs (the mask of a ReLU, the density in GELU's gradient) is computed there
   * from values that are stored anyway.
   */
  private sink(from: Unit): void {
    if (from.nodes.length === 1 || !isElementwise(from.nodes[0] as Node)) return;
    const own = new Set(from.nodes);
    const usersOf = (node: Node): Node[] => this.users[node.index] as Node[];
    const readers = new Set(from.nodes.flatMap(usersOf).map((user) => this.unit(user)));
    for (const into of readers) {
      const host = into.nodes[0] as Node;
      if (into === from || !isElementwise(host) || !sameShape(host.shape, (from.nodes[0] as Node).shape)) continue;
      const moved = new Set<Node>();
      const wanted = (user: Node): boolean => moved.has(user) || this.unit(user) === into;
      for (const node of [...from.nodes].reverse()) {
        if (!this.roots.has(node) && usersOf(node).length > 0 && usersOf(node).every(wanted)) moved.add(node);
      }
      if (moved.size === 0 || moved.size === from.nodes.length) continue;
      const sizable = (x: Node): boolean => sizeOf(x.shape) !== 1;
      const saved = [...moved].filter((node) => usersOf(node).some((user) => this.unit(user) === into)).length;
      const operands = new Set([...moved].flatMap((node) => node.inputs).filter((x) => !moved.has(x) && sizable(x)));
      const alreadyRead = new Set(into.nodes.flatMap((node) => node.inputs));
      const newReads = [...operands].filter((x) => !alreadyRead.has(x)).length;
      const newStores = [...operands].filter(
        (x) => own.has(x) && !this.roots.has(x) && usersOf(x).every((user) => own.has(user)),
      ).length;
      const alone: Unit = { nodes: [...moved], head: null };
      // Each saved value was one store and one load.
      if (newReads + newStores > 2 * saved || newStores > saved || !this.fits(alone, into)) continue;
      this.regroup(from.nodes.filter((node) => !moved.has(node)));
      // No loop can arise: whatever made the operands was behind this reader before.
      this.regroup([...into.nodes, ...moved]);
      return;
    }
  }

  /** Makes a chain of the given nodes. */
  private regroup(nodes: readonly Node[]): void {
    const unit: Unit = { nodes: [...nodes].sort((a, b) => a.index - b.index), head: null };
    for (const node of nodes) this.unitOf[node.index] = unit;
    let reach = (unit.nodes.at(-1) as Node).index;
    for (const node of nodes) {
      if (isLeaf(node)) continue;
      for (const input of node.inputs) reach = Math.max(reach, this.reach.get(this.unit(input)) ?? 0);
    }
    this.reach.set(unit, reach);
    this.raiseReaders(unit, reach);
  }

  /** Everything that depends on `unit` reaches as far as it does. */
  private raiseReaders(unit: Unit, reach: number): void {
    const stack = [unit];
    for (let raised = stack.pop(); raised !== undefined; raised = stack.pop()) {
      for (const user of raised.nodes.flatMap((node) => this.users[node.index] as Node[])) {
        const reader = this.unitOf[user.index];
        if (reader === undefined || (this.reach.get(reader) ?? reach) >= reach) continue;
        this.reach.set(reader, reach);
        stack.push(reader);
      }
    }
  }

  /** Makes the only reader of a product its epilogue, if it is a chain over the product's shape. */
  private attachEpilogue(node: Node): void {
    const { lowering } = node.primitive;
    if (isLeaf(node) || lowering.kind !== "kernel" || lowering.epilogue === undefined || this.roots.has(node)) return;
    const readers = new Set((this.users[node.index] as Node[]).map((user) => this.unit(user)));
    const [chain] = readers;
    if (chain === undefined || readers.size !== 1 || chain.head !== null) return;
    const members = chain.nodes;
    if (!isElementwise(members[0] as Node) || !sameShape((members[0] as Node).shape, node.shape)) return;
    const merged: Unit = { nodes: [node, ...members], head: node };
    for (const member of merged.nodes) this.unitOf[member.index] = merged;
  }

  /** Units in an order in which each comes after those it reads, otherwise as their last nodes were made. */
  private schedule(): Unit[] {
    const units: Unit[] = [];
    const state = new Map<Unit, number>();
    for (const node of this.order) {
      const stack = [this.unit(node)];
      if (node !== stack[0]?.nodes.at(-1) || state.has(this.unit(node))) continue;
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
            if (!own.has(input) && !state.has(this.unit(input))) stack.push(this.unit(input));
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
